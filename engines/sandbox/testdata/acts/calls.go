package main

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

func text(s string) uintptr {
	p, err := unix.BytePtrFromString(s)
	if err != nil {
		os.Exit(95)
	}
	return uintptr(unsafe.Pointer(p))
}

// ask tries a call with arguments that are wrong, so that it changes nothing even
// where it is allowed: any error but a refusal means that the kernel looked at it.
func ask(nr uintptr, args ...uintptr) error {
	err := call(nr, args...)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EACCES) {
		return err
	}
	return nil
}

const nowhere = ^uintptr(0)

// calls are acts that are one system call each.
func calls() map[string]func() error {
	return map[string]func() error{
		"io_uring":          func() error { return ask(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&[256]byte{}))) },
		"io_uring_enter":    func() error { return ask(unix.SYS_IO_URING_ENTER, nowhere, 0, 0, 0) },
		"io_uring_register": func() error { return ask(unix.SYS_IO_URING_REGISTER, nowhere, 0, 0, 0) },
		"unshare-user":      func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
		"unshare-mount":     func() error { return unix.Unshare(unix.CLONE_NEWNS) },
		"unshare-net":       func() error { return unix.Unshare(unix.CLONE_NEWNET) },
		"unshare-pid":       func() error { return unix.Unshare(unix.CLONE_NEWPID) },
		"clone-user":        func() error { return fork(unix.CLONE_NEWUSER) },
		"clone-net":         func() error { return fork(unix.CLONE_NEWNET) },
		"clone-high-bits":   func() error { return fork(unix.CLONE_NEWUSER | 1<<40) },
		"clone3-user": func() error {
			args := [11]uint64{0: unix.CLONE_NEWUSER, 4: uint64(unix.SIGCHLD)}
			pid, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
			if errno == 0 && pid == 0 {
				unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
			}
			return result(errno)
		},
		"setns":            func() error { return enter("/proc/self/ns/user") },
		"setns-mount":      func() error { return enter("/proc/self/ns/mnt") },
		"setns-other":      func() error { return enter(proc(w.Parent, "ns/mnt")) },
		"mount":            func() error { return unix.Mount("tmpfs", w.Out, "tmpfs", 0, "") },
		"mount-over-ws":    func() error { return unix.Mount("tmpfs", w.Workspace, "tmpfs", 0, "") },
		"mount-proc":       func() error { return unix.Mount("proc", "/proc", "proc", 0, "") },
		"remount-ws":       func() error { return unix.Mount("", w.Workspace, "", unix.MS_REMOUNT|unix.MS_BIND, "") },
		"bind-ws":          func() error { return unix.Mount(w.Workspace, w.Out, "", unix.MS_BIND, "") },
		"umount":           func() error { return unix.Unmount("/proc", unix.MNT_DETACH) },
		"umount-ws":        func() error { return unix.Unmount(w.Workspace, unix.MNT_DETACH) },
		"pivot_root":       func() error { return unix.PivotRoot(w.Out, w.Out) },
		"chroot":           func() error { return unix.Chroot(w.Out) },
		"open_tree":        func() error { return ask(unix.SYS_OPEN_TREE, nowhere, text("/"), 0) },
		"open_tree_attr":   func() error { return ask(467, nowhere, text("/"), 1, 0, 0) },
		"move_mount":       func() error { return ask(unix.SYS_MOVE_MOUNT, nowhere, text(""), nowhere, text(""), 0) },
		"fsopen":           func() error { return ask(unix.SYS_FSOPEN, text("tmpfs"), 0) },
		"fsconfig":         func() error { return ask(unix.SYS_FSCONFIG, nowhere, 0, 0, 0, 0) },
		"fsmount":          func() error { return ask(unix.SYS_FSMOUNT, nowhere, 0, 0) },
		"fspick":           func() error { return ask(unix.SYS_FSPICK, nowhere, text("/"), 0) },
		"mount_setattr":    func() error { return ask(unix.SYS_MOUNT_SETATTR, nowhere, text("/"), 0, 0, 0) },
		"bpf":              func() error { return ask(unix.SYS_BPF, 0, 0, 0) },
		"perf_event_open":  func() error { return ask(unix.SYS_PERF_EVENT_OPEN, 0, nowhere, nowhere, nowhere, 0) },
		"userfaultfd":      func() error { return ask(unix.SYS_USERFAULTFD, 1) },
		"keyctl":           func() error { return ask(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, nowhere-2, 0) },
		"add_key":          func() error { return ask(unix.SYS_ADD_KEY, 0, 0, 0, 0, 0) },
		"request_key":      func() error { return ask(unix.SYS_REQUEST_KEY, 0, 0, 0, 0) },
		"open_by_handle":   func() error { return handle() },
		"kexec_load":       func() error { return ask(unix.SYS_KEXEC_LOAD, 0, 17, 0, 0) },
		"init_module":      func() error { return ask(unix.SYS_INIT_MODULE, 0, 0, 0) },
		"finit_module":     func() error { return ask(unix.SYS_FINIT_MODULE, nowhere, 0, 0) },
		"delete_module":    func() error { return ask(unix.SYS_DELETE_MODULE, 0, 0) },
		"reboot":           func() error { return ask(unix.SYS_REBOOT, 1, 2, 3, 0) },
		"swapon":           func() error { return ask(unix.SYS_SWAPON, 0, 0) },
		"swapoff":          func() error { return ask(unix.SYS_SWAPOFF, 0) },
		"quotactl":         func() error { return ask(unix.SYS_QUOTACTL, nowhere, 0, 0, 0) },
		"quotactl_fd":      func() error { return ask(unix.SYS_QUOTACTL_FD, nowhere, 0, 0, 0) },
		"acct":             func() error { return ask(unix.SYS_ACCT, text("/nowhere/at/all")) },
		"settimeofday":     func() error { return ask(unix.SYS_SETTIMEOFDAY, 1, 0) },
		"clock_settime":    func() error { return ask(unix.SYS_CLOCK_SETTIME, 0, 1) },
		"adjtimex":         func() error { return ask(unix.SYS_ADJTIMEX, 1) },
		"clock_adjtime":    func() error { return ask(unix.SYS_CLOCK_ADJTIME, 0, 1) },
		"syslog":           func() error { return ask(unix.SYS_SYSLOG, 3, 0, 0) },
		"sethostname":      func() error { return ask(unix.SYS_SETHOSTNAME, 1, 5000) },
		"setdomainname":    func() error { return ask(unix.SYS_SETDOMAINNAME, 1, 5000) },
		"fanotify":         func() error { return ask(unix.SYS_FANOTIFY_INIT, 1<<20, 0) },
		"memfd":            func() error { _, err := unix.MemfdCreate("x", 0); return err },
		"memfd-secret":     func() error { return ask(447, 1<<30) },
		"vmsplice":         func() error { return ask(unix.SYS_VMSPLICE, nowhere, 0, 0, 0) },
		"process_madvise":  func() error { return ask(unix.SYS_PROCESS_MADVISE, nowhere, 0, 0, 0, 0) },
		"process_mrelease": func() error { return ask(unix.SYS_PROCESS_MRELEASE, nowhere, 0) },
		"future-call":      func() error { return ask(1023) },
	}
}

func fork(flags uintptr) error {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno == 0 && pid == 0 {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	return result(errno)
}

func enter(ns string) error {
	fd, err := unix.Open(ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return ask(unix.SYS_SETNS, uintptr(fd), 0)
}

// handle opens a file by its handle, which asks no directory on the way.
func handle() error {
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, in("file"), 0)
	if err != nil {
		return skip(err.Error())
	}
	mount, err := unix.Open(w.Workspace, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return skip(err.Error())
	}
	_, err = unix.OpenByHandleAt(mount, h, unix.O_WRONLY)
	return err
}

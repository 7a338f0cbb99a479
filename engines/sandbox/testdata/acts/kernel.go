package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernel are acts against other processes and the own state.
func kernel() map[string]func() error {
	return map[string]func() error{
		"kill-victim": func() error { return unix.Kill(w.Victim, unix.SIGUSR1) },
		"kill-parent": func() error { return unix.Kill(w.Parent, 0) },
		"tgkill":      func() error { return unix.Tgkill(w.Victim, w.Victim, unix.SIGUSR1) },
		"tkill": func() error {
			return call(unix.SYS_TKILL, uintptr(w.Victim), uintptr(unix.SIGUSR1))
		},
		"sigqueue": func() error {
			info := [128]byte{0: byte(unix.SIGUSR1), 8: 0xff, 9: 0xff, 10: 0xff, 11: 0xff} // SI_QUEUE
			return call(unix.SYS_RT_SIGQUEUEINFO, uintptr(w.Victim), uintptr(unix.SIGUSR1), uintptr(unsafe.Pointer(&info)))
		},
		"pidfd-signal": func() error {
			fd, err := unix.PidfdOpen(w.Victim, 0)
			if err != nil {
				return err
			}
			return unix.PidfdSendSignal(fd, unix.SIGUSR1, nil, 0)
		},
		"sigio": func() error {
			var p [2]int
			if err := unix.Pipe(p[:]); err != nil {
				return skip(err.Error())
			}
			for _, c := range []struct{ op, arg int }{{unix.F_SETOWN, w.Victim}, {unix.F_SETSIG, int(unix.SIGUSR1)}, {unix.F_SETFL, unix.O_ASYNC}} {
				if _, err := unix.FcntlInt(uintptr(p[0]), c.op, c.arg); err != nil {
					return err
				}
			}
			_, err := unix.Write(p[1], []byte("x"))
			if err != nil {
				return err
			}
			return skip("whether the signal came, only the victim knows") // and the test asks it
		},
		"ptrace":       func() error { return call(unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(w.Victim)) },
		"ptrace-seize": func() error { return call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(w.Victim)) },
		"ptrace-me":    func() error { return call(unix.SYS_PTRACE, unix.PTRACE_TRACEME) },
		"vm-read":      func() error { return remote(unix.SYS_PROCESS_VM_READV) },
		"vm-write":     func() error { return remote(unix.SYS_PROCESS_VM_WRITEV) },
		"kcmp":         func() error { return call(unix.SYS_KCMP, uintptr(w.Victim), uintptr(os.Getpid()), 0, 0, 0) },
		"pidfd-getfd": func() error {
			fd, err := unix.PidfdOpen(w.Victim, 0)
			if err != nil {
				return err
			}
			_, err = unix.PidfdGetfd(fd, 1, 0)
			return err
		},
		"prlimit": func() error {
			return unix.Prlimit(w.Victim, unix.RLIMIT_CORE, &unix.Rlimit{}, nil)
		},
		"prlimit-monitor": func() error { // it would be blind without files
			return unix.Prlimit(1, unix.RLIMIT_NOFILE, &unix.Rlimit{}, nil)
		},
		"setuid": func() error { return become(unix.SYS_SETUID) },
		"setgid": func() error { return become(unix.SYS_SETGID) },
		"setgroups": func() error {
			group := uint32(0)
			return call(unix.SYS_SETGROUPS, 1, uintptr(unsafe.Pointer(&group)))
		},
		"capset": func() error {
			hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			data := [2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN}}
			return unix.Capset(&hdr, &data[0])
		},
		"setuid-program": func() error {
			if w.Setuid == "" {
				return skip("only root can make a setuid program of another user")
			}
			text, err := exec.Command(w.Setuid, "euid").CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, text)
			}
			if got := strings.TrimSpace(string(text)); got == fmt.Sprint(os.Geteuid()) {
				return errors.New("it ran as " + got)
			}
			return nil
		},
		"seccomp-off": func() error { return unix.Prctl(unix.PR_SET_SECCOMP, 0, 0, 0, 0) },
		"privs-on":    func() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) },
		"raise-limit": func() error {
			var have unix.Rlimit
			if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &have); err != nil {
				return skip(err.Error())
			}
			return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: have.Max + 1, Max: have.Max + 1})
		},
		"oom-protect":   func() error { return os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0) },
		"uid-map":       func() error { return os.WriteFile("/proc/self/uid_map", []byte("0 0 1\n"), 0) },
		"sysctl":        func() error { return touch("/proc/sys/kernel/core_pattern") },
		"sysctl-host":   func() error { return touch("/proc/sys/kernel/hostname") },
		"sysctl-users":  func() error { return touch("/proc/sys/user/max_user_namespaces") },
		"sysctl-binfmt": func() error { return touch("/proc/sys/fs/binfmt_misc/register") },
		"sysrq":         func() error { return touch("/proc/sysrq-trigger") },
		"sys-kernel":    func() error { return touch("/sys/kernel/uevent_helper") },
		"sys-power":     func() error { return touch("/sys/power/state") },
		"cgroup-escape": func() error {
			return errors.Join(touch("/sys/fs/cgroup/cgroup.procs"), touch("/sys/fs/cgroup/memory/cgroup.procs"))
		},
	}
}

func remote(nr uintptr) error {
	buf := [8]byte{}
	mine := unix.Iovec{Base: &buf[0], Len: 8}
	theirs := [2]uintptr{uintptr(unsafe.Pointer(&buf)), 8}
	err := call(nr, uintptr(w.Victim), uintptr(unsafe.Pointer(&mine)), 1, uintptr(unsafe.Pointer(&theirs)), 1, 0)
	if errors.Is(err, unix.EFAULT) {
		return nil // it was let in, only at that address there is nothing
	}
	return err
}

// become tries to be root, or where this is root somebody else.
func become(nr uintptr) error {
	if os.Getuid() == 0 {
		return call(nr, 12345)
	}
	return call(nr, 0)
}

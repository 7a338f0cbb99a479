package inside

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Places in struct seccomp_data.
const (
	dataCall = 0
	dataArch = 4
	dataArgs = 16 // eight bytes each; the low half is first on what is supported here
)

// answers of the filter.
const (
	retAllow  = unix.SECCOMP_RET_ALLOW
	retKill   = unix.SECCOMP_RET_KILL_PROCESS
	retNotify = unix.SECCOMP_RET_USER_NOTIF
)

func retErrno(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) } //nolint:gosec // small numbers

// namespaceFlags are the flags of clone that make namespaces.
const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWTIME

// newestCall is the newest system call that this filter has an opinion about.
// What came later is not there for the child, as on an older kernel.
const newestCall = 470

// forbidden are the calls that are refused in every tier whatever their arguments are.
func forbidden() []call {
	return append([]call{
		{unix.SYS_PTRACE, "ptrace", unix.EPERM}, {unix.SYS_PROCESS_VM_READV, "process_vm_readv", unix.EPERM},
		{unix.SYS_PROCESS_VM_WRITEV, "process_vm_writev", unix.EPERM}, {unix.SYS_KCMP, "kcmp", unix.EPERM},
		{unix.SYS_PIDFD_GETFD, "pidfd_getfd", unix.EPERM},
		{unix.SYS_MOUNT, "mount", unix.EPERM}, {unix.SYS_UMOUNT2, "umount2", unix.EPERM}, {unix.SYS_PIVOT_ROOT, "pivot_root", unix.EPERM},
		{unix.SYS_CHROOT, "chroot", unix.EPERM}, {unix.SYS_UNSHARE, "unshare", unix.EPERM}, {unix.SYS_SETNS, "setns", unix.EPERM},
		{unix.SYS_OPEN_TREE, "open_tree", unix.EPERM}, {unix.SYS_MOVE_MOUNT, "move_mount", unix.EPERM}, {unix.SYS_FSOPEN, "fsopen", unix.EPERM},
		{unix.SYS_FSCONFIG, "fsconfig", unix.EPERM}, {unix.SYS_FSMOUNT, "fsmount", unix.EPERM}, {unix.SYS_FSPICK, "fspick", unix.EPERM},
		{unix.SYS_MOUNT_SETATTR, "mount_setattr", unix.EPERM}, {sysOpenTreeAttr, "open_tree_attr", unix.EPERM},
		{unix.SYS_KEYCTL, "keyctl", unix.EPERM}, {unix.SYS_ADD_KEY, "add_key", unix.EPERM}, {unix.SYS_REQUEST_KEY, "request_key", unix.EPERM},
		{unix.SYS_BPF, "bpf", unix.EPERM}, {unix.SYS_PERF_EVENT_OPEN, "perf_event_open", unix.EPERM}, {unix.SYS_USERFAULTFD, "userfaultfd", unix.EPERM},
		{unix.SYS_KEXEC_LOAD, "kexec_load", unix.EPERM}, {unix.SYS_INIT_MODULE, "init_module", unix.EPERM},
		{unix.SYS_FINIT_MODULE, "finit_module", unix.EPERM}, {unix.SYS_DELETE_MODULE, "delete_module", unix.EPERM},
		{unix.SYS_OPEN_BY_HANDLE_AT, "open_by_handle_at", unix.EPERM}, {unix.SYS_REBOOT, "reboot", unix.EPERM},
		{unix.SYS_SWAPON, "swapon", unix.EPERM}, {unix.SYS_SWAPOFF, "swapoff", unix.EPERM}, {unix.SYS_QUOTACTL, "quotactl", unix.EPERM},
		{unix.SYS_QUOTACTL_FD, "quotactl_fd", unix.EPERM}, {unix.SYS_ACCT, "acct", unix.EPERM}, {unix.SYS_SETTIMEOFDAY, "settimeofday", unix.EPERM},
		{unix.SYS_CLOCK_SETTIME, "clock_settime", unix.EPERM}, {unix.SYS_ADJTIMEX, "adjtimex", unix.EPERM}, {unix.SYS_CLOCK_ADJTIME, "clock_adjtime", unix.EPERM},
		{unix.SYS_SYSLOG, "syslog", unix.EPERM}, {unix.SYS_VHANGUP, "vhangup", unix.EPERM}, {unix.SYS_SETHOSTNAME, "sethostname", unix.EPERM},
		{unix.SYS_SETDOMAINNAME, "setdomainname", unix.EPERM}, {unix.SYS_FANOTIFY_INIT, "fanotify_init", unix.EPERM},
		{unix.SYS_OPENAT2, "openat2", unix.ENOSYS}, // its mode is in memory; programs go on with openat
		{unix.SYS_IO_URING_SETUP, "io_uring_setup", unix.ENOSYS}, {unix.SYS_IO_URING_ENTER, "io_uring_enter", unix.ENOSYS},
		{unix.SYS_IO_URING_REGISTER, "io_uring_register", unix.ENOSYS},
	}, forbiddenHere()...)
}

// call is a system call with the error that a child gets for it.
type call struct {
	nr    uint32
	name  string
	errno unix.Errno
}

// sockets says which sockets a child may open.
type sockets int

const (
	noSockets   sockets = iota // tier B: none at all
	unixSockets                // tier A: those that stay inside its namespaces
	tcpSockets                 // and TCP, to reach the proxy
)

// setIDs are the mode bits for another's rights.
const setIDs = unix.S_ISUID | unix.S_ISGID

// modeCall is a system call with the place of its argument that is a mode.
type modeCall struct {
	nr, mode uint32
	name     string
}

// modeCalls are those that set a mode.
func modeCalls() []modeCall {
	return append([]modeCall{{unix.SYS_FCHMOD, 1, "fchmod"}, {unix.SYS_FCHMODAT, 2, "fchmodat"}, {unix.SYS_FCHMODAT2, 2, "fchmodat2"}, {unix.SYS_MKNODAT, 2, "mknodat"}}, modeCallsHere()...)
}

// openCalls are those that may make a file; the flags stand before the mode.
func openCalls() []modeCall {
	return append([]modeCall{{unix.SYS_OPENAT, 3, "openat"}}, openCallsHere()...)
}

// program assembles the filter. With notify, refused calls are told to a listener,
// which gives the same errors.
func program(open sockets, notify bool) ([]bpf.RawInstruction, error) {
	refuse := func(e unix.Errno) bpf.Instruction {
		if notify {
			return bpf.RetConstant{Val: retNotify}
		}
		return bpf.RetConstant{Val: retErrno(e)}
	}
	load := func(off uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: off, Size: 4} }
	arg := func(n uint32) bpf.Instruction { return load(dataArgs + 8*n) }
	unless := func(c bpf.JumpTest, v uint32, skip uint8) bpf.Instruction {
		return bpf.JumpIf{Cond: c, Val: v, SkipTrue: skip}
	}
	p := []bpf.Instruction{
		load(dataArch), unless(bpf.JumpEqual, auditArch, 1), bpf.RetConstant{Val: retKill}, // another architecture's numbers mean other calls
		load(dataCall), unless(bpf.JumpLessThan, 0x40000000, 1), bpf.RetConstant{Val: retKill}, // x32
		unless(bpf.JumpLessOrEqual, newestCall, 1), bpf.RetConstant{Val: retErrno(unix.ENOSYS)},
		// glibc tries clone3 first and goes on with clone; its flags are in memory, where no filter looks.
		unless(bpf.JumpNotEqual, unix.SYS_CLONE3, 1), bpf.RetConstant{Val: retErrno(unix.ENOSYS)},
	}
	for _, c := range refusedWith(open) {
		p = append(p, unless(bpf.JumpNotEqual, c.nr, 1), refuse(c.errno))
	}
	p = append(p,
		unless(bpf.JumpNotEqual, unix.SYS_CLONE, 4), arg(0), unless(bpf.JumpBitsNotSet, namespaceFlags, 1), refuse(unix.EPERM), bpf.RetConstant{Val: retAllow},
		// Characters put into a terminal's input would be typed by its owner.
		unless(bpf.JumpNotEqual, unix.SYS_IOCTL, 6), arg(1), unless(bpf.JumpNotEqual, unix.TIOCSTI, 1), refuse(unix.EPERM),
		unless(bpf.JumpNotEqual, unix.TIOCLINUX, 1), refuse(unix.EPERM), bpf.RetConstant{Val: retAllow},
		// A pair of unix sockets leads nowhere but to oneself.
		unless(bpf.JumpNotEqual, unix.SYS_SOCKETPAIR, 4), arg(0), unless(bpf.JumpEqual, unix.AF_UNIX, 1), refuse(unix.EAFNOSUPPORT), bpf.RetConstant{Val: retAllow},
	)
	for _, c := range pidCalls() {
		p = append(p, unless(bpf.JumpNotEqual, c.nr, 4), arg(0), unless(bpf.JumpEqual, 0, 1), refuse(unix.EPERM), bpf.RetConstant{Val: retAllow})
	}
	for _, c := range whoseCalls() {
		p = append(p, unless(bpf.JumpNotEqual, c.nr, 6), arg(0), unless(bpf.JumpNotEqual, c.process, 2), arg(1), unless(bpf.JumpEqual, 0, 1), refuse(unix.EPERM), bpf.RetConstant{Val: retAllow})
	}
	// Files that give whoever starts them their owner's rights: the owner is the user
	// who runs us, and such a file would outlive the sandbox.
	for _, c := range modeCalls() {
		p = append(p, unless(bpf.JumpNotEqual, c.nr, 4), arg(c.mode), unless(bpf.JumpBitsNotSet, setIDs, 1), refuse(unix.EPERM), bpf.RetConstant{Val: retAllow})
	}
	for _, c := range openCalls() {
		// The mode means something only where a file is made; else anything may stand there.
		p = append(p, unless(bpf.JumpNotEqual, c.nr, 6), arg(c.mode-1), unless(bpf.JumpBitsNotSet, unix.O_CREAT|unix.O_TMPFILE&^unix.O_DIRECTORY, 3),
			arg(c.mode), unless(bpf.JumpBitsNotSet, setIDs, 1), refuse(unix.EPERM), bpf.RetConstant{Val: retAllow})
	}
	switch open {
	case noSockets:
		p = append(p, unless(bpf.JumpNotEqual, unix.SYS_SOCKET, 1), refuse(unix.EAFNOSUPPORT), bpf.RetConstant{Val: retAllow})
	case unixSockets:
		p = append(p, unless(bpf.JumpNotEqual, unix.SYS_SOCKET, 3), arg(0), unless(bpf.JumpEqual, unix.AF_UNIX, 1), refuse(unix.EAFNOSUPPORT), bpf.RetConstant{Val: retAllow})
	default:
		// TCP only, to reach the proxy: no datagrams, no raw sockets, no multipath TCP.
		p = append(p,
			unless(bpf.JumpNotEqual, unix.SYS_SOCKET, 13),
			arg(0), unless(bpf.JumpNotEqual, unix.AF_UNIX, 1), bpf.RetConstant{Val: retAllow},
			unless(bpf.JumpEqual, unix.AF_INET, 2), unless(bpf.JumpEqual, unix.AF_INET6, 1), refuse(unix.EAFNOSUPPORT),
			arg(1), bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf}, unless(bpf.JumpNotEqual, unix.SOCK_STREAM, 3),
			arg(2), unless(bpf.JumpEqual, 0, 2), unless(bpf.JumpEqual, unix.IPPROTO_TCP, 1), refuse(unix.EAFNOSUPPORT),
			bpf.RetConstant{Val: retAllow})
	}
	return bpf.Assemble(p)
}

// installFilter puts the filter on this thread and what it starts. It gives the
// descriptor of the notifications, -1 where there are none, and the filter's digest.
func installFilter(open sockets) (fd int, digest string, err error) {
	if auditArch == 0 {
		return -1, "", errors.New("there is no filter for this architecture")
	}
	fd, digest, err = tryFilter(open, true)
	if err != nil { // a filter further out may have the one listener that is possible
		fd, digest, err = tryFilter(open, false)
	}
	return fd, digest, err
}

func tryFilter(open sockets, notify bool) (int, string, error) {
	raw, err := program(open, notify)
	if err != nil {
		return -1, "", err
	}
	filters := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filters[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]} //nolint:gosec // some hundred
	flags := uintptr(0)
	if notify {
		flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filters)
	if errno != 0 {
		return -1, "", fmt.Errorf("installing the filter: %w", errno)
	}
	if !notify {
		return -1, digest(raw), nil
	}
	unix.CloseOnExec(int(fd))
	return int(fd), digest(raw), nil
}

// digest is the SHA-256 of a program as it lies in the kernel's memory.
func digest(raw []bpf.RawInstruction) string {
	text := make([]byte, 0, 8*len(raw))
	for _, r := range raw {
		text = binary.LittleEndian.AppendUint16(text, r.Op)
		text = binary.LittleEndian.AppendUint32(append(text, r.Jt, r.Jf), r.K)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// notification is struct seccomp_notif.
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

// answer is struct seccomp_notif_resp.
type answer struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

// judge counts refused calls and gives the child their errors. It never lets one pass.
func (m *monitor) judge(fd int) {
	names := map[int32]call{}
	for _, c := range refusedWith(noSockets) { // all that are refused anywhere
		names[int32(c.nr)] = c //nolint:gosec // numbers of system calls
	}
	for _, c := range append(pidCalls(), whoseCalls()...) {
		names[int32(c.nr)] = call{name: c.name, errno: unix.EPERM} //nolint:gosec // as above
	}
	for _, c := range append(modeCalls(), openCalls()...) {
		names[int32(c.nr)] = call{name: c.name + " setuid", errno: unix.EPERM} //nolint:gosec // as above
	}
	maps.Copy(names, map[int32]call{
		unix.SYS_SOCKET: {name: "socket", errno: unix.EAFNOSUPPORT}, unix.SYS_SOCKETPAIR: {name: "socketpair", errno: unix.EAFNOSUPPORT},
		unix.SYS_CLONE: {name: "clone", errno: unix.EPERM}, unix.SYS_IOCTL: {name: "ioctl", errno: unix.EPERM},
	})
	for {
		var n notification
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n))); errno != 0 {
			if errno == unix.EINTR || errno == unix.ENOENT { // the caller is gone
				continue
			}
			return // nobody has the filter any more; calls that come all the same get ENOSYS
		}
		c, ok := names[n.nr]
		if !ok {
			c = call{name: fmt.Sprintf("call %d", n.nr), errno: unix.EPERM}
		}
		m.mu.Lock()
		m.attempts[c.name+detail(n)]++
		m.mu.Unlock()
		a := answer{id: n.id, err: -int32(c.errno)}                                                                     //nolint:gosec // small numbers
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&a))) // the caller may be gone
	}
}

// detail names the family of a socket, which is what a reader wants to know.
func detail(n notification) string {
	if n.nr != unix.SYS_SOCKET && n.nr != unix.SYS_SOCKETPAIR {
		return ""
	}
	families := map[uint64]string{
		unix.AF_UNIX: "unix", unix.AF_INET: "inet", unix.AF_INET6: "inet6", unix.AF_NETLINK: "netlink", unix.AF_PACKET: "packet",
		unix.AF_VSOCK: "vsock", unix.AF_ALG: "alg", unix.AF_BLUETOOTH: "bluetooth", unix.AF_XDP: "xdp",
	}
	family := n.args[0] & 0xffffffff
	if name, ok := families[family]; ok {
		return " " + name
	}
	if family > unix.AF_MAX {
		return " other"
	}
	return fmt.Sprintf(" %d", family)
}

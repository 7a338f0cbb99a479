package inside

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// judgeCall runs the filter program over one call. The machine of x/net/bpf loads
// words in network order, struct seccomp_data has them in the machine's: the words
// are turned, which is all the difference there is.
func judgeCall(t testing.TB, vm *bpf.VM, arch, nr uint32, args ...uint64) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data[dataCall:], nr)
	binary.BigEndian.PutUint32(data[dataArch:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[dataArgs+8*i:], uint32(a))       // the low half
		binary.BigEndian.PutUint32(data[dataArgs+8*i+4:], uint32(a>>32)) // which is first
	}
	got, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(got)
}

func machine(t testing.TB, open sockets, notify bool) *bpf.VM {
	t.Helper()
	raw, err := program(open, notify)
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > 4096 {
		t.Fatalf("%d instructions are more than the kernel takes", len(raw))
	}
	program, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("a part of the program is not known")
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// TestFilter runs the program over every call that there is.
func TestFilter(t *testing.T) {
	t.Parallel()
	if auditArch == 0 {
		t.Skip("there is no filter for this architecture")
	}
	for _, open := range []sockets{noSockets, unixSockets, tcpSockets} {
		refused := map[uint32]call{}
		for _, c := range refusedWith(open) {
			if old, ok := refused[c.nr]; ok {
				t.Errorf("%s and %s are one call", c.name, old.name)
			}
			refused[c.nr] = c
		}
		for _, notify := range []bool{false, true} {
			t.Run(fmt.Sprint(open, notify), func(t *testing.T) {
				t.Parallel()
				vm := machine(t, open, notify)
				refusal := func(e unix.Errno) uint32 {
					if notify {
						return retNotify
					}
					return retErrno(e)
				}
				special := []uint32{unix.SYS_CLONE, unix.SYS_CLONE3, unix.SYS_SOCKET, unix.SYS_SOCKETPAIR, unix.SYS_IOCTL, unix.SYS_SETPRIORITY, unix.SYS_IOPRIO_SET}
				for nr := uint32(0); nr <= newestCall; nr++ {
					got := judgeCall(t, vm, auditArch, nr)
					c, no := refused[nr]
					switch {
					case slices.Contains(special, nr): // below
					case no && got != refusal(c.errno):
						t.Errorf("%s gets %#x", c.name, got)
					case !no && got != retAllow:
						t.Errorf("call %d gets %#x", nr, got)
					}
				}
				for _, nr := range []uint32{newestCall + 1, newestCall + 100, 1023, 0x3fffffff} {
					if got := judgeCall(t, vm, auditArch, nr); got != retErrno(unix.ENOSYS) {
						t.Errorf("call %d of the future gets %#x", nr, got)
					}
				}
				for _, nr := range []uint32{0x40000000, 0x40000000 | unix.SYS_GETPID, 0x7fffffff, 0x80000000, 0xffffffff} {
					if got := judgeCall(t, vm, auditArch, nr); got != retKill {
						t.Errorf("call %#x gets %#x", nr, got)
					}
				}
				for _, arch := range []uint32{0, 0x40000003, auditArch ^ 1, auditArch &^ 0x80000000, 0xffffffff} {
					for _, nr := range []uint32{0, unix.SYS_GETPID, unix.SYS_PTRACE, 0x40000000} {
						if got := judgeCall(t, vm, arch, nr); got != retKill {
							t.Errorf("call %d of architecture %#x gets %#x", nr, arch, got)
						}
					}
				}
				for _, c := range filterCases(open) {
					want := uint32(retAllow)
					switch {
					case c.always:
						want = retErrno(c.errno)
					case c.errno != 0:
						want = refusal(c.errno)
					}
					if got := judgeCall(t, vm, auditArch, c.nr, c.args...); got != want {
						t.Errorf("call %d%#x gets %#x, want %#x", c.nr, c.args, got, want)
					}
				}
			})
		}
	}
}

type filterCase struct {
	nr     uint32
	args   []uint64
	errno  unix.Errno // 0: allowed
	always bool       // refused by the filter itself, with a listener too
}

// filterCases are calls that are refused for their arguments.
func filterCases(open sockets) []filterCase {
	var out []filterCase
	add := func(errno unix.Errno, nr uint32, args ...uint64) {
		out = append(out, filterCase{nr: nr, args: args, errno: errno})
	}
	out = append(out, filterCase{nr: unix.SYS_CLONE3, args: []uint64{1, 88}, errno: unix.ENOSYS, always: true})
	// Threads and processes, but no namespaces, whatever else is asked for.
	for _, flags := range []uint64{uint64(unix.SIGCHLD), unix.CLONE_VM | unix.CLONE_VFORK | uint64(unix.SIGCHLD), unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM | unix.CLONE_SETTLS} {
		add(0, unix.SYS_CLONE, flags)
	}
	for _, ns := range []uint64{unix.CLONE_NEWNS, unix.CLONE_NEWCGROUP, unix.CLONE_NEWUTS, unix.CLONE_NEWIPC, unix.CLONE_NEWUSER, unix.CLONE_NEWPID, unix.CLONE_NEWNET} {
		for _, more := range []uint64{0, uint64(unix.SIGCHLD), unix.CLONE_VM | unix.CLONE_THREAD, 1 << 40, 0xffffffff00000000} {
			add(unix.EPERM, unix.SYS_CLONE, ns|more)
		}
	}
	// Terminals. The kernel looks at the low half of the request only.
	for _, request := range []uint64{unix.TIOCSTI, unix.TIOCLINUX, 1<<32 | unix.TIOCSTI, 0xffffffff00000000 | unix.TIOCLINUX} {
		add(unix.EPERM, unix.SYS_IOCTL, 0, request)
	}
	for _, request := range []uint64{unix.TCGETS, unix.TIOCGWINSZ, unix.TIOCINQ, unix.FICLONE, 0, unix.TIOCSTI + 1, unix.TIOCSTI - 1} {
		add(0, unix.SYS_IOCTL, unix.TIOCSTI, request)
	}
	out = append(out, aboutCases()...)
	out = append(out, modeCases()...)
	const stream, datagram, raw, packet = unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_RAW, unix.SOCK_SEQPACKET
	for _, kind := range []uint64{stream, datagram, stream | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK} {
		add(0, unix.SYS_SOCKETPAIR, unix.AF_UNIX, kind)
		add(unix.EAFNOSUPPORT, unix.SYS_SOCKETPAIR, unix.AF_TIPC, kind)
		add(unix.EAFNOSUPPORT, unix.SYS_SOCKETPAIR, unix.AF_INET, kind)
	}
	when := func(ok bool) unix.Errno {
		if ok {
			return 0
		}
		return unix.EAFNOSUPPORT
	}
	for family := range uint64(unix.AF_MAX + 2) {
		for _, kind := range []uint64{stream, stream | unix.SOCK_CLOEXEC, stream | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC, datagram, datagram | unix.SOCK_CLOEXEC, raw, packet, 0, 6, 10, 1<<32 | stream} {
			for _, protocol := range []uint64{0, unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_SCTP, unix.IPPROTO_MPTCP, 1<<32 | unix.IPPROTO_MPTCP, unix.IPPROTO_SMC, 255} {
				low := uint32(protocol)
				tcp := (family == unix.AF_INET || family == unix.AF_INET6) && kind&0xf == stream && (low == 0 || low == unix.IPPROTO_TCP)
				add(when(family == unix.AF_UNIX && open != noSockets || tcp && open == tcpSockets), unix.SYS_SOCKET, family, kind, protocol)
			}
		}
	}
	add(unix.EAFNOSUPPORT, unix.SYS_SOCKET, 0xffffffff, stream, 0)
	add(when(open != noSockets), unix.SYS_SOCKET, 1<<32|unix.AF_UNIX, stream, 0) // a family is an int
	add(when(open == tcpSockets), unix.SYS_SOCKET, 1<<32|unix.AF_INET, stream, 0)
	add(unix.EAFNOSUPPORT, unix.SYS_SOCKET, 1<<32|unix.AF_NETLINK, raw, 0)
	return out
}

// aboutCases are calls about processes: only those about the caller are allowed.
func aboutCases() []filterCase {
	var out []filterCase
	for _, nr := range []uint32{unix.SYS_PRLIMIT64, unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SCHED_SETPARAM, unix.SYS_SCHED_SETATTR, unix.SYS_SCHED_SETAFFINITY, unix.SYS_MOVE_PAGES, unix.SYS_MIGRATE_PAGES} {
		for _, self := range []uint64{0, 1 << 32, 0xffffffff00000000} { // a pid is an int
			out = append(out, filterCase{nr: nr, args: []uint64{self, 7, 7}})
		}
		for _, pid := range []uint64{1, 2, 4711, 0xffffffff, 1<<32 | 1} {
			out = append(out, filterCase{nr: nr, args: []uint64{pid, 7, 7}, errno: unix.EPERM})
		}
	}
	for nr, process := range map[uint32]uint64{unix.SYS_SETPRIORITY: unix.PRIO_PROCESS, unix.SYS_IOPRIO_SET: 1} {
		for which := range uint64(5) {
			for _, who := range []uint64{0, 1 << 32, 1, 4711, 0xffffffff} {
				c := filterCase{nr: nr, args: []uint64{which, who, 7}, errno: unix.EPERM}
				if which == process && uint32(who) == 0 {
					c.errno = 0
				}
				out = append(out, c)
			}
		}
	}
	return out
}

// TestCommonIsRefusedWithoutNamespaces names the calls that reach what other programs
// of the user have: in tier B they are refused, in tier A they reach what is its own.
func TestCommonIsRefusedWithoutNamespaces(t *testing.T) {
	t.Parallel()
	if auditArch == 0 {
		t.Skip("there is no filter for this architecture")
	}
	names := func(open sockets) map[string]unix.Errno {
		out := map[string]unix.Errno{}
		for _, c := range refusedWith(open) {
			out[c.name] = c.errno
		}
		return out
	}
	b, a, proxy := names(noSockets), names(unixSockets), names(tcpSockets)
	for errno, list := range map[unix.Errno]string{
		unix.ENOSYS: "shmget shmat shmctl shmdt msgget msgsnd msgrcv msgctl semget semop semtimedop semctl " +
			"mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr inotify_init1 inotify_add_watch",
		unix.EOPNOTSUPP: "setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat file_setattr",
	} {
		for name := range strings.FieldsSeq(list) {
			if got := b[name]; got != errno {
				t.Errorf("tier B answers %s with %d", name, got)
			}
			if a[name] != 0 || proxy[name] != 0 {
				t.Errorf("tier A refuses %s", name)
			}
		}
	}
	for _, name := range []string{"memfd_create", "memfd_secret", "vmsplice", "process_madvise", "process_mrelease", "kcmp", "pidfd_getfd"} {
		if a[name] == 0 || b[name] == 0 || proxy[name] == 0 {
			t.Errorf("%s is not refused everywhere", name)
		}
	}
}

// modeCases are calls with a mode: none may have a bit for another's rights, where
// a mode means something.
func modeCases() []filterCase {
	var out []filterCase
	add := func(refused bool, nr uint32, args ...uint64) {
		c := filterCase{nr: nr, args: args}
		if refused {
			c.errno = unix.EPERM
		}
		out = append(out, c)
	}
	type place struct{ nr, at uint32 }
	sets := []place{{unix.SYS_FCHMOD, 1}, {unix.SYS_FCHMODAT, 2}, {unix.SYS_FCHMODAT2, 2}, {unix.SYS_MKNODAT, 2}}
	opens := []place{{unix.SYS_OPENAT, 3}}
	if runtime.GOARCH == "amd64" { // chmod, creat, mknod and open
		sets = append(sets, place{90, 1}, place{85, 1}, place{133, 1})
		opens = append(opens, place{2, 2})
	}
	for _, m := range []struct {
		mode uint64
		sets bool
	}{
		{0, false}, {0o755, false}, {0o1777, false}, {unix.S_IFREG | 0o644, false}, {unix.S_IFIFO | 0o600, false}, {1 << 32, false}, {unix.S_ISUID << 32, false}, {0xfffff000 &^ setIDs, false},
		{unix.S_ISUID, true}, {unix.S_ISGID, true}, {0o4755, true}, {0o2755, true}, {0o6755, true}, {0o7777, true}, {unix.S_IFREG | 0o4711, true}, {1<<32 | 0o4000, true}, {^uint64(0), true},
	} {
		for _, c := range sets {
			args := []uint64{0xffffff9c, 0xffffff9c, 0xffffff9c, 0xffffff9c}
			args[c.at] = m.mode
			add(m.sets, c.nr, args...)
		}
		for _, c := range opens {
			for _, f := range []struct {
				flags uint64
				makes bool
			}{
				{unix.O_CREAT, true}, {unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY | unix.O_CLOEXEC, true}, {unix.O_TMPFILE | unix.O_RDWR, true}, {1<<32 | unix.O_CREAT, true},
				{unix.O_RDONLY, false}, {unix.O_WRONLY | unix.O_TRUNC, false}, {unix.O_DIRECTORY, false}, {unix.O_PATH | unix.O_NOFOLLOW, false}, {unix.O_CREAT << 32, false},
			} {
				args := make([]uint64, 4)
				args[c.at-1], args[c.at] = f.flags, m.mode
				add(m.sets && f.makes, c.nr, args...)
			}
		}
	}
	return out
}

// TestFilterIsStable demands one program for one question: its digest is evidence.
func TestFilterIsStable(t *testing.T) {
	t.Parallel()
	for _, open := range []sockets{noSockets, unixSockets, tcpSockets} {
		one, err := program(open, true)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if other, err := program(open, true); err != nil || !slices.Equal(one, other) {
				t.Fatal("the program changes", err)
			}
		}
		h := sha256.New()
		if err := binary.Write(h, binary.LittleEndian, one); err != nil || digest(one) != hex.EncodeToString(h.Sum(nil)) {
			t.Errorf("%s is not the digest of the program (%v)", digest(one), err)
		}
		if other, _ := program((open+1)%3, true); slices.Equal(one, other) {
			t.Error("two programs are equal")
		}
	}
}

// TestForbidden demands a name and an error for every call.
func TestForbidden(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, c := range refusedWith(noSockets) {
		if c.name == "" || names[c.name] || c.errno != unix.EPERM && c.errno != unix.ENOSYS && c.errno != unix.EOPNOTSUPP || c.nr > newestCall {
			t.Errorf("%+v", c)
		}
		names[c.name] = true
	}
}

// TestDetail names families of sockets in a bounded number of words.
func TestDetail(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		nr     int32
		family uint64
		want   string
	}{
		{unix.SYS_SOCKET, unix.AF_UNIX, " unix"}, {unix.SYS_SOCKET, unix.AF_NETLINK, " netlink"}, {unix.SYS_SOCKETPAIR, unix.AF_INET, " inet"},
		{unix.SYS_SOCKET, 1<<32 | unix.AF_INET6, " inet6"}, {unix.SYS_SOCKET, unix.AF_KEY, " 15"}, {unix.SYS_SOCKET, 1 << 20, " other"}, {unix.SYS_SOCKET, 0xffffffff, " other"},
		{unix.SYS_PTRACE, unix.AF_INET, ""}, {unix.SYS_CLONE, 1, ""},
	} {
		if got := detail(notification{nr: c.nr, args: [6]uint64{c.family}}); got != c.want {
			t.Errorf("%d %d: %q, want %q", c.nr, c.family, got, c.want)
		}
	}
}

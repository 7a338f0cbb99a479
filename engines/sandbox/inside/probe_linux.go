package inside

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// probe applies a tier to this process, tries what it must stop, and reports.
func (m *monitor) probe() {
	c := m.spec.Confine
	if c.Tier == TierA {
		m.confineA()
	} else {
		m.confineB()
		if fd := m.filter(noSockets); fd >= 0 {
			go m.judge(fd)
		}
	}
	pid, err := strconv.Atoi(m.spec.Argv[2])
	if err != nil {
		m.fail("", err)
	}
	if inOwnPids() && pid == os.Getpid() {
		pid = noPid // the program is the first process of a container; here its number is ours
	}
	if c.View != nil {
		if err := tryView(c.View); err != nil {
			m.fail(LayerNamespaces, err)
		}
	}
	shared, err := strconv.Atoi(m.spec.Argv[3])
	if err != nil {
		m.fail("", err)
	}
	m.say(Report{Acts: append(tryActs(m.spec.Argv[0], m.spec.Argv[1], pid), tryCommon(m.spec.Argv[0], m.spec.Argv[1], pid, shared)...), Isolation: &m.isolation})
}

// noPid is larger than any pid can be.
const noPid = 1<<22 + 1

// reach connects to a unix socket; a name that begins with @ is abstract.
func reach(name string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // only tried
	return unix.Connect(fd, &unix.SockaddrUnix{Name: name})
}

// tryView makes sure that a view shows, hides and takes changes as it must.
func tryView(v *View) error {
	if _, err := os.Lstat(v.Target + "/hidden"); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("a view shows what it hides: %w", err)
	}
	if err := os.WriteFile(v.Target+"/file", []byte("changed\n"), 0o600); err != nil {
		return fmt.Errorf("a view takes no changes: %w", err)
	}
	for name, want := range map[string]string{v.Base + "/file": "x\n", v.Changes + "/file": "changed\n"} {
		if data, err := os.ReadFile(name); err != nil || string(data) != want {
			return fmt.Errorf("a view does not keep changes apart: %w", errors.Join(errors.New(name), err))
		}
	}
	return nil
}

// SocketName is the name of a socket that a probed child must not reach.
const SocketName = "socket"

// tried is what became of an act.
func tried(name, layer string, err error) Act {
	result := "succeeded"
	if err != nil {
		result = err.Error()
	}
	return Act{Name: name, Layer: layer, Passed: err == nil, Result: result}
}

func raw(nr, a, b, c uintptr) error {
	if _, _, errno := unix.Syscall(nr, a, b, c); errno != 0 {
		return errno
	}
	return nil
}

// tryActs tries what no child may do: over a file that it sees, one that it must
// not see, and a process of the same user outside.
func tryActs(seen, unseen string, outside int) []Act {
	var acts []Act
	try := func(name, layer string, err error) { acts = append(acts, tried(name, layer, err)) }
	access := func(path string, flags int) error {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
		if err == nil {
			_ = unix.Close(fd) // only tried
		}
		return err
	}
	socket := func(family, kind, protocol int) error {
		fd, err := unix.Socket(family, kind, protocol)
		if err == nil {
			_ = unix.Close(fd) // only tried
		}
		return err
	}
	try("write a file that is read-only", LayerLandlock, access(seen, unix.O_WRONLY))
	try("make a file beside it", LayerLandlock, access(seen+".new", unix.O_WRONLY|unix.O_CREAT))
	try("remove it", LayerLandlock, unix.Unlink(seen))
	try("cut it", LayerLandlock, unix.Truncate(seen, 0))
	try("change its mode", LayerAttributes, unix.Chmod(seen, 0o600))
	try("read a file outside", LayerLandlock, access(unseen, unix.O_RDONLY))
	try("read another process' environment", LayerLandlock, access("/proc/"+strconv.Itoa(outside)+"/environ", unix.O_RDONLY))
	try("read another process' memory", LayerLandlock, access("/proc/"+strconv.Itoa(outside)+"/mem", unix.O_RDONLY))
	try("signal another process", LayerSignals, unix.Kill(outside, 0))
	try("trace another process", LayerSeccomp, raw(unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(outside), 0)) //nolint:gosec // a pid
	try("open a TCP socket", LayerSeccomp, socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	try("open a UDP socket", LayerSeccomp, socket(unix.AF_INET, unix.SOCK_DGRAM, 0))
	try("reach a unix socket outside", LayerSeccomp, reach(path.Join(path.Dir(unseen), SocketName)))
	try("reach an abstract unix socket outside", LayerSeccomp, reach("@"+unseen))
	try("open a netlink socket", LayerSeccomp, socket(unix.AF_NETLINK, unix.SOCK_RAW, 0))
	try("open a packet socket", LayerSeccomp, socket(unix.AF_PACKET, unix.SOCK_RAW, 0))
	try("set up io_uring", LayerSeccomp, raw(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&[256]byte{})), 0))
	try("use the keyring", LayerSeccomp, raw(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, ^uintptr(2), 0))
	try("make a user namespace", LayerSeccomp, unix.Unshare(unix.CLONE_NEWUSER))
	try("mount", LayerSeccomp, unix.Mount("tmpfs", "/tmp", "tmpfs", 0, ""))
	return acts
}

// tryCommon tries what no child may do with what the programs of a user have in
// common: shared has the number of a memory segment outside.
func tryCommon(seen, unseen string, outside, shared int) []Act {
	watch := func(dir string) error {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }() // only tried
		_, err = unix.InotifyAddWatch(fd, dir, unix.IN_CREATE)
		return err
	}
	attach := func(id int) error {
		data, err := unix.SysvShmAttach(id, 0, unix.SHM_RDONLY)
		if err == nil {
			_ = unix.SysvShmDetach(data) // only tried
		}
		return err
	}
	schedule := func() error {
		priority := int32(0)                                                                                                           // which all have, so that nothing changes
		if _, _, errno := unix.Syscall(unix.SYS_SCHED_SETPARAM, uintptr(outside), uintptr(unsafe.Pointer(&priority)), 0); errno != 0 { //nolint:gosec // a pid
			return errno
		}
		return nil
	}
	return []Act{
		tried("attach shared memory outside", LayerSeccomp, attach(shared)),
		tried("schedule another process", LayerSeccomp, schedule()),
		tried("watch a directory outside", LayerSeccomp, watch(path.Dir(unseen))),
		tried("set an extended attribute", LayerSeccomp, unix.Setxattr(seen, "user.cabincrew", []byte("x"), 0)),
	}
}

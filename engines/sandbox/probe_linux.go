package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// probeTime bounds one probe.
const probeTime = 10 * time.Second

// Probe finds the best tier by trying forbidden acts in throw-away sandboxes.
// sudo says whether sudo may be asked, without a password.
func Probe(ctx context.Context, sudo bool) Found {
	found := Found{Isolation: None(), Refused: map[string]string{}}
	for _, try := range []struct {
		tier, name string
		sudo       bool
	}{{TierA, TierA, false}, {TierA, "A by sudo", true}, {TierB, TierB, false}} {
		if try.sudo && (!sudo || os.Getuid() == 0) {
			continue
		}
		overlay := try.tier == TierA && !try.sudo
		isolation, acts, err := probe(ctx, try.tier, try.sudo, overlay)
		if err != nil && overlay { // not every file system can be under one
			overlay = false
			isolation, acts, err = probe(ctx, try.tier, try.sudo, false)
		}
		if err != nil {
			found.Refused[try.name] = err.Error()
			continue
		}
		found.Isolation, found.Acts, found.Sudo, found.Overlay = isolation, acts, try.sudo, overlay
		return found
	}
	return found
}

// probe tries a tier. It fails if the tier cannot be had or does not stop what it
// must.
func probe(ctx context.Context, tier string, sudo, overlay bool) (Isolation, []Act, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	dir, err := os.MkdirTemp("", "cabincrew-probe-")
	if err != nil {
		return Isolation{}, nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a throw-away directory
	for _, d := range []string{"seen", "unseen", "lower", "upper"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			return Isolation{}, nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, d, "file"), []byte("x\n"), 0o600); err != nil {
			return Isolation{}, nil, err
		}
	}
	var listen net.ListenConfig
	// A long path cannot be a socket's; then nothing is there to be reached.
	if l, err := listen.Listen(ctx, "unix", filepath.Join(dir, "unseen", socketName)); err == nil {
		defer func() { _ = l.Close() }() // nobody shall have come
	}
	if l, err := listen.Listen(ctx, "unix", "@"+filepath.Join(dir, "unseen", "file")); err == nil {
		defer func() { _ = l.Close() }() // as above
	}
	seen := filepath.Join(dir, "seen")
	c := &Confine{Tier: tier, Sudo: sudo, Binds: []Bind{{Source: seen, Target: seen}}}
	if overlay {
		if err := os.WriteFile(filepath.Join(dir, "lower", "hidden"), nil, 0o600); err != nil {
			return Isolation{}, nil, err
		}
		c.View = &View{Target: "/view", Lower: []string{filepath.Join(dir, "lower")}, Hide: []string{"hidden"}, Upper: filepath.Join(dir, "upper"), Base: "/base", Changes: "/changes"}
	}
	var log bytes.Buffer
	h, err := launch(context.WithoutCancel(ctx), spec{
		Role: "probe", Argv: []string{filepath.Join(seen, "file"), filepath.Join(dir, "unseen", "file"), strconv.Itoa(os.Getpid())},
		Dir: "/", Confine: c,
	}, Command{Stderr: &log})
	if err != nil {
		return Isolation{}, nil, err
	}
	defer h.close()
	stop := context.AfterFunc(ctx, func() { _ = h.cmd.Process.Kill() })
	defer stop()
	r, err := h.report()
	waited := h.end(Command{})
	if err != nil {
		return Isolation{}, nil, fmt.Errorf("the helper ended without a word: %w", errors.Join(waited, err))
	}
	if r.Error != "" {
		return Isolation{}, nil, fmt.Errorf("%s: %s", r.Layer, r.Error)
	}
	return judgeActs(r)
}

// judgeActs turns what a probe reports into an isolation.
func judgeActs(r report) (Isolation, []Act, error) {
	isolation := *r.Isolation
	acts := make([]Act, 0, len(r.Acts))
	for _, a := range r.Acts {
		acts = append(acts, Act(a))
		if !a.Passed {
			continue
		}
		if isolation.Tier != TierB || !isolation.Lacks(a.Layer) || a.Layer != LayerAttributes && a.Layer != LayerSignals {
			return isolation, acts, fmt.Errorf("%s was not stopped (%s)", a.Name, a.Layer)
		}
	}
	return isolation, acts, nil
}

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
	m.say(report{Acts: tryActs(m.spec.Argv[0], m.spec.Argv[1], pid), Isolation: &m.isolation})
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

// socketName is the name of a socket that a probed child must not reach.
const socketName = "socket"

// tryActs tries what no child may do: over a file that it sees, one that it must
// not see, and a process of the same user outside.
func tryActs(seen, unseen string, outside int) []act {
	var acts []act
	try := func(name, layer string, err error) {
		result := "succeeded"
		if err != nil {
			result = err.Error()
		}
		acts = append(acts, act{Name: name, Layer: layer, Passed: err == nil, Result: result})
	}
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
	call := func(nr, a, b, c uintptr) error {
		if _, _, errno := unix.Syscall(nr, a, b, c); errno != 0 {
			return errno
		}
		return nil
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
	try("trace another process", LayerSeccomp, call(unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(outside), 0)) //nolint:gosec // a pid
	try("open a TCP socket", LayerSeccomp, socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	try("open a UDP socket", LayerSeccomp, socket(unix.AF_INET, unix.SOCK_DGRAM, 0))
	try("reach a unix socket outside", LayerSeccomp, reach(filepath.Join(filepath.Dir(unseen), socketName)))
	try("reach an abstract unix socket outside", LayerSeccomp, reach("@"+unseen))
	try("open a netlink socket", LayerSeccomp, socket(unix.AF_NETLINK, unix.SOCK_RAW, 0))
	try("open a packet socket", LayerSeccomp, socket(unix.AF_PACKET, unix.SOCK_RAW, 0))
	try("set up io_uring", LayerSeccomp, call(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&[256]byte{})), 0))
	try("use the keyring", LayerSeccomp, call(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, ^uintptr(2), 0))
	try("make a user namespace", LayerSeccomp, unix.Unshare(unix.CLONE_NEWUSER))
	try("mount", LayerSeccomp, unix.Mount("tmpfs", "/tmp", "tmpfs", 0, ""))
	return acts
}

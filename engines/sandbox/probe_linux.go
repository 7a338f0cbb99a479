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

	"golang.org/x/sys/unix"

	"github.com/cabincrew/action/engines/sandbox/inside"
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
	if l, err := listen.Listen(ctx, "unix", filepath.Join(dir, "unseen", inside.SocketName)); err == nil {
		defer func() { _ = l.Close() }() // nobody shall have come
	}
	if l, err := listen.Listen(ctx, "unix", "@"+filepath.Join(dir, "unseen", "file")); err == nil {
		defer func() { _ = l.Close() }() // as above
	}
	shared, free := sharedMemory()
	defer free()
	seen := filepath.Join(dir, "seen")
	c := &Confine{Tier: tier, Sudo: sudo, Binds: []Bind{{Source: seen, Target: seen}}}
	if overlay {
		if err := os.WriteFile(filepath.Join(dir, "lower", "hidden"), nil, 0o600); err != nil {
			return Isolation{}, nil, err
		}
		c.View = &View{Target: "/view", Lower: []string{filepath.Join(dir, "lower")}, Hide: []string{"hidden"}, Upper: filepath.Join(dir, "upper"), Base: "/base", Changes: "/changes"}
	}
	var log bytes.Buffer
	h, err := launch(context.WithoutCancel(ctx), inside.Spec{
		Role: "probe", Argv: []string{filepath.Join(seen, "file"), filepath.Join(dir, "unseen", "file"), strconv.Itoa(os.Getpid()), strconv.Itoa(shared)},
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

// sharedMemory makes a segment that nobody else may reach, and gives its number, -1
// where the kernel has none. It has no name, and goes with this process at the latest.
func sharedMemory() (id int, free func()) {
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, os.Getpagesize(), unix.IPC_CREAT|0o600)
	if err != nil {
		return -1, func() {}
	}
	data, err := unix.SysvShmAttach(id, 0, unix.SHM_RDONLY)
	_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) // it stays as long as it is attached
	if err != nil {
		return -1, func() {}
	}
	return id, func() { _ = unix.SysvShmDetach(data) } // as above
}

// judgeActs turns what a probe reports into an isolation.
func judgeActs(r inside.Report) (Isolation, []Act, error) {
	isolation := *r.Isolation
	acts := make([]Act, 0, len(r.Acts))
	for _, a := range r.Acts {
		acts = append(acts, a)
		if !a.Passed {
			continue
		}
		if isolation.Tier != TierB || !isolation.Lacks(a.Layer) || a.Layer != LayerAttributes && a.Layer != LayerSignals {
			return isolation, acts, fmt.Errorf("%s was not stopped (%s)", a.Name, a.Layer)
		}
	}
	return isolation, acts, nil
}

package sandbox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cabincrew/action/engines/sandbox/inside"
)

// starter is a goroutine on a thread that never ends: the death signal is tied
// to the thread that forked, and Go ends threads as it likes.
var starter = sync.OnceValue(func() chan<- func() {
	jobs := make(chan func())
	go func() {
		runtime.LockOSThread()
		// If a helper is killed, its orphans become our children, so that they can be reaped.
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) // without it, init reaps them
		for job := range jobs {
			job()
		}
	}()
	return jobs
})

func start(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	starter() <- func() { done <- cmd.Start() }
	return <-done
}

// helper is a running helper, seen from the parent.
type helper struct {
	cmd     *exec.Cmd
	control *net.UnixConn
	pass    *net.UnixConn
	reports *bufio.Reader
	mu      sync.Mutex // guards writes to control

	listener net.Listener // of the proxy, or nil
}

// launch starts a helper with a spec. Its standard streams are the child's.
func launch(ctx context.Context, s inside.Spec, c Command) (*helper, error) {
	control, theirControl, err := socketpair()
	if err != nil {
		return nil, err
	}
	defer func() { _ = theirControl.Close() }() // if it was not before
	pass, theirPass, err := socketpair()
	if err != nil {
		_ = control.Close() // the error above is the one that counts
		return nil, err
	}
	defer func() { _ = theirPass.Close() }() // as above
	h := &helper{control: control, pass: pass, reports: bufio.NewReaderSize(control, 64<<10)}
	if s.Confine != nil && s.Confine.Sudo {
		if err := launchBySudo(s, c, []*os.File{theirControl, theirPass}, h); err != nil {
			h.close()
			return nil, err
		}
		err = h.begin(s)
		return h, err
	}
	h.cmd = exec.CommandContext(ctx, "/proc/self/exe") //nolint:gosec // this program itself
	h.cmd.Args = []string{inside.Name}
	// A heap that is hardly ever collected, and no more threads than needed.
	h.cmd.Env = []string{"GOMAXPROCS=2", "GOGC=off", "GOMEMLIMIT=32MiB", "GORACE=atexit_sleep_ms=0"}
	h.cmd.Stdin, h.cmd.Stdout, h.cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	h.cmd.ExtraFiles = []*os.File{theirControl, theirPass}
	h.cmd.SysProcAttr = attributes(s)
	h.cmd.Cancel = func() error { return nil } // Run tells the helper itself
	h.cmd.WaitDelay = 0
	err = start(h.cmd)
	// Only the helper may have these, or a helper that ends early is waited for.
	_ = theirControl.Close()
	_ = theirPass.Close()
	if err != nil {
		h.close()
		return nil, err
	}
	err = h.begin(s)
	return h, err
}

// begin tells a helper what to do.
func (h *helper) begin(s inside.Spec) error {
	err := h.send(s.Packed())
	if err != nil {
		_ = h.cmd.Process.Kill()
		_ = h.cmd.Wait() // the error above is the one that counts
		h.close()
	}
	return err
}

func (h *helper) close() {
	_ = h.control.Close() // both are only a way to talk
	_ = h.pass.Close()
}

func (h *helper) send(v any) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.control.Write(inside.Encode(v))
	return err
}

// maxReport bounds a report, in bytes: a child of tier C could write one.
const maxReport = 1 << 20

func (h *helper) report() (inside.Report, error) {
	var r inside.Report
	var line []byte
	for {
		part, err := h.reports.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return r, err
		}
		if len(line) > maxReport {
			return r, errors.New("the helper's report is too large")
		}
	}
	err := json.Unmarshal(line, &r)
	return r, err
}

// attributes gives the helper what only its creator can: the death signal, and in
// tier A the namespaces.
func attributes(s inside.Spec) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if s.Confine == nil || s.Confine.Tier != TierA {
		// With this helper only the child itself would die, and not what that
		// started. It sees the parent's end on its control socket, and kills all; if
		// the child has stopped it, it shall go on for that.
		a.Pdeathsig = syscall.SIGCONT
		return a
	}
	a.Cloneflags = syscall.CLONE_NEWUSER | inside.Namespaces
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: innerID, HostID: os.Getuid(), Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: innerID, HostID: os.Getgid(), Size: 1}}
	// The helper needs its capabilities in the new namespace after execve. It drops
	// them before the child.
	for c := range uintptr(unix.CAP_LAST_CAP + 1) {
		a.AmbientCaps = append(a.AmbientCaps, c)
	}
	return a
}

// innerID is user and group of a child in tier A, the same on every machine.
const innerID = 1000

func run(ctx context.Context, c Command) (Exit, error) {
	exit := Exit{Code: -1, Isolation: None()}
	runCtx := ctx
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		runCtx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	if err := ctx.Err(); err != nil {
		return exit, fmt.Errorf("the engine was stopped: %w", context.Cause(ctx))
	}
	h, err := launch(context.WithoutCancel(ctx), inside.Spec{Role: "monitor", Argv: c.Argv, Dir: c.Dir, Env: c.Env, Confine: c.Confine}, c)
	if err != nil {
		if c.Confine != nil && c.Confine.Tier == TierA {
			return exit, fmt.Errorf("%w: %s: %w", ErrIsolation, LayerNamespaces, err)
		}
		return exit, fmt.Errorf("%w: %w", ErrStart, err)
	}
	defer h.close()
	last, reportErr := h.watch(runCtx, c, &exit)
	timedOut := last.stopped && ctx.Err() == nil
	if !last.Ended && last.Error == "" {
		// The helper is gone without a word: what the child left is hunted by its mark,
		// before Wait, so that no other process has its number.
		_ = h.cmd.Process.Kill() // it may be dead already
		exit.Survivors += reap(h.cmd.Process.Pid, c.Mark)
	}
	waited := h.end(c)
	return c.outcome(ctx, exit, last, reportErr, waited, timedOut)
}

// ending is the last report, and whether the child had been told to stop.
type ending struct {
	inside.Report
	stopped bool
}

// watch reads reports until the child has ended, and passes the end of ctx on.
func (h *helper) watch(ctx context.Context, c Command, exit *Exit) (last ending, err error) {
	done := make(chan struct{})
	stopped := make(chan bool, 1)
	go func() { stopped <- h.stopper(ctx, c.Grace, done) }()
	defer func() {
		close(done)
		last.stopped = <-stopped
		h.hangUp()
	}()
	for {
		r, err := h.report()
		if err != nil {
			return last, err
		}
		if r.Isolation != nil {
			exit.Isolation = *r.Isolation
		}
		if r.Listening && c.Accept != nil {
			if err := h.accept(c.Accept); err != nil {
				return last, err
			}
		}
		last.Report = r
		if r.Ended || r.Error != "" {
			return last, nil
		}
	}
}

// stopper tells the helper to end the child when ctx ends before done does.
func (h *helper) stopper(ctx context.Context, grace time.Duration, done <-chan struct{}) bool {
	select {
	case <-done:
		return false
	case <-ctx.Done():
	}
	_ = h.send(inside.Order{Signal: int(unix.SIGTERM)}) // if it cannot be told, it is killed
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
	}
	_ = h.send(inside.Order{Kill: true}) // as above
	timer.Reset(killGrace)
	select {
	case <-done:
	case <-timer.C: // a helper that does not answer
		for _, pid := range inside.Descendants(h.cmd.Process.Pid) {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
		_ = h.cmd.Process.Kill()
	}
	return true
}

// killGrace is how long a helper may take to kill everything.
const killGrace = 5 * time.Second

func (h *helper) accept(take func(net.Listener)) error {
	f, err := receiveFD(h.pass)
	if err != nil {
		return fmt.Errorf("the proxy's listener: %w", err)
	}
	defer func() { _ = f.Close() }() // FileListener has its own
	l, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("the proxy's listener: %w", err)
	}
	h.listener = l
	take(l)
	return nil
}

func (h *helper) hangUp() {
	if h.listener != nil {
		_ = h.listener.Close() // its connections end with the child
	}
}

// end waits for the helper. What keeps the child's output open after the helper's
// end is not waited for long.
func (h *helper) end(c Command) error {
	h.control.CloseWrite() //nolint:errcheck,gosec // the helper may be gone
	h.cmd.WaitDelay = max(c.Grace, time.Second)
	return h.cmd.Wait()
}

// outcome puts together what the reports say.
func (c Command) outcome(ctx context.Context, exit Exit, last ending, reportErr, waited error, timedOut bool) (Exit, error) {
	exit.Attempts, exit.Over = last.Attempts, last.Over
	exit.Survivors += last.Survivors
	switch {
	case last.Error != "" && last.Layer != "":
		return exit, fmt.Errorf("%w: %s: %s", ErrIsolation, last.Layer, last.Error)
	case last.Error != "":
		return exit, fmt.Errorf("%w: %s", ErrStart, last.Error)
	}
	if last.Ended {
		status := syscall.WaitStatus(last.Status)
		if status.Exited() {
			exit.Code = status.ExitStatus()
		}
		if status.Signaled() {
			exit.Signal = unix.SignalName(status.Signal())
		}
	}
	switch {
	case ctx.Err() != nil && last.stopped:
		return exit, fmt.Errorf("the engine was stopped: %w", context.Cause(ctx))
	case timedOut:
		exit.TimedOut = true
		return exit, nil
	case last.Left:
		return exit, errors.New("the engine left processes that could not be ended")
	case !last.Ended:
		exit.Signal = "SIGKILL"
		return exit, fmt.Errorf("the engine's monitor was killed: %w", errors.Join(reportErr, waited))
	}
	var failed *exec.ExitError
	if waited == nil || errors.As(waited, &failed) || errors.Is(waited, exec.ErrWaitDelay) {
		// With ErrWaitDelay something that could not be found keeps the output open;
		// what was written until now has been read.
		return exit, nil
	}
	return exit, fmt.Errorf("waiting for the engine: %w", waited)
}

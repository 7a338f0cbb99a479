package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// Isolation says what was enforced around a child.
type Isolation struct {
	Tier    string   `json:"tier"`    // "A", "B" or "C"
	Missing []string `json:"missing"` // layers that were not applied, sorted
}

// Tier gives the tier of isolation that Run gives a child on this machine.
func Tier() string { return "C" }

// Missing lists the layers that Run does not apply, sorted.
func Missing() []string { return missing() }

// Command is one child process.
type Command struct {
	Argv    []string // Argv[0] is an absolute path
	Dir     string
	Env     []string // the whole environment; nothing is inherited
	Mark    string   // an entry of Env that no other process has; survivors are found by it
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Timeout time.Duration // 0 means none
	Grace   time.Duration // from SIGTERM to SIGKILL
}

// Exit is how a child ended.
type Exit struct {
	Code      int    // exit code, -1 if a signal ended it
	Signal    string // name of the signal that ended it, or ""
	TimedOut  bool
	Survivors int // processes of the child that had to be killed after its end
	Isolation Isolation
}

// ErrStart wraps the reason why a child could not be started at all.
var ErrStart = errors.New("the program could not be started")

// Run starts the child, waits for it and kills whatever it left. When ctx ends,
// the child's group gets SIGTERM, after Grace SIGKILL. An exit code is no error.
func Run(ctx context.Context, c Command) (Exit, error) {
	exit := Exit{Code: -1, Isolation: Isolation{Tier: Tier(), Missing: Missing()}}
	if len(c.Argv) == 0 {
		return exit, fmt.Errorf("%w: no argument vector", ErrStart)
	}
	runCtx := ctx
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		runCtx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	cmd := exec.CommandContext(runCtx, c.Argv[0]) //nolint:gosec // starting the engine is this package's task
	cmd.Args = c.Argv
	cmd.Dir = c.Dir
	cmd.Env = c.Env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	prepare(cmd)
	cmd.Cancel = func() error { return terminate(cmd.Process) }
	cmd.WaitDelay = c.Grace

	err := start(cmd)
	if err != nil {
		return exit, fmt.Errorf("%w: %w", ErrStart, err)
	}
	settled(cmd.Process.Pid)
	timedOut := runCtx.Err() != nil // from here on the time is ours, not the engine's
	// Before Wait: what the child left may keep its output open, and as long as the
	// child is not reaped no other process can get its number.
	exit.Survivors = reap(cmd.Process.Pid, c.Mark)
	waitErr := cmd.Wait()
	if state := cmd.ProcessState; state != nil {
		exit.Code, exit.Signal = state.ExitCode(), signalName(state)
	}
	switch {
	case ctx.Err() != nil:
		return exit, fmt.Errorf("the engine was stopped: %w", context.Cause(ctx))
	case timedOut:
		exit.TimedOut = true
		return exit, nil
	}
	var failed *exec.ExitError
	if waitErr == nil || errors.As(waitErr, &failed) || errors.Is(waitErr, context.DeadlineExceeded) {
		return exit, nil
	}
	if errors.Is(waitErr, exec.ErrWaitDelay) {
		// The child ended, but something that reap could not find keeps its output
		// open; what was written until now has been read.
		return exit, nil
	}
	return exit, fmt.Errorf("waiting for the engine: %w", waitErr)
}

// Environ gives an environment as "NAME=value" entries from pairs.
func Environ(pairs ...[2]string) []string {
	env := make([]string, 0, len(pairs))
	for _, p := range pairs {
		env = append(env, p[0]+"="+p[1])
	}
	return env
}

// Self gives the absolute path of the running program, for engines that it holds itself.
func Self() (string, error) { return os.Executable() }

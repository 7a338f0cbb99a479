//go:build !linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
)

// Probe tells that this system has no isolation of ours.
func Probe(context.Context, bool) Found {
	return Found{Isolation: None(), Refused: map[string]string{TierA: "engines are isolated on Linux only", TierB: "engines are isolated on Linux only"}}
}

func run(ctx context.Context, c Command) (Exit, error) {
	exit := Exit{Code: -1, Isolation: None()}
	if c.Confine != nil && c.Confine.Tier != TierC {
		return exit, fmt.Errorf("%w: tier %s exists on Linux only", ErrIsolation, c.Confine.Tier)
	}
	runCtx := ctx
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		runCtx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	cmd := exec.CommandContext(runCtx, c.Argv[0]) //nolint:gosec // starting the engine is this package's task
	cmd.Args, cmd.Dir, cmd.Env = c.Argv, c.Dir, c.Env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	cmd.WaitDelay = c.Grace
	if err := cmd.Start(); err != nil {
		return exit, fmt.Errorf("%w: %w", ErrStart, err)
	}
	err := cmd.Wait()
	if cmd.ProcessState != nil {
		exit.Code = cmd.ProcessState.ExitCode()
	}
	var failed *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return exit, fmt.Errorf("the engine was stopped: %w", context.Cause(ctx))
	case runCtx.Err() != nil:
		exit.TimedOut = true
		return exit, nil
	case err == nil || errors.As(err, &failed) || errors.Is(err, exec.ErrWaitDelay):
		return exit, nil
	}
	return exit, fmt.Errorf("waiting for the engine: %w", err)
}

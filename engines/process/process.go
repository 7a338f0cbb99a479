// Package process starts any executable as an engine: arguments, environment,
// stdin and the files of docs/protocol.md 2, with bounded receipt and log.
//
// It promises that an engine gets nothing of the orchestrator's environment but
// what the step maps by name, and that what it prints never reaches a terminal raw.
package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Path is the PATH that an engine gets unless its step maps another under env. It
// has the place where Go installs itself, since its tools are common in steps.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/go/bin"

// Names in the temp dir.
const (
	inputFile  = "input.json"
	outputFile = "output.json"
	caFile     = "ca.pem"
)

// Proxy is the way of one run to the network.
type Proxy interface {
	// CA gives the certificate, as PEM, that what the engine asks is answered with.
	CA() []byte
	// Serve answers until ctx ends or the listener is closed.
	Serve(ctx context.Context, l net.Listener) error
	// Requests lists what was asked.
	Requests() []engines.Request
}

// Runner starts engines as child processes. It implements engines.Runner.
type Runner struct {
	// Proxy makes the proxy of a run whose step lists hosts. nil: such a run is refused.
	Proxy func(mode protocol.Mode, hosts, tunnels []string) (Proxy, error)
}

// Run starts the engine and waits for it. The error tells of a run that could
// not be made or was stopped; how the engine itself ended is in the Result.
func (r Runner) Run(ctx context.Context, s engines.Spec) (engines.Result, error) {
	s.Limits = s.Limits.WithDefaults()
	input, err := json.Marshal(s.Input)
	if err != nil {
		return engines.Result{}, fmt.Errorf("writing the engine's input: %w", err)
	}
	home := filepath.Join(s.TempDir, "home")
	if err := os.Mkdir(home, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return engines.Result{}, fmt.Errorf("preparing the engine's home: %w", err)
	}
	if err := os.WriteFile(filepath.Join(s.TempDir, inputFile), input, 0o600); err != nil {
		return engines.Result{}, fmt.Errorf("writing the engine's input: %w", err)
	}
	c, err := r.confine(&s)
	if err != nil {
		return engines.Result{}, err
	}
	timeout := s.Timeout
	if timeout == 0 {
		timeout = limits.EngineTimeout
	}
	stdout := &capped{max: s.Limits.Receipt}
	log := &capped{max: s.Limits.Log, to: s.Log}
	proxying, stop := context.WithCancel(ctx)
	defer stop()
	exit, err := sandbox.Run(ctx, sandbox.Command{
		Argv: append(c.argv, "--mode", string(s.Input.Mode)), Dir: c.workspace, Env: c.env, Mark: c.mark,
		Stdin: bytes.NewReader(input), Stdout: stdout, Stderr: log, Timeout: timeout, Grace: grace(s.Input.Mode),
		Confine: c.confine, Accept: c.accept(proxying),
	})
	stop()
	result := engines.Result{
		ExitCode: exit.Code, Signal: exit.Signal, TimedOut: exit.TimedOut, Isolation: isolation(s, exit),
		Survivors: exit.Survivors, LogCut: log.cut, StdoutOver: stdout.cut > 0, Receipt: stdout.buf.Bytes(),
	}
	if err := errors.Join(c.served()); err != nil {
		return result, fmt.Errorf("the engine's proxy: %w", err)
	}
	if c.proxy != nil {
		result.Isolation.Requests = c.proxy.Requests()
	}
	switch {
	case errors.Is(err, sandbox.ErrIsolation):
		return result, protocol.Errorf(protocol.ExitUnreachable, "isolation_failed", "the engine was not started: %w", err).
			WithHint("cabincrew doctor tells what this machine can do")
	case errors.Is(err, sandbox.ErrStart):
		if at := unseen(&s, c.confine); at != "" {
			return result, protocol.Errorf(protocol.ExitFailure, "engine_start", "%s is a script for %s, which lies outside of the system's directories and is not among the step's tools", s.Argv[0], at).
				WithHint("add %s to the step's tools, together with what else the engine executes: once there are tools, only these are seen", at)
		}
		return result, protocol.Errorf(protocol.ExitFailure, "engine_start", "%s: %w", s.Argv[0], err).
			WithHint("is the file there, executable, and its interpreter installed? in the sandbox an engine sees the system's program directories and what its step lists under tools")
	case err != nil:
		return result, err
	}
	if err := errors.Join(stdout.err, log.err); err != nil {
		return result, fmt.Errorf("keeping the engine's output: %w", err)
	}
	err = receiptFile(s.TempDir, s.Limits.Receipt, &result)
	return result, err
}

// grace is how long an engine may take to end when it is told to.
func grace(mode protocol.Mode) time.Duration {
	if mode == protocol.TakeOff {
		return limits.TakeOffGrace
	}
	return limits.EngineGrace
}

// isolation is what the flight keeps of a run.
func isolation(s engines.Spec, exit sandbox.Exit) engines.Isolation {
	i := exit.Isolation
	return engines.Isolation{
		Tier: i.Tier, LandlockABI: i.LandlockABI, NetNS: i.NetNS, Seccomp: i.Seccomp, Missing: i.Missing,
		Attempts: exit.Attempts, Over: exit.Over, Tools: s.Hold.Tools,
	}
}

// receiptFile takes the receipt from CABINCREW_OUTPUT_FILE if the engine wrote it
// there. The directory is the engine's, so anything may be in the file's place.
func receiptFile(dir string, most int64, r *engines.Result) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("reading the engine's output file: %w", err)
	}
	defer func() { _ = root.Close() }() // only read
	f, _, err := engines.OpenRegular(root, outputFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return protocol.Errorf(protocol.ExitFailure, "receipt_malformed", "CABINCREW_OUTPUT_FILE: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return fmt.Errorf("reading the engine's output file: %w", err)
	}
	if int64(len(data)) > most {
		r.StdoutOver = true
		return nil
	}
	if len(bytes.TrimSpace(r.Receipt)) > 0 && !bytes.Equal(r.Receipt, data) {
		return protocol.Errorf(protocol.ExitFailure, "receipt_twice", "the engine gave one receipt on stdout and another in CABINCREW_OUTPUT_FILE").
			WithHint("use one of the two; print everything else to stderr")
	}
	r.Receipt = data
	return nil
}

// capped keeps the first max bytes and counts the rest, so that an engine that
// prints without end neither fills memory nor blocks.
type capped struct {
	max, n, cut int64
	buf         bytes.Buffer
	to          io.Writer
	err         error
}

func (c *capped) Write(p []byte) (int, error) {
	keep := min(int64(len(p)), c.max-c.n)
	c.cut += int64(len(p)) - keep
	c.n += keep
	switch {
	case keep == 0 || c.err != nil:
	case c.to != nil:
		_, c.err = c.to.Write(p[:keep])
	default:
		c.buf.Write(p[:keep])
	}
	return len(p), nil //nolint:nilerr // kept in err: the engine must not block on a full log
}

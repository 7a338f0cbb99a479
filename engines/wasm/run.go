package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Version is the runtime's. It changes when the same module over the same
// workspace would give other evidence. SPEC: docs/protocol.md 3
const Version = "1"

// Run is the program. args are as in Usage, env holds the variables of the engine
// contract; the result is the exit code. If the module had to be left behind (it
// was in a call of the host that did not end), its goroutine lives on: the process
// is expected to end.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	exit, err := run(ctx, args, stdin, stdout, stderr, env)
	if err == nil {
		return exit
	}
	text := "wasm: " + err.Error() + "\n"
	var told *protocol.Error
	if errors.As(err, &told) && told.Hint != "" {
		text += "  " + told.Hint + "\n"
	}
	_, _ = io.WriteString(stderr, text) // there is nobody else to tell
	if isUsage(err) {
		return protocol.ExitUsage
	}
	return protocol.ExitFailure
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) (int, error) {
	o, err := parse(args)
	if err != nil {
		return 0, err
	}
	for _, v := range env {
		if dir, ok := strings.CutPrefix(v, cacheVariable+"="); ok && o.cache == "" {
			o.cache = dir
		}
	}
	j := &job{options: o, in: stdin}
	if !o.compileOnly {
		if j.contract, err = newContract(env, o.mode); err != nil {
			return 0, err
		}
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.timeout, protocol.Errorf(protocol.ExitFailure, "wasm_timeout",
			"the module ran longer than %s", o.timeout).WithHint("raise the step's timeout, or let the module do less"))
		defer cancel()
	}
	j.out = &stream{to: stdout, left: limits.Receipt, over: func() {
		stop(tooMuch("stdout", limits.Receipt))
	}}
	j.err = &stream{to: stderr, left: limits.WasmLog, over: func() {
		stop(tooMuch("stderr", limits.WasmLog))
	}}
	defer j.out.close()
	defer j.err.close()

	type outcome struct {
		exit int
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		exit, err := j.guarded(ctx)
		done <- outcome{exit, err}
	}()
	select {
	case end := <-done:
		return verdict(ctx, end.exit, end.err)
	case <-ctx.Done():
	}
	// The module stops at its next loop or call. A call of the host that blocks (a
	// read of stdin) or takes long does not end it.
	grace := time.NewTimer(limits.WasmStop)
	defer grace.Stop()
	select {
	case end := <-done:
		return verdict(ctx, end.exit, end.err)
	case <-grace.C:
		return 0, stopped(ctx)
	}
}

// verdict gives the reason of a stop before what the stop looked like from inside.
func verdict(ctx context.Context, exit int, err error) (int, error) {
	if ctx.Err() != nil && (err != nil || exit != 0) {
		return 0, stopped(ctx)
	}
	return exit, err
}

func stopped(ctx context.Context) error {
	var told *protocol.Error
	if cause := context.Cause(ctx); errors.As(cause, &told) {
		return told
	}
	return protocol.Errorf(protocol.ExitFailure, "wasm_stopped", "the module was stopped: %w", context.Cause(ctx))
}

func tooMuch(name string, bytes int64) error {
	return protocol.Errorf(protocol.ExitFailure, "wasm_output", "the module wrote more than %s to %s", size(bytes), name)
}

// size writes a number of bytes for people.
func size(bytes int64) string {
	switch {
	case bytes%(1<<30) == 0:
		return fmt.Sprintf("%d GiB", bytes>>30)
	case bytes >= 1<<20:
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}

// job is one run of a module.
type job struct {
	options
	contract *contract
	in       io.Reader
	out, err *stream
}

// guarded keeps a mistake in the runtime, which hostile bytes might find, from
// ending the program without a message.
func (j *job) guarded(ctx context.Context) (exit int, err error) {
	mem := &memory{limit: uint64(j.memory)} //nolint:gosec // parse refuses negative ones
	defer func() {
		if r := recover(); r != nil {
			err = protocol.Errorf(protocol.ExitFailure, "wasm_runtime", "the runtime failed on this module: %s", clean(fmt.Sprint(r)))
		}
		// A module learns that memory is short only from a failed growth, and says so in
		// its own way: a trap, an exit code that would mean something else.
		if mem.refused && (err != nil || exit != 0) {
			exit, err = 0, protocol.Errorf(protocol.ExitFailure, "wasm_memory", "the module used more than %s of memory", size(j.memory)).
				WithHint("raise the step's memory limit, or let the module do less")
		}
	}()
	module, err := readModule(j.module)
	if err != nil {
		return 0, err
	}
	digest := sha256.Sum256(module)
	scanned, err := scan(module)
	if err != nil {
		return 0, err
	}
	return j.execute(ctx, scanned, "sha256:"+hex.EncodeToString(digest[:]), mem)
}

// readModule reads the module's file.
func readModule(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		return nil, malformed("the module: %w", err)
	}
	f, err := os.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, malformed("the module: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	module, err := io.ReadAll(io.LimitReader(f, limits.WasmModule+1))
	if err != nil {
		return nil, malformed("the module: %w", err)
	}
	if len(module) > limits.WasmModule {
		return nil, malformed("the module is larger than %s", size(limits.WasmModule))
	}
	return module, nil
}

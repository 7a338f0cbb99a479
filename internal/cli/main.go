package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// reportedError is an error whose message has been printed; only its code counts.
type reportedError struct{ error }

func (e reportedError) Unwrap() error { return e.error }

// errSignal is the cause of a cancelled context.
var errSignal = errors.New("stopped by a signal")

// Main runs the program and gives its exit code.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	return execute(ctx, args, &app{in: stdin, out: stdout, err: stderr, env: environ(env)})
}

func execute(ctx context.Context, args []string, a *app) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		select {
		case s := <-signals:
			cancel(fmt.Errorf("%w (%s)", errSignal, s))
		case <-ctx.Done():
		}
	}()
	a.ctx = ctx
	root := a.root()
	if asksJSON(args) {
		a.flags.output = outputJSON // also for errors before the flags are read
	}
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return protocol.ExitOK
	}
	code := a.exitCode(ctx, err)
	var done reportedError
	if !errors.As(err, &done) {
		a.report(err)
	}
	return code
}

// asksJSON says whether the command line asks for a document.
func asksJSON(args []string) bool {
	for i, arg := range args {
		if arg == "--output="+outputJSON || arg == "--output" && i+1 < len(args) && args[i+1] == outputJSON {
			return true
		}
	}
	return false
}

func (a *app) exitCode(ctx context.Context, err error) int {
	if errors.Is(context.Cause(ctx), errSignal) {
		return protocol.ExitInterrupted
	}
	var e interface{ ExitCode() int }
	if !errors.As(err, &e) && a.usage {
		return protocol.ExitUsage
	}
	return protocol.ExitCode(err)
}

// report prints an error: as a document where JSON is asked for, else for people.
func (a *app) report(err error) {
	if a.flags.output == outputJSON {
		a.printJSON(orchestrator.Summary{Error: a.errorOf(err)})
	}
	a.complain(err)
}

// errorOf gives the document form of an error; one of the flags has a code of its own.
func (a *app) errorOf(err error) *orchestrator.SummaryError {
	out := orchestrator.ErrorOf(err)
	if out.Code == "failure" && a.usage {
		out.Code = "usage"
	}
	return out
}

// complain prints an error for people on stderr: what, where, what to do.
func (a *app) complain(err error) {
	var b strings.Builder
	for _, p := range config.Problems(err) {
		_, _ = fmt.Fprintf(&b, "error: %s [%s]\n", visible(p.Error()), p.Code)
		if p.Hint != "" {
			_, _ = fmt.Fprintf(&b, "  hint: %s\n", visible(p.Hint))
		}
	}
	if b.Len() == 0 {
		_, _ = fmt.Fprintf(&b, "error: %s\n", visible(err.Error()))
		if a.usage {
			_, _ = fmt.Fprintf(&b, "  hint: see cabincrew help\n")
		}
	}
	_, _ = io.WriteString(a.err, tame(b.String())) // there is nowhere else to tell
}

func environ(list []string) map[string]string {
	env := make(map[string]string, len(list))
	for _, kv := range list {
		if name, value, ok := strings.Cut(kv, "="); ok && name != "" {
			env[name] = value
		}
	}
	return env
}

// run wraps a command: flags are right from here on, so errors are no usage errors.
func (a *app) run(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.usage = false
		if err := a.checkFlags(); err != nil {
			return err
		}
		return f(cmd, args)
	}
}

package wasm

import (
	"errors"
	"flag"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Usage is how the program is called.
const Usage = "engine run wasm [--cache DIR] [--memory BYTES] [--timeout DURATION] [--compile-only] MODULE [ARG…] --mode flight-plan|take-off"

// options are the program's arguments.
type options struct {
	cache       string
	memory      int64
	timeout     time.Duration // 0: whoever started this program stops it
	compileOnly bool
	module      string
	argv        []string // what the module gets
	mode        protocol.Mode
}

// parse reads the arguments. Flags stand before MODULE; what follows is the module's.
func parse(args []string) (options, error) {
	o := options{}
	set := flag.NewFlagSet("wasm", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&o.cache, "cache", "", "")
	set.Int64Var(&o.memory, "memory", limits.WasmMemory, "")
	set.DurationVar(&o.timeout, "timeout", limits.WasmTimeout, "")
	set.BoolVar(&o.compileOnly, "compile-only", false, "")
	if err := set.Parse(args); err != nil {
		return o, usage("%w", err)
	}
	rest := set.Args()
	switch {
	case len(rest) == 0 || rest[0] == "":
		return o, usage("no module is named")
	case o.memory < pageSize || o.memory > limits.WasmMemoryMax:
		return o, usage("--memory %d is not between %d and %d", o.memory, pageSize, int64(limits.WasmMemoryMax))
	case o.timeout < 0:
		return o, usage("--timeout %s is negative", o.timeout)
	}
	o.module = rest[0]
	o.argv = append([]string{filepath.Base(rest[0])}, rest[1:]...)
	if o.compileOnly {
		return o, nil
	}
	// The orchestrator appends the mode, so that is where it counts.
	// SPEC: docs/protocol.md 2
	n := len(o.argv)
	if n < 3 || o.argv[n-2] != "--mode" {
		return o, usage("--mode MODE does not end the arguments")
	}
	o.mode = protocol.Mode(o.argv[n-1])
	if o.mode != protocol.FlightPlan && o.mode != protocol.TakeOff {
		return o, usage("unknown mode %q", o.argv[n-1])
	}
	for _, arg := range o.argv {
		if strings.ContainsRune(arg, 0) {
			return o, usage("an argument has a NUL byte")
		}
	}
	return o, nil
}

func usage(format string, args ...any) error {
	return protocol.Errorf(protocol.ExitUsage, "wasm_usage", format, args...).WithHint("usage: %s", Usage)
}

// isUsage tells whether an error is about how the program was called.
func isUsage(err error) bool { return errors.Is(err, protocol.Code("wasm_usage")) }

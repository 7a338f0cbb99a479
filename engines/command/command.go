package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// ID is the engine_id of receipts.
const ID = "command"

// Version is part of the engine's digest; it changes when the same program over
// the same workspace would give other evidence. SPEC: docs/protocol.md 3.
const Version = "1"

// Exit codes of an engine. SPEC: docs/protocol.md 2.
const (
	exitOK      = 0
	exitFailure = 1
	exitInvalid = 2
)

// run is one run of the engine.
type run struct {
	mode   protocol.Mode
	env    map[string]string
	raw    []string // the environment as given
	input  protocol.EngineInput
	stderr io.Writer
}

// Run runs the engine and gives its exit code. The receipt goes to the file that
// CABINCREW_OUTPUT_FILE names in env, or to stdout.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	r := &run{env: map[string]string{}, raw: env, stderr: stderr}
	for _, e := range env {
		k, v, _ := strings.Cut(e, "=")
		r.env[k] = v
	}
	var err error
	if r.mode, err = readMode(args); err != nil {
		r.sayf("%v", err)
		return exitInvalid
	}
	receipt, err := r.fly(ctx, stdin)
	code := exitOK
	if err != nil {
		code = exitCode(err)
		r.sayf("%v", err)
		receipt = &protocol.EngineOutput{ReceiptID: ID + "-failed", Status: protocol.StatusFailure, Error: strings.ToValidUTF8(err.Error(), "\ufffd")}
	}
	receipt.ProtocolVersion, receipt.EngineID, receipt.Mode = protocol.ProtocolVersion, ID, r.mode
	if err := r.writeReceipt(stdout, receipt); err != nil {
		r.sayf("the receipt cannot be written: %v", err)
		return max(code, exitFailure)
	}
	return code
}

func (r *run) sayf(format string, args ...any) {
	_, _ = fmt.Fprintf(r.stderr, "command: "+format+"\n", args...) // there is nowhere else to say it
}

// exitCode tells a failure from an input that is not valid.
func exitCode(err error) int {
	switch protocol.ExitCode(err) {
	case protocol.ExitUsage, protocol.ExitIntegrity:
		return exitInvalid
	}
	return exitFailure
}

func readMode(args []string) (protocol.Mode, error) {
	mode := ""
	switch {
	case len(args) == 2 && args[0] == "--mode":
		mode = args[1]
	case len(args) == 1:
		mode = strings.TrimPrefix(args[0], "--mode=")
	}
	if m := protocol.Mode(mode); m == protocol.FlightPlan || m == protocol.TakeOff {
		return m, nil
	}
	return "", errors.New("usage: command --mode flight-plan|take-off")
}

// fly reads the input and does what the mode asks.
func (r *run) fly(ctx context.Context, stdin io.Reader) (*protocol.EngineOutput, error) {
	for _, name := range []string{"CABINCREW_WORKSPACE", "CABINCREW_ARTIFACTS_DIR", "CABINCREW_TEMP_DIR"} {
		if r.env[name] == "" {
			return nil, protocol.Errorf(protocol.ExitUsage, "command_environment", "%s is not set", name).
				WithHint("run the engine through \"cabincrew flight-plan\" or \"cabincrew engine check\"")
		}
	}
	if err := r.readInput(stdin); err != nil {
		return nil, err
	}
	s, err := readSettings(r.input.Config)
	if err != nil {
		return nil, err
	}
	if r.mode == protocol.TakeOff {
		return r.takeOff(ctx)
	}
	return r.flightPlan(ctx, s)
}

func (r *run) readInput(stdin io.Reader) error {
	in := stdin
	if name := r.env["CABINCREW_INPUT_FILE"]; name != "" {
		f, err := os.Open(name)
		if err != nil {
			return invalidInput("the input cannot be opened: %w", err)
		}
		defer func() { _ = f.Close() }() // it was only read
		in = f
	}
	data, err := readBounded(in, limits.CommandInputBytes)
	if err != nil {
		return invalidInput("the input cannot be read: %w", err)
	}
	if err := protocol.Decode(data, &r.input); err != nil {
		return invalidInput("the input is not an EngineInput: %w", err)
	}
	if r.input.Mode != r.mode {
		return invalidInput("the input is for mode %q, the engine was started in %q", r.input.Mode, r.mode)
	}
	return nil
}

func invalidInput(format string, args ...any) error {
	return protocol.Errorf(protocol.ExitUsage, "command_input", format, args...)
}

func readBounded(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("it is larger than %d bytes", most)
	}
	return data, err
}

func (r *run) writeReceipt(stdout io.Writer, receipt *protocol.EngineOutput) error {
	data, err := protocol.Canonical(receipt)
	if err != nil {
		return err
	}
	if name := r.env["CABINCREW_OUTPUT_FILE"]; name != "" {
		return os.WriteFile(name, data, 0o600) //nolint:gosec // the orchestrator names the file
	}
	_, err = stdout.Write(data)
	return err
}

// metrics are the counts of a patch.
func metrics(files, added, deleted int) []protocol.EngineMetric {
	number := func(n int) protocol.Number { return protocol.Number(strconv.Itoa(n)) }
	return []protocol.EngineMetric{
		{Name: "files_changed", Value: number(files)},
		{Name: "lines_added", Value: number(added)},
		{Name: "lines_deleted", Value: number(deleted)},
	}
}

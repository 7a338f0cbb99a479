package kit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Exit codes of an engine. SPEC: docs/protocol.md 2.
const (
	exitOK      = 0
	exitFailure = 1
	exitInvalid = 2
)

// Engine is a built-in engine: one function a mode. What they return is completed
// with version, id, mode and artifacts; a nil output with a nil error is a success
// with nothing more to say.
type Engine struct {
	ID      string
	Plan    func(ctx context.Context, r *Run) (*protocol.EngineOutput, error)
	TakeOff func(ctx context.Context, r *Run) (*protocol.EngineOutput, error)
}

// Run is one run of an engine.
type Run struct {
	ID        string
	Mode      protocol.Mode
	Env       map[string]string
	Environ   []string // the environment as given
	Input     protocol.EngineInput
	Workspace string // directory
	Artifacts string // directory
	Temp      string // directory
	Log       io.Writer

	declared []protocol.EngineArtifact
}

// Main runs an engine with the arguments behind its name and gives its exit code.
// The receipt goes to the file that CABINCREW_OUTPUT_FILE names in env, or to stdout.
func Main(ctx context.Context, e Engine, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	r := &Run{ID: e.ID, Env: map[string]string{}, Environ: env, Log: stderr}
	for _, entry := range env {
		k, v, _ := strings.Cut(entry, "=")
		r.Env[k] = v
	}
	var err error
	if r.Mode, err = readMode(e.ID, args); err != nil {
		r.Logf("%v", err)
		return exitInvalid
	}
	receipt, err := r.fly(ctx, e, stdin)
	code := exitOK
	if err == nil && receipt.Status == protocol.StatusFailure {
		code = exitFailure
		r.Logf("%s", receipt.Error)
	}
	if err != nil {
		code = exitCode(err)
		r.Logf("%v", err)
		receipt = &protocol.EngineOutput{ReceiptID: e.ID + "-failed", Status: protocol.StatusFailure, Error: strings.ToValidUTF8(err.Error(), "\ufffd"), Diagnostics: diagnose(err)}
	}
	receipt.ProtocolVersion, receipt.EngineID, receipt.Mode = protocol.ProtocolVersion, e.ID, r.Mode
	if err := r.writeReceipt(stdout, receipt); err != nil {
		r.Logf("the receipt cannot be written: %v", err)
		return max(code, exitFailure)
	}
	return code
}

// diagnose tells what kind of error it was, and what to do.
func diagnose(err error) any {
	var e *protocol.Error
	if !errors.As(err, &e) {
		return nil
	}
	return engines.Diagnostic{Code: e.Code, Exit: e.Exit, Hint: strings.ToValidUTF8(e.Hint, "\ufffd")}
}

// Logf writes a line to the log.
func (r *Run) Logf(format string, args ...any) {
	_, _ = fmt.Fprintf(r.Log, r.ID+": "+format+"\n", args...) // there is nowhere else to say it
}

// exitCode tells a failure from an input that is not valid.
func exitCode(err error) int {
	switch protocol.ExitCode(err) {
	case protocol.ExitUsage, protocol.ExitIntegrity:
		return exitInvalid
	}
	return exitFailure
}

func readMode(id string, args []string) (protocol.Mode, error) {
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
	return "", errors.New("usage: " + id + " --mode flight-plan|take-off")
}

// fly reads the input and does what the mode asks.
func (r *Run) fly(ctx context.Context, e Engine, stdin io.Reader) (*protocol.EngineOutput, error) {
	for _, dir := range []struct {
		name string
		to   *string
	}{{"CABINCREW_WORKSPACE", &r.Workspace}, {"CABINCREW_ARTIFACTS_DIR", &r.Artifacts}, {"CABINCREW_TEMP_DIR", &r.Temp}} {
		if *dir.to = r.Env[dir.name]; *dir.to == "" {
			return nil, protocol.Errorf(protocol.ExitUsage, "engine_environment", "%s is not set", dir.name).
				WithHint("run the engine through \"cabincrew flight-plan\" or \"cabincrew engine check\"")
		}
	}
	if err := r.readInput(stdin); err != nil {
		return nil, err
	}
	do := e.Plan
	if r.Mode == protocol.TakeOff {
		do = e.TakeOff
	}
	out, err := do(ctx, r)
	if err != nil {
		return nil, err
	}
	if out == nil {
		out = &protocol.EngineOutput{}
	}
	if out.ReceiptID == "" {
		out.ReceiptID = r.receiptID()
	}
	if out.Status == "" {
		out.Status = protocol.StatusSuccess
	}
	out.Artifacts = r.declared
	return out, nil
}

// receiptID names a receipt after the artifacts, so that the same plan has the same one.
func (r *Run) receiptID() string {
	var all strings.Builder
	for _, a := range r.declared {
		all.WriteString(a.Name + " " + a.Hash + "\n")
	}
	return ReceiptID(r.ID, protocol.Digest([]byte(all.String())))
}

// ReceiptID names a receipt after a digest.
func ReceiptID(engine, digest string) string {
	return engine + "-" + strings.TrimPrefix(digest, "sha256:")[:16]
}

func (r *Run) readInput(stdin io.Reader) error {
	in := stdin
	if name := r.Env["CABINCREW_INPUT_FILE"]; name != "" {
		f, err := os.Open(name)
		if err != nil {
			return invalidInput("the input cannot be opened: %w", err)
		}
		defer func() { _ = f.Close() }() // it was only read
		in = f
	}
	data, err := ReadBounded(in, limits.EngineInputBytes)
	if err != nil {
		return invalidInput("the input cannot be read: %w", err)
	}
	if err := protocol.Decode(data, &r.Input); err != nil {
		return invalidInput("the input is not an EngineInput: %w", err)
	}
	if r.Input.Mode != r.Mode {
		return invalidInput("the input is for mode %q, the engine was started in %q", r.Input.Mode, r.Mode)
	}
	return nil
}

func invalidInput(format string, args ...any) error {
	return protocol.Errorf(protocol.ExitUsage, "engine_input", format, args...)
}

// ReadBounded reads all of r and refuses more than most bytes.
func ReadBounded(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("it is larger than %d bytes", most)
	}
	return data, err
}

func (r *Run) writeReceipt(stdout io.Writer, receipt *protocol.EngineOutput) error {
	data, err := protocol.Canonical(receipt)
	if err != nil {
		return err
	}
	if name := r.Env["CABINCREW_OUTPUT_FILE"]; name != "" {
		return os.WriteFile(name, data, 0o600) //nolint:gosec // the orchestrator names the file
	}
	_, err = stdout.Write(data)
	return err
}

// Secret gives the text of a secret that the step maps, and whether it is there.
func (r *Run) Secret(name string) (string, bool) {
	s, ok := r.Input.Secrets[name].(string)
	return s, ok
}

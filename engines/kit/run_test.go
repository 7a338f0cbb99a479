package kit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// desk is the surroundings of one run.
type desk struct {
	env            []string
	artifacts      string
	stdout, stderr bytes.Buffer
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{artifacts: t.TempDir()}
	d.env = []string{"CABINCREW_WORKSPACE=" + t.TempDir(), "CABINCREW_ARTIFACTS_DIR=" + d.artifacts, "CABINCREW_TEMP_DIR=" + t.TempDir()}
	return d
}

// without gives the environment without a variable.
func (d *desk) without(name string) []string {
	var out []string
	for _, e := range d.env {
		if !strings.HasPrefix(e, name+"=") {
			out = append(out, e)
		}
	}
	return out
}

func (d *desk) receipt(t *testing.T) protocol.EngineOutput {
	t.Helper()
	var out protocol.EngineOutput
	must(t, protocol.Decode(d.stdout.Bytes(), &out))
	return out
}

func input(mode protocol.Mode) string {
	return `{"protocol_version":"draft","mode":"` + string(mode) + `","meta":{"workflow_id":"w","step_id":"s"},"config":{"a":1},"secrets":{"T":"text","N":1}}`
}

// engine is one whose two modes do the same.
func engine(do func(ctx context.Context, r *Run) (*protocol.EngineOutput, error)) Engine {
	return Engine{ID: "probe", Plan: do, TakeOff: do}
}

func nothing(context.Context, *Run) (*protocol.EngineOutput, error) { return nil, nil }

func never(t *testing.T) Engine {
	t.Helper()
	return engine(func(context.Context, *Run) (*protocol.EngineOutput, error) {
		t.Error("the engine ran")
		return nil, nil
	})
}

func TestArguments(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {""}, {"--mode"}, {"--mode", ""}, {"--mode", "landing"}, {"--mode=landing"}, {"--mode", "take-off", "x"}, {"-mode", "take-off"}, {"flight-plan", "x"}} {
		d := newDesk(t)
		if code := Main(context.Background(), never(t), args, strings.NewReader(input(protocol.TakeOff)), &d.stdout, &d.stderr, d.env); code != 2 ||
			d.stderr.String() != "probe: usage: probe --mode flight-plan|take-off\n" || d.stdout.Len() != 0 {
			t.Errorf("%q: exit %d, %s%s", args, code, d.stdout.String(), d.stderr.String())
		}
	}
	for _, args := range [][]string{{"--mode", "take-off"}, {"--mode=take-off"}} {
		d := newDesk(t)
		if code := Main(context.Background(), engine(nothing), args, strings.NewReader(input(protocol.TakeOff)), &d.stdout, &d.stderr, d.env); code != 0 {
			t.Errorf("%q: exit %d, %s", args, code, d.stderr.String())
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"CABINCREW_WORKSPACE", "CABINCREW_ARTIFACTS_DIR", "CABINCREW_TEMP_DIR"} {
		for _, env := range [][]string{newDesk(t).without(name), append(newDesk(t).without(name), name+"=")} {
			d := newDesk(t)
			code := Main(context.Background(), never(t), []string{"--mode=flight-plan"}, strings.NewReader(input(protocol.FlightPlan)), &d.stdout, &d.stderr, env)
			if r := d.receipt(t); code != 2 || r.Status != protocol.StatusFailure || r.Error != name+" is not set" || r.EngineID != "probe" || r.Mode != protocol.FlightPlan || r.ReceiptID != "probe-failed" {
				t.Errorf("exit %d, %+v", code, r)
			}
		}
	}
}

// endless is an input without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

type failing struct{}

func (failing) Read([]byte) (int, error)  { return 0, errors.New("torn off") }
func (failing) Write([]byte) (int, error) { return 0, errors.New("no room") }

func TestInput(t *testing.T) {
	t.Parallel()
	plan := input(protocol.FlightPlan)
	tests := map[string]struct {
		stdin io.Reader
		want  string
	}{
		"nothing":        {strings.NewReader(""), "not an EngineInput"},
		"no JSON":        {strings.NewReader("mode"), "not an EngineInput"},
		"a list":         {strings.NewReader("[]"), "not an EngineInput"},
		"no mode":        {strings.NewReader("{}"), `for mode "", the engine was started in "flight-plan"`},
		"wrong mode":     {strings.NewReader(input(protocol.TakeOff)), `for mode "take-off", the engine was started in "flight-plan"`},
		"unknown member": {strings.NewReader(strings.Replace(plan, "{", `{"x":1,`, 1)), "not an EngineInput"},
		"duplicate key":  {strings.NewReader(strings.Replace(plan, "{", `{"mode":"take-off",`, 1)), "duplicate"},
		"two documents":  {strings.NewReader(plan + plan), "not an EngineInput"},
		"not UTF-8":      {strings.NewReader(strings.Replace(plan, `"w"`, "\"\xff\"", 1)), "UTF-8"},
		"byte-order":     {strings.NewReader("\ufeff" + plan), "byte-order"},
		"too deep":       {strings.NewReader(strings.Replace(plan, "1", strings.Repeat("[", 100)+strings.Repeat("]", 100), 1)), "not an EngineInput"},
		"endless":        {endless{}, "larger than 67108864 bytes"},
		"torn off":       {failing{}, "torn off"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			code := Main(context.Background(), never(t), []string{"--mode=flight-plan"}, tc.stdin, &d.stdout, &d.stderr, d.env)
			if r := d.receipt(t); code != 2 || r.Status != protocol.StatusFailure || !strings.Contains(r.Error, tc.want) {
				t.Errorf("exit %d, %q, want %q", code, r.Error, tc.want)
			}
		})
	}
}

func TestInputFile(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	name := filepath.Join(t.TempDir(), "in.json")
	must(t, os.WriteFile(name, []byte(input(protocol.TakeOff)), 0o600))
	check := func(_ context.Context, r *Run) (*protocol.EngineOutput, error) {
		if r.Mode != protocol.TakeOff || r.Input.Meta.WorkflowID != "w" || r.Artifacts != d.artifacts || r.Env["CABINCREW_INPUT_FILE"] != name || len(r.Environ) != 4 {
			t.Errorf("%+v", r)
		}
		if s, ok := r.Secret("T"); s != "text" || !ok {
			t.Error("the secret is not there")
		}
		for _, other := range []string{"N", "none", ""} {
			if s, ok := r.Secret(other); s != "" || ok {
				t.Errorf("%q is a secret", other)
			}
		}
		return nil, nil
	}
	if code := Main(context.Background(), engine(check), []string{"--mode=take-off"}, failing{}, &d.stdout, &d.stderr, append(d.env, "CABINCREW_INPUT_FILE="+name)); code != 0 {
		t.Errorf("exit %d, %s", code, d.stderr.String())
	}
	d = newDesk(t)
	code := Main(context.Background(), never(t), []string{"--mode=take-off"}, strings.NewReader(input(protocol.TakeOff)), &d.stdout, &d.stderr, append(d.env, "CABINCREW_INPUT_FILE="+name+".none"))
	if r := d.receipt(t); code != 2 || !strings.Contains(r.Error, "the input cannot be opened") {
		t.Errorf("exit %d, %+v", code, r)
	}
}

func TestReceipt(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		do   func(ctx context.Context, r *Run) (*protocol.EngineOutput, error)
		code int
		want string
	}{
		"nothing to say": {nothing, 0, `{"engine_id":"probe","mode":"flight-plan","protocol_version":"draft","receipt_id":"probe-e3b0c44298fc1c14","status":"success"}`},
		"more to say": {func(context.Context, *Run) (*protocol.EngineOutput, error) {
			return &protocol.EngineOutput{
				ProtocolVersion: "9", EngineID: "other", Mode: protocol.TakeOff, ReceiptID: "mine", Warnings: []string{"w"},
				Artifacts: []protocol.EngineArtifact{{Name: "never-written"}}, Metrics: []protocol.EngineMetric{{Name: "n", Value: "1"}},
			}, nil
		}, 0, `{"engine_id":"probe","metrics":[{"name":"n","value":1}],"mode":"flight-plan","protocol_version":"draft","receipt_id":"mine","status":"success","warnings":["w"]}`},
		"failure": {func(context.Context, *Run) (*protocol.EngineOutput, error) {
			return &protocol.EngineOutput{ReceiptID: "lost"}, errors.New("it broke \xff")
		}, 1, `{"engine_id":"probe","error":"it broke ` + "\ufffd" + `","mode":"flight-plan","protocol_version":"draft","receipt_id":"probe-failed","status":"failure"}`},
		"wrong use": {func(context.Context, *Run) (*protocol.EngineOutput, error) {
			return nil, protocol.Errorf(protocol.ExitUsage, "c", "bad").At("config.x")
		}, 2, `{"diagnostics":{"code":"c","exit":2},"engine_id":"probe","error":"config.x: bad","mode":"flight-plan","protocol_version":"draft","receipt_id":"probe-failed","status":"failure"}`},
		"invalid plan": {func(context.Context, *Run) (*protocol.EngineOutput, error) { return nil, InvalidPlan("bad") }, 2,
			`{"diagnostics":{"code":"engine_plan_invalid","exit":5,"hint":"the artifact was not made by this engine or was changed; plan again"},"engine_id":"probe","error":"bad","mode":"flight-plan","protocol_version":"draft","receipt_id":"probe-failed","status":"failure"}`},
		"stale": {func(context.Context, *Run) (*protocol.EngineOutput, error) {
			return nil, protocol.Errorf(protocol.ExitStale, "c", "drifted")
		}, 1, `{"diagnostics":{"code":"c","exit":6},"engine_id":"probe","error":"drifted","mode":"flight-plan","protocol_version":"draft","receipt_id":"probe-failed","status":"failure"}`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			code := Main(context.Background(), engine(tc.do), []string{"--mode", "flight-plan"}, strings.NewReader(input(protocol.FlightPlan)), &d.stdout, &d.stderr, d.env)
			if code != tc.code || d.stdout.String() != tc.want {
				t.Errorf("exit %d, %s\nwant %d, %s", code, d.stdout.String(), tc.code, tc.want)
			}
			if failed := d.stderr.Len() > 0; failed != (tc.code != 0) {
				t.Errorf("log: %s", d.stderr.String())
			}
			// The same to a file: nothing on stdout then.
			file := filepath.Join(t.TempDir(), "out.json")
			d.stdout.Reset()
			code = Main(context.Background(), engine(tc.do), []string{"--mode", "flight-plan"}, strings.NewReader(input(protocol.FlightPlan)), &d.stdout, &d.stderr, append(d.env, "CABINCREW_OUTPUT_FILE="+file))
			got, err := os.ReadFile(file)
			must(t, err)
			if code != tc.code || string(got) != tc.want || d.stdout.Len() != 0 {
				t.Errorf("exit %d, %s and %s", code, got, d.stdout.String())
			}
		})
	}
}

func TestReceiptThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	broken := func(context.Context, *Run) (*protocol.EngineOutput, error) { return nil, InvalidPlan("bad") }
	fraction := func(context.Context, *Run) (*protocol.EngineOutput, error) {
		return &protocol.EngineOutput{Diagnostics: 0.5}, nil
	}
	for _, tc := range []struct {
		do   func(context.Context, *Run) (*protocol.EngineOutput, error)
		code int
	}{{nothing, 1}, {broken, 2}, {fraction, 1}} {
		d := newDesk(t)
		if code := Main(context.Background(), engine(tc.do), []string{"--mode=take-off"}, strings.NewReader(input(protocol.TakeOff)), failing{}, &d.stderr, d.env); code != tc.code ||
			!strings.Contains(d.stderr.String(), "the receipt cannot be written") {
			t.Errorf("exit %d, want %d: %s", code, tc.code, d.stderr.String())
		}
		env := append(d.env, "CABINCREW_OUTPUT_FILE="+filepath.Join(d.artifacts, "none", "out.json"))
		if code := Main(context.Background(), engine(tc.do), []string{"--mode=take-off"}, strings.NewReader(input(protocol.TakeOff)), &d.stdout, &d.stderr, env); code != tc.code || d.stdout.Len() != 0 {
			t.Errorf("exit %d, want %d, stdout %q", code, tc.code, d.stdout.String())
		}
	}
}

func TestModesAreNotMixedUp(t *testing.T) {
	t.Parallel()
	for _, mode := range []protocol.Mode{protocol.FlightPlan, protocol.TakeOff} {
		var ran []protocol.Mode
		note := func(m protocol.Mode) func(context.Context, *Run) (*protocol.EngineOutput, error) {
			return func(_ context.Context, r *Run) (*protocol.EngineOutput, error) {
				ran = append(ran, m, r.Mode, r.Input.Mode)
				return nil, nil
			}
		}
		d := newDesk(t)
		code := Main(context.Background(), Engine{ID: "probe", Plan: note(protocol.FlightPlan), TakeOff: note(protocol.TakeOff)}, []string{"--mode", string(mode)}, strings.NewReader(input(mode)), &d.stdout, &d.stderr, d.env)
		if diff := cmp.Diff([]protocol.Mode{mode, mode, mode}, ran); code != 0 || diff != "" || d.receipt(t).Mode != mode {
			t.Errorf("exit %d: %s", code, diff)
		}
	}
}

func TestReadBounded(t *testing.T) {
	t.Parallel()
	for size, ok := range map[int]bool{0: true, 9: true, 10: true, 11: false, 1000: false} {
		data, err := ReadBounded(strings.NewReader(strings.Repeat("x", size)), 10)
		if (err == nil) != ok || ok && len(data) != size || len(data) > 11 {
			t.Errorf("%d bytes give %d, %v", size, len(data), err)
		}
	}
	if _, err := ReadBounded(failing{}, 10); err == nil || limits.EngineInputBytes < 1<<20 {
		t.Error("a reader's error is lost")
	}
}

func FuzzInput(f *testing.F) {
	f.Add([]byte(input(protocol.FlightPlan)))
	f.Add([]byte(input(protocol.TakeOff)))
	f.Add([]byte(`{"mode":"flight-plan","mode":"take-off"}`))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var stdout, stderr bytes.Buffer
		ran := false
		e := engine(func(_ context.Context, r *Run) (*protocol.EngineOutput, error) {
			ran = r.Input.Mode == protocol.FlightPlan
			return nil, nil
		})
		env := []string{"CABINCREW_WORKSPACE=/", "CABINCREW_ARTIFACTS_DIR=/", "CABINCREW_TEMP_DIR=/"}
		code := Main(context.Background(), e, []string{"--mode=flight-plan"}, bytes.NewReader(data), &stdout, &stderr, env)
		var out protocol.EngineOutput
		if err := protocol.Decode(stdout.Bytes(), &out); err != nil {
			t.Fatal(err)
		}
		if ran != (code == 0) || ran != (out.Status == protocol.StatusSuccess) || code != 0 && code != 2 {
			t.Errorf("exit %d, ran %v, %+v", code, ran, out)
		}
	})
}

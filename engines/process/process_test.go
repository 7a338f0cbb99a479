//go:build unix

package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/protocol"
)

const ok = `{"protocol_version":"draft","engine_id":"e","mode":"flight-plan","receipt_id":"r","status":"success"}`

// bench is one engine with its directories.
type bench struct {
	t    *testing.T
	spec engines.Spec
	log  bytes.Buffer
}

func newBench(t *testing.T, script string) *bench {
	t.Helper()
	b := &bench{t: t}
	dir := t.TempDir()
	for _, d := range []string{"ws", "artifacts", "run"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	at := filepath.Join(dir, "engine")
	if err := os.WriteFile(at, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil { //nolint:gosec // an engine must be executable
		t.Fatal(err)
	}
	b.spec = engines.Spec{
		Argv: []string{at}, Workspace: filepath.Join(dir, "ws"), ArtifactsDir: filepath.Join(dir, "artifacts"), TempDir: filepath.Join(dir, "run"),
		Input: protocol.EngineInput{
			ProtocolVersion: protocol.ProtocolVersion, Mode: protocol.FlightPlan, Meta: protocol.EngineMeta{WorkflowID: "w", StepID: "s"},
			Secrets: map[string]any{"T": "<secret>&"}, AllowedSecrets: []string{"T"},
		},
		Log: &b.log,
	}
	return b
}

func (b *bench) run() engines.Result {
	b.t.Helper()
	r, err := Runner{}.Run(b.t.Context(), b.spec)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func (b *bench) refused(code string) {
	b.t.Helper()
	_, err := Runner{}.Run(b.t.Context(), b.spec)
	var e *protocol.Error
	if !errors.As(err, &e) || e.Code != code || e.Exit != protocol.ExitFailure {
		b.t.Fatalf("error %v, want %s", err, code)
	}
}

// TestEnvironment compares the engine's whole environment with the documented one.
func TestEnvironment(t *testing.T) {
	t.Setenv("INHERITED", "yes")
	t.Setenv("GITHUB_TOKEN", "yes")
	b := newBench(t, `tr '\0' '\n' < /proc/self/environ >&2; pwd > "$TMPDIR/pwd"; echo "$@" > "$TMPDIR/args"; echo '`+ok+`'`)
	if _, err := os.Stat("/proc/self/environ"); err != nil {
		t.Skip("this system has no /proc:", err)
	}
	b.spec.Argv = append(b.spec.Argv, "one", "two three")
	b.spec.Env = map[string]string{
		"MAPPED": "v=1", "LANG": "de_DE.UTF-8", "BAD=NAME": "x", "NUL": "a\x00b",
		"CABINCREW_TEMP_DIR": "/zzz", "CABINCREW_MODE": "take-off", "CABINCREW_OWN": "x",
	}
	if r := b.run(); r.ExitCode != 0 || string(r.Receipt) != ok+"\n" {
		t.Fatalf("%+v", r)
	}
	want := []string{
		"PATH=" + Path, "HOME=" + b.spec.TempDir + "/home", "TMPDIR=" + b.spec.TempDir, "LANG=de_DE.UTF-8", "TZ=UTC", "MAPPED=v=1",
		"CABINCREW_WORKSPACE=" + b.spec.Workspace, "CABINCREW_ARTIFACTS_DIR=" + b.spec.ArtifactsDir, "CABINCREW_TEMP_DIR=" + b.spec.TempDir,
		"CABINCREW_MODE=flight-plan", "CABINCREW_INPUT_FILE=" + b.spec.TempDir + "/input.json", "CABINCREW_OUTPUT_FILE=" + b.spec.TempDir + "/output.json",
	}
	got := strings.Split(strings.TrimSpace(b.log.String()), "\n")
	got = slices.DeleteFunc(got, func(s string) bool {
		return strings.HasPrefix(s, "PWD=") || strings.HasPrefix(s, "_=") || strings.HasPrefix(s, "OLDPWD=") || strings.HasPrefix(s, "SHLVL=")
	}) // the shell's own
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("environment\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for file, want := range map[string]string{"pwd": b.spec.Workspace + "\n", "args": "one two three --mode flight-plan\n"} {
		if data, err := os.ReadFile(filepath.Join(b.spec.TempDir, file)); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v; want %q", file, data, err, want)
		}
	}
}

func TestInputOnStdinAndInTheFile(t *testing.T) {
	t.Parallel()
	b := newBench(t, `cat > "$TMPDIR/stdin"; cmp "$TMPDIR/stdin" "$CABINCREW_INPUT_FILE" && echo '`+ok+`'`)
	if r := b.run(); r.ExitCode != 0 || len(r.Receipt) == 0 {
		t.Fatalf("stdin and file differ: %+v %s", r, b.log.String())
	}
	raw, err := os.ReadFile(filepath.Join(b.spec.TempDir, "stdin"))
	if err != nil {
		t.Fatal(err)
	}
	var in protocol.EngineInput
	if err := protocol.Decode(raw, &in); err != nil || in.Mode != protocol.FlightPlan || in.Secrets["T"] != "<secret>&" || in.Meta.StepID != "s" {
		t.Fatalf("%+v, %v", in, err)
	}
	info, err := os.Stat(filepath.Join(b.spec.TempDir, "input.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the input file is %v, %v: secrets are in it", info.Mode(), err)
	}
}

// TestLargeInputNobodyReads must not block on a pipe that nobody empties.
func TestLargeInputNobodyReads(t *testing.T) {
	t.Parallel()
	b := newBench(t, `echo '`+ok+`'`)
	b.spec.Input.Config = map[string]any{"big": strings.Repeat("x", 8<<20)}
	if r := b.run(); r.ExitCode != 0 || len(r.Receipt) == 0 {
		t.Fatalf("%+v", r)
	}
}

func TestReceiptPlaces(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script, code string
		over         bool
	}{
		"stdout":             {script: `echo '` + ok + `'`},
		"file":               {script: `echo '` + ok + `' > "$CABINCREW_OUTPUT_FILE"`},
		"both equal":         {script: `echo '` + ok + `' | tee "$CABINCREW_OUTPUT_FILE"`},
		"blank stdout":       {script: `echo; echo '` + ok + `' > "$CABINCREW_OUTPUT_FILE"`},
		"both differing":     {script: `echo '` + ok + `'; echo '{}' > "$CABINCREW_OUTPUT_FILE"`, code: "receipt_twice"},
		"log and file":       {script: `echo planning; echo '` + ok + `' > "$CABINCREW_OUTPUT_FILE"`, code: "receipt_twice"},
		"file is a link":     {script: `ln -s /etc/passwd "$CABINCREW_OUTPUT_FILE"`, code: "receipt_malformed"},
		"file is a pipe":     {script: `mkfifo "$CABINCREW_OUTPUT_FILE"`, code: "receipt_malformed"},
		"file is a dir":      {script: `mkdir "$CABINCREW_OUTPUT_FILE"`, code: "receipt_malformed"},
		"file has two names": {script: `echo '` + ok + `' > "$TMPDIR/x"; ln "$TMPDIR/x" "$CABINCREW_OUTPUT_FILE"`, code: "receipt_malformed"},
		"giant file":         {script: `truncate -s 100G "$CABINCREW_OUTPUT_FILE" 2>/dev/null || dd if=/dev/zero bs=1000 count=1 seek=9000 of="$CABINCREW_OUTPUT_FILE" 2>/dev/null`, over: true},
		"giant stdout":       {script: `head -c 100000000 /dev/zero`, over: true},
		"giant and file":     {script: `yes | head -c 100000000; echo '` + ok + `' > "$CABINCREW_OUTPUT_FILE"`, code: "receipt_twice"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, c.script)
			if c.code != "" {
				b.refused(c.code)
				return
			}
			r := b.run()
			if r.StdoutOver != c.over || !c.over && strings.TrimSpace(string(r.Receipt)) != ok || len(r.Receipt) > 4<<20 {
				t.Fatalf("over %v, receipt of %d bytes", r.StdoutOver, len(r.Receipt))
			}
		})
	}
}

func TestLogIsBoundedAndCounted(t *testing.T) {
	t.Parallel()
	b := newBench(t, `head -c 5000000 /dev/zero >&2; echo '`+ok+`'`)
	b.spec.Limits.Log = 1000
	if r := b.run(); r.LogCut != 4_999_000 || b.log.Len() != 1000 || len(r.Receipt) == 0 {
		t.Fatalf("cut %d, kept %d", r.LogCut, b.log.Len())
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestLogThatCannotBeKept(t *testing.T) {
	t.Parallel()
	b := newBench(t, `echo line >&2; echo '`+ok+`'`)
	b.spec.Log = broken{}
	if _, err := (Runner{}).Run(t.Context(), b.spec); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Fatalf("error %v", err)
	}
}

func TestEndings(t *testing.T) {
	t.Parallel()
	b := newBench(t, `kill -SEGV $$`)
	if r := b.run(); r.Signal != "SIGSEGV" && r.Signal != "" || r.ExitCode != -1 {
		t.Errorf("signal: %+v", r)
	}
	b = newBench(t, `exit 3`)
	if r := b.run(); r.ExitCode != 3 {
		t.Errorf("exit 3: %+v", r)
	}
	b = newBench(t, `sleep 60`)
	b.spec.Timeout = 50 * time.Millisecond
	if r := b.run(); !r.TimedOut {
		t.Errorf("time-out: %+v", r)
	}
	b = newBench(t, ``)
	b.spec.Argv = []string{"/nowhere/engine"}
	b.refused("engine_start")
	b = newBench(t, ``)
	if err := os.WriteFile(b.spec.Argv[0], []byte("#!/nowhere/interpreter\n"), 0o755); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
	b.refused("engine_start")
	b = newBench(t, `sleep 60`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Runner{}).Run(ctx, b.spec); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestInputIsOneDocument(t *testing.T) {
	t.Parallel()
	b := newBench(t, `cat >&2; echo '`+ok+`'`)
	b.run()
	var doc map[string]any
	if err := json.Unmarshal(b.log.Bytes(), &doc); err != nil {
		t.Fatalf("%v: %q", err, b.log.String())
	}
	for name, want := range map[string]any{"protocol_version": "draft", "mode": "flight-plan"} {
		if doc[name] != want {
			t.Errorf("%s: %v", name, doc[name])
		}
	}
}

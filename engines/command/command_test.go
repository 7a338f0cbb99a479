package command

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// flight is one workspace with one artifacts directory.
type flight struct {
	t                    *testing.T
	workspace, artifacts string
	stderr               bytes.Buffer
}

func newFlight(t *testing.T) *flight {
	t.Helper()
	for _, p := range []string{"sh", "sed", "mkfifo"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip("this test runs real programs, and here there is none called", p)
		}
	}
	return &flight{t: t, workspace: t.TempDir(), artifacts: t.TempDir()}
}

func (f *flight) write(name, content string, mode fs.FileMode) {
	f.t.Helper()
	p := filepath.Join(f.workspace, name)
	must(f.t, os.MkdirAll(filepath.Dir(p), 0o755))
	must(f.t, os.WriteFile(p, []byte(content), mode))
	must(f.t, os.Chmod(p, mode))
}

func (f *flight) run(ctx context.Context, mode protocol.Mode, config string) (int, protocol.EngineOutput) {
	f.t.Helper()
	temp := f.t.TempDir()
	out := filepath.Join(temp, "out.json")
	input := `{"protocol_version":"draft","mode":"` + string(mode) + `","meta":{"workflow_id":"w","step_id":"s"},"config":` + config + `}`
	env := []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + temp, "HOME=" + temp, "CABINCREW_WORKSPACE=" + f.workspace,
		"CABINCREW_ARTIFACTS_DIR=" + f.artifacts, "CABINCREW_TEMP_DIR=" + temp, "CABINCREW_OUTPUT_FILE=" + out, "GREETING=hello"}
	f.stderr.Reset()
	var stdout bytes.Buffer
	code := Run(ctx, []string{"--mode", string(mode)}, strings.NewReader(input), &stdout, &f.stderr, env)
	if stdout.Len() > 0 {
		f.t.Errorf("stdout: %s", stdout.String())
	}
	var receipt protocol.EngineOutput
	data, err := os.ReadFile(out)
	must(f.t, err)
	must(f.t, protocol.Decode(data, &receipt))
	must(f.t, os.Remove(out))
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		f.t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
	return code, receipt
}

func (f *flight) list() []workspace.File {
	f.t.Helper()
	files, err := workspace.Scan(context.Background(), f.workspace, workspace.Options{NoIgnore: true, Tracked: []string{}})
	must(f.t, err)
	for i := range files {
		files[i].Mode = 0
	}
	return files
}

func (f *flight) artifact(name string) protocol.Artifact {
	f.t.Helper()
	data, err := os.ReadFile(filepath.Join(f.artifacts, name, "artifact.json"))
	must(f.t, err)
	var a protocol.Artifact
	must(f.t, protocol.Decode(data, &a))
	return a
}

func shell(script string) string {
	b, _ := json.Marshal(map[string]any{"shell": script}) // a map of strings always marshals
	return string(b)
}

const everything = `
mkdir -p .git && echo > .git/hook # nothing of it enters the patch
echo "$GREETING" > greeting
rm gone; rm -r tree
chmod +x mode
sed -i 's/b/B/' crlf
printf 'no newline' > 'with space'
printf x > 'new
line'
ln -sf elsewhere link
ln -s target newlink
printf '\0\1\2' > binary
: > empty
mv old.txt moved.txt
mkdir -p a/b/c && echo deep > a/b/c/d
echo ignored > out.log
rm becomes && mkdir becomes && echo in > becomes/x
`

func (f *flight) fill() {
	f.write("gone", "gone\n", 0o644)
	f.write("tree/a/b", "b\n", 0o644)
	f.write("mode", "m\n", 0o644)
	f.write("crlf", "a\r\nb\r\nc\r\n", 0o644)
	f.write("binary", "\x00old", 0o755)
	f.write("old.txt", "moves\n", 0o644)
	f.write("becomes", "a directory\n", 0o644)
	f.write(".gitignore", "*.log\n", 0o644)
	f.write(".git/config", "[core]\n", 0o644)
	f.write("sub/.git/config", "[core]\n", 0o644)
	f.write("kept.log", "tracked although ignored\n", 0o644)
	f.write(".cabincrew/flights/x", "state\n", 0o644)
	must(f.t, os.Symlink("somewhere", filepath.Join(f.workspace, "link")))
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	f.fill()
	before := f.list()
	code, receipt := f.run(context.Background(), protocol.FlightPlan, shell(everything+"echo changed >> kept.log\n"))
	if code != 0 || receipt.Status != protocol.StatusSuccess {
		t.Fatalf("exit %d, %+v\n%s", code, receipt, f.stderr.String())
	}
	if d := cmp.Diff(before, f.list()); d != "" {
		t.Fatal("flight-plan changed the workspace:", d)
	}
	code, receipt = f.run(context.Background(), protocol.TakeOff, shell(everything))
	if code != 0 || receipt.Mode != protocol.TakeOff || len(receipt.Artifacts) != 0 {
		t.Fatalf("exit %d, %+v\n%s", code, receipt, f.stderr.String())
	}

	// The same by hand, in another directory.
	g := newFlight(t)
	g.fill()
	cmd := exec.Command("sh", "-e", "-c", everything+"echo changed >> kept.log; rm out.log; rm .git/hook\n")
	cmd.Dir, cmd.Env = g.workspace, append(os.Environ(), "GREETING=hello")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	if d := cmp.Diff(g.list(), f.list()); d != "" {
		t.Error("take-off made another tree than the program:", d)
	}
	// Once more is no harm: a killed take-off is completed so.
	if code, _ := f.run(context.Background(), protocol.TakeOff, shell(everything)); code != 0 {
		t.Errorf("exit %d: %s", code, f.stderr.String())
	}
}

func TestEvidence(t *testing.T) {
	t.Parallel()
	f, g := newFlight(t), newFlight(t)
	config := `{"run":["sed","-i","s/one/two/","a b.txt"],"message":"Replace"}`
	for _, x := range []*flight{f, g} {
		x.write("a b.txt", "one\n", 0o644)
		code, _ := x.run(context.Background(), protocol.FlightPlan, config)
		if code != 0 {
			t.Fatalf("exit %d: %s", code, x.stderr.String())
		}
	}
	for _, name := range []string{"changes/artifact.json", "changes/body.data", "summary/artifact.json"} {
		a, err := os.ReadFile(filepath.Join(f.artifacts, name))
		must(t, err)
		b, err := os.ReadFile(filepath.Join(g.artifacts, name))
		must(t, err)
		if !bytes.Equal(a, b) {
			t.Errorf("%s differs between two runs:\n%s\n%s", name, a, b)
		}
	}
	changes := f.artifact("changes")
	files, err := patch.Files(changes.Metadata)
	must(t, err)
	want := []patch.File{{Op: patch.Modify, OldPath: "a b.txt", NewPath: "a b.txt", OldMode: "100644", NewMode: "100644",
		Before: protocol.Digest([]byte("one\n")), After: protocol.Digest([]byte("two\n")), Added: 1, Deleted: 1}}
	if d := cmp.Diff(want, files); d != "" {
		t.Error(d)
	}
	if changes.ArtifactType != "patch" || changes.Action != "apply" || changes.Mime != "text/x-diff" || changes.BodyFile != "body.data" {
		t.Errorf("%+v", changes)
	}
	summary, err := protocol.Canonical(f.artifact("summary").Body)
	must(t, err)
	if got := string(summary); got != `{"added":1,"command":["sed","-i","s/one/two/","a b.txt"],"deleted":1,"files":[{"added":1,"deleted":1,"op":"modify","path":"a b.txt"}],"files_changed":1,"title":"Replace"}` {
		t.Error(got)
	}
}

func TestReceiptDeclaresArtifacts(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	f.write("a", "a\n", 0o644)
	code, receipt := f.run(context.Background(), protocol.FlightPlan, `{"run":["true"]}`)
	if code != 0 || receipt.EngineID != "command" || receipt.ReceiptID != "command-e3b0c44298fc1c14" {
		t.Fatalf("%d, %+v", code, receipt)
	}
	hash := func(name string) string {
		data, err := os.ReadFile(filepath.Join(f.artifacts, name))
		must(t, err)
		return protocol.Digest(data)
	}
	want := []protocol.EngineArtifact{
		{Name: "changes", Role: "evidence", Path: "changes", Hash: hash("changes/body.data")},
		{Name: "summary", Role: "evidence", Path: "summary", Hash: hash("summary/artifact.json")},
	}
	if d := cmp.Diff(want, receipt.Artifacts); d != "" {
		t.Error(d)
	}
	if info, err := os.Stat(filepath.Join(f.artifacts, "changes/body.data")); err != nil || info.Size() != 0 {
		t.Errorf("no change, but a patch: %v, %v", info, err)
	}
	if receipt.Metrics[0].Name != "files_changed" || receipt.Metrics[0].Value != "0" {
		t.Errorf("%+v", receipt.Metrics)
	}
	if code, _ := f.run(context.Background(), protocol.TakeOff, `{"run":["true"]}`); code != 0 {
		t.Errorf("take-off of nothing: exit %d, %s", code, f.stderr.String())
	}
}

func TestProgramSurroundings(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	f.write("sub/tool.sh", "#!/bin/sh\necho \"$1 in $(basename \"$PWD\")\" > made\ntest \"$CABINCREW_WORKSPACE\" != "+f.workspace+
		"\ntest -z \"$CABINCREW_OUTPUT_FILE$CABINCREW_ARTIFACTS_DIR\"\ncat > stdin\necho to the log; echo too >&2\n", 0o755)
	code, receipt := f.run(context.Background(), protocol.FlightPlan, `{"run":["sub/tool.sh","ran"],"dir":"sub"}`)
	if code != 0 {
		t.Fatalf("%+v\n%s", receipt, f.stderr.String())
	}
	if log := f.stderr.String(); !strings.Contains(log, "to the log\n") || !strings.Contains(log, "too\n") {
		t.Errorf("log: %q", log)
	}
	body, err := os.ReadFile(filepath.Join(f.artifacts, "changes/body.data"))
	must(t, err)
	if !strings.Contains(string(body), "+ran in sub\n") || !strings.Contains(string(body), "b/sub/stdin") {
		t.Errorf("%s", body)
	}
}

func TestPlanFailures(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		config string
		code   int
		want   string
	}{
		"exit code":         {shell("echo why >&2; exit 7"), 1, "exit code 7"},
		"sh -e":             {shell("false; true"), 1, "exit code 1"},
		"signal":            {shell("kill -KILL $$"), 1, "signal"},
		"fifo":              {shell("mkfifo pipe"), 2, "pipe: it is a named pipe"},
		"git directory":     {shell("mkdir .GIT; echo > .GIT/config"), 2, ".GIT/config"},
		"not UTF-8":         {shell(`f=$(printf 'a\377'); echo > "$f"`), 2, `\xff`},
		"program not there": {`{"run":["no-such-program-here"]}`, 2, "no-such-program-here"},
		"file not there":    {`{"run":["./none"]}`, 1, "none"},
		"no run":            {`{}`, 2, "config.run"},
		"empty run":         {`{"run":[]}`, 2, "config.run"},
		"run of numbers":    {`{"run":["a",1]}`, 2, "config.run[1]"},
		"run as text":       {`{"run":"make"}`, 2, "config.run"},
		"empty name":        {`{"run":[""]}`, 2, "config.run[0]"},
		"both":              {`{"run":["a"],"shell":"b"}`, 2, "config.shell"},
		"shell empty":       {`{"shell":""}`, 2, "config.shell"},
		"unknown":           {`{"run":["true"],"rum":1}`, 2, "config.rum"},
		"dir outside":       {`{"run":["true"],"dir":"../x"}`, 2, "config.dir"},
		"dir not there":     {`{"run":["true"],"dir":"x"}`, 2, "config.dir"},
		"message lines":     {`{"run":["true"],"message":"a\nb"}`, 2, "config.message"},
		"message number":    {`{"run":["true"],"message":1}`, 2, "config.message"},
		"nul":               {`{"run":["a\u0000b"]}`, 2, "config.run[0]"},
		"unknown in config": {`{"run":["true"]},"extra":1`, 2, "extra"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFlight(t)
			f.write("a", "a\n", 0o644)
			before := f.list()
			code, receipt := f.run(context.Background(), protocol.FlightPlan, tc.config)
			if code != tc.code || receipt.Status != protocol.StatusFailure || !strings.Contains(receipt.Error, tc.want) {
				t.Errorf("exit %d, %+v, want %d and %q", code, receipt, tc.code, tc.want)
			}
			if d := cmp.Diff(before, f.list()); d != "" {
				t.Error("the workspace changed:", d)
			}
		})
	}
}

func TestStopped(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	code, receipt := f.run(ctx, protocol.FlightPlan, shell("sleep 60 & sleep 60"))
	if code != 1 || receipt.Status != protocol.StatusFailure || time.Since(start) > 30*time.Second {
		t.Errorf("exit %d after %v: %+v", code, time.Since(start), receipt)
	}
}

func TestTakeOffFailures(t *testing.T) {
	t.Parallel()
	edit := func(name, old, replacement string) func(f *flight) {
		return func(f *flight) {
			p := filepath.Join(f.artifacts, name)
			data, err := os.ReadFile(p)
			must(f.t, err)
			if !bytes.Contains(data, []byte(old)) {
				f.t.Fatalf("no %q in %s", old, data)
			}
			must(f.t, os.WriteFile(p, bytes.Replace(data, []byte(old), []byte(replacement), 1), 0o600))
		}
	}
	tests := map[string]struct {
		change func(f *flight)
		code   int
		want   string
	}{
		"workspace changed": {func(f *flight) { f.write("a", "other\n", 0o644) }, 1, "planned"},
		"no artifact":       {func(f *flight) { must(f.t, os.RemoveAll(filepath.Join(f.artifacts, "changes"))) }, 2, "artifact"},
		"no body":           {func(f *flight) { must(f.t, os.Remove(filepath.Join(f.artifacts, "changes/body.data"))) }, 2, "body.data"},
		"patch changed":     {edit("changes/body.data", "+b", "+c"), 2, "patch"},
		"patch malformed":   {edit("changes/body.data", "@@", "@"), 2, "patch line"},
		"metadata changed":  {edit("changes/artifact.json", `"added":1`, `"added":2`), 2, "metadata"},
		"other body":        {edit("changes/artifact.json", "body.data", "../x"), 2, "body file"},
		"other type":        {edit("changes/artifact.json", `"patch"`, `"notes"`), 2, "patch"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFlight(t)
			f.write("a", "a\n", 0o644)
			config := shell("echo b > a; echo n > n")
			if code, _ := f.run(context.Background(), protocol.FlightPlan, config); code != 0 {
				t.Fatal(f.stderr.String())
			}
			tc.change(f)
			before := f.list()
			code, receipt := f.run(context.Background(), protocol.TakeOff, config)
			if code != tc.code || receipt.Status != protocol.StatusFailure || !strings.Contains(receipt.Error, tc.want) {
				t.Errorf("exit %d, %+v, want %d and %q", code, receipt, tc.code, tc.want)
			}
			if d := cmp.Diff(before, f.list()); d != "" {
				t.Error("the workspace changed:", d)
			}
		})
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"--mode"}, {"--mode", "landing"}, {"--mode", "take-off", "x"}, {"flight-plan", "x"}} {
		var out, log bytes.Buffer
		if code := Run(context.Background(), args, strings.NewReader(""), &out, &log, nil); code != 2 || !strings.Contains(log.String(), "usage") || out.Len() != 0 {
			t.Errorf("%q: exit %d, %s%s", args, code, out.String(), log.String())
		}
	}
	// Without the files of the contract the receipt still comes, on stdout.
	var out, log bytes.Buffer
	if code := Run(context.Background(), []string{"--mode=take-off"}, strings.NewReader("{}"), &out, &log, nil); code != 2 ||
		!strings.Contains(out.String(), "CABINCREW_WORKSPACE is not set") {
		t.Errorf("exit %d, %s", code, out.String())
	}
}

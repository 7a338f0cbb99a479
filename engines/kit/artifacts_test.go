package kit

import (
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

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

func TestArtifacts(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	note := protocol.Artifact{ArtifactType: "note", Action: "inform", Mime: "text/plain", Body: "short"}
	long := protocol.Artifact{ArtifactType: "note", Action: "inform", Mime: "text/plain", Metadata: map[string]any{"n": 1}}
	code := Main(context.Background(), engine(func(_ context.Context, r *Run) (*protocol.EngineOutput, error) {
		inline, err := r.Artifact("inline", protocol.RoleEvidence, note, nil)
		must(t, err)
		file, err := r.Artifact("file", protocol.RoleState, long, text("body"))
		must(t, err)
		empty, err := r.Artifact("empty", protocol.RoleLog, long, text(""))
		must(t, err)
		if file != protocol.Digest([]byte("body")) || empty != protocol.Digest(nil) || inline == "" {
			t.Errorf("%s, %s, %s", inline, file, empty)
		}
		return nil, nil
	}), []string{"--mode=flight-plan"}, strings.NewReader(input(protocol.FlightPlan)), &d.stdout, &d.stderr, d.env)
	if code != 0 {
		t.Fatal(d.stderr.String())
	}
	want := map[string]string{
		"inline/artifact.json": `{"action":"inform","artifact_type":"note","body":"short","mime":"text/plain"}`,
		"file/artifact.json":   `{"action":"inform","artifact_type":"note","body_file":"body.data","metadata":{"n":1},"mime":"text/plain"}`,
		"file/body.data":       "body",
		"empty/body.data":      "",
	}
	for name, content := range want {
		if got, err := os.ReadFile(filepath.Join(d.artifacts, name)); err != nil || string(got) != content {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	declared := []protocol.EngineArtifact{
		{Name: "inline", Role: "evidence", Path: "inline", Hash: protocol.Digest([]byte(want["inline/artifact.json"]))},
		{Name: "file", Role: "state", Path: "file", Hash: protocol.Digest([]byte("body"))},
		{Name: "empty", Role: "log", Path: "empty", Hash: protocol.Digest(nil)},
	}
	if diff := cmp.Diff(declared, d.receipt(t).Artifacts); diff != "" {
		t.Error(diff)
	}
	// What was written is what take-off reads.
	r := &Run{Artifacts: d.artifacts}
	a, body, err := r.Planned("file", 4)
	must(t, err)
	long.BodyFile, long.Metadata = "body.data", map[string]any{"n": protocol.Number("1")}
	if diff := cmp.Diff(long, a); diff != "" || string(body) != "body" {
		t.Errorf("%s, %q", diff, body)
	}
	if a, body, err = r.Planned("inline", 0); err != nil || a.Body != "short" || body != nil {
		t.Errorf("%+v, %q, %v", a, body, err)
	}
	if a, body, err = r.Planned("empty", 0); err != nil || a.BodyFile == "" || len(body) != 0 {
		t.Errorf("%+v, %q, %v", a, body, err)
	}
}

func TestArtifactsThatAreNotWritten(t *testing.T) {
	t.Parallel()
	note := protocol.Artifact{ArtifactType: "note", Action: "inform", Mime: "text/plain"}
	large := note
	large.Body = strings.Repeat("x", limits.ArtifactJSON)
	fraction := note
	fraction.Metadata = map[string]any{"n": 0.5}
	tests := map[string]struct {
		name string
		d    protocol.Artifact
		body func(io.Writer) error
		want error
		text string
	}{
		"too large":   {"new", large, nil, protocol.Code("artifact_too_large"), "the limit is 8388608"},
		"a fraction":  {"new", fraction, text("x"), nil, "artifact new"},
		"twice":       {"there", note, nil, os.ErrExist, "artifact there"},
		"parent":      {"../x", note, nil, nil, "artifact ../x"},
		"absolute":    {"/x", note, nil, nil, "artifact /x"},
		"in another":  {"no/ne", note, nil, os.ErrNotExist, "artifact no/ne"},
		"empty name":  {"", note, nil, nil, "artifact"},
		"body breaks": {"new", note, func(io.Writer) error { return errTest }, errTest, "artifact new"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &Run{ID: "probe", Artifacts: t.TempDir()}
			_, err := r.Artifact("there", protocol.RoleEvidence, note, nil)
			must(t, err)
			_, err = r.Artifact(tc.name, protocol.RoleEvidence, tc.d, tc.body)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%v, want %v and %q", err, tc.want, tc.text)
			}
			if len(r.declared) != 1 {
				t.Errorf("declared: %v", r.declared)
			}
		})
	}
	if _, err := (&Run{Artifacts: filepath.Join(t.TempDir(), "none")}).Artifact("a", protocol.RoleEvidence, note, nil); err == nil {
		t.Error("an artifact without a directory")
	}
}

var errTest = errors.New("of the test")

func TestPlannedRefuses(t *testing.T) {
	t.Parallel()
	const good = `{"action":"a","artifact_type":"t","body_file":"body.data","mime":"m"}`
	put := func(name, content string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			must(t, os.RemoveAll(filepath.Join(dir, name)))
			must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
		}
	}
	link := func(name, target string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			must(t, os.RemoveAll(filepath.Join(dir, name)))
			must(t, os.Symlink(target, filepath.Join(dir, name)))
		}
	}
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.WriteFile(outside, []byte(good), 0o600))
	tests := map[string]struct {
		change func(t *testing.T, dir string)
		want   string
	}{
		"no artifact":  {func(t *testing.T, dir string) { t.Helper(); must(t, os.RemoveAll(filepath.Join(dir, "x"))) }, "no artifact x"},
		"no directory": {put("x", "file"), "no artifact x"},
		"no body":      {func(t *testing.T, dir string) { t.Helper(); must(t, os.Remove(filepath.Join(dir, "x/body.data"))) }, "no file x/body.data"},
		"body a directory": {func(t *testing.T, dir string) {
			t.Helper()
			must(t, os.Remove(filepath.Join(dir, "x/body.data")))
			must(t, os.Mkdir(filepath.Join(dir, "x/body.data"), 0o700))
		}, "no file x/body.data"},
		"body too large":      {put("x/body.data", "12345"), "larger than 4 bytes"},
		"body a link":         {link("x/body.data", "artifact.json"), "no file x/body.data"},
		"body a link outside": {link("x/body.data", outside), "no file x/body.data"},
		"description a link":  {link("x/artifact.json", "body.data"), "no file x/artifact.json"},
		"description outside": {link("x/artifact.json", outside), "no file x/artifact.json"},
		"directory outside":   {link("x", filepath.Dir(outside)), "no artifact x"},
		"directory a link": {func(t *testing.T, dir string) {
			t.Helper()
			must(t, os.Rename(filepath.Join(dir, "x"), filepath.Join(dir, "y")))
			must(t, os.Symlink("y", filepath.Join(dir, "x")))
		}, "no artifact x"},
		"body twice":            {put("x/artifact.json", strings.Replace(good, `"body_file"`, `"body":1,"body_file"`, 1)), "beside its body file"},
		"description too large": {put("x/artifact.json", good+strings.Repeat(" ", limits.ArtifactJSON)), "larger than 8388608 bytes"},
		"not JSON":              {put("x/artifact.json", "{"), "artifact x cannot be read"},
		"unknown member":        {put("x/artifact.json", `{"action":"a","artifact_type":"t","mime":"m","x":1}`), "artifact x cannot be read"},
		"duplicate member":      {put("x/artifact.json", `{"action":"a","action":"b","artifact_type":"t","mime":"m"}`), "artifact x cannot be read"},
		"another body file":     {put("x/artifact.json", strings.Replace(good, "body.data", "other", 1)), "is not body.data"},
		"body file outside":     {put("x/artifact.json", strings.Replace(good, "body.data", "../../x", 1)), "is not body.data"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			must(t, os.Mkdir(filepath.Join(dir, "x"), 0o700))
			put("x/artifact.json", good)(t, dir)
			put("x/body.data", "1234")(t, dir)
			r := &Run{Artifacts: dir}
			if _, _, err := r.Planned("x", 4); err != nil {
				t.Fatal(err)
			}
			tc.change(t, dir)
			_, body, err := r.Planned("x", 4)
			if !errors.Is(err, protocol.Code("engine_plan_invalid")) || protocol.ExitCode(err) != protocol.ExitIntegrity || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			if body != nil {
				t.Errorf("a body of %d bytes", len(body))
			}
		})
	}
	for _, name := range []string{"../x", "/x", "", "."} {
		if _, _, err := (&Run{Artifacts: t.TempDir()}).Planned(name, 4); !errors.Is(err, protocol.Code("engine_plan_invalid")) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, _, err := (&Run{Artifacts: filepath.Join(t.TempDir(), "none")}).Planned("x", 4); !errors.Is(err, protocol.Code("engine_plan_invalid")) {
		t.Errorf("%v", err)
	}
}

func TestReceiptID(t *testing.T) {
	t.Parallel()
	if got := ReceiptID("probe", protocol.Digest([]byte("x"))); got != "probe-2d711642b726b044" {
		t.Error(got)
	}
}

func FuzzReadArtifact(f *testing.F) {
	f.Add([]byte(`{"action":"a","artifact_type":"t","body_file":"body.data","mime":"m"}`))
	f.Add([]byte(`{"action":"a","artifact_type":"t","body":{"a":[1]},"mime":"m"}`))
	f.Add([]byte(`{"action":"a","artifact_type":"t","body_file":"../x","mime":"m"}`))
	f.Add([]byte(`{`))
	dir := f.TempDir()
	must(f, os.Mkdir(filepath.Join(dir, "x"), 0o700))
	must(f, os.WriteFile(filepath.Join(dir, "x/body.data"), []byte("body"), 0o600))
	f.Fuzz(func(t *testing.T, data []byte) {
		must(t, os.WriteFile(filepath.Join(dir, "x/artifact.json"), data, 0o600))
		a, body, err := (&Run{Artifacts: dir}).Planned("x", 100)
		switch {
		case err != nil && !errors.Is(err, protocol.Code("engine_plan_invalid")):
			t.Error(err)
		case err == nil && (a.BodyFile != "") != (string(body) == "body"):
			t.Errorf("%+v, %q", a, body)
		}
	})
}

package files

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cabincrew/action/internal/limits"
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
	return &flight{t: t, workspace: t.TempDir(), artifacts: t.TempDir()}
}

func (f *flight) write(name, content string, mode fs.FileMode) {
	f.t.Helper()
	p := filepath.Join(f.workspace, name)
	must(f.t, os.MkdirAll(filepath.Dir(p), 0o755))
	must(f.t, os.WriteFile(p, []byte(content), mode))
	must(f.t, os.Chmod(p, mode))
}

func (f *flight) link(target, name string) {
	f.t.Helper()
	must(f.t, os.Symlink(target, filepath.Join(f.workspace, name)))
}

func (f *flight) run(mode protocol.Mode, config string) (int, protocol.EngineOutput) {
	f.t.Helper()
	return f.runIn(context.Background(), mode, config)
}

func (f *flight) runIn(ctx context.Context, mode protocol.Mode, config string) (int, protocol.EngineOutput) {
	f.t.Helper()
	temp := f.t.TempDir()
	input := `{"protocol_version":"draft","mode":"` + string(mode) + `","meta":{"workflow_id":"w","step_id":"s"},"config":` + config + `}`
	env := []string{"CABINCREW_WORKSPACE=" + f.workspace, "CABINCREW_ARTIFACTS_DIR=" + f.artifacts, "CABINCREW_TEMP_DIR=" + temp}
	f.stderr.Reset()
	var stdout bytes.Buffer
	code := Run(ctx, []string{"--mode", string(mode)}, strings.NewReader(input), &stdout, &f.stderr, env)
	var receipt protocol.EngineOutput
	must(f.t, protocol.Decode(stdout.Bytes(), &receipt))
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		f.t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
	return code, receipt
}

// list gives the tree as letters, paths and contents.
func (f *flight) list() map[string]string {
	f.t.Helper()
	files, err := workspace.Scan(context.Background(), f.workspace, workspace.Options{NoIgnore: true, Tracked: []string{}})
	must(f.t, err)
	out := map[string]string{}
	for _, file := range files {
		p := filepath.Join(f.workspace, file.Path)
		if file.Letter == workspace.Link {
			target, err := os.Readlink(p)
			must(f.t, err)
			out[file.Path] = "l " + target
			continue
		}
		body, err := os.ReadFile(p)
		must(f.t, err)
		out[file.Path] = string(file.Letter) + " " + string(body)
	}
	return out
}

func (f *flight) artifact(name string) protocol.Artifact {
	f.t.Helper()
	data, err := os.ReadFile(filepath.Join(f.artifacts, name, "artifact.json"))
	must(f.t, err)
	var a protocol.Artifact
	must(f.t, protocol.Decode(data, &a))
	return a
}

const all = `{"message":"Everything","values":{"name":"box","ports":[80,443],"deep":{"a-b":true}},"files":[
	{"path":"plain","content":"text {{.name}}\n"},
	{"path":"deep/er/new.sh","template":"#!/bin/sh\necho {{.name}}\n","mode":"0755"},
	{"path":"conf.json","from":"templates/conf.tmpl"},
	{"path":"empty","content":""},
	{"path":"tool","content":"changed, still executable\n"},
	{"path":"gone","delete":true},
	{"path":"link","delete":true},
	{"path":"never/there","delete":true,"missing":"ok"},
	{"path":"script","mode":"0755"},
	{"path":"same","content":"same\n"},
	{"path":"same.sh","mode":"0755"},
	{"path":"old name","delete":true},
	{"path":"new name","content":"it moves\n"}
]}`

func (f *flight) fill() {
	f.write("plain", "before\n", 0o644)
	f.write("templates/conf.tmpl", `{"name":{{json .name}},"ports":{{json .ports}}{{if index .deep "a-b"}},"on":true{{end}}}`+"\n", 0o644)
	f.write("tool", "x\n", 0o755)
	f.write("gone", "gone\n", 0o644)
	f.link("/etc/passwd", "link")
	f.write("script", "s\n", 0o644)
	f.write("same", "same\n", 0o644)
	f.write("same.sh", "same\n", 0o755)
	f.write("old name", "it moves\n", 0o644)
	f.write("untouched", "u\n", 0o644)
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	f.fill()
	before := f.list()
	code, receipt := f.run(protocol.FlightPlan, all)
	if code != 0 || receipt.Status != protocol.StatusSuccess || receipt.EngineID != ID || len(receipt.Artifacts) != 2 {
		t.Fatalf("exit %d, %+v\n%s", code, receipt, f.stderr.String())
	}
	if d := cmp.Diff(before, f.list()); d != "" {
		t.Fatal("flight-plan changed the workspace:", d)
	}
	want := map[string]string{
		"plain": "f text {{.name}}\n", "deep/er/new.sh": "x #!/bin/sh\necho box\n", "conf.json": "f {\"name\":\"box\",\"ports\":[80,443],\"on\":true}\n",
		"empty": "f ", "tool": "x changed, still executable\n", "script": "x s\n", "same": "f same\n", "same.sh": "x same\n",
		"new name": "f it moves\n", "untouched": "f u\n", "templates/conf.tmpl": before["templates/conf.tmpl"],
	}
	for range 2 { // twice: a take-off that was killed is completed so
		code, receipt = f.run(protocol.TakeOff, all)
		if code != 0 || receipt.Mode != protocol.TakeOff || len(receipt.Artifacts) != 0 {
			t.Fatalf("exit %d, %+v\n%s", code, receipt, f.stderr.String())
		}
		if d := cmp.Diff(want, f.list()); d != "" {
			t.Fatal(d)
		}
	}
	summary, err := protocol.Canonical(f.artifact("summary").Body)
	must(t, err)
	if got := string(summary); got != `{"added":5,"deleted":4,"files":[{"added":1,"deleted":0,"mode":"100644","op":"add","path":"conf.json"},`+
		`{"added":2,"deleted":0,"mode":"100755","op":"add","path":"deep/er/new.sh"},{"added":0,"deleted":0,"mode":"100644","op":"add","path":"empty"},`+
		`{"added":0,"deleted":1,"op":"delete","path":"gone"},{"added":0,"deleted":1,"op":"delete","path":"link"},`+
		`{"added":0,"deleted":0,"old_path":"old name","op":"rename","path":"new name"},{"added":1,"deleted":1,"op":"modify","path":"plain"},`+
		`{"added":0,"deleted":0,"mode":"100755","op":"modify","path":"script"},{"added":1,"deleted":1,"op":"modify","path":"tool"}],`+
		`"files_changed":9,"title":"Everything","unchanged":["never/there","same","same.sh"]}` {
		t.Error(got)
	}
}

func TestEvidenceIsTheSameTwice(t *testing.T) {
	t.Parallel()
	f, g := newFlight(t), newFlight(t)
	for _, x := range []*flight{f, g} {
		x.fill()
		if code, receipt := x.run(protocol.FlightPlan, all); code != 0 {
			t.Fatal(receipt.Error)
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
	a := f.artifact("changes")
	if a.ArtifactType != "patch" || a.Action != "apply" || a.Mime != "text/x-diff" || a.BodyFile != "body.data" {
		t.Errorf("%+v", a)
	}
	if _, err := patch.Files(a.Metadata); err != nil {
		t.Error(err)
	}
}

func TestNothingToDo(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	f.write("a", "a\n", 0o644)
	code, receipt := f.run(protocol.FlightPlan, `{"files":[{"path":"a","content":"a\n"}]}`)
	if code != 0 || receipt.ReceiptID != "files-e3b0c44298fc1c14" || receipt.Metrics[0].Value != "0" {
		t.Fatalf("exit %d, %+v", code, receipt)
	}
	if info, err := os.Stat(filepath.Join(f.artifacts, "changes/body.data")); err != nil || info.Size() != 0 {
		t.Errorf("no change, but a patch: %v, %v", info, err)
	}
	if code, receipt := f.run(protocol.TakeOff, `{"files":[{"path":"a","content":"a\n"}]}`); code != 0 {
		t.Errorf("take-off of nothing: exit %d, %s", code, receipt.Error)
	}
}

func one(entry string) string { return `{"values":{"a":"A"},"files":[` + entry + `]}` }

func TestPlanRefusals(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ config, want string }{
		"below a link":              {one(`{"path":"dirlink/x","content":""}`), `config.files[0].path: "dirlink/x" lies below "dirlink", which is a symbolic link`},
		"delete below a link":       {one(`{"path":"dirlink/inside","delete":true}`), "symbolic link"},
		"link out of the workspace": {one(`{"path":"out/x","content":""}`), "symbolic link"},
		"a link itself":             {one(`{"path":"link","content":""}`), `"link" is a symbolic link`},
		"chmod of a link":           {one(`{"path":"link","mode":"0755"}`), `"link" is a symbolic link`},
		"below a file":              {one(`{"path":"file/x","content":""}`), `"file", which is no directory`},
		"directory in the way":      {one(`{"path":"dir","content":""}`), `"dir" is a directory`},
		"delete a directory":        {one(`{"path":"dir","delete":true}`), `"dir" is a directory`},
		"delete nothing":            {one(`{"path":"none","delete":true}`), `"none" is not there`},
		"delete below nothing":      {one(`{"path":"no/ne","delete":true}`), `"no/ne" is not there`},
		"chmod nothing":             {one(`{"path":"none","mode":"0755"}`), `"none" is not there`},
		"from nothing":              {one(`{"path":"new","from":"none"}`), `config.files[0].from: the template "none" is not there`},
		"from a directory":          {one(`{"path":"new","from":"dir"}`), `the template "dir" is not there, or no regular file`},
		"from a link":               {one(`{"path":"new","from":"link"}`), `the template "link" is not there, or no regular file`},
		"from below a link":         {one(`{"path":"new","from":"dirlink/inside"}`), "symbolic link"},
		"from too large":            {one(`{"path":"new","from":"large"}`), "larger than 262144 bytes"},
		"from not UTF-8":            {one(`{"path":"new","from":"latin"}`), "not UTF-8"},
		"error in a file":           {one(`{"path":"new","from":"bad"}`), "bad:3:3: the template is refused: "},
		"key that is not there":     {one(`{"path":"new","template":"one\n{{.b}}"}`), `config.files[0].template:2:2: the template is refused: <.b>: map has no entry for key "b"`},
		"output":                    {one(`{"path":"new","template":"{{range 100000}}` + strings.Repeat("x", 400) + `{{end}}"}`), "what it makes is too large"},
		"work":                      {one(`{"path":"new","template":"{{range 100000}}{{range 100000}}{{end}}{{end}}"}`), "more than a template may do"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFlight(t)
			outside := t.TempDir()
			f.write("dir/inside", "i\n", 0o644)
			f.write("file", "f\n", 0o644)
			f.write("large", strings.Repeat("x", limits.TemplateBytes+1), 0o644)
			f.write("latin", "\xe9", 0o644)
			f.write("bad", "a\nb\n{{ .nope }}\n", 0o644)
			f.link("dir", "dirlink")
			f.link("file", "link")
			f.link(outside, "out")
			before := f.list()
			code, receipt := f.run(protocol.FlightPlan, tc.config)
			if code != 2 || receipt.Status != protocol.StatusFailure || !strings.Contains(receipt.Error, tc.want) {
				t.Errorf("exit %d, %+v, want %q", code, receipt, tc.want)
			}
			if d := cmp.Diff(before, f.list()); d != "" {
				t.Error("the workspace changed:", d)
			}
		})
	}
}

func TestTakeOffRefusals(t *testing.T) {
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
	config := `{"files":[{"path":"a","content":"b\n"},{"path":"n/n","content":"n\n"}]}`
	tests := map[string]struct {
		change func(f *flight)
		config string
		code   int
		want   string
	}{
		"workspace changed":      {func(f *flight) { f.write("a", "other\n", 0o644) }, config, 1, "planned"},
		"a parent became a link": {func(f *flight) { f.link(f.t.TempDir(), "n") }, config, 2, "symbolic link"},
		"no artifact":            {func(f *flight) { must(f.t, os.RemoveAll(filepath.Join(f.artifacts, "changes"))) }, config, 2, "artifact"},
		"no body":                {func(f *flight) { must(f.t, os.Remove(filepath.Join(f.artifacts, "changes/body.data"))) }, config, 2, "body.data"},
		"patch changed":          {edit("changes/body.data", "+b", "+c"), config, 2, "patch"},
		"metadata changed":       {edit("changes/artifact.json", `"op":"modify"`, `"op":"delete"`), config, 2, "metadata"},
		"other type":             {edit("changes/artifact.json", `"patch"`, `"notes"`), config, 2, "patch"},
		"other configuration":    {func(*flight) {}, `{"files":[{"path":"a","content":"b\n"}]}`, 2, `"n/n", which the configuration does not declare`},
		"no configuration":       {func(*flight) {}, `{}`, 2, "config.files"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFlight(t)
			f.write("a", "a\n", 0o644)
			if code, receipt := f.run(protocol.FlightPlan, config); code != 0 {
				t.Fatal(receipt.Error)
			}
			tc.change(f)
			before := f.list()
			code, receipt := f.run(protocol.TakeOff, tc.config)
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
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if code, receipt := f.runIn(ctx, protocol.FlightPlan, one(`{"path":"a","content":""}`)); code != 1 || receipt.Status != protocol.StatusFailure {
		t.Errorf("exit %d, %+v", code, receipt)
	}
}

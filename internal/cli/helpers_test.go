package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/harmless"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/signing"
)

// deskConfig changes two files; one has a name and a content that would play
// tricks on a terminal.
const deskConfig = `version: 1
workflow: desk
steps:
  - id: edit
    engine: {use: command, with: {run: [sh, edit.sh]}}
policies: {rego: [policies/]}
retention: {days: 30, flights: 5}
approvals:
  self_approval: true
  approvers: [{name: boss, roles: [maintainer], key: boss.pub}]
`

const deskScript = `printf 'new\nline \033[31mred\342\200\256\n<script>alert(1)</script>\n' > notes.txt
printf 'x\n' > "$(printf 'evil\033[2J\nname')"
`

const deskPolicy = `package cabincrew.desk

require_approval contains {"msg": "a person must\nlook", "role": "maintainer"} if count(input.artifacts) > 0
`

// desk is a workspace in which a test runs commands in this process.
type desk struct {
	t   *testing.T
	dir string // the workspace
	env []string
}

func newDesk(t *testing.T, files map[string]string) *desk {
	t.Helper()
	private, public, err := signing.Generate(signing.Ed25519, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, dir: filepath.Join(t.TempDir(), "ws")}
	all := map[string]string{
		".cabincrew.yaml": deskConfig, "policies/desk.rego": deskPolicy, "edit.sh": deskScript,
		"notes.txt": "old\nline\n", "boss.pub": string(public), "../boss": string(private),
	}
	maps.Copy(all, files)
	for name, text := range all {
		d.write(name, text)
	}
	d.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	return d
}

func (d *desk) path(name string) string { return filepath.Join(d.dir, filepath.FromSlash(name)) }

func (d *desk) write(name, text string) {
	d.t.Helper()
	if err := os.MkdirAll(filepath.Dir(d.path(name)), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(d.path(name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// run runs one command on the workspace.
func (d *desk) run(args ...string) (code int, stdout, stderr string) {
	d.t.Helper()
	return d.runIn("", args...)
}

func (d *desk) runIn(stdin string, args ...string) (code int, stdout, stderr string) {
	d.t.Helper()
	var out, errs bytes.Buffer
	args = append(args, "--config", d.path(".cabincrew.yaml"))
	code = Main(context.Background(), args, strings.NewReader(stdin), &out, &errs, d.env)
	return code, out.String(), errs.String()
}

// must runs a command that is expected to end with a code and to say some words,
// on whichever stream.
func (d *desk) must(want int, words []string, args ...string) string {
	d.t.Helper()
	code, out, errs := d.run(args...)
	if code != want {
		d.t.Fatalf("%q: exit %d, want %d\n%s%s", args, code, want, out, errs)
	}
	for _, w := range words {
		if !strings.Contains(out+errs, w) {
			d.t.Errorf("%q: %q is missing in\n%s%s", args, w, out, errs)
		}
	}
	return out
}

// json runs a command with JSON output into v.
func (d *desk) json(want int, v any, args ...string) {
	d.t.Helper()
	code, out, errs := d.run(append(args, "--output", "json")...)
	if code != want {
		d.t.Fatalf("%q: exit %d, want %d\n%s%s", args, code, want, out, errs)
	}
	dec := json.NewDecoder(strings.NewReader(out))
	if err := dec.Decode(v); err != nil {
		d.t.Fatalf("%q: %v in\n%s", args, err, out)
	}
	if dec.More() {
		d.t.Errorf("%q: more than one document on stdout:\n%s", args, out)
	}
}

// plan plans a flight and gives its id.
func (d *desk) plan(want int) string {
	d.t.Helper()
	var s orchestrator.Summary
	d.json(want, &s, "flight-plan")
	return s.WorkflowID
}

// fly plans, approves and takes off.
func (d *desk) fly() string {
	d.t.Helper()
	id := d.plan(4)
	d.must(0, nil, "approve", id, "--as", "boss", "--key", d.path("../boss"), "--reason", "looks good")
	d.must(0, nil, "take-off", id)
	return id
}

func (d *desk) flightFile(id, name string) string {
	return d.path(".cabincrew/flights/" + id + "/" + name)
}

// change replaces text in a file.
func (d *desk) change(path, old, replacement string) {
	d.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		d.t.Fatal(err)
	}
	if !bytes.Contains(data, []byte(old)) {
		d.t.Fatalf("%s does not hold %q", path, old)
	}
	if err := os.WriteFile(path, bytes.Replace(data, []byte(old), []byte(replacement), 1), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// clean fails where output could move a terminal.
func clean(t *testing.T, text string) {
	t.Helper()
	for i, r := range text {
		if r != '\n' && harmless.Hidden(r) {
			t.Fatalf("%U at %d would reach a terminal: %q", r, i, text[max(0, i-30):min(len(text), i+30)])
		}
	}
}

//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// result is what one run of a program gave.
type result struct {
	code           int
	stdout, stderr string
}

// command runs a program and gives what it said and how it ended.
func command(t *testing.T, dir string, env []string, name string, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, env
	r, err := ran(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ran runs a process; the error says that it did not run at all.
func ran(cmd *exec.Cmd) (result, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return result{}, err
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}, nil
}

// summary is what the program says of a flight with --output json.
type summary struct {
	WorkflowID string `json:"workflow_id"`
	State      string
	FlightDir  string `json:"flight_dir"`
	Error      *struct{ Code, Message, Hint string }
}

// ws is a git repository with a configuration.
type ws struct {
	t   *testing.T
	dir string
	env []string
}

// newWS makes a workspace whose one step changes a document and a workflow, which
// needs the approval of the role maintainer. signing is its signing section; the files
// are copied into it.
func newWS(t *testing.T, signing string, copied ...string) *ws {
	t.Helper()
	w := &ws{t: t, dir: t.TempDir()}
	w.env = bare(t.TempDir())
	w.write("hello.txt", "hello\n")
	w.write(".github/workflows/ci.yml", "on: push\n")
	w.write(".gitignore", "/keys/*\n!/keys/*.pub\n")
	for _, name := range copied {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		w.write(filepath.Base(name), string(data))
	}
	for _, name := range []string{"plan", "boss"} {
		if err := os.MkdirAll(filepath.Join(w.dir, "keys"), 0o755); err != nil {
			t.Fatal(err)
		}
		w.want(0, "keys", "generate", "--no-passphrase", "--out", "keys/"+name)
	}
	w.write(".cabincrew.yaml", `version: 1
workflow: housekeeping
steps:
  - id: edit
    engine:
      use: command
      with: {shell: "echo more >> hello.txt; echo 'on: pull_request' > .github/workflows/ci.yml"}
    inputs: [hello.txt, .github/workflows/ci.yml]
policies:
  bundled: [baseline]
approvals:
  approvers:
    - {name: boss, email: boss@example.com, roles: [maintainer], key: keys/boss.pub}
`+signing)
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"}, {"config", "user.name", "Author"}, {"config", "user.email", "author@example.com"},
		{"add", "."}, {"commit", "--quiet", "--no-gpg-sign", "--message", "Begin"},
	} {
		if r := command(t, w.dir, w.env, "git", args...); r.code != 0 {
			t.Fatalf("git %v: %s", args, r.stderr)
		}
	}
	return w
}

func (w *ws) write(name, content string) {
	w.t.Helper()
	at := filepath.Join(w.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(content), 0o600)); err != nil {
		w.t.Fatal(err)
	}
}

// want runs the program in the workspace and demands an exit code.
func (w *ws) want(code int, args ...string) result {
	w.t.Helper()
	r := command(w.t, w.dir, w.env, house.program, args...)
	if r.code != code {
		w.t.Fatalf("cabincrew %s: exit %d, not %d\n%s%s", strings.Join(args, " "), r.code, code, r.stdout, r.stderr)
	}
	return r
}

// json is want with a document as the answer.
func (w *ws) json(code int, args ...string) summary {
	w.t.Helper()
	r := w.want(code, append(args, "--output", "json")...)
	var s summary
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		w.t.Fatalf("cabincrew %s: %v\n%s%s", strings.Join(args, " "), err, r.stdout, r.stderr)
	}
	return s
}

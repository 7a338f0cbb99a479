// Package flight tests whole flights through the program's own Main, with real
// engines as child processes.
package flight

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/cli"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// TestMain lets the test binary be the program, so that built-in engines, which
// re-execute it, work in tests.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "engine" || os.Getenv("CABINCREW_TEST_MAIN") == "1") {
		os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
	}
	os.Exit(m.Run())
}

// result is what one run of the program gave.
type result struct {
	code   int
	stdout string
	stderr string
}

func (r result) summary(t *testing.T) orchestrator.Summary {
	t.Helper()
	var s orchestrator.Summary
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		t.Fatalf("stdout is no document: %v\n%s\n%s", err, r.stdout, r.stderr)
	}
	return s
}

// ws is a workspace of a test.
type ws struct {
	t   *testing.T
	dir string
	env []string
}

func newWS(t *testing.T, files map[string]string) *ws {
	t.Helper()
	w := &ws{t: t, dir: t.TempDir(), env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LANG=C.UTF-8", "GIT_CONFIG_NOSYSTEM=1",
	}}
	runnable(t, files[".cabincrew.yaml"])
	for name, content := range files {
		w.write(name, content)
	}
	return w
}

func (w *ws) write(name, content string) {
	w.t.Helper()
	at := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		w.t.Fatal(err)
	}
	mode := os.FileMode(0o644)
	if strings.HasPrefix(content, "#!") {
		mode = 0o755
	}
	if err := os.WriteFile(at, []byte(content), mode); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chmod(at, mode); err != nil {
		w.t.Fatal(err)
	}
}

func (w *ws) read(name string) string {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

func (w *ws) exists(name string) bool {
	_, err := os.Lstat(filepath.Join(w.dir, name))
	return err == nil
}

// run runs the program in this workspace.
func (w *ws) run(args ...string) result {
	w.t.Helper()
	args = append(args, "--config", filepath.Join(w.dir, ".cabincrew.yaml"))
	for try := 0; ; try++ {
		var out, errs bytes.Buffer
		code := cli.Main(w.t.Context(), args, strings.NewReader(""), &out, &errs, w.env)
		r := result{code, out.String(), errs.String()}
		if try == 100 || !r.heldByAFork() {
			return r
		}
		time.Sleep(10 * time.Millisecond) // until the other test's child has executed its program
	}
}

// heldByAFork says whether a lock that was given up is held still, by nobody: tests
// share a process, and a child that another test forks has all descriptors until it
// executes its program. Who really holds a lock has written its number there.
func (r result) heldByAFork() bool {
	return r.code == protocol.ExitUnreachable && (strings.Contains(r.stderr, "another process holds the lock") || strings.Contains(r.stderr, "another process writes to this flight"))
}

// want runs the program and demands an exit code.
func (w *ws) want(code int, args ...string) result {
	w.t.Helper()
	r := w.run(args...)
	if r.code != code {
		w.t.Fatalf("cabincrew %s: exit %d, want %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), r.code, code, r.stdout, r.stderr)
	}
	return r
}

// json runs the program with JSON output and demands an exit code.
func (w *ws) json(code int, args ...string) orchestrator.Summary {
	w.t.Helper()
	return w.want(code, append(args, "--output", "json")...).summary(w.t)
}

func (w *ws) git(args ...string) {
	w.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", w.dir, "-c", "user.email=author@example.com", "-c", "user.name=Author"}, args...)...)
	cmd.Env = w.env
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// keys makes a key pair in the workspace's keys directory.
func (w *ws) keys(name string) string {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Join(w.dir, "keys"), 0o755); err != nil {
		w.t.Fatal(err)
	}
	at := filepath.Join(w.dir, "keys", name)
	private, public, err := signing.Generate(signing.ECDSAP256, nil, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for name, data := range map[string][]byte{at: private, at + ".pub": public} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	return at
}

// flightDir gives a path in a flight's directory.
func flightDir(s orchestrator.Summary, parts ...string) string {
	return filepath.Join(append([]string{s.FlightDir}, parts...)...)
}

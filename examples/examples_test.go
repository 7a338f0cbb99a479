// Package examples holds configurations to begin with. Its tests fly each of them.
package examples

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/cli"
)

// TestMain lets the test binary be the program: the built-in engines re-execute it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "engine" {
		os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
	}
	os.Exit(m.Run())
}

// example is a private copy of one of the directories.
type example struct {
	t   *testing.T
	dir string
}

func open(t *testing.T, name string) example {
	t.Helper()
	e := example{t, filepath.Join(t.TempDir(), name)}
	if err := os.CopyFS(e.dir, os.DirFS(name)); err != nil {
		t.Fatal(err)
	}
	return e
}

// run runs the program in the example and demands an exit code.
func (e example) run(want int, args ...string) string {
	e.t.Helper()
	var out, errs bytes.Buffer
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + e.t.TempDir(), "GIT_CONFIG_NOSYSTEM=1"}
	args = append(args, "--config", filepath.Join(e.dir, ".cabincrew.yaml"))
	if got := cli.Main(e.t.Context(), args, strings.NewReader(""), &out, &errs, env); got != want {
		e.t.Fatalf("cabincrew %v: exit %d, want %d\n%s%s", args, got, want, &out, &errs)
	}
	return out.String()
}

// is demands the content of a file; "" demands that it is absent.
func (e example) is(name, want string) {
	e.t.Helper()
	got, err := os.ReadFile(filepath.Join(e.dir, name))
	if err != nil && (want != "" || !os.IsNotExist(err)) {
		e.t.Fatal(err)
	}
	if string(got) != want {
		e.t.Errorf("%s: %q, want %q", name, got, want)
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	e := open(t, "format")
	// The sample has another name in the repository, so that nobody formats it there.
	if err := os.Rename(filepath.Join(e.dir, "hello.go.txt"), filepath.Join(e.dir, "hello.go")); err != nil {
		t.Fatal(err)
	}
	e.run(0, "flight-plan")
	e.run(0, "take-off")
	e.is("hello.go", "package hello\n\n// Hello greets.\nfunc Hello() string {\n\treturn \"hello\"\n}\n")
}

func TestTwoSteps(t *testing.T) {
	t.Parallel()
	e := open(t, "two-steps")
	e.run(0, "flight-plan")
	e.is("VERSION", "1.4.2\n")
	e.is("RELEASE.md", "")
	if shown := e.run(0, "show"); !strings.Contains(shown, "Version 1.5.0") {
		t.Errorf("the second step did not see the first one's version:\n%s", shown)
	}
	e.run(0, "take-off")
	e.is("VERSION", "1.5.0\n")
	e.is("RELEASE.md", "Version 1.5.0\n")
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	e := open(t, "policy")
	key := filepath.Join(e.dir, "keys", "release-manager")
	if err := os.Mkdir(filepath.Dir(key), 0o700); err != nil {
		t.Fatal(err)
	}
	e.run(0, "keys", "generate", "--no-passphrase", "--out", key)
	if out := e.run(0, "policy", "test", filepath.Join(e.dir, "policies")); !strings.Contains(out, "2 passed, 0 failed") {
		t.Errorf("policy test: %s", out)
	}
	e.run(4, "flight-plan")
	e.run(4, "take-off")
	e.run(0, "approve", "--as", "release-manager", "--key", key)
	e.run(0, "take-off")
	e.is("VERSION", "2.0.0\n")
}

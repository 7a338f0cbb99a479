package sources

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

const policy = "package acme\n\ndeny contains \"no\" if input.mode == \"nonesuch\"\n"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, body := range files {
		at := filepath.Join(dir, filepath.FromSlash(name))
		must(t, os.MkdirAll(filepath.Dir(at), 0o755))
		must(t, os.WriteFile(at, []byte(body), 0o644))
	}
}

func gitEnv() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "LANG=C.UTF-8",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.com",
		"GIT_AUTHOR_DATE=2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE=2026-01-01T00:00:00Z",
	}
}

func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
	cmd.Env = gitEnv()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func needsGit(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("this test makes repositories with git, and here there is none:", err)
	}
}

// repository makes a repository with one commit.
func repository(t testing.TB, files map[string]string) (dir, commit string) {
	t.Helper()
	needsGit(t)
	dir = t.TempDir()
	git(t, dir, "init", "-q", "-b", "main")
	write(t, dir, files)
	return dir, commitAll(t, dir)
}

func commitAll(t testing.TB, dir string) string {
	t.Helper()
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "change")
	return git(t, dir, "rev-parse", "HEAD")
}

// fakeBundle stands for the reader of package rego: the bundle is lines of
// "path=content", and is signed if the key is its last line.
func fakeBundle(raw []byte, key *Key, where string) ([]policies.SetFile, error) {
	var files []policies.SetFile
	lines := strings.Split(string(raw), "\n")
	if key != nil {
		if lines[len(lines)-1] != string(key.PEM) {
			return nil, protocol.Errorf(protocol.ExitDenied, "policy_bundle_signature", "not signed").At(where).WithHint("sign it")
		}
		lines = lines[:len(lines)-1]
	}
	for _, line := range lines {
		name, body, _ := strings.Cut(line, "=")
		files = append(files, policies.SetFile{Path: name, Data: []byte(strings.ReplaceAll(body, "|", "\n"))})
	}
	return files, nil
}

func fakePolicy() string { return "p.rego=" + strings.ReplaceAll(policy, "\n", "|") }

type here struct {
	t   testing.TB
	o   Options
	log *bytes.Buffer
}

func newHere(t testing.TB, files map[string]string) *here {
	t.Helper()
	h := &here{t: t, log: &bytes.Buffer{}}
	dir := t.TempDir()
	write(t, dir, files)
	h.o = Options{
		Dir: dir, Workspace: t.TempDir(), Cache: filepath.Join(t.TempDir(), "cache"), Env: map[string]string{}, Bundle: fakeBundle,
		Log: slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	return h
}

func (h *here) load(s config.Source) (policies.Set, error) {
	h.t.Helper()
	if s.Git != "" && s.Dir == "" {
		s.Dir = "."
	}
	sets, err := Load(context.Background(), []config.Source{s}, h.o)
	if err != nil {
		return policies.Set{}, err
	}
	if len(sets) != 1 {
		h.t.Fatalf("%d sets", len(sets))
	}
	return sets[0], nil
}

// gives loads a source and demands its name and files.
func (h *here) gives(s config.Source, name string, files map[string]string) {
	h.t.Helper()
	set, err := h.load(s)
	must(h.t, err)
	got := map[string]string{}
	for _, f := range set.Files {
		got[f.Path] = string(f.Data)
	}
	if set.Name != name || !maps.Equal(got, files) {
		h.t.Errorf("%q: %v", set.Name, slices.Sorted(maps.Keys(got)))
	}
}

func (h *here) refuses(s config.Source, exit int, code, want string) {
	h.t.Helper()
	_, err := h.load(s)
	var e *protocol.Error
	if !errors.As(err, &e) || e.Code != code || e.ExitCode() != exit || !strings.Contains(e.Error(), want) {
		h.t.Fatalf("%v (%+v), want %s, exit %d, with %q", err, e, code, exit, want)
	}
	if e.Where == "" || e.Hint == "" {
		h.t.Errorf("where %q, hint %q: %v", e.Where, e.Hint, err)
	}
}

func hexOf(data string) string {
	sum := sha256.Sum256([]byte(data))
	return hex.EncodeToString(sum[:])
}

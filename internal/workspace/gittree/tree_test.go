package gittree_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/workspace/gittree"
	"github.com/cabincrew/action/protocol"
)

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.email=a@example.com", "-c", "user.name=A", "-c", "commit.gpgsign=false"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func write(t *testing.T, dir, name, content string, mode os.FileMode) {
	t.Helper()
	at := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// repository has two commits on main, a tag of the first, and a branch beside.
func repository(t *testing.T) (dir, first, second string) {
	t.Helper()
	dir = t.TempDir()
	git(t, dir, "init", "-q", "-b", "main")
	write(t, dir, "a.txt", "one\n", 0o644)
	write(t, dir, "p/x.rego", "package x\n", 0o644)
	write(t, dir, "p/sub/run.sh", "#!/bin/sh\n", 0o755)
	if err := os.Symlink("a.txt", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "first")
	git(t, dir, "tag", "-a", "v1", "-m", "v1")
	first = git(t, dir, "rev-parse", "HEAD")
	write(t, dir, "a.txt", "two\n", 0o644)
	git(t, dir, "commit", "-q", "-a", "-m", "second")
	second = git(t, dir, "rev-parse", "HEAD")
	git(t, dir, "checkout", "-q", "-b", "side", "v1")
	git(t, dir, "commit", "-q", "--allow-empty", "-m", "side")
	git(t, dir, "gc", "-q")
	git(t, dir, "update-ref", "refs/remotes/origin/far", second)
	return dir, first, second
}

func TestRefs(t *testing.T) {
	t.Parallel()
	dir, first, second := repository(t)
	work := filepath.Join(t.TempDir(), "w")
	git(t, dir, "worktree", "add", "-q", "--detach", work, first)
	for ref, want := range map[string]string{"main": second, "v1": first, "far": second, first: first, "refs/heads/main": second, "refs/tags/v1": first} {
		for _, at := range []string{dir, work} {
			tree, err := gittree.Open(at, ref)
			if err != nil {
				t.Errorf("%s: %v", ref, err)
				continue
			}
			f, err := tree.Read("a.txt", 100)
			if tree.Commit() != want || err != nil || (string(f.Data) == "two\n") != (want == second) {
				t.Errorf("%s is %s with %q, %v", ref, tree.Commit(), f.Data, err)
			}
		}
	}
	for ref, code := range map[string]string{
		"nonesuch": "git_ref_missing", "main~1": "git_ref", "-x": "git_ref", "a..b": "git_ref", "": "git_ref", "HEAD@{1}": "git_ref",
		strings.Repeat("0", 40): "git_object_missing", "refs/heads/nonesuch": "git_ref_missing",
	} {
		if _, err := gittree.Open(dir, ref); !errors.Is(err, protocol.Code(code)) {
			t.Errorf("%q: %v, want %s", ref, err, code)
		}
	}
	if _, err := gittree.Open(t.TempDir(), "main"); !errors.Is(err, protocol.Code("git_repository")) {
		t.Error(err)
	}
}

// TestAmbiguousRefs: of two refs that a name may mean and that differ, none is
// taken; those that name the same commit are one.
func TestAmbiguousRefs(t *testing.T) {
	t.Parallel()
	dir, first, second := repository(t)
	side := git(t, dir, "rev-parse", "side")
	git(t, dir, "update-ref", "refs/remotes/origin/main", first)
	git(t, dir, "update-ref", "refs/remotes/origin/side", side)
	git(t, dir, "tag", "-a", "side", "-m", "side", side)
	git(t, dir, "branch", "v1", second)
	git(t, dir, "tag", "far", first)
	git(t, dir, "update-ref", "refs/remotes/up/x", second)
	git(t, dir, "update-ref", "refs/heads/up/x", first)
	for ref, want := range map[string][]string{
		"main": {"refs/heads/main", "refs/remotes/origin/main", first, second, "git_ref_ambiguous"},
		"v1":   {"refs/heads/v1", "refs/tags/v1", first, second, "git_ref_ambiguous"},
		"far":  {"refs/remotes/origin/far", "refs/tags/far", first, second, "git_ref_ambiguous"},
		"up/x": {"refs/heads/up/x", "refs/remotes/up/x", first, second, "git_ref_ambiguous"},
	} {
		_, err := gittree.Open(dir, ref)
		var e *protocol.Error
		if !errors.As(err, &e) || e.ExitCode() != protocol.ExitUsage || e.Code != "git_ref_ambiguous" {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		for _, part := range want[:4] {
			if !strings.Contains(e.Error()+e.Hint, part) {
				t.Errorf("%s: nothing of %s: %v (%s)", ref, part, e, e.Hint)
			}
		}
	}
	for ref, want := range map[string]string{
		"side": side, "refs/heads/main": second, "refs/remotes/origin/main": first, "origin/main": first, "refs/tags/v1": first, "refs/heads/v1": second, first: first,
	} {
		tree, err := gittree.Open(dir, ref)
		if err != nil || tree.Commit() != want {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	dir, _, _ := repository(t)
	tree, err := gittree.Open(dir, "main")
	if err != nil {
		t.Fatal(err)
	}
	files, err := tree.Files("p", 1000)
	if err != nil || len(files) != 2 || files[0].Path != "p/sub/run.sh" || !files[0].Executable || files[1].Path != "p/x.rego" || files[1].Executable || string(files[1].Data) != "package x\n" {
		t.Errorf("%+v, %v", files, err)
	}
	below, err := gittree.Open(filepath.Join(dir, "p"), "main")
	if err != nil {
		t.Fatal(err)
	}
	if f, err := below.Read("sub/run.sh", 100); err != nil || f.Path != "sub/run.sh" {
		t.Errorf("%+v, %v", f, err)
	}
	if ok, err := below.Has("a.txt"); ok || err != nil {
		t.Errorf("a file above was found: %v", err)
	}
	for name, code := range map[string]string{"link": "git_file_kind", "p": "git_file_kind", "none": "git_file_missing", "a.txt/x": "git_file_missing"} {
		if _, err := tree.Read(name, 100); !errors.Is(err, protocol.Code(code)) {
			t.Errorf("%s: %v, want %s", name, err, code)
		}
	}
	if _, err := tree.Read("a.txt", 3); !errors.Is(err, protocol.Code("git_file_size")) {
		t.Error(err)
	}
	if _, err := tree.Files("p", 15); !errors.Is(err, protocol.Code("git_file_size")) {
		t.Error(err)
	}
	if _, err := tree.Files("", 1000); !errors.Is(err, protocol.Code("git_file_kind")) {
		t.Error("the link was followed or left out:", err)
	}
	if _, err := tree.Files("a.txt", 1000); !errors.Is(err, protocol.Code("git_file_missing")) {
		t.Error(err)
	}
}

func TestContains(t *testing.T) {
	t.Parallel()
	dir, first, second := repository(t)
	for _, c := range []struct {
		ref, commit string
		want        bool
	}{{"main", first, true}, {"main", second, true}, {"v1", second, false}, {"side", second, false}, {"side", first, true}, {"main", "main", false}} {
		tree, err := gittree.Open(dir, c.ref)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tree.Contains(c.commit); got != c.want || err != nil {
			t.Errorf("%s contains %s: %v, %v", c.ref, c.commit, got, err)
		}
	}
	shallow := filepath.Join(t.TempDir(), "s")
	git(t, dir, "clone", "-q", "--depth=1", "--branch", "main", "file://"+dir, shallow)
	tree, err := gittree.Open(shallow, "main")
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := tree.Contains(first); !ok || err != nil {
		t.Errorf("the commit names it as its parent: %v, %v", ok, err)
	}
	if _, err := tree.Contains(strings.Repeat("1", 40)); !errors.Is(err, protocol.Code("git_object_missing")) {
		t.Errorf("a history that is cut off: %v", err)
	}
}

// TestDamage: an object that is not what its id says is not given.
func TestDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	git(t, dir, "init", "-q", "-b", "main")
	write(t, dir, "a", "one\n", 0o644)
	write(t, dir, "b", "two\n", 0o644)
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "first")
	object := func(name string) string {
		id := git(t, dir, "rev-parse", "HEAD:"+name)
		return filepath.Join(dir, ".git", "objects", id[:2], id[2:])
	}
	other, err := os.ReadFile(object("b"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(object("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(object("a"), other, 0o600); err != nil {
		t.Fatal(err)
	}
	tree, err := gittree.Open(dir, "main")
	if err != nil {
		t.Fatal(err)
	}
	if f, err := tree.Read("a", 100); !errors.Is(err, protocol.Code("git_object_missing")) {
		t.Errorf("%q, %v", f.Data, err)
	}
}

func TestHistoryAndTags(t *testing.T) {
	t.Parallel()
	dir, first, second := repository(t)
	git(t, dir, "tag", "-a", "-m", "began", "cabincrew/aa/begun", first)
	git(t, dir, "tag", "cabincrew/aa/done", second)
	git(t, dir, "tag", "other", second)
	tree, err := gittree.Open(dir, second)
	if err != nil {
		t.Fatal(err)
	}
	line, err := tree.FirstParents(10)
	if err != nil || len(line) != 2 || line[0] != second || line[1] != first {
		t.Errorf("first parents are %q, %v", line, err)
	}
	if line, err = tree.FirstParents(1); err != nil || len(line) != 1 {
		t.Errorf("one first parent is %q, %v", line, err)
	}
	for range 2 { // loose, then packed
		tags, err := tree.Tags("cabincrew/")
		if err != nil || len(tags) != 2 || tags["cabincrew/aa/begun"] != first || tags["cabincrew/aa/done"] != second {
			t.Errorf("tags are %v, %v", tags, err)
		}
		git(t, dir, "pack-refs", "--all")
		if tree, err = gittree.Open(dir, second); err != nil {
			t.Fatal(err)
		}
	}
}

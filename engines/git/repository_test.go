package git

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKindsOfRepositories plans the same change over the same commit, however its
// repository stores it.
func TestKindsOfRepositories(t *testing.T) {
	t.Parallel()
	content := files{"a": "1\n", "d/b": "1\n", "d/e/f": "1\n"}
	change := files{"a": "2\n", "d/e/f": "2\n"}
	repo := newRepository(t, content)
	git(t, repo, "commit", "-q", "--allow-empty", "-m", "second")
	want := func() string {
		f := newFlight(t, repo)
		f.step("edit", change)
		return f.plan().Commit
	}()
	for name, prepare := range map[string]func(t *testing.T) (gitDir string){
		"packed": func(t *testing.T) string {
			dir := t.TempDir()
			git(t, dir, "clone", "-q", repo, "x")
			git(t, dir+"/x", "gc", "-q", "--aggressive", "--prune=now")
			git(t, dir+"/x", "pack-refs", "--all")
			return dir + "/x/.git"
		},
		"bare": func(t *testing.T) string { return bare(t, repo) },
		"work tree": func(t *testing.T) string {
			base := t.TempDir()
			git(t, base, "clone", "-q", repo, "x")
			files{"a": "9\n"}.write(t, base+"/x")
			git(t, base+"/x", "worktree", "add", "-q", "../wt", "HEAD")
			git(t, base+"/x", "commit", "-qam", "HEAD of the main work tree is elsewhere")
			return base + "/x/.git/worktrees/wt"
		},
		"submodule": func(t *testing.T) string {
			super := newRepository(t, files{"x": "x\n"})
			git(t, super, "-c", "protocol.file.allow=always", "submodule", "add", "-q", repo, "lib")
			return super + "/.git/modules/lib"
		},
		"borrowing": func(t *testing.T) string {
			dir := t.TempDir()
			git(t, dir, "clone", "-q", "--shared", repo, "x")
			git(t, dir, "clone", "-q", "--shared", "x", "y")
			// as a relative path, which go-git takes for another one
			must(t, os.WriteFile(dir+"/y/.git/objects/info/alternates", []byte("../../../x/.git/objects\n"), 0o600))
			return dir + "/y/.git"
		},
		"shallow": func(t *testing.T) string {
			dir := t.TempDir()
			git(t, dir, "clone", "-q", "--depth", "1", "file://"+repo, "x")
			if _, err := tryGit(t, dir+"/x", nil, "cat-file", "-e", "HEAD^"); err == nil {
				t.Error("the clone is not shallow")
			}
			return dir + "/x/.git"
		},
		"detached": func(t *testing.T) string {
			dir := t.TempDir()
			git(t, dir, "clone", "-q", repo, "x")
			git(t, dir+"/x", "checkout", "-q", "--detach")
			return dir + "/x/.git"
		},
		"without blobs that do not change": func(t *testing.T) string {
			dir := t.TempDir()
			git(t, repo, "config", "uploadpack.allowFilter", "true")
			git(t, dir, "clone", "-q", "--filter=blob:none", "file://"+repo, "x")
			return dir + "/x/.git"
		},
		"with hooks, filters and helpers": func(t *testing.T) string {
			dir := t.TempDir()
			git(t, dir, "clone", "-q", repo, "x")
			trap := "touch " + filepath.Join(dir, "ran") + "; cat"
			for _, key := range []string{"core.fsmonitor", "core.sshCommand", "filter.x.clean", "core.hooksPath", "credential.helper", "core.alternateRefsCommand"} {
				git(t, dir+"/x", "config", key, trap)
			}
			files{"hooks/pre-commit": "#!/bin/sh\n" + trap + "\n", "hooks/pre-push": "#!/bin/sh\n" + trap + "\n"}.write(t, dir+"/x/.git")
			t.Cleanup(func() {
				if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
					t.Error("something of the repository was run")
				}
			})
			return dir + "/x/.git"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFlight(t, repo)
			f.gitDir = prepare(t)
			f.step("edit", change)
			if got := f.plan().Commit; got != want {
				t.Errorf("commit %s, want %s", got, want)
			}
		})
	}
}

func TestRepositoriesRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		make func(t *testing.T, repo string)
		want string
	}{
		"sha256": {func(t *testing.T, repo string) {
			must(t, os.RemoveAll(repo+"/.git"))
			git(t, repo, "init", "-q", "--object-format=sha256")
			git(t, repo, "add", "-A")
			git(t, repo, "commit", "-q", "-m", "x")
		}, "knows SHA-1 repositories only"},
		"reftable":      {func(t *testing.T, repo string) { git(t, repo, "config", "extensions.refStorage", "reftable") }, "knows files only"},
		"no commit":     {func(t *testing.T, repo string) { must(t, os.RemoveAll(repo+"/.git")); git(t, repo, "init", "-q") }, "names no commit"},
		"broken config": {func(t *testing.T, repo string) { must(t, os.WriteFile(repo+"/.git/config", []byte("[core\n"), 0o600)) }, "malformed"},
		"huge config": {func(t *testing.T, repo string) {
			must(t, os.WriteFile(repo+"/.git/config", []byte(strings.Repeat("#\n", 1<<20)), 0o600))
		}, "larger than"},
		"HEAD in a circle": {func(t *testing.T, repo string) {
			must(t, os.WriteFile(repo+"/.git/refs/heads/main", []byte("ref: refs/heads/main\n"), 0o600))
		}, "names no commit"},
		"missing tree": {func(t *testing.T, repo string) {
			id := git(t, repo, "rev-parse", "HEAD:d")
			must(t, os.Remove(repo+"/.git/objects/"+id[:2]+"/"+id[2:]))
		}, "has no tree"},
		"missing tree of a partial clone": {func(t *testing.T, repo string) {
			id := git(t, repo, "rev-parse", "HEAD:d")
			must(t, os.Remove(repo+"/.git/objects/"+id[:2]+"/"+id[2:]))
			git(t, repo, "config", "remote.origin.promisor", "true")
		}, "the clone is partial"},
		"damaged tree": {func(t *testing.T, repo string) {
			id, from := git(t, repo, "rev-parse", "HEAD:d"), git(t, repo, "rev-parse", "HEAD^{tree}")
			data, err := os.ReadFile(repo + "/.git/objects/" + from[:2] + "/" + from[2:])
			must(t, err)
			p := repo + "/.git/objects/" + id[:2] + "/" + id[2:]
			must(t, os.Remove(p))
			must(t, os.WriteFile(p, data, 0o600))
		}, "object"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := newRepository(t, files{"a": "1\n", "d/b": "1\n"})
			f := newFlight(t, repo)
			f.step("edit", files{"d/b": "2\n"})
			tc.make(t, repo)
			f.refused(tc.want)
		})
	}
}

// TestOldModes takes a file with the mode that old versions of git wrote.
func TestOldModes(t *testing.T) {
	t.Parallel()
	repo := newRepository(t, files{"a": "1\n", "b": "1\n"})
	raw := git(t, repo, "cat-file", "-p", "HEAD^{tree}")
	tree := git(t, repo, "-c", "alias.x=!printf '"+strings.ReplaceAll(strings.ReplaceAll(raw, "100644", "100664"), "\n", "\\n")+"\\n' | git mktree", "x")
	git(t, repo, "update-ref", "HEAD", git(t, repo, "commit-tree", "-m", "old", tree))
	f := newFlight(t, repo)
	f.step("edit", files{"a": "2\n"})
	e := f.plan()
	if len(e.Files) != 1 || e.Files[0].OldMode != "100644" {
		t.Errorf("%+v", e.Files)
	}
	git(t, repo, "bundle", "verify", f.bundle())
}

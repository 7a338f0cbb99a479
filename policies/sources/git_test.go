package sources

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

func policyRepository(t testing.TB) (dir, commit string) {
	t.Helper()
	return repository(t, map[string]string{
		"pol/p.rego": policy, "pol/sub/data.yaml": "a: 1\n", "pol/README.md": "hello\n", "main.go": "package main\n", "pol/deep/er/q.rego": "package acme.q\n",
	})
}

func policyFiles() map[string]string {
	return map[string]string{"p.rego": policy, "sub/data.yaml": "a: 1\n", "deep/er/q.rego": "package acme.q\n"}
}

func TestThisRepository(t *testing.T) {
	t.Parallel()
	dir, first := policyRepository(t)
	git(t, dir, "tag", "v1")
	git(t, dir, "tag", "-a", "-m", "second", "v2")
	git(t, dir, "tag", "-a", "-m", "third", "v3", "v2")
	write(t, dir, map[string]string{"pol/p.rego": "package weak\n"}) // not committed: it does not count
	h := newHere(t, nil)
	h.o.Workspace = filepath.Join(dir, "pol") // a workspace may be a part of a repository
	for _, ref := range []string{"main", "refs/heads/main", "v1", "v2", "v3", "refs/tags/v2", first} {
		h.gives(config.Source{Git: ".", Ref: ref, Dir: "pol"}, "pol", policyFiles())
	}
	if log := h.log.String(); !strings.Contains(log, "commit="+first) || !strings.Contains(log, "level=DEBUG") {
		t.Error(log)
	}
	second := commitAll(t, dir)
	h.gives(config.Source{Git: ".", Ref: "main", Dir: "pol"}, "pol", map[string]string{"p.rego": "package weak\n", "sub/data.yaml": "a: 1\n", "deep/er/q.rego": "package acme.q\n"})
	h.gives(config.Source{Git: ".", Ref: first, Dir: "pol"}, "pol", policyFiles())
	git(t, dir, "branch", "v1")
	h.refuses(config.Source{Git: ".", Ref: "v1", Dir: "pol"}, protocol.ExitDenied, "policy_git_ref", `"v1" may be refs/heads/v1, which is `)
	h.gives(config.Source{Git: ".", Ref: "refs/tags/v1", Dir: "pol"}, "pol", policyFiles())

	// A checkout in CI has the branches of others only as remote ones.
	clone := t.TempDir()
	git(t, clone, "clone", "-q", dir, ".")
	git(t, clone, "checkout", "-q", "--detach", first)
	git(t, clone, "branch", "-q", "-D", "main")
	h.o.Workspace = clone
	for _, ref := range []string{"main", "origin/main"} {
		set, err := h.load(config.Source{Git: ".", Ref: ref, Dir: "pol"})
		must(t, err)
		if len(set.Files) != 3 || !strings.Contains(h.log.String(), "commit="+second) {
			t.Error(ref, set.Files)
		}
	}
	// A branch of the clone does not stand in for the remote one.
	git(t, clone, "branch", "-q", "main", first)
	h.refuses(config.Source{Git: ".", Ref: "main", Dir: "pol"}, protocol.ExitDenied, "policy_git_ref", "refs/remotes/origin/main")
	h.gives(config.Source{Git: ".", Ref: "refs/heads/main", Dir: "pol"}, "pol", policyFiles())
	git(t, clone, "branch", "-q", "-f", "main", second)
	if _, err := h.load(config.Source{Git: ".", Ref: "main", Dir: "pol"}); err != nil {
		t.Error(err)
	}
}

func TestOtherRepositories(t *testing.T) {
	t.Parallel()
	dir, _ := policyRepository(t)
	h := newHere(t, nil)
	git(t, dir, "gc", "-q") // packs and packed refs
	h.gives(config.Source{Git: dir, Ref: "main", Dir: "pol", Name: "acme"}, "acme", policyFiles())
	for name, args := range map[string][]string{"bare": {"--bare"}, "shared": {"--shared"}, "shallow": {"--depth", "1", "--no-local"}} {
		from := dir
		if name == "shallow" {
			from = "file://" + dir
		}
		to := filepath.Join(h.o.Dir, name)
		git(t, h.o.Dir, append(append([]string{"clone", "-q"}, args...), from, to)...)
		h.gives(config.Source{Git: to, Ref: "main", Dir: "pol", Name: "x"}, "x", policyFiles())
	}
	git(t, dir, "worktree", "add", "-q", "--detach", filepath.Join(h.o.Dir, "linked"))
	h.gives(config.Source{Git: filepath.Join(h.o.Dir, "linked"), Ref: "main", Dir: "pol", Name: "x"}, "x", policyFiles())
	git(t, dir, "repack", "-q", "-a", "-d", "-f", "--depth=50") // deltas
	h.gives(config.Source{Git: dir, Ref: "main", Dir: "pol", Name: "x"}, "x", policyFiles())
}

// TestRepositoryInTheWorkspace: a repository that a change can edit does not judge.
func TestRepositoryInTheWorkspace(t *testing.T) {
	t.Parallel()
	outside, _ := policyRepository(t)
	h := newHere(t, nil)
	ws, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	beside := t.TempDir()
	h.o.Workspace = ws
	for _, args := range [][]string{
		{"clone", "-q", "--bare", outside, "vendor/p.git"}, {"clone", "-q", outside, "sub"}, {"init", "-q"}, {"clone", "-q", "--separate-git-dir", "vendor/q.git", outside, filepath.Join(beside, "q")},
	} {
		git(t, ws, args...)
	}
	must(t, os.Symlink(outside, filepath.Join(ws, "vendor/link")))
	must(t, os.Symlink(ws, filepath.Join(beside, "ws")))
	for _, dir := range []string{
		"vendor/p.git", filepath.Join(ws, "vendor/p.git"), filepath.Join(ws, "sub"), ws, filepath.Join(ws, "vendor/link"), filepath.Join(ws, "none"),
		filepath.Join(beside, "ws/vendor/p.git"), filepath.Join(beside, "ws/vendor/link"), filepath.Join(beside, "q"),
	} {
		h.refuses(config.Source{Git: dir, Ref: "main", Dir: "pol"}, protocol.ExitUsage, "policy_git_inside", "lies in the workspace")
	}
	h.gives(config.Source{Git: outside, Ref: "main", Dir: "pol", Name: "x"}, "x", policyFiles())
}

func TestGitRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do         func(t *testing.T, dir string)
		s          config.Source
		exit       int
		code, want string
	}{
		"no such ref":    {nil, config.Source{Ref: "nonesuch"}, protocol.ExitDenied, "policy_git_ref", `no branch or tag "nonesuch"`},
		"part of an id":  {nil, config.Source{Ref: "abcdef12"}, protocol.ExitDenied, "policy_git_ref", "no branch or tag"},
		"no such commit": {nil, config.Source{Ref: strings.Repeat("1", 40)}, protocol.ExitDenied, "policy_git_invalid", "has no object 1111"},
		"path in a ref":  {nil, config.Source{Ref: "x/../../HEAD"}, protocol.ExitDenied, "policy_git_ref", "names no branch"},
		"revision":       {nil, config.Source{Ref: "main~1"}, protocol.ExitDenied, "policy_git_ref", "names no branch"},
		"reflog":         {nil, config.Source{Ref: "main@{0}"}, protocol.ExitDenied, "policy_git_ref", "names no branch"},
		"lock":           {nil, config.Source{Ref: "main.lock"}, protocol.ExitDenied, "policy_git_ref", "names no branch"},
		"no such path":   {nil, config.Source{Ref: "main", Dir: "other"}, protocol.ExitDenied, "policy_set_missing", `no directory "other"`},
		"path of a file": {nil, config.Source{Ref: "main", Dir: "main.go"}, protocol.ExitDenied, "policy_set_missing", "no directory"},
		"path of a link": {func(t *testing.T, dir string) { must(t, os.Symlink("pol", filepath.Join(dir, "link"))) }, config.Source{Ref: "main", Dir: "link"}, protocol.ExitDenied, "policy_set_missing", "no directory"},
		"link": {func(t *testing.T, dir string) { must(t, os.Symlink("p.rego", filepath.Join(dir, "pol/l.rego"))) },
			config.Source{Ref: "main", Dir: "pol"}, protocol.ExitDenied, "policy_file_kind", "symbolic links are not followed"},
		"link to a directory": {func(t *testing.T, dir string) { must(t, os.Symlink("/etc", filepath.Join(dir, "pol/l"))) },
			config.Source{Ref: "main", Dir: "pol"}, protocol.ExitDenied, "policy_file_kind", "symbolic links"},
		"submodule": {func(t *testing.T, dir string) {
			git(t, dir, "update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("2", 40)+",pol/sub2")
			git(t, dir, "commit", "-q", "-m", "x")
		}, config.Source{Ref: "main", Dir: "pol"}, protocol.ExitUsage, "policy_file_kind", "submodules"},
		"nearly right": {func(t *testing.T, dir string) { write(t, dir, map[string]string{"pol/data.yml": "a: 1"}) },
			config.Source{Ref: "main", Dir: "pol"}, protocol.ExitDenied, "policy_file_name", "left out"},
		"large": {func(t *testing.T, dir string) {
			write(t, dir, map[string]string{"pol/data.json": strings.Repeat(" ", limits.PolicyFile+1)})
		},
			config.Source{Ref: "main", Dir: "pol"}, protocol.ExitUsage, "policy_set_size", "more than"},
		"no policy":     {func(t *testing.T, dir string) { write(t, dir, map[string]string{"docs/a.md": "x"}) }, config.Source{Ref: "main", Dir: "docs"}, protocol.ExitDenied, "policy_set_empty", "no policy"},
		"tag of a tree": {func(t *testing.T, dir string) { git(t, dir, "tag", "t", "HEAD^{tree}") }, config.Source{Ref: "t"}, protocol.ExitDenied, "policy_git_ref", "is no commit"},
		"tags of tags": {func(t *testing.T, dir string) {
			for i, last := 'a', "HEAD"; i < 'h'; i++ {
				git(t, dir, "tag", "-a", "-m", "x", string(i), last)
				last = string(i)
			}
		}, config.Source{Ref: "g"}, protocol.ExitDenied, "policy_git_invalid", "tags name each other"},
		"damaged object": {func(t *testing.T, dir string) {
			id := git(t, dir, "rev-parse", "HEAD:pol/p.rego")
			other := git(t, dir, "rev-parse", "HEAD:main.go")
			at := func(id string) string { return filepath.Join(dir, ".git/objects", id[:2], id[2:]) }
			raw, err := os.ReadFile(at(other))
			must(t, err)
			must(t, os.Remove(at(id)))
			must(t, os.WriteFile(at(id), raw, 0o644))
		}, config.Source{Ref: "main", Dir: "pol"}, protocol.ExitDenied, "policy_git_invalid", "is damaged"},
		"missing object": {func(t *testing.T, dir string) {
			id := git(t, dir, "rev-parse", "HEAD:pol/p.rego")
			must(t, os.Remove(filepath.Join(dir, ".git/objects", id[:2], id[2:])))
		}, config.Source{Ref: "main", Dir: "pol"}, protocol.ExitDenied, "policy_git_invalid", "has no object"},
		"reftable": {func(t *testing.T, dir string) { git(t, dir, "config", "extensions.refstorage", "reftable") }, config.Source{Ref: "main"}, protocol.ExitDenied, "policy_git_invalid", "reftable"},
		"SHA-256":  {func(t *testing.T, dir string) { git(t, dir, "config", "extensions.objectformat", "sha256") }, config.Source{Ref: "main"}, protocol.ExitDenied, "policy_git_invalid", "sha256"},
		"torn configuration": {func(t *testing.T, dir string) { write(t, dir, map[string]string{".git/config": "[core\n"}) },
			config.Source{Ref: "main"}, protocol.ExitDenied, "policy_git_invalid", "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, _ := policyRepository(t)
			if c.do != nil {
				c.do(t, dir)
				switch name {
				case "damaged object", "missing object", "reftable", "SHA-256", "torn configuration", "submodule":
				default:
					if git(t, dir, "status", "--porcelain") != "" {
						commitAll(t, dir)
					}
				}
			}
			h := newHere(t, nil)
			c.s.Git = dir
			h.refuses(c.s, c.exit, c.code, c.want)
		})
	}
	h := newHere(t, nil)
	h.refuses(config.Source{Git: ".", Ref: "main"}, protocol.ExitDenied, "policy_set_missing", "no git repository")
	h.refuses(config.Source{Git: filepath.Join(t.TempDir(), "none"), Ref: "main"}, protocol.ExitDenied, "policy_set_missing", "no git repository")
}

func TestTreesThatGitDoesNotMake(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("x", 20)
	for name, content := range map[string]string{
		"no id": "100644 a\x00", "no mode": "a\x00" + id, "no name": "100644 \x00" + id, "parent": "40000 ..\x00" + id,
		"slash": "100644 a/b\x00" + id, "twice": "100644 a\x00" + id + "100644 a\x00" + id, "no end": "100644 a",
	} {
		if _, err := parseTree([]byte(content)); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
	if list, err := parseTree([]byte("100644 a\x00" + id + "40000 b\x00" + id)); err != nil || len(list) != 2 {
		t.Error(list, err)
	}
}

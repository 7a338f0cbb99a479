package git

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// hard is a tree and changes with everything that is difficult.
func hard() (before, change files) {
	return files{
			"mod": "one\n", "mode": "m\n", "gone/deep/f": "g\n", "gone/deep/g": "g\n", "file": "becomes a directory\n",
			"dir/a": "a\n", "dir/b": "b\n", "type": "file\n", "link": "l to", "move": "moved\n", "keep": "k\n",
			"deep/1/2/3/x": "x\n", "deep/1/2/keep": "k\n", "deep/other/keep": "k\n", "a.b": "sorts between\n", "a/b": "a tree\n", "a-b": "before\n",
			"with space": "s\n", "ünï/cödé": "u\n", "quo\"te\ttab": "q\n", "bin": "x \x00\x01",
		}, files{
			"mod": "two\n", "mode": "x m\n", "gone": "", "file": "", "file/x": "x\n", "dir/a": "", "dir/b": "", "dir": "now a file\n",
			"type": "l target", "link": "l elsewhere", "move": "", "new/place/moved": "moved\n", "deep/1/2/3/x": "y\n", "a/c": "c\n", "a": "",
			"with space": "t\n", "ünï/cödé": "v\n", "ünï/neu": "n\n", "quo\"te\ttab": "r\n", "bin": "x \x00\x02", "added": "a\n", "n/e/w": "w\n", "empty": "x ",
		}
}

// TestCommitIsGits compares with what git makes of the same change.
func TestCommitIsGits(t *testing.T) {
	t.Parallel()
	before, change := hard()
	delete(change, "a")
	repo := newRepository(t, before)
	f := newFlight(t, repo)
	f.config["author"] = map[string]any{"name": " Ada L., ", "email": "ada@example.org"}
	f.config["trailers"] = map[string]any{"Reviewed-by": "B", "Change-Id": "I1"}
	f.step("edit", change)
	e := f.plan()

	change.write(t, repo)
	git(t, repo, "add", "-A")
	tree := git(t, repo, "write-tree")
	date := "1700000001 +0000"
	env := []string{"GIT_AUTHOR_NAME= Ada L., ", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada L.,", "GIT_COMMITTER_EMAIL=ada@example.org", "GIT_AUTHOR_DATE=" + date, "GIT_COMMITTER_DATE=" + date}
	want, err := tryGit(t, repo, env, "commit-tree", tree, "-p", "HEAD", "-m", "Update things", "-m", "Change-Id: I1\nReviewed-by: B")
	must(t, err)
	if e.Tree != tree || e.Commit != want || e.Parent != git(t, repo, "rev-parse", "HEAD") {
		t.Errorf("commit %s with tree %s, git makes %s with %s\n%s", e.Commit, e.Tree, want, tree, git(t, repo, "status", "--short"))
	}
	if e.Date != "2023-11-14T22:13:21Z" || e.Author["name"] != "Ada L" || e.FilesChanged != len(e.Files) || e.Signed {
		t.Errorf("%+v", e)
	}
	f.fetch(repo)
	if got := git(t, repo, "rev-parse", "refs/planned"); got != want {
		t.Errorf("the bundle brings %s", got)
	}
	var raw []string
	for _, x := range e.Files {
		or := func(s, d string) string {
			if s == "" {
				return d
			}
			return s
		}
		letter := map[string]string{"add": "A", "delete": "D", "modify": "M"}[x.Op]
		if x.Op == "modify" && (x.Mode == "120000") != (x.OldMode == "120000") {
			letter = "T"
		}
		none := strings.Repeat("0", 40)
		raw = append(raw, fmt.Sprintf(":%s %s %s %s %s\x00%s\x00", or(x.OldMode, "000000"), or(x.Mode, "000000"), or(x.Before, none), or(x.After, none), letter, x.Path))
	}
	slices.Sort(raw)
	out := git(t, repo, "diff-tree", "-r", "-z", "--no-renames", "HEAD", "refs/planned")
	fields := strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
	var wantRaw []string
	for i := 0; i+1 < len(fields); i += 2 {
		wantRaw = append(wantRaw, fields[i]+"\x00"+fields[i+1]+"\x00")
	}
	slices.Sort(wantRaw)
	if !slices.Equal(raw, wantRaw) {
		t.Errorf("evidence\n%q\ngit\n%q", raw, wantRaw)
	}
	first := f.read()
	f.plan()
	if f.read() != first {
		t.Error("planned twice gives other bytes")
	}
}

// TestTwoStepsAndDirt commits what two steps make of a file, and nothing else that
// is different in the workspace.
func TestTwoStepsAndDirt(t *testing.T) {
	t.Parallel()
	repo := newRepository(t, files{"a": "1\n", "b": "1\n", "c": "1\n", "back": "1\n"})
	f := newFlight(t, repo)
	files{"b": "dirty\n", "untracked": "u\n"}.write(t, f.workspace)
	f.step("z-first", files{"a": "2\n", "back": "2\n", "tmp": "t\n"})
	f.step("a-second", files{"a": "x 3\n", "back": "1\n", "tmp": ""})
	e := f.plan()
	if len(e.Files) != 1 || e.Files[0].Path != "a" || e.Files[0].Mode != "100755" {
		t.Errorf("%+v", e.Files)
	}
	f.fetch(repo)
	if got := git(t, repo, "show", "refs/planned:b"); got != "1" {
		t.Errorf("b is %q in the commit", got)
	}
}

func TestPlanRefusals(t *testing.T) {
	t.Parallel()
	simple := files{"a": "1\n", "d/b": "1\n"}
	edit := func(f *flight) { f.step("edit", files{"a": "2\n"}) }
	tests := map[string]struct {
		do   func(f *flight)
		want string
	}{
		"nothing":                 {func(*flight) {}, "nothing to commit"},
		"nothing in the end":      {func(f *flight) { f.step("1", files{"a": "2\n"}); f.step("2", files{"a": "1\n"}) }, "nothing to commit"},
		"no repository":           {func(f *flight) { edit(f); f.gitDir = filepath.Join(f.repo, "no") }, "there is no such directory"},
		"no variable":             {func(f *flight) { edit(f); f.gitDir = "" }, "CABINCREW_GIT_DIR is not set"},
		"unknown base":            {func(f *flight) { edit(f); f.config["base"] = strings.Repeat("1", 40) }, "has no commit 1111"},
		"base is a tree":          {func(f *flight) { edit(f); f.config["base"] = git(f.t, f.repo, "rev-parse", "HEAD^{tree}") }, "is a tree, not a commit"},
		"dirty below the patch":   {func(f *flight) { files{"a": "dirty\n"}.write(f.t, f.workspace); edit(f) }, "something else there"},
		"untracked below":         {func(f *flight) { files{"u": "dirty\n"}.write(f.t, f.workspace); f.step("e", files{"u": "v\n"}) }, "something else there"},
		"changed after the patch": {func(f *flight) { edit(f); files{"a": "3\n"}.write(f.t, f.workspace) }, "other content"},
		"mode after the patch":    {func(f *flight) { edit(f); must(f.t, os.Chmod(filepath.Join(f.workspace, "a"), 0o755)) }, "another mode"},
		"missing after the patch": {func(f *flight) { edit(f); must(f.t, os.Remove(filepath.Join(f.workspace, "a"))) }, "not in the workspace"},
		"not deleted":             {func(f *flight) { f.step("e", files{"a": ""}); files{"a": "1\n"}.write(f.t, f.workspace) }, "still in the workspace"},
		"linked directory": {func(f *flight) {
			f.step("e", files{"d/b": "2\n"})
			must(f.t, os.Rename(filepath.Join(f.workspace, "d"), filepath.Join(f.workspace, "real")))
			must(f.t, os.Symlink("real", filepath.Join(f.workspace, "d")))
		}, "its directory is not in the workspace"},
		"directory kept by git": {func(f *flight) {
			must(f.t, os.RemoveAll(filepath.Join(f.workspace, "d")))
			f.step("e", files{"d": "file\n"})
		}, "still holds files"},
		"file becomes a directory with files outside the inputs": {func(f *flight) {
			f.step("e", files{"d": "file\n", "d/b": ""})
			delete(f.context["steps"].(map[string]any), "e")
			files{"d": "", "d/b": "1\n"}.write(f.t, f.workspace)
			f.step("e", files{"d/c": "c\n", "a/x": "x\n", "a": ""})
			files{"d/c": "other\n"}.write(f.t, f.workspace)
		}, "other content"},
		"patches that do not follow": {func(f *flight) {
			edit(f)
			first := f.context["steps"].(map[string]any)["edit"]
			f.step("more", files{"a": "3\n"})
			f.context["steps"].(map[string]any)["again"] = first
		}, "do not follow each other"},
		"malformed context":    {func(f *flight) { f.context["steps"] = []any{1} }, "malformed"},
		"signed without a key": {func(f *flight) { edit(f); f.config["sign"] = true }, "there is no secret GIT_SIGNING_KEY"},
		"key that is no key":   {func(f *flight) { edit(f); f.secrets = map[string]any{"GIT_SIGNING_KEY": "secret-text"} }, "no private key"},
		"OpenPGP key": {func(f *flight) {
			edit(f)
			f.secrets = map[string]any{"GIT_SIGNING_KEY": "-----BEGIN PGP PRIVATE KEY BLOCK-----"}
		}, "OpenPGP"},
		"bad config":              {func(f *flight) { f.config["what"] = 1 }, "there is no such setting"},
		"metadata without files":  {func(f *flight) { edit(f); setFiles(f, nil) }, "cannot be read"},
		"metadata with .git":      {func(f *flight) { edit(f); setFiles(f, add(".git/hooks/x")) }, "git's own directory"},
		"metadata with dots":      {func(f *flight) { edit(f); setFiles(f, add("../x")) }, "refused"},
		"metadata with own paths": {func(f *flight) { edit(f); setFiles(f, add(".cabincrew/x")) }, "CabinCrew's own"},
		"metadata with bad mode": {func(f *flight) {
			edit(f)
			setFiles(f, []any{map[string]any{"op": "add", "new_path": "x", "new_mode": "160000", "after": emptyDigest}})
		}, "mode \"160000\""},
		"metadata with bad digest": {func(f *flight) {
			edit(f)
			setFiles(f, []any{map[string]any{"op": "add", "new_path": "x", "new_mode": "100644", "after": "x"}})
		}, "malformed digest"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFlight(t, newRepository(t, simple))
			tc.do(f)
			f.refused(tc.want)
			if strings.Contains(f.log.String(), "secret-text") {
				t.Error("the log holds the secret")
			}
		})
	}
}

const emptyDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func add(path string) []any {
	return []any{map[string]any{"op": "add", "new_path": path, "new_mode": "100644", "after": emptyDigest}}
}

// setFiles replaces the metadata of the one patch.
func setFiles(f *flight, list []any) {
	a := f.context["steps"].(map[string]any)["edit"].(map[string]any)["artifacts"].([]any)[1].(map[string]any)
	a["artifact"] = map[string]any{"artifact_type": "patch", "action": "apply", "mime": "text/x-diff", "metadata": map[string]any{"files": list}}
	if list == nil {
		a["artifact"].(map[string]any)["metadata"] = map[string]any{}
	}
}

func TestEmptyCommitAndEmptyTree(t *testing.T) {
	t.Parallel()
	repo := newRepository(t, files{"a": "1\n"})
	f := newFlight(t, repo)
	f.config["allow_empty"] = true
	e := f.plan()
	if e.Tree != git(t, repo, "rev-parse", "HEAD^{tree}") || len(e.Files) != 0 {
		t.Errorf("%+v", e)
	}
	f.fetch(repo)
	f = newFlight(t, repo)
	f.step("e", files{"a": ""})
	if e := f.plan(); e.Tree != "4b825dc642cb6eb9a060e54bf8d69288fbee4904" {
		t.Errorf("tree %s", e.Tree)
	}
	f.fetch(repo)
}

func TestDates(t *testing.T) {
	t.Parallel()
	repo := newRepository(t, files{"a": "1\n"})
	f := newFlight(t, repo)
	f.config["date"] = "2030-01-02T03:04:05+02:00"
	f.step("e", files{"a": "2\n"})
	if e := f.plan(); e.Date != "2030-01-02T01:04:05Z" {
		t.Errorf("%s", e.Date)
	}
	f.fetch(repo)
	if got := git(t, repo, "show", "-s", "--format=%ai|%ci", "refs/planned"); got != "2030-01-02 01:04:05 +0000|2030-01-02 01:04:05 +0000" {
		t.Error(got)
	}
}

// TestSubmoduleStays leaves a gitlink alone and refuses to touch one.
func TestSubmoduleStays(t *testing.T) {
	t.Parallel()
	repo := newRepository(t, files{"a": "1\n"})
	git(t, repo, "update-index", "--add", "--cacheinfo", "160000,"+git(t, repo, "rev-parse", "HEAD")+",lib/sub")
	git(t, repo, "commit", "-q", "-m", "sub")
	f := newFlight(t, repo)
	f.step("e", files{"a": "2\n", "lib/beside": "b\n"})
	f.plan()
	f.fetch(repo)
	if got := git(t, repo, "ls-tree", "refs/planned", "lib/sub"); !strings.HasPrefix(got, "160000 commit") {
		t.Error(got)
	}
	for _, p := range []string{"lib/sub", "lib/sub/inside"} {
		f := newFlight(t, repo)
		f.step("e", files{p: "x\n"})
		f.refused("submodule")
	}
}

// TestHugeTree changes one file among very many.
func TestHugeTree(t *testing.T) {
	t.Parallel()
	repo := newRepository(t, files{"a": "1\n", "wide/f00001": "1\n"})
	blob := plumbing.NewHash(git(t, repo, "rev-parse", "HEAD:a"))
	var list []entry
	for i := range 50_000 {
		list = append(list, entry{fmt.Sprintf("f%05d", i), "100644", blob})
	}
	name := filepath.Join(t.TempDir(), "tree")
	hash := func(kind string, content []byte) string {
		must(t, os.WriteFile(name, content, 0o600))
		return git(t, repo, "hash-object", "-t", kind, "-w", name)
	}
	wide := plumbing.NewHash(hash("tree", encodeTree(list)))
	root := hash("tree", encodeTree([]entry{{"wide", modeTree, wide}, {"a", "100644", blob}}))
	git(t, repo, "update-ref", "HEAD", git(t, repo, "commit-tree", "-m", "wide", root))
	f := newFlight(t, repo)
	f.step("e", files{"wide/f00001": "2\n", "a": "2\n"})
	start := time.Now()
	f.plan()
	took := time.Since(start)
	t.Logf("planned over a tree of 50,000 entries in %v", took)
	if took > time.Minute { // quadratic would be far beyond, also on a slow machine
		t.Errorf("it took %v", took)
	}
	git(t, repo, "bundle", "verify", f.bundle())
}

package workspace

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestStamps: whatever is done to a workspace by its path is found, and what git
// or this program write beside is not.
func TestStamps(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere the system's times of status changes are not read")
	}
	made := t.TempDir()
	tree(t, made, "a=a", "ignored/b", ".gitignore=ignored\n", "state/.gitignore=*\n", "state/marks/m", ".git/objects/info/x")
	git(t, made, "init", "-q")
	for _, d := range []string{"state/flights", "ignored/sub/.git/hooks", ".git/hooks"} {
		must(t, os.MkdirAll(filepath.Join(made, d), 0o755))
	}
	git(t, made, "add", ".")
	old := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		act  func(at func(string) string) error
		want string
	}{
		"nothing": {func(func(string) string) error { return nil }, ""},
		"read":    {func(at func(string) string) error { _, err := os.ReadFile(at("a")); return err }, ""},
		"chmod":   {func(at func(string) string) error { return os.Chmod(at("a"), 0o600) }, "a mode"},
		"chmod there and back": {func(at func(string) string) error {
			if err := os.Chmod(at("a"), 0o600); err != nil {
				return err
			}
			return os.Chmod(at("a"), 0o644)
		}, "a touched"},
		"utimes": {func(at func(string) string) error { return os.Chtimes(at("ignored/b"), old, old) }, "ignored/b touched"},
		"write, times restored": {func(at func(string) string) error {
			info, err := os.Stat(at("a"))
			if err != nil {
				return err
			}
			if err := os.WriteFile(at("a"), []byte("A"), 0o600); err != nil {
				return err
			}
			return os.Chtimes(at("a"), info.ModTime(), info.ModTime())
		}, "a touched"},
		"append":     {func(at func(string) string) error { return os.WriteFile(at("a"), []byte("more"), 0o600) }, "a changed"},
		"remove":     {func(at func(string) string) error { return os.Remove(at("a")) }, "a removed"},
		"create":     {func(at func(string) string) error { return os.WriteFile(at("ignored/new"), nil, 0o600) }, "ignored/new added"},
		"rename":     {func(at func(string) string) error { return os.Rename(at("a"), at("c")) }, "a removed, c added"},
		"replace":    {func(at func(string) string) error { return replace(at("a"), "a") }, "a changed"},
		"link":       {func(at func(string) string) error { return os.Link(at("a"), at("c")) }, "a touched, c added"},
		"directory":  {func(at func(string) string) error { return os.Chmod(at("ignored"), 0o700) }, "ignored mode"},
		"hook":       {func(at func(string) string) error { return os.WriteFile(at(".git/hooks/pre-push"), nil, 0o700) }, ".git/hooks/pre-push added"},
		"git config": {func(at func(string) string) error { return os.WriteFile(at(".git/config"), []byte("[core]\n"), 0o600) }, ".git/config changed"},
		"HEAD": {func(at func(string) string) error {
			return os.WriteFile(at(".git/HEAD"), []byte("ref: refs/heads/other\n"), 0o600)
		}, ".git/HEAD changed"},
		"objects": {func(at func(string) string) error { return os.MkdirAll(at(".git/objects/zz"), 0o700) }, ""},
		"alternates": {func(at func(string) string) error {
			return os.WriteFile(at(".git/objects/info/alternates"), nil, 0o600)
		}, ".git/objects/info/alternates added"},
		"fetch":           {func(at func(string) string) error { return os.WriteFile(at(".git/FETCH_HEAD"), nil, 0o600) }, ""},
		"a flight":        {func(at func(string) string) error { return os.WriteFile(at("state/flights/x"), nil, 0o600) }, ""},
		"control of it":   {func(at func(string) string) error { return os.WriteFile(at("state/.gitignore"), nil, 0o600) }, "state/.gitignore changed"},
		"mark":            {func(at func(string) string) error { return os.Remove(at("state/marks/m")) }, "state/marks/m removed"},
		"nested hook":     {func(at func(string) string) error { return os.WriteFile(at("ignored/sub/.git/hooks/x"), nil, 0o700) }, "ignored/sub/.git/hooks/x added"},
		"index rewritten": {func(at func(string) string) error { return os.Chtimes(at("a"), old, old) }, "a touched"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "ws")
			at := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
			must(t, os.CopyFS(dir, os.DirFS(made)))
			must(t, os.Chmod(at("a"), 0o644))
			must(t, os.Chmod(at("ignored"), 0o755))
			before, err := Stamped(t.Context(), dir, []string{"state"}, []string{".gitignore", "marks"})
			must(t, err)
			time.Sleep(20 * time.Millisecond) // the system's clock for files goes in steps
			must(t, c.act(at))
			if name == "index rewritten" {
				git(t, dir, "status") // remembers the file's new times
			}
			after, err := Stamped(t.Context(), dir, []string{"state"}, []string{".gitignore", "marks"})
			must(t, err)
			var got []string
			for _, d := range before.Diff(after) {
				got = append(got, d.Path+" "+string(d.Kind))
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("it gives %q, want %q", s, c.want)
			}
		})
	}
}

func replace(at, content string) error {
	if err := os.WriteFile(at+".new", []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(at+".new", at)
}

// TestStampsOfWorkTree: a linked work tree's git directories lie elsewhere.
func TestStampsOfWorkTree(t *testing.T) {
	t.Parallel()
	main := t.TempDir()
	tree(t, main, "a")
	git(t, main, "init", "-q")
	git(t, main, "add", ".")
	git(t, main, "commit", "-q", "-m", "x")
	linked := filepath.Join(t.TempDir(), "linked")
	git(t, main, "worktree", "add", "-q", linked)
	before, err := Stamped(t.Context(), linked, nil, nil)
	must(t, err)
	hook := filepath.Join(main, ".git", "hooks", "pre-push")
	must(t, os.MkdirAll(filepath.Dir(hook), 0o700))
	must(t, os.WriteFile(hook, nil, 0o700))
	after, err := Stamped(t.Context(), linked, nil, nil)
	must(t, err)
	changes := before.Diff(after)
	if len(changes) == 0 || !strings.HasSuffix(changes[len(changes)-1].Path, "/.git/hooks/pre-push") {
		t.Errorf("%+v", changes)
	}
}

func TestTrackedBelow(t *testing.T) {
	t.Parallel()
	dirs := []string{".cabincrew", "other/state"}
	for name, c := range map[string]struct {
		files []string
		link  string
		want  string
	}{
		"nothing":         {[]string{"a", ".cabincrewx/a", "x/.cabincrew/a", ".cabincrew.yaml"}, "", ""},
		"a file":          {[]string{"a", ".cabincrew/cache/wasm/x/y"}, "", ".cabincrew/cache/wasm/x/y"},
		"another one":     {[]string{"other/state/a"}, "", "other/state/a"},
		"its ignore file": {[]string{".cabincrew/.gitignore"}, "", ".cabincrew/.gitignore"},
		"in another case": {[]string{".CabinCrew/a"}, "", ".CabinCrew/a"},
		"a link":          {nil, ".cabincrew", ".cabincrew"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			git(t, top, "init", "-q")
			for _, dir := range []string{top, filepath.Join(top, "sub")} {
				tree(t, dir, append(c.files, "b")...)
				if c.link != "" {
					must(t, os.Symlink("b", filepath.Join(dir, c.link)))
				}
			}
			git(t, top, "add", "-f", ".")
			for _, dir := range []string{top, filepath.Join(top, "sub")} {
				got, below, err := TrackedBelow(dir, dirs)
				if err != nil || got != c.want || (got == "") != (below == "") {
					t.Errorf("%q below %q, %v; want %q", got, below, err, c.want)
				}
			}
		})
	}
	t.Run("a submodule", func(t *testing.T) {
		t.Parallel()
		top := t.TempDir()
		git(t, top, "init", "-q")
		git(t, top, "update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("1", 40)+",.cabincrew")
		if got, _, err := TrackedBelow(top, dirs); err != nil || got != ".cabincrew" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

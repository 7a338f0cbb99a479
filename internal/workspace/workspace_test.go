package workspace

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cabincrew/action/protocol"
)

// tree makes files: a name that ends in * is executable, "a -> b" is a link, a name with / at the end a directory.
func tree(t testing.TB, dir string, names ...string) {
	t.Helper()
	for _, n := range names {
		name, content, ok := strings.Cut(n, "=")
		if !ok {
			content = "content of " + name + "\n"
		}
		mode := fs.FileMode(0o644)
		if x, ok := strings.CutSuffix(name, "*"); ok {
			name, mode = x, 0o755
		}
		link, target, isLink := strings.Cut(name, " -> ")
		p := filepath.Join(dir, link)
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		switch {
		case isLink:
			must(t, os.Symlink(target, p))
		case strings.HasSuffix(name, "/"):
			must(t, os.MkdirAll(p, 0o755))
		default:
			must(t, os.WriteFile(p, []byte(content), mode))
			must(t, os.Chmod(p, mode))
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// git runs the real git apart from the machine's configuration.
func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func paths(files []File) []string {
	out := []string{}
	for _, f := range files {
		out = append(out, string(f.Letter)+" "+f.Path)
	}
	return out
}

func scan(t testing.TB, dir string, o Options) []File {
	t.Helper()
	files, err := Scan(context.Background(), dir, o)
	must(t, err)
	return files
}

func wantCode(t testing.TB, err error, code string, mention ...string) {
	t.Helper()
	if !errors.Is(err, protocol.Code(code)) {
		t.Fatalf("error %v, want code %s", err, code)
	}
	for _, m := range mention {
		if !strings.Contains(err.Error(), m) {
			t.Errorf("error %q does not name %q", err, m)
		}
	}
}

func TestScanSelects(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		tree []string
		o    Options
		want []string
	}{
		"everything, sorted by bytes": {
			tree: []string{"b/c", "b.txt", "a", "run.sh*", "l -> a", "dir -> b", ".hidden", "empty/"},
			want: []string{"f .hidden", "f a", "f b.txt", "f b/c", "l dir", "l l", "x run.sh"},
		},
		"globs match dot files": {
			tree: []string{"a.go", "sub/.b.go", "sub/c.txt", ".github/w.yml"},
			o:    Options{Inputs: []string{"**/*.go", ".github/*"}},
			want: []string{"f .github/w.yml", "f a.go", "f sub/.b.go"},
		},
		"nested ignore files and negation": {
			tree: []string{".gitignore=*.log\nbuild/\n!keep.log\n", "a.log", "keep.log", "build/x", "sub/.gitignore=!b.log\nx\n", "sub/b.log", "sub/c.log", "sub/x", "x"},
			want: []string{"f .gitignore", "f keep.log", "f sub/.gitignore", "f sub/b.log", "f x"},
		},
		"ignored files are not selected by globs": {
			tree: []string{".gitignore=*.log\n", "a.log", "b.txt"},
			o:    Options{Inputs: []string{"*.log"}},
			want: []string{},
		},
		"extra counts always, once": {
			tree: []string{".gitignore=bin/\n", "bin/tool*", "a", "b"},
			o:    Options{Inputs: []string{"a"}, Extra: []string{"bin/tool", "b", "absent"}},
			want: []string{"f a", "f b", "x bin/tool"},
		},
		"tracked list": {
			tree: []string{".gitignore=bin/\n*.o\n", "bin/tool*", "bin/other", "a.o", "b.o"},
			o:    Options{Tracked: []string{"bin/tool", "a.o", "bin/gone"}},
			want: []string{"f .gitignore", "f a.o", "x bin/tool"},
		},
		"no ignore": {
			tree: []string{".gitignore=bin/\n", "bin/tool*", "a", ".git/x", "state/x"},
			o:    Options{NoIgnore: true, Exclude: []string{"state"}},
			want: []string{"f .git/x", "f .gitignore", "f a", "x bin/tool"},
		},
		"git and excluded directories are never seen": {
			tree: []string{".git/config", "sub/.git/x", "state/x", "sub/state/y", "a"},
			o:    Options{Exclude: []string{"state"}, Extra: []string{"state/x"}},
			want: []string{"f a", "f sub/state/y"},
		},
		"ignore file that is a link is not believed": {
			tree: []string{"rules=a\n", ".gitignore -> rules", "a"},
			want: []string{"f a", "f rules", "l .gitignore"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			tree(t, dir, tc.tree...)
			got := paths(scan(t, dir, tc.o))
			slices.Sort(tc.want)
			sorted := slices.Clone(got)
			slices.Sort(sorted)
			if d := cmp.Diff(tc.want, sorted); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestScanIsDeterministic(t *testing.T) {
	t.Parallel()
	names := []string{"a/b", "a.b", "a-b", "a/c/d", "z", "é", "new\nline", "x*", "l -> z"}
	one, two := t.TempDir(), t.TempDir()
	tree(t, one, names...)
	slices.Reverse(names)
	tree(t, two, names...)
	must(t, os.Chmod(filepath.Join(two, "z"), 0o600)) // as another umask would make it
	strip := func(files []File) []File {
		for i := range files {
			files[i].Mode = 0
		}
		return files
	}
	want := strip(scan(t, one, Options{Workers: 1}))
	if !slices.IsSortedFunc(want, func(a, b File) int { return strings.Compare(a.Path, b.Path) }) {
		t.Error("not sorted by path bytes")
	}
	for _, workers := range []int{0, 1, 2, 7, 1000} {
		if d := cmp.Diff(want, strip(scan(t, two, Options{Workers: workers}))); d != "" {
			t.Errorf("with %d workers: %s", workers, d)
		}
	}
	for _, f := range want {
		if f.Path == "l" && (f.Digest != protocol.Digest([]byte("z")) || f.Size != 1) {
			t.Errorf("link: %+v", f)
		}
		if f.Path == "z" && f.Digest != protocol.Digest([]byte("content of z\n")) {
			t.Errorf("file: %+v", f)
		}
	}
}

func TestTrackedFilesCount(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2", "3", "4"} {
		t.Run("index version "+version, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			tree(t, dir, ".gitignore=out/\n*.log\n", "out/deep/kept", "out/not", "a.log", "b.log", "sub/c.log", "sub/d.log")
			git(t, dir, "init", "-q")
			git(t, dir, "add", ".gitignore")
			git(t, dir, "add", "-f", "out/deep/kept", "a.log", "sub/c.log")
			if version == "3" {
				git(t, dir, "add", "-N", "-f", "b.log") // intent to add needs version 3
			} else {
				git(t, dir, "update-index", "--index-version", version)
			}
			want := []string{"f .gitignore", "f a.log", "f out/deep/kept", "f sub/c.log"}
			if version == "3" {
				want = slices.Insert(want, 2, "f b.log")
			}
			if d := cmp.Diff(want, paths(scan(t, dir, Options{}))); d != "" {
				t.Error(d)
			}
			// A workspace below the top of the repository.
			if d := cmp.Diff([]string{"f c.log", "f d.log"}, paths(scan(t, filepath.Join(dir, "sub"), Options{}))); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestTrackedInWorktreeAndSHA256(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"sha1", "sha256"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			main, other := filepath.Join(dir, "main"), filepath.Join(dir, "other")
			tree(t, main, ".gitignore=*.log\n", "a.log", "b.log")
			git(t, main, "init", "-q", "--object-format="+format)
			git(t, main, "add", "-f", ".gitignore", "a.log")
			git(t, main, "commit", "-q", "-m", "one")
			git(t, main, "worktree", "add", "-q", other)
			tree(t, other, "b.log")
			if d := cmp.Diff([]string{"f .gitignore", "f a.log"}, paths(scan(t, other, Options{}))); d != "" {
				t.Error(d)
			}
			want := strings.TrimSpace(git(t, other, "rev-parse", "HEAD"))
			if info, err := Git(other, nil); err != nil || info.Head != want {
				t.Errorf("Git = %+v, %v, want head %s", info, err, want)
			}
		})
	}
}

func TestIndexRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree(t, dir, "a", "b/c")
	git(t, dir, "init", "-q")
	git(t, dir, "add", ".")
	p := filepath.Join(dir, ".git", "index")
	good, err := os.ReadFile(p)
	must(t, err)
	for i := range good { // each byte is under the checksum
		bad := slices.Clone(good)
		bad[i] ^= 0x55
		if _, err := parseEntries(bad); err == nil {
			t.Fatalf("byte %d changed and nobody saw it", i)
		}
	}
	must(t, os.WriteFile(p, good[:len(good)-1], 0o644))
	_, err = Scan(context.Background(), dir, Options{})
	wantCode(t, err, "git_index_invalid", "index")
	must(t, os.WriteFile(p, good, 0o644))
	git(t, dir, "update-index", "--split-index")
	_, err = Scan(context.Background(), dir, Options{})
	wantCode(t, err, "git_index_invalid", "split")
}

func TestScanRefusals(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		make func(t *testing.T, dir string)
		o    Options
		code string
		name string
	}{
		"fifo": {code: "workspace_special_file", name: "pipe", make: func(t *testing.T, dir string) {
			must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644))
		}},
		"name that is not UTF-8": {code: "path_not_utf8", name: `\xff`, make: func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "a\xff"), nil, 0o644); err != nil {
				t.Skip("this file system takes only UTF-8 names:", err)
			}
		}},
		"long line in an ignore file": {code: "gitignore_invalid", make: func(t *testing.T, dir string) {
			tree(t, dir, ".gitignore="+strings.Repeat("a", 5000))
		}},
		"large ignore file": {code: "file_too_large", name: ".gitignore", make: func(t *testing.T, dir string) {
			tree(t, dir, ".gitignore="+strings.Repeat("a\n", 1<<20))
		}},
		"deep directories": {code: "workspace_too_large", make: func(t *testing.T, dir string) {
			tree(t, dir, strings.Repeat("d/", 140)+"f")
		}},
		"bad glob":           {code: "glob_invalid", o: Options{Inputs: []string{"../a"}}},
		"extra outside":      {code: "path_invalid", o: Options{Extra: []string{"../a"}}},
		"exclude not clean":  {code: "path_invalid", o: Options{Exclude: []string{"a/"}}},
		"tracked not inside": {code: "path_invalid", o: Options{Tracked: []string{"/a"}}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if tc.make != nil {
				tc.make(t, dir)
			}
			_, err := Scan(context.Background(), dir, tc.o)
			wantCode(t, err, tc.code, tc.name)
		})
	}
	t.Run("not selected, not refused", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		tree(t, dir, "a.go")
		must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644))
		if got := paths(scan(t, dir, Options{Inputs: []string{"*.go"}})); len(got) != 1 {
			t.Error(got)
		}
	})
	t.Run("unreadable file", func(t *testing.T) {
		t.Parallel()
		if os.Geteuid() == 0 {
			t.Skip("root may read every file, so nothing is unreadable here")
		}
		dir := t.TempDir()
		tree(t, dir, "a")
		must(t, os.Chmod(filepath.Join(dir, "a"), 0))
		_, err := Scan(context.Background(), dir, Options{})
		wantCode(t, err, "workspace_unreadable", "a")
	})
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := Scan(ctx, t.TempDir(), Options{}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestCheckInputs(t *testing.T) {
	t.Parallel()
	for _, g := range []string{"**/*.go", "a", ".x", "{a,b}/**", "[a-z]*", "with space", "a..b", "\\*"} {
		if err := CheckInputs([]string{g}); err != nil {
			t.Errorf("%q: %v", g, err)
		}
	}
	for _, g := range []string{"", "/a", "..", "a/../b", "{a,..}/b", "./a", "a/", "a//b", "a\nb", "a\x00", "[a", "{a", "a\\", "\xff",
		strings.Repeat("a", 2000), strings.Repeat("{a,b}", 9), "{" + strings.Repeat("a,", 300) + "}"} {
		if err := CheckInputs([]string{g}); !errors.Is(err, protocol.Code("glob_invalid")) {
			t.Errorf("%q: %v", g, err)
		}
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	dir, dst := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	tree(t, dir, "same", "gone", "bytes", "mode", "type")
	before := scan(t, dir, Options{})
	must(t, Copy(context.Background(), dir, before, dst))
	must(t, os.Remove(filepath.Join(dst, "gone")))
	must(t, os.Remove(filepath.Join(dst, "type")))
	must(t, os.Chmod(filepath.Join(dst, "mode"), 0o755))
	tree(t, dst, "type -> same", "new", "bytes=other")
	got := Diff(before, scan(t, dst, Options{}))
	want := []Change{{"bytes", Changed}, {"gone", Removed}, {"mode", Mode}, {"new", Added}, {"type", Changed}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

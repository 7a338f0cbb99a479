package workspace

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cabincrew/action/internal/workspacetest"
)

// later is a clock that is far enough after the files were written.
func later() time.Time { return time.Now().Add(time.Hour) }

func TestCacheSeesEveryChange(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, dir string){
		"content": func(t *testing.T, dir string) { t.Helper(); tree(t, dir, "a=other\n") },
		"content of the same length": func(t *testing.T, dir string) {
			t.Helper()
			must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("Content of a\n"), 0o644))
		},
		"same length and the old times": func(t *testing.T, dir string) {
			t.Helper()
			at := filepath.Join(dir, "a")
			info, err := os.Stat(at)
			must(t, err)
			must(t, os.WriteFile(at, []byte("Content of a\n"), 0o644))
			must(t, os.Chtimes(at, info.ModTime(), info.ModTime())) // the time of the status stays new
		},
		"execute bit": func(t *testing.T, dir string) { t.Helper(); must(t, os.Chmod(filepath.Join(dir, "a"), 0o755)) },
		"another file in its place": func(t *testing.T, dir string) {
			t.Helper()
			tree(t, dir, "new=Content of a\n")
			must(t, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "a")))
		},
		"a link in its place": func(t *testing.T, dir string) {
			t.Helper()
			must(t, os.Remove(filepath.Join(dir, "a")))
			must(t, os.Symlink("b", filepath.Join(dir, "a")))
		},
		"gone":    func(t *testing.T, dir string) { t.Helper(); must(t, os.Remove(filepath.Join(dir, "a"))) },
		"a new":   func(t *testing.T, dir string) { t.Helper(); tree(t, dir, "c") },
		"nothing": func(*testing.T, string) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, file := t.TempDir(), filepath.Join(t.TempDir(), "x", "stat.jsonl")
			tree(t, dir, "a", "b", "d/e*", "l -> a")
			c := NewCache(later)
			scan(t, dir, Options{Cache: c})
			must(t, c.Save(file))
			change(t, dir)
			c = LoadCache(file, later)
			if len(c.have) != 3 { // links are cheaper read than remembered
				t.Fatalf("%d files are remembered", len(c.have))
			}
			if d := cmp.Diff(scan(t, dir, Options{}), scan(t, dir, Options{Cache: c})); d != "" {
				t.Error("the cache hides a change:", d)
			}
		})
	}
}

// TestCacheIsUsed makes sure that the cache does save hashing, or the test above
// would pass without one.
func TestCacheIsUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree(t, dir, "a")
	c := NewCache(later)
	scan(t, dir, Options{Cache: c})
	lie := c.next["a"]
	lie.Digest = "sha256:" + strings.Repeat("0", 64)
	c.next["a"] = lie
	if got := scan(t, dir, Options{Cache: c}); got[0].Digest != lie.Digest {
		t.Error("the file was hashed again")
	}
	if got := scan(t, dir, Options{}); got[0].Digest == lie.Digest {
		t.Error("a scan without the cache used it")
	}
}

// TestCacheForgetsWhatIsTooNew: what changed a moment ago may change once more
// without another time.
func TestCacheForgetsWhatIsTooNew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree(t, dir, "a")
	c := NewCache(time.Now)
	scan(t, dir, Options{Cache: c})
	if len(c.next) != 0 {
		t.Error("remembered")
	}
}

func TestCacheThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := "1 2 3 4 5 6 sha256:" + strings.Repeat("0", 64) + " a\x00"
	for name, content := range map[string]string{
		"no record": good + "x\x00", "no digest": "1 2 3 4 5 6 x a\x00", "path outside": strings.Replace(good, " a", " ../a", 1),
		"no number": strings.Replace(good, "3", "x", 1), "no path": strings.TrimSuffix(good, "a\x00") + "\x00",
		"without end": good + strings.Repeat("x", 1<<20), "torn": good + good[:20],
	} {
		at := filepath.Join(dir, name)
		must(t, os.WriteFile(at, []byte(content), 0o644))
		if c := LoadCache(at, later); len(c.have) != 0 {
			t.Errorf("%s: %v", name, c.have)
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, "good"), []byte(good), 0o644))
	if c := LoadCache(filepath.Join(dir, "good"), later); len(c.have) != 1 {
		t.Errorf("good: %v", c.have)
	}
	if c := LoadCache(filepath.Join(dir, "missing"), later); len(c.have) != 0 {
		t.Errorf("missing: %v", c.have)
	}
	if err := NewCache(later).Save(filepath.Join(dir, "good", "below", "x")); err == nil {
		t.Error("saved below a file")
	}
}

func TestHidden(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree(t, dir, "a", "b", "d/e/f", "d/e/g", "d/h", "empty/", "x/y/z", "l -> a", "ld -> d", "odd\nname", "d/e2/x")
	for name, tc := range map[string]struct{ keep, want []string }{
		"nothing kept": {nil, []string{"a", "b", "d", "empty", "l", "ld", "odd\nname", "x"}},
		"some":         {[]string{"a", "d/e/f", "l"}, []string{"b", "d/e/g", "d/e2", "d/h", "empty", "ld", "odd\nname", "x"}},
		"not there":    {[]string{"d/new/deep", "b/c"}, []string{"a", "d/e", "d/e2", "d/h", "empty", "l", "ld", "odd\nname", "x"}},
	} {
		var files []File
		for _, p := range tc.keep {
			files = append(files, File{Path: p})
		}
		got, err := Hidden(context.Background(), dir, files)
		must(t, err)
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if _, err := Hidden(context.Background(), filepath.Join(dir, "missing"), nil); err == nil {
		t.Error("a missing directory is no error")
	}
}

// TestHiddenIn: what a scan saw tells the same as another look does.
func TestHiddenIn(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2)) // the same trees every time
	looked, asked := 0, 0
	for range 150 {
		dir := t.TempDir()
		names := []string{"a", "b", "b-c", "d", "x.log", "out"}
		var spec []string
		taken := map[string]bool{}
		for range r.IntN(25) {
			parts := make([]string, 1+r.IntN(3))
			for i := range parts {
				parts[i] = names[r.IntN(len(names))]
			}
			p, clash := strings.Join(parts, "/"), false
			for q := range taken {
				clash = clash || q == p || strings.HasPrefix(q, p+"/") || strings.HasPrefix(p, q+"/")
			}
			if clash {
				continue
			}
			taken[p] = true
			if r.IntN(5) == 0 {
				p += "/" // an empty directory
			}
			spec = append(spec, p)
		}
		if len(spec) == 0 {
			continue
		}
		tree(t, dir, append(spec, ".gitignore=*.log\nout\n", "state/x")...)
		var others []string
		o := Options{Tracked: []string{"a/x.log", "out/a", "d/out/b"}, Exclude: []string{"state"}, Others: &others}
		if r.IntN(2) == 0 {
			o.Inputs = []string{"b*/**", "a"}
		}
		all, err := Scan(context.Background(), dir, o)
		must(t, err)
		keep := slices.DeleteFunc(slices.Clone(all), func(File) bool { return r.IntN(4) == 0 })
		keep = append(keep, File{Path: "d/new/file"}, File{Path: "state/x"})[:len(keep)+r.IntN(3)]
		want, err := Hidden(context.Background(), dir, keep)
		must(t, err)
		got, ok := HiddenIn(all, others, keep)
		asked++
		if !ok {
			continue // it says so itself
		}
		looked++
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%q, kept %v: %s", spec, keep, d)
		}
	}
	if looked < 50 || looked == asked {
		t.Errorf("told %d of %d trees", looked, asked)
	}
}

func TestOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree(t, dir, ".gitignore=*.log\nout/\n", "a", "b", "d/e/f", "d/e/x.log", "d/h", "d/.gitignore=h\n", "out/y", "z.log")
	for name, tc := range map[string]struct {
		only, tracked []string
		want          []string
	}{
		"files":             {[]string{"a", "d/e/f"}, nil, []string{"f a", "f d/e/f"}},
		"a directory":       {[]string{"d"}, nil, []string{"f d/.gitignore", "f d/e/f"}},
		"ignored":           {[]string{"z.log", "out/y", "d/h", "b"}, nil, []string{"f b"}},
		"ignored, tracked":  {[]string{"z.log", "out/y", "d/h"}, []string{"d/h", "out/y", "z.log"}, []string{"f d/h", "f out/y", "f z.log"}},
		"tracked elsewhere": {[]string{"a"}, []string{"z.log"}, []string{"f a"}},
		"not there":         {[]string{"n/n"}, nil, []string{}},
	} {
		if tc.tracked == nil {
			tc.tracked = []string{}
		}
		got := paths(scan(t, dir, Options{Only: tc.only, Tracked: tc.tracked}))
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	_, err := Scan(context.Background(), dir, Options{Only: []string{"../x"}})
	wantCode(t, err, "path_invalid")
}

func TestAllOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree(t, dir, "d/a", "b")
	own := func(want bool, names ...string) {
		t.Helper()
		var files []File
		for _, n := range names {
			files = append(files, File{Path: n})
		}
		if got, err := AllOwn(dir, files); err != nil || got != want {
			t.Errorf("%q: %v, %v", names, got, err)
		}
	}
	own(true, "d/a", "b", "missing")
	for _, f := range scan(t, dir, Options{}) {
		if !f.Own {
			t.Errorf("a scan finds %q to be another's", f.Path)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("the rest gives files to another user, which only root can")
	}
	must(t, os.Chown(filepath.Join(dir, "b"), os.Getuid(), 12345))
	files := scan(t, dir, Options{})
	if got := slices.IndexFunc(files, func(f File) bool { return !f.Own }); got < 0 || files[got].Path != "b" {
		t.Errorf("a scan finds own: %+v", files)
	}
	own(false, "b")
	must(t, os.Chown(filepath.Join(dir, "b"), os.Getuid(), os.Getgid()))
	must(t, os.Chown(filepath.Join(dir, "d"), os.Getuid(), 12345))
	own(false, "d/a")
	own(true, "b")
}

// BenchmarkScanCached is BenchmarkScan where nothing has changed.
func BenchmarkScanCached(b *testing.B) {
	dir := b.TempDir()
	b.SetBytes(workspacetest.Tree(b, dir))
	c := NewCache(later)
	scan(b, dir, Options{Cache: c})
	file := filepath.Join(b.TempDir(), "stat.jsonl")
	must(b, c.Save(file))
	for b.Loop() {
		c := LoadCache(file, later)
		if files, err := Scan(context.Background(), dir, Options{Tracked: []string{}, Cache: c}); err != nil || len(files) != workspacetest.Files {
			b.Fatal(len(files), err)
		}
		must(b, c.Save(fmt.Sprint(file, "2")))
	}
}

// BenchmarkSHA256Files is what BenchmarkScan is measured against: the same bytes
// from the same files, read and hashed by as many workers, and nothing else.
func BenchmarkSHA256Files(b *testing.B) {
	dir := b.TempDir()
	b.SetBytes(workspacetest.Tree(b, dir))
	var names []string
	must(b, filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, p)
		}
		return err
	}))
	for b.Loop() {
		var wg sync.WaitGroup
		jobs := make(chan []string)
		for range workers(0) {
			wg.Go(func() {
				h := newHasher()
				for part := range jobs {
					for _, name := range part {
						f, err := os.Open(name)
						if err == nil {
							_, err = h.copy(nil, f)
						}
						if err != nil {
							b.Error(err)
						}
						_ = f.Close() // only read
					}
				}
			})
		}
		for part := range slices.Chunk(names, 64) {
			jobs <- part
		}
		close(jobs)
		wg.Wait()
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add("1 2 3 4 5 6 sha256:" + strings.Repeat("0", 64) + " a b\nc")
	f.Add("-1 2 3 4 5 6 x a")
	f.Fuzz(func(t *testing.T, line string) {
		r, ok := parseRecord(line)
		if !ok {
			return
		}
		again, ok := parseRecord(strings.TrimSuffix(string(r.appendTo(nil)), "\x00"))
		if !ok || again.Path != r.Path || again.Digest != r.Digest || again.Stamp.Inode != r.Stamp.Inode {
			t.Errorf("%q gives %+v, written and read again %+v", line, r, again)
		}
	})
}

func TestRepositories(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree(t, dir, ".git/config", ".git/HEAD", "sub/.git=gitdir: ../x\n", "a/.GIT/x", "a/git/.gitignore", "b -> .git")
	look := func() map[string]string {
		t.Helper()
		got, err := Repositories(context.Background(), dir)
		must(t, err)
		return got
	}
	before := look()
	if names := slices.Sorted(maps.Keys(before)); !slices.Equal(names, []string{".git", "a/.GIT", "sub/.git"}) {
		t.Fatalf("%q", names)
	}
	tree(t, dir, ".git/index", ".git/HEAD=other\n", "c")
	if d := cmp.Diff(before, look()); d != "" {
		t.Error("what git itself does counts:", d)
	}
	for name, change := range map[string]string{".git": ".git/config=[core]\n", "sub/.git": "sub/.git=gitdir: ../y\n", "n/.git": "n/.git/config"} {
		tree(t, dir, change)
		if now := look(); now[name] == before[name] {
			t.Errorf("%s is the same: %q", name, now[name])
		}
	}
}

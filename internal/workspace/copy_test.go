package workspace

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cabincrew/action/internal/workspacetest"
)

func TestCopy(t *testing.T) {
	t.Parallel()
	src, dst := t.TempDir(), filepath.Join(t.TempDir(), "new", "copy")
	tree(t, src, "a", "b/c*", "b/d/e", "l -> ../outside", "dangling -> nowhere", "empty=", "big="+strings.Repeat("x", 3*bufferBytes+5))
	for i := range 100 {
		tree(t, src, fmt.Sprintf("many/%d/f", i))
	}
	must(t, os.Chmod(filepath.Join(src, "a"), 0o600))
	files := scan(t, src, Options{})
	must(t, Copy(context.Background(), src, files, dst))
	got := scan(t, dst, Options{})
	for i := range got {
		files[i].Mode, got[i].Mode = 0, 0
	}
	if d := cmp.Diff(files, got); d != "" {
		t.Error(d)
	}
	for name, mode := range map[string]os.FileMode{"a": 0o644, "b/c": 0o755} {
		info, err := os.Stat(filepath.Join(dst, name))
		must(t, err)
		if info.Mode() != mode {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		if n := info.Sys().(*syscall.Stat_t).Nlink; n != 1 {
			t.Errorf("%s has %d links", name, n)
		}
	}
	// The copy is private.
	must(t, os.WriteFile(filepath.Join(dst, "a"), []byte("other"), 0o600))
	if b, err := os.ReadFile(filepath.Join(src, "a")); err != nil || string(b) != "content of a\n" {
		t.Errorf("the original is %q, %v", b, err)
	}
}

func TestCopySeesChanges(t *testing.T) {
	t.Parallel()
	replace := func(what string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, "d")))
			if what != "" {
				tree(t, dir, what)
			}
		}
	}
	tests := map[string]struct {
		change func(t *testing.T, dir string)
		code   string
	}{
		"other bytes":        {replace("d/f=other"), "workspace_changed"},
		"same length":        {replace("d/f=Content of d/f\n"), "workspace_changed"},
		"gone":               {replace(""), "workspace_changed"},
		"execute bit":        {replace("d/f*=content of d/f\n"), "workspace_changed"},
		"link in its place":  {replace("d/f -> ../g"), "workspace_changed"},
		"linked parent":      {replace("d -> e"), "workspace_changed"},
		"directory in place": {replace("d/f/x"), "workspace_special_file"},
		"fifo in its place": {func(t *testing.T, dir string) {
			replace("d/")(t, dir)
			must(t, syscall.Mkfifo(filepath.Join(dir, "d/f"), 0o644))
		}, "workspace_special_file"},
		"link to other target":  {func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "l"))); tree(t, dir, "l -> b") }, "workspace_changed"},
		"nothing, but in place": {func(*testing.T, string) {}, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src, dst := t.TempDir(), t.TempDir()
			tree(t, src, "d/f", "e/f=content of d/f\n", "g", "l -> a")
			files := scan(t, src, Options{})
			tc.change(t, src)
			err := Copy(context.Background(), src, files, dst)
			if tc.code == "" {
				must(t, err)
				err = Copy(context.Background(), src, files, dst) // never over existing files
				tc.code = "workspace_unwritable"
			}
			wantCode(t, err, tc.code)
		})
	}
	t.Run("bad path", func(t *testing.T) {
		t.Parallel()
		wantCode(t, Copy(context.Background(), t.TempDir(), []File{{Path: "../x", Letter: Regular}}, t.TempDir()), "path_invalid")
	})
}

// BenchmarkScan hashes 20,000 files of about 27 KiB; compare with BenchmarkSHA256.
func BenchmarkScan(b *testing.B) {
	dir := b.TempDir()
	total := workspacetest.Tree(b, dir)
	b.SetBytes(total)
	for b.Loop() {
		if _, err := Scan(context.Background(), dir, Options{Tracked: []string{}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkScanOne is BenchmarkScan on one processor.
func BenchmarkScanOne(b *testing.B) {
	dir := b.TempDir()
	total := workspacetest.Tree(b, dir)
	b.SetBytes(total)
	for b.Loop() {
		if _, err := Scan(context.Background(), dir, Options{Tracked: []string{}, Workers: 1}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCopy(b *testing.B) {
	dir := b.TempDir()
	b.SetBytes(workspacetest.Tree(b, dir))
	files := scan(b, dir, Options{})
	n := 0
	for b.Loop() {
		dst := filepath.Join(b.TempDir(), fmt.Sprint(n))
		n++
		must(b, Copy(context.Background(), dir, files, dst))
		b.StopTimer()
		must(b, os.RemoveAll(dst))
		b.StartTimer()
	}
}

func BenchmarkSHA256(b *testing.B) {
	data := make([]byte, 27_500)
	h := newHasher()
	b.SetBytes(workspacetest.Files * 27_500)
	for b.Loop() {
		for range workspacetest.Files {
			h.sum.Reset()
			h.sum.Write(data)
			h.sum.Sum(h.out[:0])
		}
	}
}

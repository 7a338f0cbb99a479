package patch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

// hard is a pair of trees with everything that is difficult to put in place.
func hard() (tree, tree) {
	old := tree{
		"mod": "100644 one\n", "mode": "100644 m\n", "gone/deep/f": "100644 g\n", "file": "100644 becomes a directory\n",
		"dir/a": "100644 a\n", "dir/b": "100644 b\n", "type": "100644 file\n", "link": "120000 to", "move": "100644 moved\n",
		"into": "100644 moves below itself\n", "bin": "100755 \x00a", "keep": "100644 k\n", "linkdir": "120000 keep",
	}
	newer := tree{
		"mod": "100644 two\n", "mode": "100755 m\n", "file/x": "100644 x\n", "dir": "100644 was a directory\n",
		"type": "120000 target", "link": "120000 elsewhere", "new/place": "100644 moved\n", "into/below": "100644 moves below itself\n",
		"bin": "100755 \x00b", "keep": "100644 k\n", "linkdir/y": "100644 y\n", "add/ed": "100644 ",
	}
	return old, newer
}

func TestApplyHard(t *testing.T) {
	t.Parallel()
	old, newer := hard()
	m := makePatch(t, old, newer)
	changes := readPatch(t, m.text)
	must(t, os.Chmod(filepath.Join(m.oldDir, "mod"), 0o600))
	must(t, Apply(context.Background(), m.oldDir, changes, m.meta, ApplyOptions{}))
	if d := newer.equal(readTree(t, m.oldDir)); d != "" {
		t.Error(d)
	}
	if info, err := os.Stat(filepath.Join(m.oldDir, "mod")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a private file is %v afterwards (%v)", info.Mode(), err)
	}
	if _, err := os.Lstat(filepath.Join(m.oldDir, "gone")); !errors.Is(err, os.ErrNotExist) {
		t.Error("an emptied directory is still there")
	}
	// Applied twice is refused, unless it is asked for.
	wantCode(t, Apply(context.Background(), m.oldDir, changes, m.meta, ApplyOptions{}), "patch_before_mismatch")
	must(t, Apply(context.Background(), m.oldDir, changes, m.meta, ApplyOptions{AllowApplied: true}))
}

// TestApplyKilled kills at every step, applies again, also killed at every step, and completes.
func TestApplyKilled(t *testing.T) {
	t.Parallel()
	old, newer := hard()
	m := makePatch(t, old, newer)
	changes := readPatch(t, m.text)
	killAt := func(dir string, n int) (bool, string) {
		count, at := 0, ""
		err := Apply(context.Background(), dir, changes, m.meta, ApplyOptions{AllowApplied: true, Failpoint: func(step string) error {
			if count++; count == n {
				at = step
				return ErrKilled
			}
			return nil
		}})
		if err != nil && !errors.Is(err, ErrKilled) {
			t.Fatalf("killed at %d (%s): %v", n, at, err)
		}
		return err == nil, at
	}
	for n := 1; ; n++ {
		dir := t.TempDir()
		old.write(t, dir)
		whole, at := killAt(dir, n)
		killAt(dir, 1+n*7%40) // the run that should mend it is killed too
		must(t, Apply(context.Background(), dir, changes, m.meta, ApplyOptions{AllowApplied: true}))
		if d := newer.equal(readTree(t, dir)); d != "" {
			t.Fatalf("killed at %d (%s): %s", n, at, d)
		}
		for _, empty := range []string{"gone", "gone/deep"} {
			if _, err := os.Lstat(filepath.Join(dir, empty)); err == nil {
				t.Errorf("killed at %d (%s): %s is left", n, at, empty)
			}
		}
		if whole {
			if n < 30 {
				t.Errorf("only %d steps", n)
			}
			return
		}
	}
}

// TestApplyUndoes fails at every step: nothing must have changed.
func TestApplyUndoes(t *testing.T) {
	t.Parallel()
	old, newer := hard()
	m := makePatch(t, old, newer)
	changes := readPatch(t, m.text)
	boom := errors.New("boom")
	for n := 1; ; n++ {
		count, cleaning := 0, false
		err := Apply(context.Background(), m.oldDir, changes, m.meta, ApplyOptions{Failpoint: func(step string) error {
			cleaning = strings.HasPrefix(step, "clean ")
			if count++; count == n {
				return boom
			}
			return nil
		}})
		if err == nil || cleaning { // all is in place then
			return
		}
		if !errors.Is(err, boom) {
			t.Fatal(err)
		}
		if d := old.equal(readTree(t, m.oldDir)); d != "" {
			t.Fatalf("failed at %d: %s", n, d)
		}
	}
}

func TestApplyRefusals(t *testing.T) {
	t.Parallel()
	old := tree{"a/f": "100644 one\n", "l": "120000 x", "g": "100644 g\n"}
	newer := tree{"a/f": "100644 two\n", "l": "120000 y", "n/new": "100644 n\n", "g": "100644 g\n"}
	tests := map[string]struct {
		change func(t *testing.T, dir string)
		o      ApplyOptions
		code   string
		exit   int
	}{
		"other content": {func(t *testing.T, dir string) { must(t, os.WriteFile(filepath.Join(dir, "a/f"), []byte("1"), 0o600)) }, ApplyOptions{}, "patch_before_mismatch", 6},
		"missing":       {func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "a/f"))) }, ApplyOptions{}, "patch_before_mismatch", 6},
		"other mode":    {func(t *testing.T, dir string) { must(t, os.Chmod(filepath.Join(dir, "a/f"), 0o755)) }, ApplyOptions{}, "patch_before_mismatch", 6},
		"new exists":    {func(t *testing.T, dir string) { tree{"n/new": "100644 other"}.write(t, dir) }, ApplyOptions{}, "patch_before_mismatch", 6},
		"neither, with AllowApplied": {func(t *testing.T, dir string) { tree{"n/new": "100644 other"}.write(t, dir) },
			ApplyOptions{AllowApplied: true}, "patch_before_mismatch", 6},
		"linked parent": {func(t *testing.T, dir string) { must(t, os.Symlink(t.TempDir(), filepath.Join(dir, "n"))) }, ApplyOptions{}, "patch_path_refused", 5},
		"linked parent inside": {func(t *testing.T, dir string) {
			must(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "real")))
			must(t, os.Symlink("real", filepath.Join(dir, "a")))
		}, ApplyOptions{}, "patch_path_refused", 5},
		"file as parent":       {func(t *testing.T, dir string) { tree{"n": "100644 file"}.write(t, dir) }, ApplyOptions{}, "patch_path_refused", 5},
		"directory in the way": {func(t *testing.T, dir string) { tree{"n/new/x": "100644 file"}.write(t, dir) }, ApplyOptions{}, "patch_io", 1},
		"protected":            {func(*testing.T, string) {}, ApplyOptions{Protected: []string{"A"}}, "patch_path_refused", 5},
		"link changed": {func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, "l")))
			must(t, os.Symlink("z", filepath.Join(dir, "l")))
		}, ApplyOptions{}, "patch_before_mismatch", 6},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := makePatch(t, old, newer)
			tc.change(t, m.oldDir)
			before := readTree(t, m.oldDir)
			err := Apply(context.Background(), m.oldDir, readPatch(t, m.text), m.meta, tc.o)
			wantCode(t, err, tc.code)
			if protocol.ExitCode(err) != tc.exit {
				t.Errorf("exit %d", protocol.ExitCode(err))
			}
			if d := before.equal(readTree(t, m.oldDir)); d != "" {
				t.Error("changed: " + d)
			}
		})
	}
	t.Run("written to meanwhile", func(t *testing.T) {
		t.Parallel()
		m := makePatch(t, old, newer)
		err := Apply(context.Background(), m.oldDir, readPatch(t, m.text), m.meta, ApplyOptions{Failpoint: func(step string) error {
			if step == "write a/f" {
				return os.WriteFile(filepath.Join(m.oldDir, "a/f"), []byte("a person's"), 0o600)
			}
			return nil
		}})
		if err == nil {
			t.Fatal("applied over a person's work")
		}
		if b, _ := os.ReadFile(filepath.Join(m.oldDir, "a/f")); string(b) != "a person's" {
			t.Errorf("the work is lost: %q", b)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		m := makePatch(t, old, newer)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := Apply(ctx, m.oldDir, readPatch(t, m.text), m.meta, ApplyOptions{}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestCheckRefusesOtherMetadata(t *testing.T) {
	t.Parallel()
	old, newer := hard()
	m := makePatch(t, old, newer)
	changes := readPatch(t, m.text)
	must(t, Check(changes, m.meta))
	wantCode(t, Check(changes, m.meta[1:]), "patch_metadata_mismatch")
	wrong := protocol.Digest([]byte("wrong"))
	for i := range m.meta {
		for name, change := range map[string]func(f *File){
			"op": func(f *File) { f.Op = "copy" }, "old path": func(f *File) { f.OldPath += "x" }, "new path": func(f *File) { f.NewPath += "x" },
			"old mode": func(f *File) { f.OldMode = "100600" }, "new mode": func(f *File) { f.NewMode = "1" },
			"added": func(f *File) { f.Added++ }, "deleted": func(f *File) { f.Deleted++ }, "binary": func(f *File) { f.Binary = !f.Binary },
			"before": func(f *File) { f.Before = wrong + "0" }, "after": func(f *File) { f.After = "x" },
		} {
			meta := append([]File{}, m.meta...)
			change(&meta[i])
			if err := Check(changes, meta); !errors.Is(err, protocol.Code("patch_metadata_mismatch")) {
				t.Errorf("%s of %s: %v", name, m.meta[i].Path(), err)
			}
		}
		// A well-formed digest of other content is found here or by Apply.
		for _, side := range []string{"before", "after"} {
			meta := append([]File{}, m.meta...)
			if f := &meta[i]; side == "before" {
				f.Before = wrong
			} else {
				f.After = wrong
			}
			if err := Apply(context.Background(), m.oldDir, changes, meta, ApplyOptions{}); err == nil {
				t.Fatalf("wrong digest %s of %s was applied", side, meta[i].Path())
			}
			if d := old.equal(readTree(t, m.oldDir)); d != "" {
				t.Fatal(d)
			}
		}
	}
}

func TestView(t *testing.T) {
	t.Parallel()
	m := makePatch(t, tree{"run": "100644 a\nb\n", "mv": "100755 moved\n"}, tree{"run": "100755 a\nc\nd\n", "mw": "100755 moved\n"})
	lines := []LineView{{" ", 1, "a"}, {"-", 2, "b"}, {"+", 2, "c"}, {"+", 3, "d"}}
	want := []FileView{
		{Op: "rename", Path: "mw", OldPath: "mv", OldMode: "100755", NewMode: "100755"},
		{
			Op: "modify", Path: "run", OldPath: "run", OldMode: "100644", NewMode: "100755", Added: 2, Deleted: 1, LongestLine: 1, ExecutableChanged: true,
			AddedLines: []string{"c", "d"}, DeletedLines: []string{"b"}, Hunks: []HunkView{{1, 1, lines}},
		},
	}
	got := View(readPatch(t, m.text), m.meta, 1000)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant\n%+v", got, want)
	}
	cut := View(readPatch(t, m.text), m.meta, 2*(lineCost+2))[1]
	if !cut.Truncated || cut.AddedLines != nil || !slices.Equal(cut.DeletedLines, []string{"b"}) || len(cut.Hunks[0].Lines) != 2 {
		t.Errorf("not cut: %+v", cut)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	doc, err := protocol.DecodeAny([]byte(`{"files":[{"op":"add","new_path":"a","added":2}]}`))
	must(t, err)
	got, err := Files(doc.(map[string]any))
	if err != nil || len(got) != 1 || got[0].Added != 2 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{`{}`, `{"files":1}`, `{"files":[{"Op":"add"}]}`, `{"files":[{"added":1.5}]}`} {
		doc, err := protocol.DecodeAny([]byte(bad))
		must(t, err)
		_, err = Files(doc.(map[string]any))
		wantCode(t, err, "patch_metadata_mismatch")
	}
}

func TestLargePatchIsLinear(t *testing.T) {
	t.Parallel()
	var a, b bytes.Buffer
	for i := range 200_000 {
		fmt.Fprintf(&a, "line %d\n", i)
		fmt.Fprintf(&b, "line %d\n", i*2)
	}
	m := makePatch(t, tree{"f": "100644 " + a.String()}, tree{"f": "100644 " + b.String()})
	changes := readPatch(t, m.text)
	must(t, Apply(context.Background(), m.oldDir, changes, m.meta, ApplyOptions{}))
	if got := readTree(t, m.oldDir)["f"]; got != "100644 "+b.String() {
		t.Error("other content")
	}
}

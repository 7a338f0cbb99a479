package patch

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rounds is how many random pairs of trees each test goes through.
const rounds = 50

// TestOurPatchByGit: what Make writes, real git applies, and so do we.
func TestOurPatchByGit(t *testing.T) {
	t.Parallel()
	for seed := range uint64(rounds) {
		old, newer := randomTrees(seed)
		m := makePatch(t, old, newer)
		again := makePatch(t, old, newer)
		if !bytes.Equal(m.text, again.text) || cmp.Diff(m.meta, again.meta) != "" {
			t.Fatalf("seed %d: two patches of the same trees differ", seed)
		}
		changes := readPatch(t, m.text)
		if err := Check(changes, m.meta); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if len(m.text) > 0 {
			dir := t.TempDir()
			old.write(t, dir)
			git(t, dir, nil, "init", "-q")
			git(t, dir, m.text, "apply", "--binary", "--whitespace=nowarn")
			if d := newer.equal(readTree(t, dir)); d != "" {
				t.Fatalf("seed %d: git: %s\n%s", seed, d, m.text)
			}
		}
		must(t, Apply(context.Background(), m.oldDir, changes, m.meta, ApplyOptions{}))
		if d := newer.equal(readTree(t, m.oldDir)); d != "" {
			t.Fatalf("seed %d: ours: %s\n%s", seed, d, m.text)
		}
	}
}

// TestGitPatchByUs: what real git writes, with deltas, renames in part, short
// ids and raw names too, Read takes and Apply applies.
func TestGitPatchByUs(t *testing.T) {
	t.Parallel()
	for seed := range uint64(rounds) {
		old, newer := randomTrees(seed + 1000)
		dir := t.TempDir()
		old.write(t, dir)
		git(t, dir, nil, "init", "-q")
		git(t, dir, nil, "add", "-A")
		git(t, dir, nil, "commit", "-q", "--allow-empty", "-m", "old")
		for p := range old {
			must(t, os.Remove(filepath.Join(dir, p)))
			for d := filepath.Dir(filepath.Join(dir, p)); os.Remove(d) == nil; d = filepath.Dir(d) {
				continue
			}
		}
		newer.write(t, dir)
		git(t, dir, nil, "add", "-A")
		for _, args := range [][]string{{"--full-index"}, {"--no-renames"}, {"-M50%"}} {
			args = append([]string{"-c", fmt.Sprintf("core.quotePath=%v", seed%2 == 0), "diff", "--cached", "--binary"}, args...)
			text := []byte(git(t, dir, nil, args...))
			changes := readPatch(t, text)
			target := t.TempDir()
			old.write(t, target)
			meta := metaOf(changes, old, newer)
			if err := Apply(context.Background(), target, changes, meta, ApplyOptions{}); err != nil {
				t.Fatalf("seed %d %v: %v\n%s", seed, args, err, text)
			}
			if d := newer.equal(readTree(t, target)); d != "" {
				t.Fatalf("seed %d %v: %s\n%s", seed, args, d, text)
			}
		}
	}
}

func TestDeltaByGit(t *testing.T) {
	t.Parallel()
	big := "\x00"
	for i := range 3000 {
		big += fmt.Sprint(i * i)
	}
	old, newer := tree{"f": ModeFile + " " + big}, tree{"f": ModeFile + " " + big[:9000] + "changed" + big[9000:]}
	dir := t.TempDir()
	old.write(t, dir)
	git(t, dir, nil, "init", "-q")
	git(t, dir, nil, "add", "-A")
	newer.write(t, dir)
	text := []byte(git(t, dir, nil, "diff", "--binary"))
	if !bytes.Contains(text, []byte("\ndelta ")) {
		t.Fatalf("git made no delta:\n%s", text)
	}
	changes := readPatch(t, text)
	target := t.TempDir()
	old.write(t, target)
	must(t, Apply(context.Background(), target, changes, metaOf(changes, old, newer), ApplyOptions{}))
	if d := newer.equal(readTree(t, target)); d != "" {
		t.Error(d)
	}
}

func TestMakeDescribes(t *testing.T) {
	t.Parallel()
	old := tree{
		"mode": "100644 m\n", "text": "100644 1\n2\n3\n4\n5\n6\n7\n8\n9\n", "gone": "100644 g\n", "a/move": "100644 moved\n", "other": "100644 named\n",
		"type": "100644 was file\n", "bin": "100644 \x00a", "empty": "100644 ", "crlf": "100644 a\r\nb\r\n",
	}
	newer := tree{
		"mode": "100755 m\n", "text": "100644 1\n2\n3\n4\nfive\n6\n7\n8\n9\n", "b/move": "100755 moved\n", "sp ace": "100644 named\n", "type": "120000 target",
		"bin": "100644 \x00b", "empty2": "100644 ", "crlf": "100644 a\r\nc\r\n",
	}
	m := makePatch(t, old, newer)
	type short struct {
		op             Op
		old, new       string
		added, deleted int
		binary         bool
	}
	want := []short{
		{Rename, "a/move", "b/move", 0, 0, false},
		{Modify, "bin", "bin", 0, 0, true}, {Modify, "crlf", "crlf", 1, 1, false}, {Delete, "empty", "", 0, 0, false}, {Add, "", "empty2", 0, 0, false},
		{Delete, "gone", "", 0, 1, false}, {Modify, "mode", "mode", 0, 0, false}, {Rename, "other", "sp ace", 0, 0, false},
		{Modify, "text", "text", 1, 1, false}, {Delete, "type", "", 0, 1, false}, {Add, "", "type", 1, 0, false},
	}
	got := []short{}
	for _, f := range m.meta {
		got = append(got, short{f.Op, f.OldPath, f.NewPath, f.Added, f.Deleted, f.Binary})
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(short{})); d != "" {
		t.Error(d)
	}
	if !bytes.Contains(m.text, []byte("@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n")) {
		t.Errorf("the hunk is not as git writes it:\n%s", m.text)
	}
	if !bytes.Contains(m.text, []byte("old mode 100644\nnew mode 100755\nsimilarity index 100%\nrename from a/move\nrename to b/move\n")) {
		t.Errorf("the rename is not as git writes it:\n%s", m.text)
	}
}

func TestMakeRefusals(t *testing.T) {
	t.Parallel()
	run := func(old, newer tree, change func(dir string)) error {
		a, b := t.TempDir(), t.TempDir()
		old.write(t, a)
		newer.write(t, b)
		change(b)
		_, err := Make(context.Background(), a, old.entries(), b, newer.entries(), &bytes.Buffer{})
		return err
	}
	nothing := func(string) {}
	wantCode(t, run(nil, tree{"x/.GIT/config": "100644 x"}, nothing), "patch_path_refused")
	wantCode(t, run(nil, tree{"x": "100644 x"}, func(dir string) { must(t, os.WriteFile(filepath.Join(dir, "x"), []byte("y"), 0o600)) }), "workspace_changed")
	wantCode(t, run(nil, tree{"x": "100644 x"}, func(dir string) { must(t, os.Truncate(filepath.Join(dir, "x"), 1<<30)) }), "patch_too_large")
}

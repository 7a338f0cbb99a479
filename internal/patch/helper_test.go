package patch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	if !errors.Is(err, protocol.Code(code)) {
		t.Fatalf("error %v, want code %s", err, code)
	}
}

// tree is a tree in memory: mode, a space and the content by path.
type tree map[string]string

func (tr tree) write(t testing.TB, dir string) {
	t.Helper()
	for p, v := range tr {
		mode, content, _ := strings.Cut(v, " ")
		p = filepath.Join(dir, p)
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		switch mode {
		case ModeLink:
			must(t, os.Symlink(content, p))
		case ModeExecutable:
			must(t, os.WriteFile(p, []byte(content), 0o755))
		default:
			must(t, os.WriteFile(p, []byte(content), 0o644))
		}
	}
}

func readTree(t testing.TB, dir string) tree {
	t.Helper()
	tr := tree{}
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if d.IsDir() {
			if d.Name() == ".git" {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		must(t, err)
		mode := modeOf(info)
		if mode == ModeLink {
			target, err := os.Readlink(p)
			must(t, err)
			tr[rel] = mode + " " + target
			return nil
		}
		data, err := os.ReadFile(p)
		must(t, err)
		tr[rel] = mode + " " + string(data)
		return nil
	}))
	return tr
}

func (tr tree) entries() []Entry {
	out := []Entry{}
	for p, v := range tr {
		mode, content, _ := strings.Cut(v, " ")
		letter := map[string]byte{ModeFile: 'f', ModeExecutable: 'x', ModeLink: 'l'}[mode]
		out = append(out, Entry{Path: p, Letter: letter, Digest: protocol.Digest([]byte(content)), Size: int64(len(content))})
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return out
}

func (tr tree) equal(o tree) string {
	var b strings.Builder
	for p, v := range tr {
		if w, ok := o[p]; !ok {
			fmt.Fprintf(&b, "missing %q; ", p)
		} else if w != v {
			fmt.Fprintf(&b, "%q is %.60q, want %.60q; ", p, w, v)
		}
	}
	for p := range o {
		if _, ok := tr[p]; !ok {
			fmt.Fprintf(&b, "unexpected %q; ", p)
		}
	}
	return b.String()
}

// made is a patch between two trees on disk.
type made struct {
	oldDir, newDir string
	text           []byte
	meta           []File
}

func makePatch(t testing.TB, old, newer tree) made {
	t.Helper()
	m := made{oldDir: t.TempDir(), newDir: t.TempDir()}
	old.write(t, m.oldDir)
	newer.write(t, m.newDir)
	var b bytes.Buffer
	var err error
	m.meta, err = Make(context.Background(), m.oldDir, old.entries(), m.newDir, newer.entries(), &b)
	must(t, err)
	m.text = b.Bytes()
	return m
}

func readPatch(t testing.TB, text []byte) []Change {
	t.Helper()
	c, err := Read(bytes.NewReader(text), Limits{})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return c
}

// metaOf describes a foreign patch by the trees.
func metaOf(changes []Change, old, newer tree) []File {
	digest := func(tr tree, p string) (string, string) {
		mode, content, _ := strings.Cut(tr[p], " ")
		return mode, protocol.Digest([]byte(content))
	}
	var out []File
	for i := range changes {
		f := changes[i].File
		if f.OldPath != "" {
			f.OldMode, f.Before = digest(old, f.OldPath)
		}
		if f.NewPath != "" {
			f.NewMode, f.After = digest(newer, f.NewPath)
		}
		out = append(out, f)
	}
	return out
}

func git(t testing.TB, dir string, stdin []byte, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir),
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %v: %v\n%s\n%s", args, err, errs.String(), stdin)
	}
	return string(out)
}

// randomTrees makes a tree and what became of it, the same for the same seed.
func randomTrees(seed uint64) (tree, tree) {
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test that must repeat
	elems := []string{"a", "b b", "new\nline", "ü", `q"uote`, `back\slash`, "tab\there", "-dash", " lead", "trail ", "b/x b", "dir", "x.sh", "日本"}
	content := func() string {
		switch r.IntN(9) {
		case 0:
			return ""
		case 1:
			return "\x00binary" + strings.Repeat(string(rune('a'+r.IntN(26))), r.IntN(300)) + "\xff\xfe"
		case 2:
			return "no newline"
		case 3:
			return "crlf\r\nlines\r\n" + fmt.Sprint(r.IntN(5)) + "\r\n"
		case 4:
			return "--- a/x\n+++ b/x\n@@ -1 +1 @@\n\\ No newline at end of file\n" + fmt.Sprint(r.IntN(9)) + "\n"
		case 5:
			return "\n\n" + fmt.Sprint(r.IntN(9)) + "\n\n"
		}
		var b strings.Builder
		for range r.IntN(60) {
			fmt.Fprintf(&b, "line %d\n", r.IntN(20))
		}
		return b.String()
	}
	edit := func(s string) string {
		lines := strings.SplitAfter(s, "\n")
		for range 1 + r.IntN(4) {
			switch i := r.IntN(len(lines)); r.IntN(3) {
			case 0:
				lines[i] = fmt.Sprintf("edited %d\n", r.IntN(100))
			case 1:
				lines = slices.Insert(lines, i, fmt.Sprintf("inserted %d\n", r.IntN(100)))
			default:
				lines = slices.Delete(lines, i, i+1)
				if len(lines) == 0 {
					lines = []string{"left"}
				}
			}
		}
		return strings.Join(lines, "")
	}
	name := func() string {
		p := elems[r.IntN(len(elems))]
		for range r.IntN(3) {
			p = elems[r.IntN(len(elems))] + "/" + p
		}
		return p
	}
	mode := func() string { return []string{ModeFile, ModeFile, ModeExecutable}[r.IntN(3)] }
	fresh := func() string {
		if r.IntN(6) == 0 {
			return ModeLink + " " + []string{"a", "../up", "ü \n x", "/abs"}[r.IntN(4)]
		}
		return mode() + " " + content()
	}
	old := tree{}
	for range 14 {
		old.put(name(), fresh())
	}
	newer := tree{}
	paths := []string{}
	for p := range old {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range paths {
		v := old[p]
		m, c, _ := strings.Cut(v, " ")
		switch r.IntN(9) {
		case 0:
		case 1:
			newer.put(name(), v)
		case 2:
			newer.put(p, fresh())
		case 3:
			if m != ModeLink {
				newer.put(p, m+" "+edit(c))
			}
		case 4:
			if m != ModeLink {
				newer.put(p, mode()+" "+c)
			}
		case 5:
			if m != ModeLink {
				newer.put(name(), m+" "+edit(c))
			}
		default:
			newer.put(p, v)
		}
	}
	for range r.IntN(4) {
		newer.put(name(), fresh())
	}
	return old, newer
}

// put adds a file unless a directory is there or a file is in the way.
func (tr tree) put(p, v string) {
	for q := range tr {
		if q == p || strings.HasPrefix(q, p+"/") || strings.HasPrefix(p, q+"/") {
			return
		}
	}
	tr[p] = v
}

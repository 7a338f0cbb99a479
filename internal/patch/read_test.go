package patch

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
)

func TestCheckPath(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"a", "a b/c", ".github/workflows/x.yml", ".gitignore", "sub/.gitattributes", "new\nline", "git~x", "..a", ".cabincrew.yaml",
		"a.git", "ü", `back\slash`, "git~", "sub/.cabincrew"} {
		if err := CheckPath(p, []string{"state"}); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
	for _, p := range []string{"", ".", "/a", "..", "a/../b", "a/./b", "a//b", "a/", "./a", "nul\x00", "\xff",
		".git", ".git/config", "a/.git", ".GIT/x", "a/.Git/hooks/x", "git~1", "a/GIT~1/x", "git~12", ".git./x", ".git ", ".git . .", ".git::$INDEX_ALLOCATION/x",
		".git:stream", ".g\u200cit/config", ".git\ufeff", `a\.git\config`, `..\x`, `a\..\b`,
		".cabincrew", ".cabincrew/flights/x", ".CabinCrew/x", ".cabincrew./x", ".cabincrew-apply-1/x", "state", "state/x", "STATE/x",
		strings.Repeat("a", 256), strings.Repeat("a/", 2100) + "a"} {
		if CheckPath(p, []string{"state"}) == nil {
			t.Errorf("%q passes", p)
		}
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for _, n := range []string{"a", "a b", "a\nb", `a"b`, `a\`, "ü", "\x01\x7f\a\b\t\v\f\r", `\\"`, "", "a\\\""} {
		q := quote(n)
		got, ok := parseName(q)
		if n != "" && (!ok || got != n) {
			t.Errorf("%q: %s gives %q, %v", n, q, got, ok)
		}
		if raw, ok := parseName(quoteRaw(n)); n != "" && (!ok || raw != n) {
			t.Errorf("%q: raw %s gives %q, %v", n, quoteRaw(n), raw, ok)
		}
	}
	for _, bad := range []string{`"`, `"a`, `"\`, `"\x"`, `"\4"`, `"\40"`, `"\400"`, `"a"b`, `"\08"`} {
		if got, ok := parseName(bad); ok {
			t.Errorf("%s gives %q", bad, got)
		}
	}
}

const (
	id1   = "1111111111111111111111111111111111111111"
	hello = "ce013625030ba8dba906f756967f9e9ca394464a"
)

func file(lines ...string) string { return strings.Join(lines, "\n") + "\n" }

func TestReadRefusals(t *testing.T) {
	t.Parallel()
	add := []string{"diff --git a/f b/f", "new file mode 100644", "index " + zeroID + ".." + hello, "--- /dev/null", "+++ b/f", "@@ -0,0 +1 @@", "+hello"}
	if _, err := Read(strings.NewReader(file(add...)), Limits{}); err != nil {
		t.Fatal(err)
	}
	with := func(i int, lines ...string) string {
		out := append([]string{}, add[:i]...)
		out = append(out, lines...)
		return file(append(out, add[i+1:]...)...)
	}
	mod := []string{"diff --git a/f b/f", "index 1111111..2222222 100644", "--- a/f", "+++ b/f"}
	hunk := func(lines ...string) string { return file(append(append([]string{}, mod...), lines...)...) }
	tests := map[string]string{
		"text before":             "From x\n" + file(add...),
		"text between":            file(add...) + "\n" + file(add...),
		"no newline at the end":   strings.TrimSuffix(file(add...), "\n"),
		"twice":                   file(add...) + file(add...),
		"names differ":            with(0, "diff --git a/f b/g"),
		"no prefix":               with(0, "diff --git f f"),
		"quoted badly":            with(0, `diff --git "a/f b/f`),
		"mode of a submodule":     with(1, "new file mode 160000"),
		"mode unknown":            with(1, "new file mode 100600"),
		"mode empty":              with(1, "new file mode "),
		"new and deleted":         with(1, "new file mode 100644", "deleted file mode 100644"),
		"doubled line":            with(1, "new file mode 100644", "new file mode 100644"),
		"unknown header":          with(1, "new file mode 100644", "copy from x"),
		"old id of a new file":    with(2, "index "+id1+".."+hello),
		"no index":                file(add[0], add[1], add[3], add[4], add[5], add[6]),
		"index malformed":         with(2, "index zzz.."+hello),
		"index mode of new file":  with(2, "index "+zeroID+".."+hello+" 100644"),
		"other --- name":          with(3, "--- a/g"),
		"other +++ name":          with(4, "+++ b/g"),
		"no hunk":                 file(add[:5]...),
		"hunk cut off":            file(add[:6]...),
		"hunk numbers":            with(5, "@@ -0,0 +x @@"),
		"hunk of nothing":         with(5, "@@ -0,0 +0,0 @@"),
		"hunk start of new file":  with(5, "@@ -0,0 +2 @@"),
		"hunk huge numbers":       with(5, "@@ -0,0 +1,99999999999999999999 @@"),
		"hunk too long":           with(5, "@@ -0,0 +1,3 @@"),
		"two hunks in a new file": file(add...) + file("@@ -0,0 +2 @@", "+again"),
		"wrong line":              with(6, "*hello"),
		"context in a new file":   with(6, " hello"),
		"empty line in a hunk":    with(6, ""),
		"missing content":         file(add[:3]...),
		"nothing changed":         hunk("@@ -1 +1 @@", " same"),
		"out of order":            hunk("@@ -5 +5 @@", "-a", "+b", "@@ -2 +2 @@", "-a", "+b"),
		"overlap":                 hunk("@@ -1,2 +1,2 @@", "-a", "+b", " c", "@@ -2 +2 @@", "-a", "+b"),
		"shifted":                 hunk("@@ -5 +6 @@", "-a", "+b"),
		"after the end":           hunk("@@ -1 +1 @@", "-a", "\\ No newline at end of file", "+b", "@@ -9 +9 @@", "-a", "+b"),
		"index without mode":      file("diff --git a/f b/f", "index 1111111..2222222", "--- a/f", "+++ b/f", "@@ -1 +1 @@", "-a", "+b"),
		"only a header":           file("diff --git a/f b/f"),
		"only an index":           file(mod[:2]...),
		"half a mode":             file("diff --git a/f b/f", "old mode 100644"),
		"mode to itself":          file("diff --git a/f b/f", "old mode 100644", "new mode 100644"),
		"file to link in place":   file("diff --git a/f b/f", "old mode 100644", "new mode 120000"),
		"rename to itself":        file("diff --git a/f b/f", "similarity index 100%", "rename from f", "rename to f"),
		"rename half":             file("diff --git a/f b/g", "similarity index 100%", "rename from f"),
		"rename other names":      file("diff --git a/f b/h", "similarity index 100%", "rename from f", "rename to g"),
		"rename without content":  file("diff --git a/f b/g", "similarity index 90%", "rename from f", "rename to g"),
		"rename index":            file("diff --git a/f b/g", "similarity index 101%", "rename from f", "rename to g"),
		"binary without content":  file(add[0], add[1], add[2], "Binary files /dev/null and b/f differ"),
		"binary cut off":          file(add[0], add[1], add[2], "GIT binary patch", "literal 5"),
		"empty link":              file("diff --git a/f b/f", "new file mode 120000", "index "+zeroID+".."+emptyID),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Read(strings.NewReader(text), Limits{})
			wantCode(t, err, "patch_invalid")
		})
	}
	for _, p := range []string{"../f", ".git/config", "/etc/passwd", ".cabincrew/x"} {
		text := strings.ReplaceAll(file(add...), "b/f", "b/"+p)
		_, err := Read(strings.NewReader(strings.ReplaceAll(text, "a/f", "a/"+p)), Limits{})
		wantCode(t, err, "patch_path_refused")
	}
}

func TestReadLimits(t *testing.T) {
	t.Parallel()
	old, newer := tree{"a": "100644 1\n2\n3\n4\n5\n6\n7\n8\n9\n"}, tree{"a": "100644 x\n2\n3\n4\n5\n6\n7\n8\ny\n", "b": "100644 \x00" + strings.Repeat("b", 100)}
	m := makePatch(t, old, newer)
	must2(t, m.text, Limits{Bytes: int64(len(m.text)), Files: 2, Hunks: 2, Lines: 10, FileBytes: 101, InflatedBytes: 101})
	for i, l := range []Limits{{Bytes: int64(len(m.text)) - 1}, {Files: 1}, {Hunks: 1}, {Lines: 9}, {FileBytes: 100}, {InflatedBytes: 100}} {
		if _, err := Read(bytes.NewReader(m.text), l); err == nil {
			t.Errorf("limit %d does not hold", i)
		}
	}
	_, err := Read(bytes.NewReader(m.text), Limits{Protected: []string{"b"}})
	wantCode(t, err, "patch_path_refused")
}

func must2(t *testing.T, text []byte, l Limits) {
	t.Helper()
	if _, err := Read(bytes.NewReader(text), l); err != nil {
		t.Fatal(err)
	}
}

// TestBinaryChanges: each changed byte of a binary patch is found by Read or Check.
func TestBinaryChanges(t *testing.T) {
	t.Parallel()
	m := makePatch(t, tree{"f": "100644 \x00old content"}, tree{"f": "100644 \x00new content " + strings.Repeat("xyz", 50)})
	for i := range m.text {
		bad := bytes.Clone(m.text)
		bad[i] ^= 1
		changes, err := Read(bytes.NewReader(bad), Limits{})
		if err == nil {
			err = Check(changes, m.meta)
		}
		if err == nil {
			t.Errorf("byte %d (%q) may change", i, m.text[i])
		}
	}
	// A bomb: far more content than declared.
	var b bytes.Buffer
	must(t, writeBinary(&b, make([]byte, 10<<20)))
	bomb := strings.Replace(b.String(), "literal 10485760", "literal 10", 1)
	head := file("diff --git a/f b/f", "new file mode 100644", "index "+zeroID+".."+id1, "GIT binary patch")
	_, err := Read(strings.NewReader(head+bomb+"literal 0\nHcmV?d00001\n\n"), Limits{})
	wantCode(t, err, "patch_invalid")
}

func FuzzRead(f *testing.F) {
	for seed := range uint64(6) {
		old, newer := randomTrees(seed)
		f.Add(makePatch(f, old, newer).text)
	}
	old, newer := hard()
	f.Add(makePatch(f, old, newer).text)
	f.Add([]byte("diff --git \"a/\\\\\" \"b/\\\\\"\nold mode 100644\nnew mode 100755\n"))
	f.Add([]byte(fmt.Sprintf("diff --git a/f b/f\nindex %s..%s 100644\nGIT binary patch\ndelta 5\nMcmZQzU|?WiU|?fpU;qFC00aO4\n\nliteral 0\nHcmV?d00001\n\n", id1, id1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		changes, err := Read(bytes.NewReader(data), Limits{FileBytes: 1 << 20})
		if err != nil {
			return
		}
		meta := make([]File, len(changes))
		for i := range changes {
			meta[i] = changes[i].File
			for _, p := range []string{meta[i].OldPath, meta[i].NewPath} {
				if p != "" && CheckPath(p, nil) != nil {
					t.Errorf("path %q passed", p)
				}
			}
		}
		View(changes, meta, 1000)
		dir := t.TempDir()
		if Apply(context.Background(), dir, changes, meta, ApplyOptions{}) != nil && len(readTree(t, dir)) != 0 {
			t.Error("a refused patch left something")
		}
	})
}

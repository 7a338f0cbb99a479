package workspace

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestIgnorePatterns(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern, path string
		dir, want     bool
	}{
		{"a", "a", false, true}, {"a", "x/a", false, true}, {"/a", "x/a", false, false}, {"x/a", "y/x/a", false, false},
		{"a/", "a", false, false}, {"a/", "a", true, true},
		{"*.o", "x/b.o", false, true}, {"*", "anything", false, true}, {"*.*", "a", false, false},
		{"**/b", "b", false, true}, {"**/b", "a/x/b", false, true}, {"a/**", "a", true, false}, {"a/**", "a/x/y", false, true},
		{"a/**/b", "a/b", false, true}, {"a/**/b", "a/x/y/b", false, true}, {"a/**/b", "ab", false, false}, {"a**b/c", "axb/c", false, true},
		{"a**b/c", "a/b/c", false, false}, {"**/a/**/b/*", "x/a/y/a/z/b/c", false, true},
		{"[abc]", "b", false, true}, {"[!abc]", "b", false, false}, {"[^abc]", "d", false, true}, {"[a-c]x", "bx", false, true},
		{"[]a]", "]", false, true}, {"[[:digit:]]x", "7x", false, true}, {"a[", "a[", false, false}, {"[a", "a", false, false},
		{`\#a`, "#a", false, true}, {"#a", "#a", false, false}, {`\!a`, "!a", false, true}, {`a\ `, "a ", false, true}, {"a  ", "a", false, true},
		{`a\`, `a\`, false, false}, {"?", "ab", false, false}, {"a?b/c", "a/b/c", false, false}, {`\*`, "*", false, true}, {`\*`, "x", false, false},
		{"a\r", "a", false, true}, {"\ufeffa", "a", false, true},
	}
	for _, tc := range tests {
		patterns, err := parseIgnore([]byte(tc.pattern + "\n"))
		must(t, err)
		s := ignoreStack{files: []ignoreFile{{patterns: patterns}}}
		if got := s.ignored(tc.path, tc.dir); got != tc.want {
			t.Errorf("pattern %q, path %q: %v", tc.pattern, tc.path, got)
		}
	}
}

// TestIgnoreAsGit compares with real git over random trees and patterns.
func TestIgnoreAsGit(t *testing.T) {
	t.Parallel()
	parts := []string{"a", "b", "ab", "*", "?", "**", "[ab]", "[!a]", "a*", "*b", `\a`, "a**b", "[a-b]*", "c"}
	names := []string{"a", "b", "ab", "c", "aab", "ba"}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // a test that must repeat
		dir := t.TempDir()
		pick := func(list []string) string { return list[r.IntN(len(list))] }
		for range 40 {
			p := pick(names)
			for range r.IntN(4) {
				p = filepath.Join(pick(names), p)
			}
			if os.MkdirAll(filepath.Join(dir, filepath.Dir(p)), 0o755) == nil {
				_ = os.WriteFile(filepath.Join(dir, p), []byte("x"), 0o644) // a directory may have the name
			}
		}
		for _, at := range []string{".", "a", "b", "a/b"} {
			if info, err := os.Stat(filepath.Join(dir, at)); err != nil || !info.IsDir() {
				continue
			}
			var text strings.Builder
			for range 1 + r.IntN(4) {
				line := pick(parts)
				for range r.IntN(3) {
					line += "/" + pick(parts)
				}
				text.WriteString([]string{"", "", "!", "/"}[r.IntN(4)] + line + []string{"", "", "/"}[r.IntN(3)] + "\n")
			}
			must(t, os.WriteFile(filepath.Join(dir, at, ".gitignore"), []byte(text.String()), 0o644))
		}
		git(t, dir, "init", "-q")
		want := strings.Split(strings.TrimSuffix(git(t, dir, "ls-files", "-z", "-o", "--exclude-per-directory=.gitignore"), "\x00"), "\x00")
		want = slices.DeleteFunc(want, func(s string) bool { return s == "" })
		slices.Sort(want)
		got := []string{}
		for _, f := range scan(t, dir, Options{}) {
			got = append(got, f.Path)
		}
		if d := cmp.Diff(want, got); d != "" {
			out, _ := filepath.Glob(filepath.Join(dir, ".gitignore"))
			text, _ := os.ReadFile(out[0])
			t.Fatalf("seed %d: %s\n%s", seed, d, text)
		}
	}
}

func TestGlobTakesLinearTime(t *testing.T) {
	t.Parallel()
	g, ok := compileGlob(strings.Repeat("**/*a", 100)+"b", true)
	if !ok {
		t.Fatal("refused")
	}
	start := time.Now()
	if g.matches(strings.Repeat("a/", 2000)) {
		t.Error("matches")
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

func FuzzIgnore(f *testing.F) {
	for _, s := range []string{"*.o\n!a\n", "a/**/b\n", "[!a-\n", "[[:alpha:]]x", `\`, "/", "**", "!", "#"} {
		f.Add([]byte(s), "a/b.o")
	}
	f.Fuzz(func(_ *testing.T, data []byte, p string) {
		patterns, err := parseIgnore(data)
		if err != nil || len(data)*len(p) > 1<<20 {
			return
		}
		s := ignoreStack{files: []ignoreFile{{patterns: patterns}}}
		s.ignored(p, false)
		s.ignored(p, true)
	})
}

func FuzzIndex(f *testing.F) {
	dir := f.TempDir()
	tree(f, dir, "a", "b/c", "b/cd")
	git(f, dir, "init", "-q")
	git(f, dir, "add", ".")
	for _, v := range []string{"2", "4"} {
		git(f, dir, "update-index", "--index-version", v)
		data, err := os.ReadFile(filepath.Join(dir, ".git", "index"))
		must(f, err)
		f.Add(data)
		f.Add(append(data[:len(data)-20:len(data)-20], make([]byte, 20)...)) // index.skipHash, so that fuzzing gets past the checksum
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		names, err := parseEntries(data)
		if err != nil && names != nil && len(names) > len(data) {
			t.Error("more names than bytes")
		}
	})
}

func TestScanManyFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 3000 {
		tree(t, dir, fmt.Sprintf("d%d/f%d", i%300, i))
	}
	files, err := Scan(context.Background(), dir, Options{Workers: 8})
	must(t, err)
	if len(files) != 3000 {
		t.Errorf("%d files", len(files))
	}
}

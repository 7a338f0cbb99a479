package codeowners

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

func parse(t testing.TB, text string) *File {
	t.Helper()
	f, err := Parse("CODEOWNERS", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestMatch: which paths a pattern matches (yes) and which it does not (no).
func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ pattern, yes, no string }{
		{"*", "a a/b .a a/.b/c", ""},
		{"/*", "a .a", "a/b a/b/c"},
		{"**", "a a/b a/b/c", ""},
		{"/**", "a a/b a/b/c", ""},
		{"**/*", "a a/b a/b/c", ""},
		{"*.go", "a.go a/b.go .go a.go/b", "a.gob a.g go"},
		{"/*.go", "a.go a.go/b", "a/b.go"},
		{"docs", "docs docs/a a/docs a/docs/b/c", "doc docsx docs.md a/xdocs"},
		{"/docs", "docs docs/a docs/a/b", "a/docs a/docs/b"},
		{"docs/", "docs/a docs/a/b a/docs/b", "docs a/docs"},
		{"/docs/", "docs/a docs/a/b", "docs a/docs/b"},
		{"docs/*", "docs/a docs/.a", "docs docs/a/b a/docs/b"},
		{"/docs/*", "docs/a", "docs docs/a/b"},
		{"docs/*/", "docs/a/b docs/a/b/c", "docs docs/a a/docs/b/c"},
		{"docs/**", "docs/a docs/a/b", "docs a/docs/b"},
		{"docs/**/*", "docs/a docs/a/b/c", "docs x/docs/a"},
		{"docs/a", "docs/a docs/a/b", "a docs/ab x/docs/a"},
		{"a/*/c", "a/b/c a/b/c/d", "a/c a/b/b/c"},
		{"a/**/c", "a/c a/b/c a/b/b/c a/c/d", "c a b/a/c ac"},
		{"a/**/**/c", "a/c a/b/c a/b/b/c", "c"},
		{"**/logs", "logs a/logs a/b/logs logs/x a/logs/x", "log a/logsx"},
		{"**/a/b", "a/b x/a/b x/a/b/c", "a/x/b"},
		{"a/**/b/c*", "a/b/c a/x/b/cd a/x/y/b/cd", "a/b a/b/x/c a/b/d"},
		{"a?c", "abc aäc x/abc/y", "ac abbc a/c"},
		{"a*c*e", "ace abcde acece acexe", "acf ae abc"},
		{"*a*b", "ab xaxb aab abab", "ba a b abx"},
		{"a**b", "ab axb", "a/b a/x/b"},
		{"/a/**.md", "a/x.md", "a/b/x.md"},
		{`a\ b`, "a\tb", ""}, // "\t" stands for a space in this table
		{`a\*`, "a* x/a*", "ab a"},
		{`a\?`, "a?", "ab"},
		{`\[id\].ts`, "[id].ts a/[id].ts", "i.ts id.ts"},
		{`a\\b`, `a\b`, "ab"},
		{`*\*`, "a* *", "a *b"},
		{`\!a`, "!a", "a"},
		{"C#", "C# C#/a", "C"},
		{"@scope/pkg", "@scope/pkg/a", "scope/pkg"},
		{"README", "README", "readme Readme README.md"},
		{"/.github/", ".github/CODEOWNERS .github/workflows/a.yml", ".GITHUB/a x/.github/a"},
		{"ä/", "ä/b x/ä/b", "a/b"},
		{"{a,b}", "{a,b}", "a b"},
		{"(a|b)+", "(a|b)+", "a ab"},
	} {
		f := parse(t, c.pattern+" @owner\n")
		for want, paths := range map[bool]string{true: c.yes, false: c.no} {
			for path := range strings.FieldsFuncSeq(paths, func(r rune) bool { return r == ' ' }) {
				path = strings.ReplaceAll(path, "\t", " ")
				owners, line, err := f.Owners(path)
				if err != nil || (len(owners) == 1) != want || (line == 1) != want {
					t.Errorf("%q matches %q: %v (%v), want %v", c.pattern, path, len(owners) == 1, err, want)
				}
			}
		}
	}
}

// TestGitAgrees: git itself judges the patterns, by the rules of .gitignore, where the
// two dialects are one: without negation, ranges and a last name that is a star.
func TestGitAgrees(t *testing.T) {
	t.Parallel()
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skip("git judges this test, and here there is none:", err)
	}
	dir := t.TempDir()
	run := func(in string, args ...string) string {
		c := exec.Command(git, args...)
		c.Dir, c.Stdin = dir, strings.NewReader(in)
		c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1"}
		var stderr bytes.Buffer
		c.Stderr = &stderr
		out, err := c.Output()
		if err != nil && c.ProcessState.ExitCode() != 1 { // 1: nothing is ignored
			t.Fatalf("%v: %s", err, stderr.String())
		}
		return string(out)
	}
	run("", "init", "-q", ".")
	r := rand.New(rand.NewPCG(6, 29))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	names := func() []string {
		out := []string{}
		for range 1 + r.IntN(4) {
			out = append(out, pick("a", "b", "ab", "aab", "abb", ".a", "a*", "ba"))
		}
		return out
	}
	judged := map[bool]int{}
	for round := range 40 {
		var text strings.Builder
		for range 6 {
			p := pick("", "", "/")
			for range r.IntN(3) {
				p += pick("a", "b", "*", "**", "a*", "?b", "*b*", `a\*`) + "/"
			}
			p += pick("a", "ab", "b*", "*a", "a?", "*a*b", `a\*`) + pick("", "", "/", "/**")
			text.WriteString(p + "\n")
		}
		must(t, os.WriteFile(filepath.Join(dir, "rules"), []byte(text.String()), 0o600))
		var paths []string
		for range 150 {
			paths = append(paths, strings.Join(names(), "/"))
		}
		slices.Sort(paths)
		paths = slices.Compact(paths)
		out := run(strings.Join(paths, "\x00")+"\x00", "-c", "core.excludesFile="+filepath.Join(dir, "rules"), "check-ignore", "--no-index", "--stdin", "-z")
		ignored := strings.Split(out, "\x00")
		f := parse(t, text.String())
		for _, p := range paths {
			_, line, err := f.Owners(p)
			want := slices.Contains(ignored, p)
			if judged[want]++; err != nil || (line > 0) != want {
				t.Fatalf("round %d: %q is matched by line %d (%v), and git says %v:\n%s", round, p, line, err, want, text.String())
			}
		}
	}
	if judged[true] < 500 || judged[false] < 500 {
		t.Errorf("git judged too little: %v", judged)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	f := parse(t, "# a comment\r\n\r\n*  @all\t@all one@example.com # and why\r\n  /docs/ @acme/docs\n/docs/drafts\n\\ x @acme/a_b-c.d #x @y\n/last @-_x")
	for path, want := range map[string]struct {
		owners []string
		line   int
	}{
		"a":                 {[]string{"@all", "one@example.com"}, 3},
		"docs/a":            {[]string{"@acme/docs"}, 4},
		"docs/drafts/a":     {[]string{}, 5},
		" x":                {[]string{"@acme/a_b-c.d"}, 6},
		"last":              {[]string{"@-_x"}, 7},
		"other/docs/drafts": {[]string{"@all", "one@example.com"}, 3},
	} {
		owners, line, err := f.Owners(path)
		if err != nil || line != want.line || !slices.Equal(owners, want.owners) {
			t.Errorf("%s: %q by line %d, want %+v (%v)", path, owners, line, want, err)
		}
	}
}

// TestRefusals: a line that does not parse denies, and says which one it is.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ line, message string }{
		"negation":             {"!a @b", `the pattern "!a" is negated`},
		"range":                {"a[bc] @b", `the pattern "a[bc]" has a [`},
		"section":              {"[docs] @b", `has a [`},
		"end of a range":       {"a] @b", `has a ]`},
		"escaped comment":      {`\#a @b`, `begins with an escaped #`},
		"a bare name":          {"a b", `"b" names no owner`},
		"unescaped space":      {"my docs/ @b", `"docs/" names no owner`},
		"comment at an owner":  {"a @b#c", `"@b#c" names no owner`},
		"comma":                {"a @b, @c", `"@b," names no owner`},
		"empty user":           {"a @", `"@" names no owner`},
		"empty team":           {"a @b/", `"@b/" names no owner`},
		"three parts":          {"a @b/c/d", `"@b/c/d" names no owner`},
		"an app":               {"a @b[bot]", `"@b[bot]" names no owner`},
		"address of two":       {"a a@b@c", `"a@b@c" names no owner`},
		"address without host": {"a b@", `"b@" names no owner`},
		"hidden in an owner":   {"a @b\u200b", `"@b\u200b" names no owner`},
		"hidden in an address": {"a a@b\u200b", `"a@b\u200b" names no owner`},
		"long owner":           {"a @" + strings.Repeat("b", 300), `names no owner`},
		"no-break space":       {"/docs/\u00a0@b", `has a character that cannot be seen`},
		"byte-order mark":      {"\ufeff* @b", `has a character that cannot be seen`},
		"right to left":        {"a\u202eb @c", `has a character that cannot be seen`},
		"control":              {"a\x01 @b", `has a character that cannot be seen`},
		"carriage return":      {"a\rb @c", `has a character that cannot be seen`},
		"not UTF-8":            {"a\xff @b", `the line is not UTF-8`},
		"comment not in UTF-8": {"# \xe4", `the line is not UTF-8`},
		"backslash at the end": {`a\`, `ends with a backslash`},
		"backslash at a slash": {`a\/b @c`, `has a backslash before a slash`},
		"slash":                {"/ @b", `has an empty name`},
		"two slashes":          {"a//b @c", `has an empty name`},
		"slashes at the end":   {"a// @c", `has an empty name`},
		"dot":                  {"./a @b", `has the name ., which no path has`},
		"T30 dots":             {"../a @b", `has the name .., which no path has`},
		"three stars":          {"a/*** @b", `has three stars`},
		"deep directory":       {"a/**/ @b", `ends with **/`},
		"long pattern":         {strings.Repeat("a", limits.OwnersPatternBytes+1) + " @b", "more than 4096 bytes"},
		"many owners":          {"a" + manyOwners(limits.OwnersWords+1), "more than 256 owners"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := Parse("docs/CODEOWNERS", []byte("* @fine\n"+c.line+"\n* @fine\n"))
			var e *protocol.Error
			if f != nil || !errors.As(err, &e) || e.Code != "codeowners_invalid" || e.Exit != protocol.ExitDenied || e.Where != "docs/CODEOWNERS:2" || e.Hint == "" {
				t.Fatalf("%+v, %+v", f, err)
			}
			if !strings.Contains(e.Message, c.message) || len(e.Message) > 250 || strings.ContainsFunc(e.Message, func(r rune) bool { return r < ' ' || r == 0x202e || r == 0xa0 }) {
				t.Errorf("%q", e.Message)
			}
		})
	}
}

func manyOwners(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " @u%d", i)
	}
	return b.String()
}

// TestBounds: T29, no file and no path takes long.
func TestBounds(t *testing.T) {
	t.Parallel()
	if _, err := Parse("CODEOWNERS", make([]byte, limits.OwnersBytes+1)); !errors.Is(err, protocol.Code("codeowners_too_large")) || protocol.ExitCode(err) != protocol.ExitDenied {
		t.Errorf("bytes: %v", err)
	}
	if _, err := Parse("CODEOWNERS", []byte(strings.Repeat("a\n", limits.OwnersRules+1))); !errors.Is(err, protocol.Code("codeowners_too_large")) {
		t.Errorf("patterns: %v", err)
	}
	parse(t, strings.Repeat("a\n", limits.OwnersRules))
	long := strings.Repeat("a", 4000)
	for _, p := range []string{strings.Repeat("*a", 2000) + "b @x", strings.Repeat("**/", 1000) + "b @x", strings.Repeat("*/**/", 700) + "b @x", strings.Repeat("?*", 2000) + "b @x"} {
		f := parse(t, p)
		start := time.Now()
		for _, path := range []string{long, strings.Repeat("a/", 2000) + "a"} {
			if _, line, err := f.Owners(path); err != nil || line != 0 {
				t.Errorf("%.12s…: line %d, %v", p, line, err)
			}
		}
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("%.12s… took %v", p, d)
		}
	}
	f := parse(t, strings.Repeat(strings.Repeat("*a", 100)+"b @x\n", 10_000))
	m := matcher{steps: 1_000_000}
	if _, err := f.find(&m, strings.Repeat("a", 2000)); !errors.Is(err, protocol.Code("codeowners_too_large")) || protocol.ExitCode(err) != protocol.ExitDenied {
		t.Errorf("steps: %v", err)
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	f := parse(t, "* @b\n")
	for _, p := range []string{"", ".", "/a", "a/", "../a", "a/../b", "a//b", "a\x00", "a\xff", strings.Repeat("a/", limits.PathBytes/2) + "a"} {
		for _, f := range []*File{f, nil} {
			_, _, err := f.Owners(p)
			_, err2 := f.Lists([]string{"a", p})
			for _, err := range []error{err, err2} {
				if !errors.Is(err, protocol.Code("codeowners_path")) || protocol.ExitCode(err) != protocol.ExitIntegrity {
					t.Errorf("%.20q: %v", p, err)
				}
			}
		}
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	f := parse(t, "*.go @b @a\n/c.go @a @b\n/docs/ @d\n/docs/x\n")
	for _, c := range []struct {
		paths []string
		want  [][]string
	}{
		{[]string{"x.go", "y/z.go", "c.go"}, [][]string{{"@a", "@b"}}},
		{[]string{"docs/y", "a.go", "README"}, [][]string{{"@a", "@b"}, {"@d"}}},
		{[]string{"docs/x"}, [][]string{}}, // the last line takes its owner
		{nil, [][]string{}},
	} {
		got, err := f.Lists(c.paths)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %q, want %q (%v)", c.paths, got, c.want, err)
		}
	}
	var none *File
	if got, err := none.Lists([]string{"a"}); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		owner string
	}{
		"the first place":            {map[string]string{".github/CODEOWNERS": "* @a", "CODEOWNERS": "* @b", "docs/CODEOWNERS": "* @c"}, "@a"},
		"the second":                 {map[string]string{"CODEOWNERS": "* @b", "docs/CODEOWNERS": "* @c"}, "@b"},
		"the third":                  {map[string]string{"docs/CODEOWNERS": "* @c", ".gitlab/CODEOWNERS": "* @d"}, "@c"},
		"an empty one hides another": {map[string]string{".github/CODEOWNERS": "", "CODEOWNERS": "* @b"}, ""},
		"none":                       {nil, ""},
	} {
		f, err := Find(func(p string) ([]byte, bool, error) { s, ok := c.files[p]; return []byte(s), ok, nil })
		owners, _, err2 := f.Owners("x")
		if err != nil || err2 != nil || strings.Join(owners, " ") != c.owner {
			t.Errorf("%s: %q %v %v", name, owners, err, err2)
		}
	}
	if f, err := Find(func(string) ([]byte, bool, error) { return nil, false, io.ErrUnexpectedEOF }); f != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("T28: %v, %v", f, err)
	}
	if f, err := Find(func(p string) ([]byte, bool, error) { return []byte("! @x"), p == "CODEOWNERS", nil }); f != nil || !errors.Is(err, protocol.Code("codeowners_invalid")) {
		t.Errorf("%v, %v", f, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("# c\n* @a @b/c d@e.f # g\n/docs/ @a\n\\ x\\* @y\n**/a?b/** @z\n"), "docs/a")
	f.Add([]byte("a/**/b @c\r\n!x\n"), "a/b")
	f.Add([]byte("*a*a*a*b @c"), "aaaa/aaaab")
	f.Fuzz(func(t *testing.T, data []byte, path string) {
		file, err := Parse("f", data)
		if err != nil {
			if protocol.ExitCode(err) != protocol.ExitDenied || file != nil {
				t.Fatalf("%v", err)
			}
			return
		}
		owners, line, err := file.Owners(path)
		if err != nil {
			return
		}
		if line == 0 && owners != nil || line > bytes.Count(data, []byte("\n"))+1 {
			t.Fatalf("%q by line %d", owners, line)
		}
		lists, err := file.Lists([]string{path, path})
		if err != nil || len(lists) > 1 || (len(lists) == 1) != (len(owners) > 0) {
			t.Fatalf("%q, %q, %v", lists, owners, err)
		}
	})
}

// BenchmarkLists is the largest change that GitHub tells of, in a large repository.
func BenchmarkLists(b *testing.B) {
	var text strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&text, "/services/s%d/**/*.go @acme/t%d\n", i, i)
	}
	f := parse(b, text.String())
	var paths []string
	for i := range 3000 {
		paths = append(paths, fmt.Sprintf("services/s%d/internal/pkg/file%d.go", i%2500, i))
	}
	for b.Loop() {
		if _, err := f.Lists(paths); err != nil {
			b.Fatal(err)
		}
	}
}

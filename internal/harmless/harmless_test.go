package harmless_test

import (
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/harmless"
)

func TestHidden(t *testing.T) {
	t.Parallel()
	for _, r := range "\x00\a\r\n\x1b\x7f\u0085\u009b\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200d\u200e\u2028\u2029\u202e\u2060\u2065\u2066\u2069\u2800\u3164\ufe0f\ufeff\uffa0\ufff0\ue000\U000e0000\U000e0041\U000e01ef\U000e0fff" {
		if !harmless.Hidden(r) {
			t.Errorf("%U is not hidden", r)
		}
	}
	for _, r := range "aZ09 ~`@é你ا𝒳😀\u0301\ufffd" {
		if harmless.Hidden(r) {
			t.Errorf("%U is hidden", r)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, one, many string }{
		{"plain", "a b\té", "a b\té", "a b\té"},
		{"lines", "a\nb", `a\nb`, "a\nb"},
		{"carriage return", "a\r\nb", `a\r\nb`, `a\r` + "\nb"},
		{"terminal", "\x1b[31mred", `\x1b[31mred`, `\x1b[31mred`},
		{"turned", "a\u202eb\u2066", `a\u202eb\u2066`, `a\u202eb\u2066`},
		{"no UTF-8", "a\xff\xfeb", `a\xff\xfeb`, "a\ufffdb"},
		{"order", "x ##[error]y", `x ##\[error]y`, "x ##[error]y"},
		{"empty", "", "", ""},
	} {
		if got := harmless.OneLine(c.text); got != c.one {
			t.Errorf("%s: one line %q, want %q", c.name, got, c.one)
		}
		if got := harmless.Visible(c.text); got != c.many {
			t.Errorf("%s: %q, want %q", c.name, got, c.many)
		}
	}
	got := harmless.Segments("a\x00\u200bb\xff")
	want := []harmless.Segment{{"a", false}, {`\x00\u200b`, true}, {"b", false}, {`\xff`, true}}
	if len(got) != len(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%v, want %v", got[i], want[i])
		}
	}
}

// order finds what a CI platform obeys; it is no part of what is tested.
var order = regexp.MustCompile(`(?m)^\s*::|##[A-Za-z]*\[`)

func TestTame(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"::error::x", "a\n \t::stop-commands::x\n", "\u00a0\u3000::add-mask::x", "a ##[group]b", "##vso[task.setvariable variable=a]b", "###[error]x", "##[##[error]x"} {
		got := harmless.Tame(text)
		for line := range strings.Lines(got) {
			if line = strings.TrimLeftFunc(line, unicode.IsSpace); order.MatchString(line) {
				t.Errorf("%q gives %q", text, got)
			}
		}
	}
	for _, plain := range []string{"", "a::b", "std::vec\n", "## Title [link]\n", "#[x]"} {
		if got := harmless.Tame(plain); got != plain {
			t.Errorf("%q gives %q", plain, got)
		}
	}
}

// TestLongTextIsQuick: a hidden text that is long takes as long as any other.
func TestLongTextIsQuick(t *testing.T) {
	t.Parallel()
	began := time.Now()
	for _, text := range []string{strings.Repeat("\x00", 4<<20), strings.Repeat("a\u202e", 1<<20), strings.Repeat("\xff", 4<<20)} {
		_, _ = harmless.OneLine(text), harmless.Visible(text)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %s", took)
	}
}

func FuzzHarmless(f *testing.F) {
	for _, s := range []string{"", "a\nb", "\x1b[0m", "\xff", "::error::x", " ##[x]", "\u202e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, got := range []string{harmless.OneLine(s), harmless.Tame(harmless.Visible(s))} {
			if !utf8.ValidString(got) {
				t.Fatalf("%q gives %q", s, got)
			}
			for _, r := range got {
				if r != '\n' && r != '\t' && harmless.Hidden(r) {
					t.Fatalf("%q gives %q", s, got)
				}
			}
			if harmless.Unmarked(got) != got {
				t.Fatalf("%q gives %q", s, got)
			}
		}
		if strings.Contains(harmless.OneLine(s), "\n") {
			t.Fatalf("%q has more than one line", s)
		}
	})
}

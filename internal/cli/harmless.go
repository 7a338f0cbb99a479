package cli

import (
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// segment is a part of foreign text. A hidden one is the escaped form of a
// character that nobody would see, or that would move others.
type segment struct {
	Text   string
	Hidden bool
}

// hidden says whether a character is invisible or changes how others are shown:
// controls, format characters (bidirectional marks, zero-width characters, tags),
// variation selectors, fillers and line separators.
func hidden(r rune) bool {
	switch {
	case unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r), unicode.Is(unicode.Variation_Selector, r):
		return true
	}
	switch r {
	case 0x115f, 0x1160, 0x2800, 0x3164, 0xffa0, 0x034f, 0x17b4, 0x17b5:
		return true
	}
	return unicode.Is(unicode.Co, r) || unicode.Is(unicode.Cs, r)
}

// segments parts text into what can be shown as it is and what cannot. Tabs stay.
func segments(s string) []segment {
	var out []segment
	add := func(text string, hid bool) {
		if n := len(out); n > 0 && out[n-1].Hidden == hid {
			out[n-1].Text += text
			return
		}
		out = append(out, segment{text, hid})
	}
	for start := 0; start < len(s); {
		end := start
		for end < len(s) {
			r, n := utf8.DecodeRuneInString(s[end:])
			if r == utf8.RuneError && n == 1 || hidden(r) && r != '\t' {
				break
			}
			end += n
		}
		if end > start {
			add(s[start:end], false)
			start = end
			continue
		}
		r, n := utf8.DecodeRuneInString(s[start:])
		if r == utf8.RuneError && n == 1 {
			add(fmt.Sprintf(`\x%02x`, s[start]), true)
		} else {
			add(strings.Trim(strconvQuote(r), "'"), true)
		}
		start += n
	}
	return out
}

// oneLine makes foreign text harmless where one line is expected: nothing in it
// can begin a new line, so it cannot pass for a line of the program's own.
func oneLine(s string) string {
	var b strings.Builder
	for _, part := range segments(s) {
		b.WriteString(part.Text)
	}
	return unmarked(b.String())
}

// paint is a colour of the terminal.
type paint string

const (
	paintRed   paint = "31"
	paintGreen paint = "32"
	paintCyan  paint = "36"
	paintBold  paint = "1"
	paintDim   paint = "2"
)

// colours says whether stdout is a terminal whose person wants colours.
func (a *app) colours() bool {
	f, ok := a.out.(*os.File)
	return ok && a.env["NO_COLOR"] == "" && a.env["TERM"] != "dumb" && term.IsTerminal(int(f.Fd()))
}

func (p paint) on(colour bool, s string) string {
	if !colour || s == "" {
		return s
	}
	return "\x1b[" + string(p) + "m" + s + "\x1b[0m"
}

// size writes a number of bytes for people.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d bytes", n)
	}
	value, name := float64(n), ""
	for _, name = range []string{"KiB", "MiB", "GiB", "TiB"} {
		if value /= unit; value < unit {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", value, name)
}

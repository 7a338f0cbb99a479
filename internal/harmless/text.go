package harmless

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Segment is a part of foreign text. A hidden one is the escaped form of characters
// that nobody would see, or that would move others.
type Segment struct {
	Text   string
	Hidden bool
}

// Hidden says whether a character is invisible or changes how others are shown:
// controls, format characters (bidirectional marks, zero-width characters, tags),
// variation selectors, fillers, line separators, and what has no meaning of its own.
func Hidden(r rune) bool {
	switch {
	case unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r), unicode.Is(unicode.Variation_Selector, r):
		return true
	case unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r):
		return true
	case r == 0x2800: // it looks like a space and is a letter
		return true
	}
	return unicode.Is(unicode.Co, r) || unicode.Is(unicode.Cs, r)
}

// Escape gives the visible form of a character.
func Escape(r rune) string { return strings.Trim(strconv.QuoteRuneToASCII(r), "'") }

// EscapeByte gives the visible form of a byte that is no part of valid UTF-8.
func EscapeByte(b byte) string { return fmt.Sprintf(`\x%02x`, b) }

// Segments parts text into what can be shown as it is and what cannot. Tabs stay.
func Segments(s string) []Segment {
	var out []Segment
	for s != "" {
		end := 0
		for end < len(s) {
			n, ok := shown(s[end:])
			if !ok {
				break
			}
			end += n
		}
		if end > 0 {
			out = append(out, Segment{s[:end], false})
			s = s[end:]
			continue
		}
		var b strings.Builder
		for s != "" {
			n, ok := shown(s)
			if ok {
				break
			}
			if r, size := utf8.DecodeRuneInString(s); r == utf8.RuneError && size == 1 {
				b.WriteString(EscapeByte(s[0]))
			} else {
				b.WriteString(Escape(r))
			}
			s = s[n:]
		}
		out = append(out, Segment{b.String(), true})
	}
	return out
}

// shown gives the length of the first character and whether it is shown as it is.
func shown(s string) (n int, ok bool) {
	r, n := utf8.DecodeRuneInString(s)
	return n, (r != utf8.RuneError || n > 1) && (r == '\t' || !Hidden(r))
}

// OneLine makes foreign text harmless where one line is expected: nothing in it
// can begin a new line, so it cannot pass for a line of the program's own.
func OneLine(s string) string {
	var b strings.Builder
	for _, part := range Segments(s) {
		b.WriteString(part.Text)
	}
	return Unmarked(b.String())
}

// Visible makes foreign text of many lines harmless: what is hidden becomes escapes,
// what is no UTF-8 the replacement character. Line breaks and tabs stay.
func Visible(s string) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "\ufffd") {
		if r == '\n' || r == '\t' || !Hidden(r) {
			b.WriteRune(r)
			continue
		}
		b.WriteString(Escape(r))
	}
	return b.String()
}

package patch

import (
	"fmt"
	"strings"
)

// quoteLetters are the escapes of one letter in git's quoted names.
const quoteLetters = "\aa\bb\tt\nn\vv\ff\rr\"\"\\\\"

// quote writes a name as git does (core.quotePath): as it is, or between double
// quotes with escapes if it has control characters, quotes, backslashes or
// bytes over 0x7f.
func quote(name string) string {
	for i := range len(name) {
		if c := name[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return quoteAlways(name)
		}
	}
	return name
}

func quoteAlways(name string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(name) {
		c := name[i]
		if j := strings.IndexByte(quoteLetters, c); j >= 0 && j%2 == 0 && (c < 0x20 || c == '"' || c == '\\') {
			b.WriteByte('\\')
			b.WriteByte(quoteLetters[j+1])
		} else if c < 0x20 || c >= 0x7f {
			fmt.Fprintf(&b, `\%03o`, c)
		} else {
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// unquote reads a quoted name at the start of s and gives the rest of s.
func unquote(s string) (name, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		return "", s, false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		c := s[i]
		if c == '"' {
			return b.String(), s[i+1:], true
		}
		if c != '\\' {
			b.WriteByte(c)
			continue
		}
		if i++; i >= len(s) {
			break
		}
		if c = s[i]; '0' <= c && c <= '3' {
			if i+2 >= len(s) || !octal(s[i+1]) || !octal(s[i+2]) {
				break
			}
			b.WriteByte((c-'0')<<6 | (s[i+1]-'0')<<3 | (s[i+2] - '0'))
			i += 2
			continue
		}
		j := 1
		for j < len(quoteLetters) && quoteLetters[j] != c {
			j += 2
		}
		if j >= len(quoteLetters) {
			break
		}
		b.WriteByte(quoteLetters[j-1])
	}
	return "", s, false
}

func octal(c byte) bool { return '0' <= c && c <= '7' }

// parseName reads a whole name, quoted or not.
func parseName(s string) (string, bool) {
	if strings.HasPrefix(s, `"`) {
		name, rest, ok := unquote(s)
		return name, ok && rest == ""
	}
	return s, s != ""
}

// splitNames reads "a/X b/X" of a diff line where both names are the same. A
// rename's line is not read but compared with the names of its other lines.
func splitNames(s string) (string, bool) {
	var first, second string
	if strings.HasPrefix(s, `"`) {
		name, rest, ok := unquote(s)
		if !ok || !strings.HasPrefix(rest, " ") {
			return "", false
		}
		if second, ok = parseName(rest[1:]); !ok {
			return "", false
		}
		first = name
	} else {
		// Both have the same length, so the middle is known, spaces or not.
		if len(s)%2 == 0 || s[len(s)/2] != ' ' {
			return "", false
		}
		first, second = s[:len(s)/2], s[len(s)/2+1:]
	}
	a, okA := strings.CutPrefix(first, "a/")
	b, okB := strings.CutPrefix(second, "b/")
	return a, okA && okB && a == b && a != ""
}

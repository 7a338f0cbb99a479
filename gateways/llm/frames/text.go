package frames

import (
	"unicode/utf16"
	"unicode/utf8"
)

// unescape gives the character that the escape at the beginning of b stands for and its
// length; 0 if it is none. A lone surrogate stands for U+FFFD: servers that cut their
// text anywhere send such ones, and clients take them.
func unescape(b []byte) (r rune, size int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch b[1] {
	case '"', '\\', '/':
		return rune(b[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
	default:
		return 0, 0
	}
	r = hex(b[2:])
	if r < 0 {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
		if full := utf16.DecodeRune(r, hex(b[8:])); full != utf8.RuneError {
			return full, 12
		}
	}
	return utf8.RuneError, 6
}

// hex reads four hexadecimal digits; -1 if there are none.
func hex(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return -1
		}
	}
	return r
}

// appendText appends what is between the quotes of a text, without its escapes.
func appendText(dst, inner []byte) []byte {
	for i := 0; i < len(inner); {
		if inner[i] != '\\' {
			dst = append(dst, inner[i])
			i++
			continue
		}
		r, size := unescape(inner[i:])
		if size == 0 { // no text that was read has it
			return dst
		}
		dst = utf8.AppendRune(dst, r)
		i += size
	}
	return dst
}

// appendQuoted appends a text as JSON. What is no UTF-8 in it becomes U+FFFD.
func appendQuoted[T string | []byte](dst []byte, s T) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c >= utf8.RuneSelf:
			end := min(len(s), i+utf8.UTFMax)
			r, size := utf8.DecodeRuneInString(string(s[i:end]))
			dst = utf8.AppendRune(dst, r)
			i += size
			continue
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
		i++
	}
	return append(dst, '"')
}

// AppendQuoted appends a text as JSON, and AppendUnquoted the text of such a literal.
// What is no UTF-8 becomes U+FFFD.
func AppendQuoted(dst, text []byte) []byte { return appendQuoted(dst, text) }

// AppendUnquoted appends the text of a literal that a Decoder has read.
func AppendUnquoted(dst, literal []byte) []byte {
	if len(literal) < 2 {
		return dst
	}
	return appendText(dst, literal[1:len(literal)-1])
}

// Cut gives the longest part of at most n bytes at the beginning of a text that ends
// with a character: what is held back of a text must not begin within one.
func Cut(text []byte, n int) int {
	if n >= len(text) {
		return len(text)
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return max(n, 0)
}

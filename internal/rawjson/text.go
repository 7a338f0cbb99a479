package rawjson

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// Plain counts the bytes before the first quote, backslash or control character, and
// says whether one of them is beyond ASCII. It looks at eight bytes at once.
func Plain(b []byte) (n int, high bool) {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	var seen uint64
	for ; n+8 <= len(b); n += 8 {
		x := binary.LittleEndian.Uint64(b[n:])
		quote, slash := x^ones*'"', x^ones*'\\'
		stop := ((x-ones*0x20)&^x | (quote-ones)&^quote | (slash-ones)&^slash) & tops
		if stop != 0 { // its lowest bit is exact, higher ones need not be
			k := bits.TrailingZeros64(stop)
			return n + k/8, (seen|x&(1<<k-1))&tops != 0
		}
		seen |= x
	}
	high = seen&tops != 0
	for ; n < len(b) && b[n] >= 0x20 && b[n] != '"' && b[n] != '\\'; n++ {
		high = high || b[n] >= utf8.RuneSelf
	}
	return n, high
}

// Unescape gives the character that the escape at the beginning of b stands for and
// its length: 0 if it is none. ok is false for a lone surrogate.
func Unescape(b []byte) (r rune, size int, ok bool) {
	if len(b) < 2 {
		return 0, 0, false
	}
	switch b[1] {
	case '"', '\\', '/':
		return rune(b[1]), 2, true
	case 'b':
		return '\b', 2, true
	case 'f':
		return '\f', 2, true
	case 'n':
		return '\n', 2, true
	case 'r':
		return '\r', 2, true
	case 't':
		return '\t', 2, true
	case 'u':
	default:
		return 0, 0, false
	}
	r = hex(b[2:])
	switch {
	case r < 0:
		return 0, 0, false
	case !utf16.IsSurrogate(r):
		return r, 6, true
	case len(b) >= 12 && b[6] == '\\' && b[7] == 'u':
		if full := utf16.DecodeRune(r, hex(b[8:])); full != utf8.RuneError {
			return full, 12, true
		}
	}
	return utf8.RuneError, 6, false
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

// AppendUnescaped appends the text of what is between the quotes of a scanned string.
func AppendUnescaped(dst, inner []byte) []byte {
	for len(inner) > 0 {
		n := 0
		for n < len(inner) && inner[n] != '\\' {
			n++
		}
		dst = append(dst, inner[:n]...)
		inner = inner[n:]
		if len(inner) == 0 {
			break
		}
		r, size, _ := Unescape(inner)
		if size == 0 { // no scanned string has it
			r, size = rune(inner[0]), 1
		}
		dst = utf8.AppendRune(dst, r)
		inner = inner[size:]
	}
	return dst
}

// AppendString appends s as a JSON string. What is no UTF-8 in it becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[from:i]...), "\ufffd"...)
				from = i + 1
			}
			i += size
			continue
		}
		if c >= 0x20 && c != '"' && c != '\\' && c != 0x7f {
			i++
			continue
		}
		dst = append(dst, s[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
		i++
		from = i
	}
	return append(append(dst, s[from:]...), '"')
}

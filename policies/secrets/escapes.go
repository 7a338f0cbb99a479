package secrets

import (
	"bytes"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
)

// unescape reads one escape at the beginning of a text: what it stands for, its
// length, and whether it is worth a look, since it hides something printable.
type unescape func(text []byte) (out []byte, length int, worth bool)

// escapes finds texts in which single characters are escaped by a sign.
func escapes(text []byte, lo, hi int, sign byte, encoding string, read unescape, yield func(piece) bool) bool {
	for at := lo; at < min(hi, len(text)); {
		n := bytes.IndexByte(text[at:], sign)
		if n < 0 || at+n >= hi {
			return true
		}
		at += n
		_, length, worth := read(text[at:])
		if !worth {
			at += max(1, length)
			continue
		}
		p, end := escaped(text, at, sign, encoding, read)
		if !yield(p) {
			return false
		}
		at = end
	}
	return true
}

// escaped decodes the escapes from a place on, until none follows within the
// context. It gives the end of the last.
func escaped(text []byte, at int, sign byte, encoding string, read unescape) (piece, int) {
	from := max(0, at-limits.SecretContext)
	p := piece{encoding: encoding, lo: at - from, text: bytes.Clone(text[from:at])}
	var shifts []shift // where places move against each other
	end := at
	for i := at; i < len(text) && i-end <= limits.SecretContext; {
		n := bytes.IndexByte(text[i:min(len(text), end+limits.SecretContext+1)], sign)
		if n < 0 {
			break
		}
		p.text = append(p.text, text[i:i+n]...)
		i += n
		out, length, _ := read(text[i:])
		if length == 0 {
			p.text = append(p.text, sign)
			i++
			continue
		}
		p.text = append(p.text, out...)
		i += length
		end = i
		shifts = append(shifts, shift{len(p.text), i})
		p.hi = len(p.text)
	}
	tail := min(len(text), end+limits.SecretContext)
	for tail < len(text) && tail-end < limits.SecretBefore && text[tail] > ' ' {
		tail++ // no word is cut
	}
	p.text = append(p.text[:p.hi], text[end:tail]...)
	p.origin = func(i int) int {
		low, high := 0, len(shifts) // the last shift at or before i
		for low < high {
			if mid := (low + high) / 2; shifts[mid].here <= i {
				low = mid + 1
			} else {
				high = mid
			}
		}
		if low == 0 {
			return min(from+i, shifts[0].there)
		}
		s := shifts[low-1]
		there := s.there + i - s.here
		if low < len(shifts) {
			there = min(there, shifts[low].there)
		}
		return there
	}
	return p, end
}

// shift says which place of a decoded text is which of the other.
type shift struct{ here, there int }

func unPercent(text []byte) (out []byte, length int, worth bool) {
	if len(text) < 3 || nibble[text[1]] > 15 || nibble[text[2]] > 15 {
		return nil, 0, false
	}
	c := nibble[text[1]]<<4 | nibble[text[2]]
	return []byte{c}, 3, printable(rune(c))
}

// unBackslash reads the escapes that strings have in most languages. Those for
// newlines and tabs are taken off but are not worth a look alone.
func unBackslash(text []byte) (out []byte, length int, worth bool) {
	if len(text) < 2 {
		return nil, 0, false
	}
	switch c := text[1]; c {
	case 'n':
		return []byte{'\n'}, 2, false
	case 'r':
		return []byte{'\r'}, 2, false
	case 't':
		return []byte{'\t'}, 2, false
	case '"', '\'', '/':
		return []byte{c}, 2, true
	case '\\':
		return []byte{c}, 2, false
	case 'x', 'u':
		digits := 2
		if c == 'u' {
			digits = 4
		}
		if len(text) < 2+digits {
			return nil, 0, false
		}
		v := rune(0)
		for _, d := range text[2 : 2+digits] {
			if nibble[d] > 15 {
				return nil, 0, false
			}
			v = v<<4 | rune(nibble[d])
		}
		if c == 'x' {
			return []byte{byte(v)}, 4, printable(v) //nolint:gosec // two digits
		}
		return utf8.AppendRune(nil, v), 6, printable(v)
	}
	return nil, 0, false
}

func printable(r rune) bool { return r >= ' ' && r <= '~' }

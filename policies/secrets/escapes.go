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
	return []byte{c}, 3, printable(rune(c)) || c == 0
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
	case 'x', 'u', 'U':
		return unHex(text)
	case '0', '1', '2', '3':
		if len(text) < 4 || text[2]&^7 != '0' || text[3]&^7 != '0' {
			return nil, 0, false
		}
		v := c&3<<6 | text[2]&7<<3 | text[3]&7
		return []byte{v}, 4, printable(rune(v))
	}
	return nil, 0, false
}

// unHex reads the escapes of characters by their numbers: \x41, \x{41}, \u0041,
// \u{41} and \U00000041. Zeros are worth a look, for UTF-16 is full of them.
func unHex(text []byte) (out []byte, length int, worth bool) {
	from, to := 2, 4
	switch end := bytes.IndexByte(text[:min(len(text), 12)], '}'); {
	case len(text) > 2 && text[2] == '{' && end > 3:
		from, to = 3, end
	case text[1] == 'u':
		to = 6
	case text[1] == 'U':
		to = 10
	}
	if len(text) < to {
		return nil, 0, false
	}
	v := rune(0)
	for _, d := range text[from:to] {
		if nibble[d] > 15 || v > utf8.MaxRune {
			return nil, 0, false
		}
		v = v<<4 | rune(nibble[d])
	}
	worth = printable(v) || v == 0
	if from == 3 {
		to++
	}
	if text[1] == 'x' && v <= 0xff {
		return []byte{byte(v)}, to, worth
	}
	return utf8.AppendRune(nil, v), to, worth
}

func printable(r rune) bool { return r >= ' ' && r <= '~' }

package secrets

import (
	"slices"

	"github.com/cabincrew/action/internal/limits"
)

// apart are the characters between two bytes that are written in hex one by one.
var apart = func() (t [256]bool) {
	for _, c := range []byte(" \t\r\n:,;._-\"'+") {
		t[c] = true
	}
	return t
}()

// maxApart is how many such characters may stand between two bytes.
const maxApart = 8

// pairs finds bytes in hex that stand apart, such as 41:42 or 0x41, 0x42.
func (d *decoder) pairs(text []byte, lo, hi int, yield func(piece) bool) bool {
	for at := lo; at+1 < len(text) && at < hi; {
		switch {
		case nibble[text[at+1]] > 15:
			at += 2
			continue
		case nibble[text[at]] > 15:
			at++
			continue
		}
		p, end := d.paired(text, at)
		if p.text != nil && !yield(p) {
			return false
		}
		at = max(end, at+2)
	}
	return true
}

// paired decodes the bytes from a place on. It gives the end of the last; a piece
// only if there is enough text in them.
func (d *decoder) paired(text []byte, at int) (piece, int) {
	places, end := d.places[:0], at
	for i := at; i+1 < len(text) && nibble[text[i]] < 16 && nibble[text[i+1]] < 16; {
		end = i + 2
		if end < len(text) && nibble[text[end]] < 16 && (text[end] != '0' || end+1 >= len(text) || text[end+1]|0x20 != 'x') {
			for end < len(text) && nibble[text[end]] < 16 {
				end++
			}
			break // a longer number
		}
		places = append(places, i)
		for i = end; i < len(text) && i-end < maxApart && apart[text[i]]; {
			i++
		}
		if i == end {
			break
		}
		if i+1 < len(text) && text[i] == '0' && text[i+1]|0x20 == 'x' {
			i += 2
		}
	}
	d.places = places
	if len(places) < limits.SecretText {
		return piece{}, end
	}
	decoded := make([]byte, len(places), len(places)+1)
	for i, p := range places {
		decoded[i] = nibble[text[p]]<<4 | nibble[text[p+1]]
	}
	if !hasText(decoded) && !hasWideText(decoded) {
		return piece{}, end
	}
	kept := slices.Clone(places)
	return piece{text: decoded, hi: len(decoded), encoding: inHex, origin: func(i int) int {
		if i >= len(kept) {
			return end
		}
		return kept[i]
	}}, end
}

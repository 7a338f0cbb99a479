package secrets

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
)

// inUTF16 is the name of this encoding, as findings show it.
const inUTF16 = "UTF-16"

// wideReader reads units of UTF-16 in one byte order at every second place.
type wideReader struct {
	text []byte
	big  int // 1 for big endian
}

func (w *wideReader) unit(at int) rune {
	return rune(w.text[at+w.big]) | rune(w.text[at+1-w.big])<<8
}

// plain says whether a readable ASCII character stands at a place.
func (w *wideReader) plain(at int) bool {
	return at+1 < len(w.text) && w.text[at+1-w.big] == 0 && readable[w.text[at+w.big]]
}

// inside says whether a unit may stand within text.
func (w *wideReader) inside(at int) bool {
	if at+1 >= len(w.text) {
		return false
	}
	u := w.unit(at)
	return u != 0 && u < 0xfffe
}

// wide decodes the parts of a text that are UTF-16 of either byte order, beginning
// at even and at odd places, with or without a byte-order mark. It takes linear time.
func wide(text []byte, lo, hi int, yield func(piece) bool) bool {
	if bytes.IndexByte(text[lo:], 0) < 0 {
		return true
	}
	for big := range 2 {
		w := wideReader{text: text, big: big}
		for parity := range 2 {
			if !w.parts(lo, lo+parity, hi, yield) {
				return false
			}
		}
	}
	return true
}

// parts decodes the parts at places that are even or odd as the first is. A part has
// enough readable characters in a row, and what stands around such runs.
func (w *wideReader) parts(lo, floor, hi int, yield func(piece) bool) bool {
	const run, context = 2 * limits.SecretText, 2 * limits.SecretContext
	for at := floor + run - 2; at+1 < len(w.text); {
		if !w.plain(at) {
			at += run // every run that is long enough has such a place
			continue
		}
		from, to := at, at+2
		for from-2 >= floor && w.plain(from-2) {
			from -= 2
		}
		for w.plain(to) {
			to += 2
		}
		if to-from < run {
			at = to + run
			continue
		}
		begin := from
		for begin-2 >= floor && from-begin < context && w.inside(begin-2) {
			begin -= 2
		}
		if begin >= hi {
			return true
		}
		end := to // of what may belong to it
		for row := 0; end-to < context && w.inside(end); end += 2 {
			if !w.plain(end) {
				row = 0
			} else if row += 2; row >= run {
				to = end + 2
			}
		}
		if !yield(w.piece(lo, begin, end)) {
			return false
		}
		floor, at = end, end+run-2
	}
	return true
}

// piece decodes one part. What stands before the bytes that hold it, if they were
// decoded themselves, stays before it.
func (w *wideReader) piece(lo, begin, end int) piece {
	p := piece{encoding: inUTF16}
	if begin-lo <= 3 { // a byte-order mark may stand before it
		p.text = append(p.text, w.text[:lo]...)
	}
	p.lo = len(p.text)
	var shifts []shift // where places move against each other
	for at := begin; at < end; {
		r, size := w.unit(at), 2
		if utf16.IsSurrogate(r) && at+3 < end {
			if pair := utf16.DecodeRune(r, w.unit(at+2)); pair != utf8.RuneError {
				r, size = pair, 4
			}
		}
		at += size
		if r == 0xfeff {
			r = ' '
		}
		p.text = utf8.AppendRune(p.text, r)
		if r >= utf8.RuneSelf {
			shifts = append(shifts, shift{len(p.text), at})
		}
	}
	p.hi = len(p.text)
	head := p.lo
	p.origin = func(i int) int {
		if i < head {
			return i
		}
		s := shift{head, begin}
		low, high := 0, len(shifts) // the last shift at or before i
		for low < high {
			if mid := (low + high) / 2; shifts[mid].here <= i {
				low = mid + 1
			} else {
				high = mid
			}
		}
		if low > 0 {
			s = shifts[low-1]
		}
		there := s.there + 2*(i-s.here)
		if low < len(shifts) {
			there = min(there, shifts[low].there)
		}
		return min(there, end)
	}
	return p
}

package secrets

import (
	"bytes"

	"github.com/cabincrew/action/internal/limits"
)

// piece is a text in which an encoded part of another is decoded. Around the
// decoded part stands what stands around the encoded one.
type piece struct {
	text     []byte
	lo, hi   int // the decoded part of text
	encoding string
	// origin gives the place in the other text for a place in this one.
	origin func(at int) int
}

// Names of encodings, as findings show them.
const (
	inBase64  = "base64"
	inHex     = "hex"
	inPercent = "percent"
	inEscapes = "backslash"
)

// sextet is the value of a base64 character of both alphabets, 0xff for others.
var sextet = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		t[c] = byte(i)
	}
	t['-'], t['_'] = t['+'], t['/']
	return t
}()

// decoder finds encoded parts. It is for one goroutine.
type decoder struct {
	buffer []byte
	parts  []part
	flat   []byte
	places []int
	read   int // the end of what was read with lines before it
}

// part is a run of base64 characters within a text.
type part struct{ from, to int }

// pieces decodes every encoded part of a text that has bytes in [lo,hi) and hands
// it over, until told to stop. It takes linear time; what it makes is bounded by
// its caller.
func (d *decoder) pieces(text []byte, lo, hi int, yield func(piece) bool) {
	_ = d.runs(text, lo, hi, yield) &&
		d.short(text, lo, hi, yield) &&
		d.pairs(text, lo, hi, yield) &&
		escapes(text, lo, hi, '%', inPercent, unPercent, yield) &&
		escapes(text, lo, hi, '\\', inEscapes, unBackslash, yield)
}

// runs finds runs of base64 characters, of which those of hex are some, also such
// that go on in the next lines.
func (d *decoder) runs(text []byte, lo, hi int, yield func(piece) bool) bool {
	last := 0
	d.read = 0
	for i := lo + limits.SecretEncoded - 1; i < len(text) && i-limits.SecretEncoded < hi; {
		if sextet[text[i]] == 0xff {
			i += limits.SecretEncoded // a run this long has every such place
			continue
		}
		from, to := i, i+1
		for from > last && sextet[text[from-1]] != 0xff {
			from--
		}
		for to < len(text) && sextet[text[to]] != 0xff {
			to++
		}
		last = to
		if to-from >= limits.SecretEncoded && from < hi && to > lo && !d.run(text, from, to, yield) {
			return false
		}
		i = to + limits.SecretEncoded
	}
	return true
}

// run decodes one run, and with it the ones that continue it in the next lines.
func (d *decoder) run(text []byte, from, to int, yield func(piece) bool) bool {
	d.parts = append(d.parts[:0], part{from, to})
	if !d.decode(text, text[from:to], yield) {
		return false
	}
	if from < d.read {
		return true // it was read with the line before
	}
	d.chain(text, part{from, to})
	return len(d.parts) == 1 || d.decode(text, d.flat, yield)
}

// chain gathers a run and the ones that continue it.
func (d *decoder) chain(text []byte, p part) {
	d.parts, d.flat = append(d.parts[:0], p), append(d.flat[:0], text[p.from:p.to]...)
	for {
		n, ok := continued(text, p.to)
		if !ok {
			return
		}
		p, d.read = n, n.to
		d.parts, d.flat = append(d.parts, n), append(d.flat, text[n.from:n.to]...)
	}
}

// short decodes what is written in lines that are too short to be runs.
func (d *decoder) short(text []byte, lo, hi int, yield func(piece) bool) bool {
	d.read = 0
	for at := lo; at < len(text) && at < hi; {
		end := at + bytes.IndexByte(text[at:], '\n')
		if end < at {
			return true
		}
		if p, ok := token(text, at, end); ok && p.from >= d.read {
			d.chain(text, p)
			if len(d.parts) >= minShort && len(d.flat) >= limits.SecretEncoded && !d.decode(text, d.flat, yield) {
				return false
			}
		}
		at = end + 1
	}
	return true
}

// minShort is how many short lines are taken for an encoded text.
const minShort = 3

// token gives the one short run that a line has, if there is nothing else in it.
func token(text []byte, at, end int) (part, bool) {
	from := at
	for from < end {
		if n := marker(text, from); n > 0 {
			from += n
		} else if !between[text[from]] {
			break
		} else {
			from++
		}
	}
	to := from
	for to < end && sextet[text[to]] != 0xff {
		to++
	}
	for i := to; i < end; i++ {
		if !between[text[i]] && text[i] != '+' {
			return part{}, false
		}
	}
	return part{from, to}, to-from >= 2 && to-from < limits.SecretEncoded
}

// between are the characters between two lines of one encoded text: white space,
// quotes, and what languages and comments put there.
var between = func() (t [256]bool) {
	for _, c := range []byte(" \t\r\n\"'`\\#*>,=;.|()[]") {
		t[c] = true
	}
	return t
}()

// marker gives the length of what begins a line of a comment or a list although
// base64 has these characters too: up to three of one kind, and white space.
func marker(text []byte, at int) int {
	n := 0
	for n < 3 && at+n < len(text) && text[at+n] == text[at] && (text[at] == '/' || text[at] == '-' || text[at] == '+') {
		n++
	}
	if n == 0 || at+n >= len(text) || text[at+n] != ' ' && text[at+n] != '\t' {
		return 0
	}
	return n
}

// continued gives the run that continues one that ends at a place, in the next line
// or behind a newline as strings have it. A sign of addition stands before the end
// of a line only; behind, it is part of the run.
func continued(text []byte, at int) (part, bool) {
	from, lines, escaped := at, 0, 0
	for from < len(text) && from-at < limits.SecretContext {
		c, n := text[from], 1
		switch {
		case c == '\\' && from+1 < len(text) && text[from+1] == 'n':
			escaped++
			n = 2
		case c == '\\' && from+3 < len(text) && text[from+1] == 'r' && text[from+2] == '\\':
			n = 2
		case c == '\n':
			lines++
		case between[c], c == '+' && lines == 0 && from > at:
		case lines > 0:
			n = marker(text, from)
		default:
			n = 0
		}
		if n == 0 || lines > 1 || escaped > 1 {
			break
		}
		from += n
	}
	to := from
	for to < len(text) && sextet[text[to]] != 0xff {
		to++
	}
	return part{from, to}, lines <= 1 && escaped <= 1 && lines+escaped > 0 && to > from
}

// decode decodes a run as base64 and as hex, from each place where a group can
// begin, since what stands before it may be of the same characters.
func (d *decoder) decode(text, flat []byte, yield func(piece) bool) bool {
	for shift := range 4 {
		decoded := unBase64(d.buffer[:0], flat[shift:])
		d.buffer = decoded[:0]
		if (hasText(decoded) || hasWideText(decoded)) && !yield(d.piece(text, flat, shift, decoded, inBase64, 4, 3)) {
			return false
		}
	}
	for i := 0; i < len(flat); i++ {
		from := i
		for i < len(flat) && nibble[flat[i]] < 16 {
			i++
		}
		for shift := from; shift < from+2 && i-shift >= 2*limits.SecretText; shift++ {
			decoded := d.buffer[:0]
			for j := shift; j+1 < i; j += 2 {
				decoded = append(decoded, nibble[flat[j]]<<4|nibble[flat[j+1]])
			}
			d.buffer = decoded[:0]
			if (hasText(decoded) || hasWideText(decoded)) && !yield(d.piece(text, flat, shift, decoded, inHex, 2, 1)) {
				return false
			}
		}
	}
	return true
}

// piece puts decoded bytes behind what stands before the run. Where the encoded
// part begins within the run nothing stands before it, and never does anything
// behind it, so that expressions see its borders. Each per bytes are decoded from
// some characters of the run, skip ones stand before them.
func (d *decoder) piece(text, flat []byte, skip int, decoded []byte, encoding string, characters, per int) piece {
	begin := d.parts[0].from
	var head []byte
	if skip == 0 {
		head = text[max(0, begin-limits.SecretContext):begin]
	}
	p := piece{encoding: encoding, lo: len(head), hi: len(head) + len(decoded)}
	p.text = append(append(make([]byte, 0, p.hi), head...), decoded...)
	parts := append([]part(nil), d.parts...)
	size := len(flat)
	p.origin = func(i int) int {
		if i < p.lo {
			return begin - p.lo + i
		}
		at := min(size-1, skip+(i-p.lo)*characters/per)
		for _, q := range parts {
			if at < q.to-q.from {
				return q.from + at
			}
			at -= q.to - q.from
		}
		return parts[len(parts)-1].to
	}
	return p
}

// nibble is the value of a hex digit, 0xff for other bytes.
var nibble = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i, c := range []byte("0123456789abcdef") {
		t[c] = byte(i)
		if c >= 'a' {
			t[c-'a'+'A'] = byte(i)
		}
	}
	return t
}()

// unBase64 decodes as many groups as there are, and the rest of one.
func unBase64(out, in []byte) []byte {
	for ; len(in) >= 4; in = in[4:] {
		v := uint32(sextet[in[0]])<<18 | uint32(sextet[in[1]])<<12 | uint32(sextet[in[2]])<<6 | uint32(sextet[in[3]])
		out = append(out, byte(v>>16), byte(v>>8), byte(v)) //nolint:gosec // cut to bytes on purpose
	}
	if len(in) >= 2 {
		out = append(out, sextet[in[0]]<<2|sextet[in[1]]>>4)
	}
	if len(in) == 3 {
		out = append(out, sextet[in[1]]<<4|sextet[in[2]]>>2)
	}
	return out
}

// readable are the bytes of plain text.
var readable = func() (t [256]bool) {
	for c := ' '; c <= '~'; c++ {
		t[c] = true
	}
	t['\n'], t['\r'], t['\t'] = true, true, true
	return t
}()

// hasText says whether bytes hold enough readable ones in a row.
func hasText(b []byte) bool {
	n := 0
	for _, c := range b {
		if !readable[c] {
			n = 0
		} else if n++; n >= limits.SecretText {
			return true
		}
	}
	return false
}

// hasWideText says whether bytes hold enough readable characters of UTF-16.
func hasWideText(b []byte) bool {
	n, zero := 0, true
	for _, c := range b {
		switch {
		case c == 0 && !zero:
			zero = true
			if n++; n >= limits.SecretText {
				return true
			}
		case readable[c] && zero:
			zero = false
		default:
			n, zero = 0, !readable[c]
		}
	}
	return false
}

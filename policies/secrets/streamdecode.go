package secrets

import "github.com/cabincrew/action/internal/limits"

// decoding follows what a chain of base64 characters decodes to as it grows, from each
// place where a group can begin. Lists of words are such chains as long as they are.
// What they decode to is no text, so no secret can stand in it, and it is not held back.
type decoding struct {
	found   bool // there may be a secret anywhere in it
	fed     int  // up to where the text was read
	size    int  // characters so far
	last    byte // the value of the last one
	at      int  // its place
	shifts  [4]decodingShift
	hex     int // digits in a row
	hexFrom int
}

type decodingShift struct {
	run, from        int // readable bytes in a row
	word, value      int32
	valueOpen, begin int
}

// decode goes over a part of a chain as far as it was not read yet.
func (s *Stream) decode(d *decoding, from, to int) {
	for at := max(from, d.fed); at < to && !d.found; at++ {
		c := s.buf[at-s.base]
		s.decodeOne(d, sextet[c], at)
		if nibble[c] > 15 {
			d.hex = 0
		} else if d.hex++; d.hex == 1 {
			d.hexFrom = at
		}
		d.found = d.found || d.hex >= 2*limits.SecretText
		d.last, d.at = sextet[c], at
		d.size++
	}
	d.fed = max(d.fed, to)
}

func (s *Stream) decodeOne(d *decoding, v byte, at int) {
	for i := range d.shifts {
		var b byte
		switch n := d.size - i; {
		case n <= 0 || n%4 == 0:
			continue
		case n%4 == 1:
			b = d.last<<2 | v>>4
		case n%4 == 2:
			b = d.last<<4 | v>>2
		default:
			b = d.last<<6 | v
		}
		s.decoded(d, &d.shifts[i], b)
	}
}

// decoded takes one byte. A secret has only readable ones, and those of UTF-16, unless
// something in it is the name of one, or it is mapped.
func (s *Stream) decoded(d *decoding, h *decodingShift, b byte) {
	switch {
	case !readable[b] && b != 0:
		h.run = 0
	case h.run == 0:
		h.run, h.from = 1, d.at
	default:
		h.run++
	}
	var met bool
	if h.word, met = s.m.ev.e.finder.Step(h.word, b); met {
		s.m.ev.e.finder.Ends(h.word, func(k int) { d.found = d.found || s.r.spread[k] })
	}
	d.found = d.found || h.run >= limits.SecretText
	if v := s.m.ev.values; !v.Empty() {
		if h.valueOpen == 0 {
			h.begin = d.at
		}
		var ended int
		h.value, h.valueOpen, ended = v.Step(h.value, b)
		d.found = d.found || ended > 0
	}
}

// held gives where the first byte of a chain stands that may be part of a secret.
func (c *chain) held() int {
	d := &c.text
	if d.found {
		return c.from
	}
	at := d.at
	for i := range d.shifts {
		h := &d.shifts[i]
		if h.run > 0 {
			at = min(at, h.from)
		}
		if h.valueOpen > 0 {
			at = min(at, h.begin)
		}
	}
	if d.hex > 0 {
		at = min(at, d.hexFrom)
	}
	return at
}

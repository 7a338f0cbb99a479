package secrets

import (
	"math"

	"github.com/cabincrew/action/internal/limits"
)

// zones are the parts of a text that may be encoded: runs of base64 characters and what
// continues them in the next lines, bytes in hex that stand apart, texts with escapes,
// UTF-16. What the decoder would decode lies in one of them, and is looked at when it
// is complete.
type zones struct {
	run  openRun
	line openLine
	long chain // from a run that is long enough
	many chain // of lines that are too short to be runs

	pairs    openPairs
	percent  escapeZone
	slash    escapeZone
	tails    []tail
	wideFrom int // of UTF-16, or -1
}

// openRun is the run of base64 characters that a text ends with.
type openRun struct{ start, from int } // start is -1 if there is none

// openLine is the line that a text ends with.
type openLine struct {
	start  int
	from   int // where its first run may belong to something, or -1
	tokens int
	other  bool // there is more in it than one run
}

// chain is a run and the ones that continue it.
type chain struct {
	open        bool
	from        int // what begins before the chain and may go on in it
	first, last int
	parts, size int
	wait        int // where the part begins that is not at its end
	text        decoding
}

// openPairs is a sequence of bytes in hex that stand apart.
type openPairs struct {
	at    int // up to where the text was looked at
	open  bool
	first int
	last  int // the last byte
	count int
	skip  bool // the text ends within a longer number
}

// sign is a place where an escape may begin, and what may go on there.
type sign struct{ at, from int }

// escapeZone follows the escapes with one sign.
type escapeZone struct {
	read  unescape
	done  func(text []byte) bool // whether more text changes nothing for the first escape
	signs []sign                 // that were not looked at yet
	skip  int                    // signs before this place belong to another escape
	open  bool
	from  int
	at    int
	end   int // of the last escape
}

// tail is what is seen behind a zone with escapes.
type tail struct{ at, from, end, read int }

func (z *zones) init() {
	z.run.start, z.line.from, z.wideFrom = -1, -1, -1
	z.percent.read, z.percent.done = unPercent, percentDone
	z.slash.read, z.slash.done = unBackslash, backslashDone
}

// zone goes over one byte, or the first byte of a character, before it is followed.
func (s *Stream) zone(c byte) {
	if sextet[c] != 0xff {
		if s.run.start >= 0 {
			return
		}
		s.run = openRun{s.pos, s.open(s.pos, false)}
		if s.line.from < 0 {
			s.line.from = s.run.from
		}
		s.line.other = s.line.other || s.line.tokens > 0 && c != '+'
		return
	}
	if s.run.start >= 0 {
		// What may go on at an escape has to know of the run before it.
		if c == '%' || c == '\\' {
			s.escape(c)
		}
		s.endRun()
	} else if c == '%' || c == '\\' {
		s.escape(c)
	}
	switch {
	case c == '\n':
		s.endLine()
	case c == 0 && s.wideFrom < 0:
		s.wideFrom = max(min(s.open(s.pos, false), s.pos-1), s.released)
	case !between[c]:
		s.line.other = true
	}
}

func (s *Stream) escape(c byte) {
	z := &s.percent
	if c == '\\' {
		z = &s.slash
	}
	z.signs = append(z.signs, sign{s.pos, s.open(s.pos, false)})
}

// text gives the text from a place on, as far as it is here.
func (s *Stream) text(from int) []byte { return s.buf[from-s.base:] }

// endRun ends the run before a place.
func (s *Stream) endRun() {
	r, end := s.run, s.pos
	s.run.start = -1
	run := s.buf[r.start-s.base : end-s.base]
	switch mark := len(run) <= 3 && marker(s.text(r.start), 0) == len(run); {
	case !mark:
		s.line.tokens++
	case s.line.tokens == 0:
		s.line.from = -1 // it stands before what the line has
	}
	s.goOn(&s.long)
	s.goOn(&s.many)
	if len(run) < limits.SecretEncoded {
		return
	}
	if s.decodes(run, false) {
		s.waitZone(r.start, r.from, end)
	}
	if !s.long.open {
		s.beginChain(&s.long, r.from, r.start, end)
	}
}

// endLine looks whether a line is one of those that are too short to be runs.
func (s *Stream) endLine() {
	s.goOn(&s.many)
	l := s.line
	s.line = openLine{start: s.pos + 1, from: -1}
	if s.many.open || l.from < 0 || l.other {
		return
	}
	p, ok := token(s.buf[:s.pos-s.base], max(0, l.start-s.base), s.pos-s.base)
	if ok {
		s.beginChain(&s.many, l.from, p.from+s.base, p.to+s.base)
	}
}

// waitZone notes something encoded.
func (s *Stream) waitZone(start, from, end int) {
	s.wait(wait{start: start - limits.SecretContext - margin, from: from, end: end, zone: true})
}

// decodes says whether anything is decoded in a text of base64 or hex characters.
func (s *Stream) decodes(text []byte, lines bool) bool {
	found := false
	yield := func(piece) bool {
		found = true
		return false
	}
	d := &s.w.decoders[0]
	if d.runs(text, 0, len(text), yield); !found && lines {
		d.short(text, 0, len(text), yield)
	}
	return found
}

func (s *Stream) beginChain(c *chain, from, first, last int) {
	*c = chain{open: true, from: from, first: first, last: last, parts: 1, size: last - first, wait: -1}
	c.text.found = from < first || len(s.threads) > 0
	s.decode(&c.text, first, last)
}

// goOn looks how far a chain goes on.
func (s *Stream) goOn(c *chain) {
	end := s.base + len(s.buf)
	for c.open {
		if s.run.start >= 0 && c.wait >= s.run.start {
			return // the part is not at its end
		}
		p, ok := continued(s.buf, c.last-s.base)
		p.from, p.to = p.from+s.base, p.to+s.base
		if ok {
			s.decode(&c.text, p.from, p.to)
		}
		if !s.whole && (p.to >= end || !ok && p.from+4 >= end) {
			if c.wait = -1; p.to > p.from {
				c.wait = p.from
			}
			return
		}
		if !ok {
			s.endChain(c)
			return
		}
		c.last, c.parts, c.size, c.wait = p.to, c.parts+1, c.size+p.to-p.from, -1
	}
}

func (s *Stream) endChain(c *chain) {
	c.open = false
	if c.parts < 2 || c.size < limits.SecretEncoded {
		return
	}
	end := min(c.last+1, s.base+len(s.buf))
	if s.decodes(s.buf[c.first-s.base:end-s.base], true) {
		s.waitZone(c.first, c.from, c.last)
	}
}

// settle goes on with what needs to see text ahead, after a piece was followed.
func (s *Stream) settle() {
	s.goOn(&s.long)
	s.goOn(&s.many)
	s.pair()
	s.escapes(&s.percent)
	s.escapes(&s.slash)
	s.endTails()
	if !s.whole {
		return
	}
	end := s.base + len(s.buf)
	if s.wideFrom >= 0 {
		s.wait(wait{start: s.wideFrom - 4*limits.SecretContext, from: s.wideFrom, end: end})
	}
	for i := range s.threads {
		t := &s.threads[i]
		s.wait(wait{start: t.lo, from: min(end, max(t.lo, earlier(t.first, t.from))), end: end})
	}
	if t := &s.early; t.end >= 0 {
		s.wait(wait{start: t.first - maxBefore, from: t.first, end: end, early: true})
	}
}

// closed gives where the first zone begins that is not at its end.
func (s *Stream) closed() int {
	h := math.MaxInt
	for _, c := range []*chain{&s.long, &s.many} {
		if c.open {
			h = min(h, c.held())
		}
	}
	if s.line.from >= 0 && !s.line.other && s.line.tokens <= 1 {
		h = min(h, s.line.from)
	}
	if s.pairs.open {
		h = min(h, s.pairs.first)
	}
	for _, z := range []*escapeZone{&s.percent, &s.slash} {
		if z.open {
			h = min(h, z.from)
		}
		if len(z.signs) > 0 {
			h = min(h, z.signs[0].from)
		}
	}
	for i := range s.tails {
		h = min(h, s.tails[i].from)
	}
	if s.wideFrom >= 0 {
		h = min(h, s.wideFrom)
	}
	return h
}

// pair follows bytes in hex that stand apart, as decoder.pairs does.
func (s *Stream) pair() {
	p := &s.pairs
	text := s.buf
	for {
		if p.skip {
			for p.at < s.pos && nibble[text[p.at-s.base]] < 16 {
				p.at++
			}
			if p.at >= s.pos && !s.whole {
				return
			}
			p.skip = false
		}
		if !p.open && !s.beginPairs() {
			return
		}
		end, more := s.goPairs()
		if more {
			return
		}
		if p.open = false; p.count >= limits.SecretText {
			found := false
			s.w.decoders[0].pairs(s.buf[p.first-s.base:end-s.base], 0, end-p.first, func(piece) bool {
				found = true
				return false
			})
			if found {
				s.waitZone(p.first, p.first, end)
			}
		}
		p.at = max(end, p.first+2)
	}
}

// beginPairs looks for the first byte of a sequence.
func (s *Stream) beginPairs() bool {
	p, text := &s.pairs, s.buf
	for p.at+1 < s.pos {
		switch i := p.at - s.base; {
		case nibble[text[i+1]] > 15:
			p.at += 2
		case nibble[text[i]] > 15:
			p.at++
		default:
			p.open, p.first, p.last, p.count = true, p.at, p.at, 0
			return true
		}
	}
	return false
}

// goPairs goes on from the last byte. It gives the end of the sequence, or says that
// there may be more.
func (s *Stream) goPairs() (end int, more bool) {
	p, text, n := &s.pairs, s.buf, len(s.buf)
	i := p.last - s.base
	for {
		p.last = i + s.base
		end := i + 2
		if end+1 >= n && !s.whole {
			return 0, true
		}
		if end < n && nibble[text[end]] < 16 && (text[end] != '0' || end+1 >= n || text[end+1]|0x20 != 'x') {
			for end < n && nibble[text[end]] < 16 {
				end++
			}
			p.skip = end == n && !s.whole
			return end + s.base, false // a longer number
		}
		for i = end; i < n && i-end < maxApart && apart[text[i]]; {
			i++
		}
		if i == end {
			p.count++
			return end + s.base, false
		}
		if i+3 >= n && !s.whole {
			return 0, true // counted when it is seen again
		}
		p.count++
		if i+1 < n && text[i] == '0' && text[i+1]|0x20 == 'x' {
			i += 2
		}
		if i+1 >= n || nibble[text[i]] > 15 || nibble[text[i+1]] > 15 {
			return end + s.base, false
		}
	}
}

// escapes follows the escapes with one sign, as escaped does.
func (s *Stream) escapes(z *escapeZone) {
	done := 0
	for _, g := range z.signs {
		if g.at < z.skip {
			done++
			continue
		}
		text := s.text(g.at)
		if !s.whole && !z.done(text) {
			break
		}
		done++
		_, length, worth := z.read(text)
		if z.open && g.at > z.end+limits.SecretContext {
			s.endEscapes(z)
		}
		switch {
		case !z.open && worth:
			z.open, z.at, z.from, z.end = true, g.at, g.from, g.at+length
		case z.open && length > 0:
			z.end = g.at + length
		}
		z.skip = g.at + max(1, length)
	}
	z.signs = z.signs[:copy(z.signs, z.signs[done:])]
	if z.open && (s.whole || s.pos > z.end+limits.SecretContext && (len(z.signs) == 0 || z.signs[0].at > z.end+limits.SecretContext)) {
		s.endEscapes(z)
	}
}

func (s *Stream) endEscapes(z *escapeZone) {
	z.open = false
	s.tails = append(s.tails, tail{z.at, z.from, z.end, z.end + limits.SecretContext})
}

// endTails looks where the text ends that is seen behind escapes.
func (s *Stream) endTails() {
	keep, n := s.tails[:0], s.base+len(s.buf)
	for _, t := range s.tails {
		for t.read < n && t.read-t.end < limits.SecretBefore && s.buf[t.read-s.base] > ' ' {
			t.read++
		}
		if t.read >= n && !s.whole {
			keep = append(keep, t)
			continue
		}
		s.waitZone(t.at, t.from, min(t.read, n))
	}
	s.tails = keep
}

// percentDone says whether more text changes nothing for an escape.
func percentDone(text []byte) bool { return len(text) > 2 || len(text) == 2 && nibble[text[1]] > 15 }

func backslashDone(text []byte) bool {
	if len(text) < 2 {
		return false
	}
	need := 2
	switch text[1] {
	case 'x', 'u', 'U':
		need = 12
		for i, c := range text[2:] {
			if nibble[c] > 15 && !(i == 0 && c == '{') {
				need = 3 + i // it ends here
				break
			}
		}
	case '0', '1', '2', '3':
		need = 4
	}
	return len(text) >= need
}

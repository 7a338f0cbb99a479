package secrets

import (
	"slices"
	"unicode/utf8"
)

// following is where a stream stands in keywords, rules and mapped values.
type following struct {
	owner  *dfas // whose states these are
	resets int   // of it, when they were noted

	word, small int32 // of keywords; small as they are in the text's small form
	odd         int   // up to where the two may differ
	value       int32
	valueOpen   int // bytes at the end that may begin a mapped value

	early   thread
	threads []thread
}

// thread follows a rule from one keyword on; the one of early rules follows all of them.
type thread struct {
	rule  int
	state int32
	set   []int32 // what the state is, for other workers
	lo    int     // no match begins before
	from  int     // where the secret may have begun, or -1
	// The matches so far, -1 if there are none: where the first secret may begin, and the
	// end of the last.
	first, end int
}

// maxKeyword is more than the length in bytes of every keyword in every case.
const maxKeyword = 128

func (f *following) init() { f.early = thread{rule: -1, from: -1, first: -1, end: -1} }

// begin takes up the states where this worker is not the one of the last piece.
func (s *Stream) begin() {
	if s.w.dfas == nil {
		s.w.dfas = newDFAs(s.r)
	}
	if d := s.w.dfas; s.owner != d || s.resets != d.resets {
		d.trim()
		s.restore()
	}
}

func (s *Stream) restore() {
	d := s.w.dfas
	s.owner, s.resets = d, d.resets
	if s.early.set == nil {
		s.early.set = d.early.sets[0]
	}
	s.early.state = d.early.add(s.early.set)
	for i := range s.threads {
		t := &s.threads[i]
		t.state = d.of(t.rule).add(t.set)
	}
}

// save notes what the states are.
func (s *Stream) save() {
	d := s.w.dfas
	s.early.set = d.early.sets[s.early.state]
	for i := range s.threads {
		t := &s.threads[i]
		t.set = d.by[t.rule].sets[t.state]
	}
}

// trimmed makes room where a text needs very many states.
func (s *Stream) trimmed() {
	s.save()
	s.w.dfas.trim()
	s.restore()
}

// Symbols beyond ASCII.
const (
	oddCharacter   = -1 // longS or kelvin
	otherCharacter = -2
)

func symbol(l *locator, c int) int {
	switch c {
	case oddCharacter:
		return int(l.symbols[nonASCII])
	case otherCharacter:
		return l.width
	}
	return int(l.symbols[c])
}

// read follows the text as far as it is here. A character of which a part is missing is
// left for the next piece.
func (s *Stream) read() {
	for s.pos < s.base+len(s.buf) {
		rest := s.buf[s.pos-s.base:]
		if c := rest[0]; c < utf8.RuneSelf {
			s.zone(c)
			s.follow(int(c), c, c, 1)
			continue
		}
		if !s.whole && !utf8.FullRune(rest) {
			return
		}
		r, size := utf8.DecodeRune(rest)
		s.zone(rest[0])
		switch r {
		case longS:
			s.apart()
			s.follow(oddCharacter, 's', 0, size)
		case kelvin:
			s.apart()
			s.follow(oddCharacter, 'k', 'k', size)
		case dottedI:
			s.apart()
			s.follow(otherCharacter, 0, 'i', size)
		default:
			s.follow(otherCharacter, 0, 0, size)
		}
	}
}

// apart says that keywords stand elsewhere than in the small form for a while.
func (s *Stream) apart() {
	if s.pos >= s.odd {
		s.small = s.word
	}
	s.odd = s.pos + maxKeyword
}

// follow goes over one character: as expressions, as keywords and as the small form
// take it.
func (s *Stream) follow(c int, word, small byte, size int) {
	d, e := s.w.dfas, s.m.ev.e
	s.values(size)
	end := s.pos + size
	next, inside := d.early.edge(s.early.state, symbol(d.early.m.l, c))
	if inside || s.early.from >= 0 {
		s.taken(&s.early, inside)
	}
	s.early.state = next
	if d.early.ends[next] {
		s.early.ended(end)
	}
	if len(s.threads) > 0 {
		s.step(c, end)
	}
	before := s.word
	var found bool
	if s.word, found = e.finder.Step(before, word); found {
		e.finder.Ends(s.word, func(k int) { s.met(k, end) })
	}
	if s.pos < s.odd {
		if s.small, found = e.finder.Step(s.small, small); found {
			e.finder.Ends(s.small, func(k int) { s.gateAt(k) })
		}
	}
	s.pos = end
	if d.over {
		s.trimmed()
	}
}

// taken notes whether a character was taken as one of the secret.
func (s *Stream) taken(t *thread, inside bool) {
	switch {
	case inside && t.from < 0:
		t.from = s.pos
	case !inside:
		t.from = -1
		if t.rule < 0 && t.end >= 0 {
			s.wait(wait{start: t.first - maxBefore, from: t.first, end: t.end, early: true})
			t.first, t.end = -1, -1
		}
	}
}

// ended notes that a match may end.
func (t *thread) ended(end int) {
	t.end = end
	from := t.from
	if from < 0 {
		from = t.lo
	}
	if t.first < 0 || from < t.first {
		t.first = from
	}
}

// step goes over one character with all threads.
func (s *Stream) step(c, end int) {
	keep := s.threads[:0]
	for _, t := range s.threads {
		d := s.w.dfas.by[t.rule]
		next, inside := d.edge(t.state, symbol(d.m.l, c))
		s.taken(&t, inside)
		if t.state = next; next == dead {
			if t.end >= 0 {
				s.wait(wait{start: t.lo, from: t.first, end: t.end})
			}
			continue
		}
		if d.ends[next] {
			t.ended(end)
		}
		keep = append(keep, t)
	}
	s.threads = keep
}

// met follows the rules of a keyword that ends at a place.
func (s *Stream) met(k, end int) {
	if s.pos >= s.odd {
		s.gateAt(k)
	}
	e := s.m.ev.e
	word := e.keywords[k]
	for _, rule := range e.byKeyword[k] {
		d := s.w.dfas.of(rule)
		if d == nil || len(d.m.l.starts[word]) == 0 {
			continue // it is never the first keyword of a match
		}
		t := thread{rule: rule, state: d.after(word), lo: max(0, end-d.m.l.left-margin), from: -1, first: -1, end: -1}
		if d.m.back > 0 {
			t.from = max(0, end-d.m.back)
		}
		if d.ends[t.state] {
			t.ended(end)
		}
		s.threads = append(s.threads, t)
	}
	if len(s.threads) > manyThreads {
		s.merge()
	}
}

func (s *Stream) gateAt(k int) {
	if s.r.gates[k] != nil {
		s.gate(k)
	}
}

// manyThreads is how many threads are followed before those are joined that have become
// the same.
const manyThreads = 16

// merge joins threads of one rule that are in the same state: what matches from one
// matches from the other.
func (s *Stream) merge() {
	type id struct {
		rule  int
		state int32
	}
	at := map[id]int{}
	keep := s.threads[:0]
	for _, t := range s.threads {
		i, there := at[id{t.rule, t.state}]
		if !there {
			at[id{t.rule, t.state}] = len(keep)
			keep = append(keep, t)
			continue
		}
		k := &keep[i]
		k.lo, k.from, k.first, k.end = min(k.lo, t.lo), earlier(k.from, t.from), earlier(k.first, t.first), max(k.end, t.end)
	}
	s.threads = keep
}

// earlier gives the smaller of two places, of which -1 is none.
func earlier(a, b int) int {
	if a < 0 || b < 0 {
		return max(a, b)
	}
	return min(a, b)
}

// values goes over the bytes of one character as mapped values have them.
func (s *Stream) values(size int) {
	v := s.m.ev.values
	if v.Empty() {
		return
	}
	for i := range size {
		var ended int
		s.value, s.valueOpen, ended = v.Step(s.value, s.buf[s.pos-s.base+i])
		if ended > 0 {
			end := s.pos + i + 1
			s.wait(wait{start: end - ended, from: end - ended, end: end})
		}
	}
}

// open gives where the first thing begins that may go on at a place: a secret, or the
// match around it.
func (s *Stream) open(at int, match bool) int {
	h := at
	if s.run.start >= 0 {
		h = min(h, s.run.from)
	}
	if s.word != 0 {
		depth := s.m.ev.e.finder.Depth(s.word)
		if at < s.odd {
			depth *= len(string(kelvin))
		}
		h = min(h, at-depth)
	}
	h = min(h, at-s.valueOpen)
	for _, p := range [2]int{s.early.from, s.early.first} {
		if p >= 0 {
			h = min(h, p)
		}
	}
	for i := range s.threads {
		t := &s.threads[i]
		if match {
			h = min(h, t.lo)
		}
		for _, p := range [2]int{t.from, t.first} {
			if p >= 0 {
				h = min(h, p)
			}
		}
	}
	if match {
		return max(h, s.base)
	}
	return max(h, min(s.released, at))
}

// trim forgets the states of automata that have too many.
func (d *dfas) trim() {
	for _, one := range append(slices.Clone(d.by), d.early) {
		if one != nil && one.full() {
			one.reset()
			d.resets++
		}
	}
	d.over = false
}

package secrets

import (
	"bytes"
	"context"
	"math"
	"slices"

	"github.com/cabincrew/action/internal/limits"
)

// StreamMatch is a place of a text that comes in pieces where a secret stands. It
// never holds the secret.
type StreamMatch struct {
	From, To    int64 // in the text from its beginning, in bytes
	Rule        string
	Fingerprint string
	Secret      string // the name of a mapped value; for RuleValue only
	Encoding    string // the encodings around it, the outermost first
}

// Stream looks for secrets in a text that comes in pieces. It finds what
// Messages.JudgeTexts finds in the whole text. It is not safe for concurrent use.
//
// Two things are done apart. What follows the text says for each place whether a secret
// may stand there, and never misses one: the rules from their keywords on
// (streamfollow.go), and what may be encoded (streamzones.go). Only that is held back, so ordinary text passes.
// Where such a place is complete, the search that all other texts go through decides
// about it, on the text around it.
type Stream struct {
	m        *Messages
	r        *streamRules
	w        *worker // during one call
	buf      []byte
	base     int // the place of buf in the text
	pos      int // up to where it was followed
	released int
	left     int64 // bytes that may still be searched
	keep     int   // the size from which what was seen is forgotten
	tried    int   // the size below which it is no use to try that again
	whole    bool  // no more comes
	err      error

	following
	zones

	waits []wait
	gates []int // keywords of rules that match far from them, as they were met
	far   []wait
	told  []StreamMatch
}

// wait is a place where something may have been found. It is held back until that is
// decided.
type wait struct {
	start, from, end int // the match, the secret in it
	zone             bool
	checked          bool // it was searched
	early            bool
	line             bool // the rest of the line decides
	seen             int  // of the line
	rule             string
}

// Stream gives a search for the secrets of one text that comes in pieces. The first one
// of an Evaluator takes a tenth of a second.
func (m *Messages) Stream() *Stream {
	s := &Stream{m: m, left: limits.GatewaySecretBytes, keep: keepAtLeast}
	s.r, s.err = m.ev.streams()
	s.following.init()
	s.zones.init()
	return s
}

// Feed takes the next piece. released is how many bytes of the text from its beginning
// may be given on; found is what was decided to be a secret, each told once and before
// any byte of it is released. After an error the text cannot be judged, and nothing
// more may be released.
func (s *Stream) Feed(ctx context.Context, piece []byte) (released int64, found []StreamMatch, err error) {
	if s.err == nil && s.whole {
		s.err = tooMuch("more text came after its end")
	}
	if s.err != nil {
		return int64(s.released), nil, s.err
	}
	s.buf = append(s.buf, piece...)
	found, s.err = s.advance(ctx)
	return int64(s.released), found, s.err
}

// End says that the text is whole: all of it is decided, and may be given on if there
// is no error.
func (s *Stream) End(ctx context.Context) (found []StreamMatch, err error) {
	if s.err != nil || s.whole {
		return nil, s.err
	}
	s.whole = true
	s.buf = append(s.buf, '\n') // as other texts end
	found, s.err = s.advance(ctx)
	return found, s.err
}

func (s *Stream) advance(ctx context.Context) ([]StreamMatch, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	s.w, _ = s.m.ev.workers.Get().(*worker)
	defer func() {
		s.m.ev.workers.Put(s.w)
		s.w = nil
	}()
	s.begin()
	s.read()
	s.settle()
	s.save()
	found, err := s.decide(ctx)
	if err != nil {
		return nil, err
	}
	s.release()
	s.forget()
	switch end := s.base + len(s.buf); {
	case end-s.released > limits.SecretStreamHeld && !s.whole:
		return nil, tooMuch("more than %d bytes of a text may be part of one secret", limits.SecretStreamHeld)
	case len(s.buf) > limits.SecretStreamKept && !s.whole, len(s.waits)+len(s.far) > limits.SecretFindings:
		return nil, tooMuch("too much of a text cannot be decided without what follows")
	}
	return found, nil
}

// held gives where the first byte stands that may be part of a secret that is not
// decided.
func (s *Stream) held() int {
	at := min(s.open(s.pos, false), s.closed())
	for i := range s.waits {
		at = min(at, s.waits[i].from)
	}
	for i := range s.far {
		at = min(at, s.far[i].from)
	}
	// What is found in something encoded is widened so, see encoded.
	for n := 0; n < limits.SecretEncoded && at > s.base && sextet[s.buf[at-1-s.base]] != 0xff; n++ {
		at--
	}
	return at
}

// decided gives up to where nothing that follows can change what is found.
func (s *Stream) decided() int {
	if s.whole {
		return s.base + len(s.buf)
	}
	return min(s.open(s.pos, true), s.closed())
}

func (s *Stream) release() {
	if s.whole {
		s.released = s.base + len(s.buf) - 1 // without the newline
		return
	}
	s.released = max(s.released, s.held())
}

// wait notes a place that has to be decided.
func (s *Stream) wait(w wait) {
	w.start, w.from = max(0, w.start), max(s.released, w.from)
	for i := range s.waits {
		o := &s.waits[i]
		if o.zone == w.zone && o.checked == w.checked && o.line == w.line && o.from <= w.end && w.from <= o.end {
			o.start, o.from, o.end, o.early = min(o.start, w.start), min(o.from, w.from), max(o.end, w.end), o.early || w.early
			return
		}
	}
	s.waits = append(s.waits, w)
}

func (s *Stream) ready(w *wait, bound int) bool {
	switch {
	case w.zone && !w.checked:
		return true
	case w.end > bound:
		return false
	case !w.line || s.whole:
		return true
	}
	if bound <= w.seen {
		return false
	}
	n := bytes.IndexByte(s.buf[w.seen-s.base:bound-s.base], '\n')
	if n < 0 {
		w.seen = bound
	}
	return n >= 0
}

// decide searches where something is ready to be decided, until nothing is.
func (s *Stream) decide(ctx context.Context) (found []StreamMatch, err error) {
	for again := true; again && err == nil; {
		again, err = s.decideOnce(ctx, &found)
	}
	return found, err
}

func (s *Stream) decideOnce(ctx context.Context, found *[]StreamMatch) (again bool, err error) {
	bound := s.decided()
	start, early, line := math.MaxInt, false, s.whole
	ready := make([]bool, len(s.waits))
	for i := range s.waits {
		w := &s.waits[i]
		if ready[i] = s.ready(w, bound); ready[i] {
			again, start, early, line = true, min(start, w.start), early || w.early, line || w.line
		}
	}
	if !again {
		return false, nil
	}
	spots, err := s.search(ctx, start, line, s.gates)
	if err != nil {
		return false, err
	}
	if early && len(s.gates) < len(s.r.gates) && !s.whole {
		if err := s.farther(ctx, start, bound, spots); err != nil {
			return false, err
		}
	}
	keep := s.waits[:0]
	for i, w := range s.waits {
		if !ready[i] || s.conclude(&w, bound, spots, found) {
			keep = append(keep, w)
		}
	}
	s.waits = keep
	return true, nil
}

// conclude tells what stands at a place, and says whether it is still to be decided. Of
// what the rule that guesses found the rest of the line decides.
func (s *Stream) conclude(w *wait, bound int, spots []spotted, found *[]StreamMatch) (left bool) {
	line := w.line || s.whole
	w.checked, w.line = true, false
	for i := range spots {
		f := &spots[i]
		if f.to <= w.from || f.from >= w.end {
			continue
		}
		switch {
		case w.end > bound:
			left = true
		case f.to > bound:
			w.end, left = max(w.end, f.to), true
		case f.guessed && f.encoding == "" && !line:
			w.line, w.seen, left = true, max(w.seen, f.to), true
		default:
			s.tell(f, found)
		}
	}
	return left
}

func (s *Stream) tell(f *spotted, found *[]StreamMatch) {
	m := StreamMatch{int64(f.from), int64(f.to), f.rule, f.fingerprint, f.secret, f.encoding}
	if s.whole {
		m.To = min(m.To, int64(s.base+len(s.buf)-1))
	}
	if !slices.Contains(s.told, m) && m.From < m.To {
		s.told = append(s.told, m)
		*found = append(*found, m)
	}
}

// farther notes what would be a secret if a keyword stood somewhere in the text: it may
// still come.
func (s *Stream) farther(ctx context.Context, start, bound int, spots []spotted) error {
	var all []int
	for k := range s.r.gates {
		all = append(all, k)
	}
	slices.Sort(all)
	more, err := s.search(ctx, start, false, all)
	if err != nil {
		return err
	}
	for i := range more {
		f := &more[i]
		w := wait{start: max(0, f.from-maxBefore), from: f.from, end: f.to, early: true, rule: f.rule}
		if f.encoding != "" || f.to > bound || !s.r.gated[f.rule] ||
			slices.ContainsFunc(spots, func(o spotted) bool { return o.rule == f.rule && o.from == f.from && o.to == f.to }) {
			continue
		}
		if n := slices.IndexFunc(s.far, func(o wait) bool { return o.rule == w.rule }); n < 0 {
			s.far = append(s.far, w)
		} else {
			o := &s.far[n]
			o.start, o.from, o.end = min(o.start, w.start), min(o.from, w.from), max(o.end, w.end)
		}
	}
	return nil
}

// gate notes that a keyword was met whose rules match far from it.
func (s *Stream) gate(k int) {
	if slices.Contains(s.gates, k) {
		return
	}
	s.gates = append(s.gates, k)
	keep := s.far[:0]
	for _, w := range s.far {
		if slices.ContainsFunc(s.r.gates[k], func(rule int) bool { return s.m.ev.e.rules[rule].ID == w.rule }) {
			s.waits = append(s.waits, w)
		} else {
			keep = append(keep, w)
		}
	}
	s.far = keep
}

// maxBefore is how many bytes before a secret a match may begin without white space in
// it, or with as little as names and signs of assignment have.
const maxBefore = 256

// search looks through what is here from a place on, if need be from where its line
// begins, and gives what is found with its places in the text.
func (s *Stream) search(ctx context.Context, start int, line bool, gates []int) (out []spotted, err error) {
	ctx, cancel := context.WithTimeout(ctx, limits.GatewaySecretTime)
	defer cancel()
	from, size := s.cut(start, line), len(s.buf)
	if !s.whole {
		s.buf = append(s.buf, '\n')[:size]
		size++
	}
	text := s.buf[from-s.base : size]
	c := &scan{
		w: s.w, values: s.m.ev.values, baseline: s.m.ev.o.Baseline, left: s.left, expand: limits.SecretExpansionFree,
		seen: map[Match]bool{}, before: gates, inLine: !line,
		spot: func(f spotted) {
			f.from, f.to = f.from+from, f.to+from
			out = append(out, f)
		},
	}
	err = c.text(ctx, &source{file: "message", part: PartBody}, text)
	s.left = c.left
	switch {
	case err == nil:
		return out, nil
	case ctx.Err() == context.Canceled: //nolint:errorlint // the context's own
		return nil, context.Cause(ctx)
	}
	return nil, s.m.ev.unjudged(err)
}

// cut gives a place at or before another where a text can be taken apart: expressions
// see at its edge what they see there in the whole, and no escape is cut. With line it
// is where the line begins, unless that is too far.
func (s *Stream) cut(at int, line bool) int {
	if at <= s.base {
		return s.base
	}
	text, ends, reach := s.buf[:at-s.base], " \t\r\n", limits.SecretBefore
	if line {
		ends, reach = "\n", limits.SecretStreamLine
	}
	floor := max(0, len(text)-reach)
	if i := bytes.LastIndexAny(text[floor:], ends); i >= 0 {
		return s.base + floor + i + 1
	}
	if line && floor > 0 {
		return s.cut(s.base+floor, false)
	}
	return s.base + floor
}

// forget drops what no longer has to be seen.
func (s *Stream) forget() {
	if len(s.buf) < max(s.keep, s.tried) || s.whole {
		return
	}
	s.tried = len(s.buf) + len(s.buf)/8
	at := min(s.decided(), s.released)
	for i := range s.waits {
		at = min(at, s.waits[i].start)
	}
	for i := range s.far {
		at = min(at, s.far[i].start)
	}
	for _, c := range [2]*chain{&s.long, &s.many} {
		if c.open {
			at = min(at, c.first)
		}
	}
	if at-maxBefore-s.base < len(s.buf)/2 {
		return
	}
	if at = s.cut(at-maxBefore, true); at-s.base < len(s.buf)/2 {
		return
	}
	s.buf = s.buf[:copy(s.buf, s.buf[at-s.base:])]
	s.base, s.tried = at, 0
	s.told = slices.DeleteFunc(s.told, func(m StreamMatch) bool { return m.To <= int64(at) })
}

// keepAtLeast is the size in bytes up to which a text is kept.
const keepAtLeast = 4 << 10

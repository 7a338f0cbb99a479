package llm

import (
	"slices"

	"github.com/cabincrew/action/gateways/llm/frames"
)

// queue holds the events of a stream in their order until all that is in them is decided.
// An event goes on as it came, but for the secrets that were found in it.
type queue struct {
	bytes  []byte // the events
	events []held
	spans  []span
	at     int // the first event that was not given on
	count  int // of all events, also those that were given on before
	gate   int // the event from which on nothing goes; -1 for none
}

// held is where an event and its spans end.
type held struct{ bytes, spans int }

// span is a literal in an event whose text stands in a lane, or a value that repeats it.
type span struct {
	from, to int
	lane     *lane // nil for one that repeats
	lo, hi   int   // of the lane's text
	raw      bool  // no JSON
	odd      bool
	empty    string
}

func newQueue() queue { return queue{gate: -1} }

// add adds an event with its spans.
func (q *queue) add(event []byte, spans []span) {
	q.bytes = append(q.bytes, event...)
	q.spans = append(q.spans, spans...)
	q.events = append(q.events, held{len(q.bytes), len(q.spans)})
	q.count++
}

// size is how much is held.
func (q *queue) size() int {
	b, _ := q.begin()
	return len(q.bytes) - b
}

func (q *queue) begin() (bytes, spans int) {
	if q.at == 0 {
		return 0, 0
	}
	return q.events[q.at-1].bytes, q.events[q.at-1].spans
}

// empty says that nothing is held.
func (q *queue) empty() bool { return q.at == len(q.events) }

// drop forgets what is held.
func (q *queue) drop() { q.at = len(q.events); q.shrink() }

// release appends the events that may go on.
func (q *queue) release(dst []byte, windows bool) []byte {
	for q.at < len(q.events) {
		if q.gate >= 0 && q.count-len(q.events)+q.at >= q.gate {
			break
		}
		b, s := q.begin()
		e := q.events[q.at]
		spans := q.spans[s:e.spans]
		if slices.ContainsFunc(spans, func(p span) bool { return p.lane != nil && p.lane.safe(windows) < p.hi }) {
			break
		}
		dst = render(dst, q.bytes[b:e.bytes], spans)
		q.at++
	}
	q.shrink()
	return dst
}

// shrink gives back the room of what was given on.
func (q *queue) shrink() {
	const few = 16 << 10
	b, s := q.begin()
	switch {
	case q.at == 0:
	case q.at == len(q.events):
		q.bytes, q.events, q.at = q.bytes[:0], q.events[:0], 0
		clear(q.spans)
		if q.spans = q.spans[:0]; cap(q.bytes) > few {
			q.bytes, q.spans, q.events = nil, nil, nil
		}
	case b > few && b > len(q.bytes)/2:
		q.bytes = append(q.bytes[:0], q.bytes[b:]...)
		n := copy(q.spans, q.spans[s:])
		clear(q.spans[n:])
		q.spans = q.spans[:n]
		rest := q.events[:copy(q.events, q.events[q.at:])]
		for i := range rest {
			rest[i].bytes -= b
			rest[i].spans -= s
		}
		q.events, q.at = rest, 0
	}
}

// render appends an event without the secrets in it. What repeats a text goes with it.
func render(dst, event []byte, spans []span) []byte {
	changed, odd := false, false
	for i := range spans {
		p := &spans[i]
		changed = changed || p.lane != nil && p.lane.covered(p.lo, p.hi)
		odd = odd || p.odd
	}
	if !changed && !odd {
		return append(dst, event...)
	}
	// What encloses another comes first, and that other is left out.
	slices.SortFunc(spans, func(a, b span) int {
		if a.from != b.from {
			return a.from - b.from
		}
		return b.to - a.to
	})
	at := 0
	for i := range spans {
		p := &spans[i]
		if p.from < at || p.lane == nil && !changed && !p.odd || p.lane != nil && !p.lane.covered(p.lo, p.hi) {
			continue
		}
		dst = append(dst, event[at:p.from]...)
		at = p.to
		literal := event[p.from:p.to]
		switch {
		case p.lane == nil:
			dst = append(dst, p.empty...)
		case p.raw:
			dst = p.lane.masked(dst, literal, p.lo)
		default:
			dst = frames.AppendQuoted(dst, p.lane.masked(nil, frames.AppendUnquoted(nil, literal), p.lo))
		}
	}
	return append(dst, event[at:]...)
}

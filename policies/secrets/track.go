package secrets

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
)

// track is the deterministic automaton of a locator, built as far as texts need
// it. It belongs to one scanner.
type track struct {
	l      *locator
	states []trackState
	next   []int32 // by state and symbol; unknown until first needed
	index  map[string]int32
	start  map[string]int32
	seen   []uint32
	mark   uint32
}

type trackState struct {
	set     []int32 // instructions that consume or match
	matches bool    // a match can end here
	atEnd   bool    // a match can end here if the text does
}

const (
	unknown = -1
	dead    = 0
	// maxTrack is how many states are kept; beyond, the rule is looked for in the
	// whole text.
	maxTrack = 4096
)

func newTrack(l *locator) *track {
	t := &track{l: l, index: map[string]int32{}, start: map[string]int32{}, seen: make([]uint32, len(l.insts))}
	t.add(nil)
	for i := range l.width {
		t.next[i] = dead
	}
	return t
}

// add gives the state for a set of instructions.
func (t *track) add(set []int32) int32 {
	slices.Sort(set)
	set = slices.Compact(set)
	key := make([]byte, 0, 4*len(set))
	for _, pc := range set {
		key = binary.LittleEndian.AppendUint32(key, uint32(pc)) //nolint:gosec // instructions count from 0
	}
	if s, ok := t.index[string(key)]; ok {
		return s
	}
	s := int32(len(t.states)) //nolint:gosec // at most maxTrack and one text's
	st := trackState{set: set}
	for _, pc := range set {
		if t.l.insts[pc].op == syntax.InstMatch {
			st.matches = true
		}
		if t.l.insts[pc].op == syntax.InstEmptyWidth {
			t.mark++
			t.l.follow(pc, true, t.seen, t.mark, func(at int32) {
				st.atEnd = st.atEnd || t.l.insts[at].op == syntax.InstMatch
			})
		}
	}
	t.index[string(key)] = s
	t.states = append(t.states, st)
	for range t.l.width {
		t.next = append(t.next, unknown)
	}
	return s
}

// step gives the state after a symbol that was not met in this state before.
func (t *track) step(s int32, symbol uint8) int32 {
	var set []int32
	t.mark++
	for _, pc := range t.states[s].set {
		in := &t.l.insts[pc]
		if in.op != syntax.InstRune || !in.takes[symbol] {
			continue
		}
		t.l.follow(in.out, false, t.seen, t.mark, func(at int32) { set = append(set, at) })
		if symbol == t.l.symbols[nonASCII] {
			set = append(set, pc) // the character may have more bytes
		}
	}
	n := t.add(set)
	t.next[int(s)*t.l.width+int(symbol)] = n
	return n
}

// reach says how far a match can go whose first keyword ends at a place: the last
// place where it can end, or -1 if there is none. It takes at most budget bytes
// and tells how many; done is false if that was too few.
func (t *track) reach(text []byte, keyword string, at, budget int) (end, used int, done bool) {
	s, ok := t.start[keyword]
	if !ok {
		s = t.add(slices.Clone(t.l.starts[keyword]))
		t.start[keyword] = s
	}
	end = -1
	for i := at; ; i++ {
		if t.states[s].matches {
			end = i
		}
		if i == len(text) {
			if t.states[s].atEnd {
				end = i
			}
			return end, i - at, true
		}
		if i-at >= budget || len(t.states) > maxTrack {
			return end, i - at, false
		}
		symbol := t.l.symbols[text[i]]
		n := t.next[int(s)*t.l.width+int(symbol)]
		if n == unknown {
			n = t.step(s, symbol)
		}
		if n == dead {
			return end, i - at, true
		}
		s = n
	}
}

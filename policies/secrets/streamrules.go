package secrets

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/cabincrew/action/protocol"
)

// streamRules is what all streams share of the rules. It does not change.
//
// Most rules are followed from their keywords on, see locator: before the keyword
// nothing of the secret can have been. The others, early, are followed from wherever
// their secret may begin; all of them are one machine.
type streamRules struct {
	by    []*machine // by rule; nil for those that are in early or never match
	early *machine
	gates map[int][]int // by keyword, the rules in early that match far from it
	gated map[string]bool
	// spread says of a keyword that what its rules match need not be readable.
	spread []bool
}

// machine is an expression of which deterministic states are made as texts need them,
// see dfa. As in a locator, assertions are taken to hold except for the end of the
// text. That can only add places.
type machine struct {
	l      *locator
	inside []bool  // by instruction: it stands in the secret or behind its beginning
	begin  []int32 // early: where secrets begin; closed
	// back is the most bytes of the secret that can stand before the keyword's end.
	back int
	// ordered says that instructions stand in their order of preference, so that what is
	// less preferred than a match is given up. It is so where a keyword begins the match
	// and there are no assertions.
	ordered bool
	first   int32 // where the program begins
}

func newStreamRules(e *engine) (s *streamRules, err error) {
	s = &streamRules{by: make([]*machine, len(e.rules)), gates: map[int][]int{}, gated: map[string]bool{}, spread: make([]bool, len(e.keywords))}
	var early []string
	for i, r := range e.rules {
		if r.Regex == "" || r.Path != "" && !r.path().MatchString("") {
			continue
		}
		m := newMachine(r)
		if m == nil || slices.ContainsFunc(m.l.insts, func(n inst) bool { return n.beyond }) {
			for k, word := range e.keywords {
				s.spread[k] = s.spread[k] || slices.Contains(r.Keywords, word)
			}
		}
		if m != nil {
			s.by[i] = m
			continue
		}
		expr := r.Regex
		if r.regex().NumSubexp() == 0 {
			expr = "(" + expr + ")"
		}
		early = append(early, "(?:"+expr+")")
		if r.locator() != nil || len(r.Keywords) == 0 {
			continue
		}
		s.gated[r.ID] = true
		for k, word := range e.keywords {
			if slices.Contains(r.Keywords, word) {
				s.gates[k] = append(s.gates[k], i)
			}
		}
	}
	s.early, err = newEarly(strings.Join(early, "|"))
	return s, err
}

func program(expr string) (*syntax.Prog, error) {
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	return syntax.Compile(parsed.Simplify())
}

// newMachine gives nil if the secret can begin before the keyword does, or far from it.
func newMachine(r *rule) *machine {
	l := r.locator()
	if l == nil {
		return nil
	}
	prog, err := program(r.Regex)
	if err != nil {
		return nil // newEarly tells
	}
	m := &machine{l: l, first: int32(prog.Start)} //nolint:gosec // a program has few instructions
	if r.regex().NumSubexp() == 0 {
		m.back = l.left
		m.inside = make([]bool, len(l.insts))
		for i := range m.inside {
			m.inside[i] = true
		}
	} else {
		begins := captures(l, r.SecretGroup)
		m.inside = reachable(l, begins)
		m.back = backOf(l, r.Keywords, m.first, begins)
	}
	longest, assertions := 0, false
	for k := range l.starts {
		longest = max(longest, folded(k))
	}
	if m.back > longest {
		return nil
	}
	for i := range l.insts {
		assertions = assertions || l.insts[i].op == syntax.InstEmptyWidth
	}
	m.ordered = len(l.starts) == 1 && !assertions
	for k := range l.starts {
		m.ordered = m.ordered && len(k) == l.left
	}
	return m
}

// folded is the most bytes that a keyword has in any case.
func folded(word string) int {
	n := len(word)
	return n + (strings.Count(word, "s")+strings.Count(word, "k"))*(len(string(kelvin))-1) // as taken counts
}

// captures gives the instructions that begin the secret: that of its group, or of any
// if none is named.
func captures(l *locator, group int) map[int32]bool {
	out := map[int32]bool{}
	for i := range l.insts {
		if n := &l.insts[i]; n.op == syntax.InstCapture && n.arg%2 == 0 && (n.arg >= 2 && group == 0 || n.arg == int32(2*group) && group > 0) { //nolint:gosec // few groups
			out[int32(i)] = true //nolint:gosec // a program has few instructions
		}
	}
	return out
}

// reachable marks all instructions that can come after some.
func reachable(l *locator, from map[int32]bool) []bool {
	seen := make([]bool, len(l.insts))
	var visit func(pc int32)
	visit = func(pc int32) {
		if seen[pc] {
			return
		}
		seen[pc] = true
		switch n := &l.insts[pc]; n.op {
		case syntax.InstMatch, syntax.InstFail:
		case syntax.InstAlt, syntax.InstAltMatch:
			visit(n.out)
			visit(n.arg)
		default:
			visit(n.out)
		}
	}
	for pc := range from {
		visit(pc)
	}
	return seen
}

// backOf gives the most bytes from where a secret can begin to the end of the first
// keyword behind that.
func backOf(l *locator, keywords []string, first int32, begins map[int32]bool) int {
	p := newProof(l, keywords)
	p.walk(first, 0, 0)
	back := 0
	for at, state := range p.state {
		if state == 2 && p.far[at] > back && beginsAt(l, int32(at/len(p.prefixes)), begins, map[int32]bool{}) { //nolint:gosec // few
			back = p.far[at]
		}
	}
	return back
}

// beginsAt says whether a secret can begin before anything is consumed.
func beginsAt(l *locator, pc int32, begins, seen map[int32]bool) bool {
	if seen[pc] {
		return false
	}
	seen[pc] = true
	switch n := &l.insts[pc]; n.op {
	case syntax.InstAlt, syntax.InstAltMatch:
		return beginsAt(l, n.out, begins, seen) || beginsAt(l, n.arg, begins, seen)
	case syntax.InstCapture, syntax.InstNop, syntax.InstEmptyWidth:
		return begins[pc] || beginsAt(l, n.out, begins, seen)
	}
	return false
}

// newEarly makes one machine of expressions, from where the first group of each begins.
func newEarly(expr string) (*machine, error) {
	prog, err := program(expr)
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitFailure, "secrets_rules", "the rules for secrets do not parse together: %w", err)
	}
	l := &locator{}
	l.translate(prog)
	m := &machine{l: l, inside: make([]bool, len(l.insts))}
	for i := range m.inside {
		m.inside[i] = true
	}
	all := captures(l, 0)
	seen, found := make([]bool, len(l.insts)), []int32{}
	var visit func(pc int32)
	visit = func(pc int32) {
		if seen[pc] {
			return
		}
		seen[pc] = true
		n := &l.insts[pc]
		switch {
		case all[pc]:
			found = append(found, n.out)
		case n.op == syntax.InstMatch || n.op == syntax.InstFail:
		case n.op == syntax.InstAlt || n.op == syntax.InstAltMatch:
			visit(n.out)
			visit(n.arg)
		default:
			visit(n.out)
		}
	}
	visit(int32(prog.Start)) //nolint:gosec // a program has few instructions
	marks := make([]uint32, len(l.insts))
	for _, pc := range found {
		l.follow(pc, false, marks, 1, func(at int32) { m.begin = append(m.begin, at) })
	}
	return m, nil
}

// dfas are those of one worker.
type dfas struct {
	rules  *streamRules
	by     []*dfa
	early  *dfa
	over   bool // one has too many states
	resets int
}

func newDFAs(r *streamRules) *dfas {
	d := &dfas{rules: r, by: make([]*dfa, len(r.by))}
	d.early = d.newDFA(r.early)
	return d
}

// of gives the automaton of a rule; nil if it has none of its own.
func (d *dfas) of(rule int) *dfa {
	if d.by[rule] == nil && d.rules.by[rule] != nil {
		d.by[rule] = d.newDFA(d.rules.by[rule])
	}
	return d.by[rule]
}

func (d *dfas) newDFA(m *machine) *dfa {
	one := &dfa{m: m, row: m.l.width + 1, seen: make([]uint32, len(m.l.insts)), all: d}
	one.reset()
	return one
}

// dfa is the deterministic automaton of a machine, as far as texts needed it. It
// belongs to one worker.
type dfa struct {
	m     *machine
	row   int // the width of a row of next: the symbols, and one for other characters
	sets  [][]int32
	ends  []bool // a match can end here
	next  []uint32
	index map[string]int32
	start map[string]int32 // by keyword
	seen  []uint32
	mark  uint32
	all   *dfas
}

// An edge is the next state and, in its lowest bit, whether the character was taken as
// one of the secret.
const unmade = ^uint32(0)

// reset forgets all states. State 0 is the one in which nothing was read yet.
func (d *dfa) reset() {
	d.sets, d.ends, d.next = nil, nil, nil
	d.index, d.start = map[string]int32{}, map[string]int32{}
	d.add(d.m.begin)
}

// full says that it is time to reset.
func (d *dfa) full() bool { return len(d.sets) > maxTrack }

// add gives the state for a set of instructions, in their order if that counts.
func (d *dfa) add(set []int32) int32 {
	if !d.m.ordered {
		set = slices.Clone(set)
		slices.Sort(set)
		set = slices.Compact(set)
	}
	key := make([]byte, 0, 4*len(set))
	for _, pc := range set {
		key = binary.LittleEndian.AppendUint32(key, uint32(pc)) //nolint:gosec // instructions count from 0
	}
	if s, ok := d.index[string(key)]; ok {
		return s
	}
	s := int32(len(d.sets)) //nolint:gosec // bounded by maxTrack
	d.index[string(key)] = s
	d.sets = append(d.sets, set)
	d.ends = append(d.ends, slices.ContainsFunc(set, func(pc int32) bool { return d.m.l.insts[pc].op == syntax.InstMatch }))
	for range d.row {
		d.next = append(d.next, unmade)
	}
	d.all.over = d.all.over || d.full()
	return s
}

// edge gives what a character makes of a state.
func (d *dfa) edge(state int32, symbol int) (next int32, inside bool) {
	e := d.next[int(state)*d.row+symbol]
	if e == unmade {
		e = d.make(state, symbol)
	}
	return int32(e >> 1), e&1 != 0 //nolint:gosec // few states
}

func (d *dfa) make(state int32, symbol int) uint32 {
	var set []int32
	inside := uint32(0)
	d.mark++
	for _, pc := range d.sets[state] {
		in := &d.m.l.insts[pc]
		if in.op != syntax.InstRune || !(symbol == d.m.l.width && in.beyond || symbol < d.m.l.width && in.takes[symbol]) {
			continue
		}
		if d.m.inside[pc] {
			inside = 1
		}
		d.m.l.follow(in.out, false, d.seen, d.mark, func(at int32) { set = append(set, at) })
	}
	if d.m.ordered {
		set = d.preferred(set)
	}
	e := uint32(d.add(append(set, d.m.begin...)))<<1 | inside //nolint:gosec // few states
	d.next[int(state)*d.row+symbol] = e
	return e
}

// preferred gives up what is less preferred than a match.
func (d *dfa) preferred(set []int32) []int32 {
	for i, pc := range set {
		if d.m.l.insts[pc].op == syntax.InstMatch {
			return set[:i+1]
		}
	}
	return set
}

// after gives the state at the end of a keyword.
func (d *dfa) after(word string) int32 {
	s, ok := d.start[word]
	if ok {
		return s
	}
	if !d.m.ordered {
		s = d.add(d.m.l.starts[word])
	} else {
		s = d.through(word)
	}
	d.start[word] = s
	return s
}

// through reads the keyword itself, in both cases, to have the order of what follows.
func (d *dfa) through(word string) int32 {
	var set []int32
	d.mark++
	d.m.l.follow(d.m.first, false, d.seen, d.mark, func(at int32) { set = append(set, at) })
	for i := range len(word) {
		var next []int32
		d.mark++
		for _, pc := range set {
			in := &d.m.l.insts[pc]
			if in.op == syntax.InstRune && (in.takes[d.m.l.symbols[word[i]]] || in.takes[d.m.l.symbols[upper(word[i])]]) {
				d.m.l.follow(in.out, false, d.seen, d.mark, func(at int32) { next = append(next, at) })
			}
		}
		set = next
	}
	return d.add(d.preferred(set))
}

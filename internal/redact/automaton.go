package redact

// Automaton finds many patterns in one pass (Aho-Corasick). It does not change
// after NewAutomaton and may be used by many goroutines at once.
//
// The states near the root, where ordinary text stays, have full rows over
// classes of bytes. The long tails of patterns are kept as lists of children
// with a failure link, so that a large secret costs a few bytes for each of its
// bytes. Following failure links is linear over a whole text.
type Automaton struct {
	class  [256]uint16 // of a byte; 0 for bytes that no pattern has
	shift  uint        // rows are 1<<shift wide
	rows   []int32     // the next state; ^state where a pattern ends
	full   int32       // states below have a row
	states []state
}

// state is a node of the trie. States are numbered breadth first, the root is 0.
type state struct {
	child, sibling int32 // 0 for none
	fail           int32
	depth          int32 // how many bytes of a pattern were read
	pattern        int32 // index + 1 of the pattern that ends here, 0 for none
	link           int32 // the next state on the way of failures where a pattern ends, 0 for none
	class          uint16
}

// fullRows is how many states at most have a row of their own.
const fullRows = 4096

// NewAutomaton prepares an automaton. Empty patterns are never found; of equal
// ones the first is. With fold, ASCII letters match in both cases.
func NewAutomaton(patterns [][]byte, fold bool) *Automaton {
	a := &Automaton{}
	a.classes(patterns, fold)
	a.trie(patterns)
	a.link()
	return a
}

func (a *Automaton) classes(patterns [][]byte, fold bool) {
	used := [256]bool{}
	for _, p := range patterns {
		for _, c := range p {
			if fold {
				c = lower(c)
			}
			used[c] = true
		}
	}
	n := uint16(0)
	for c := range used {
		if used[c] {
			n++
			a.class[c] = n
		}
	}
	for 1<<a.shift <= n {
		a.shift++
	}
	if fold {
		for c := byte('A'); c <= 'Z'; c++ {
			a.class[c] = a.class[lower(c)]
		}
	}
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// trie builds the states breadth first: one more byte of every pattern a round.
func (a *Automaton) trie(patterns [][]byte) {
	a.states = []state{{}}
	at := make([]int32, len(patterns))
	left := make([]int, 0, len(patterns)) // patterns with bytes left
	for i, p := range patterns {
		if len(p) > 0 {
			left = append(left, i)
		}
	}
	for depth := 0; len(left) > 0; depth++ {
		keep := left[:0]
		for _, i := range left {
			p := patterns[i]
			class := a.class[p[depth]]
			next := a.child(at[i], class)
			if next == 0 {
				next = int32(len(a.states))                                                                               //nolint:gosec // bounded by the patterns' sizes
				a.states = append(a.states, state{sibling: a.states[at[i]].child, depth: int32(depth + 1), class: class}) //nolint:gosec // as above
				a.states[at[i]].child = next
			}
			at[i] = next
			if depth+1 < len(p) {
				keep = append(keep, i)
			} else if s := &a.states[next]; s.pattern == 0 {
				s.pattern = int32(i + 1) //nolint:gosec // as above
			}
		}
		left = keep
	}
}

// child gives the child of a state for a class, 0 for none.
func (a *Automaton) child(s int32, class uint16) int32 {
	for n := a.states[s].child; n != 0; n = a.states[n].sibling {
		if a.states[n].class == class {
			return n
		}
	}
	return 0
}

// link sets failure links and rows. A state's failure state is less deep, so its
// number is smaller and it is done already.
func (a *Automaton) link() {
	a.full = int32(min(len(a.states), fullRows)) //nolint:gosec // at most fullRows
	a.rows = make([]int32, int(a.full)<<a.shift)
	for at := range int32(len(a.states)) { //nolint:gosec // bounded by the patterns' sizes
		s := &a.states[at]
		if f := a.states[s.fail]; at != 0 {
			s.link = f.link
			if f.pattern != 0 {
				s.link = s.fail
			}
		}
		for n := s.child; n != 0; n = a.states[n].sibling {
			if at != 0 {
				a.states[n].fail = a.next(s.fail, a.states[n].class)
			}
		}
		if at < a.full {
			row := a.rows[int(at)<<a.shift : (int(at)+1)<<a.shift]
			if at != 0 {
				copy(row, a.rows[int(s.fail)<<a.shift:])
			}
			for n := s.child; n != 0; n = a.states[n].sibling {
				row[a.states[n].class] = n
			}
		}
	}
	for i, n := range a.rows {
		if a.states[n].pattern != 0 || a.states[n].link != 0 {
			a.rows[i] = ^n
		}
	}
}

// next gives the state after one byte of a class, while rows are still plain.
func (a *Automaton) next(s int32, class uint16) int32 {
	for {
		if n := a.child(s, class); n != 0 || s == 0 {
			return n
		}
		s = a.states[s].fail
	}
}

// step gives the state after one byte, and whether a pattern ends there.
func (a *Automaton) step(s int32, c byte) (int32, bool) {
	class := a.class[c]
	for s >= a.full {
		if n := a.child(s, class); n != 0 {
			return n, a.states[n].pattern != 0 || a.states[n].link != 0
		}
		s = a.states[s].fail
	}
	n := a.rows[int(s)<<a.shift|int(class)]
	if n < 0 {
		return ^n, true
	}
	return n, false
}

// run goes over text until a pattern ends. It gives the state, how many bytes
// were read, and whether a pattern ends there.
func (a *Automaton) run(s int32, text []byte) (int32, int, bool) {
	rows, shift, full := a.rows, a.shift&31, a.full
	class := &a.class
	for i := range text {
		if s >= full {
			n, hit := a.step(s, text[i])
			if s = n; hit {
				return s, i + 1, true
			}
			continue
		}
		n := rows[uint(s)<<shift+uint(class[text[i]])] //nolint:gosec // states are not negative
		if n < 0 {
			return ^n, i + 1, true
		}
		s = n
	}
	return s, len(text), false
}

// Find calls visit for every place where a pattern ends, in order: the index of
// the pattern, and how many bytes of the text lie before its end. Of patterns
// that end at one place the longest comes first.
func (a *Automaton) Find(text []byte, visit func(pattern, end int)) {
	s, at := int32(0), 0
	for at < len(text) {
		n, read, hit := a.run(s, text[at:])
		s, at = n, at+read
		if !hit {
			return
		}
		for m := s; m != 0; m = a.states[m].link {
			if p := a.states[m].pattern; p != 0 {
				visit(int(p-1), at)
			}
		}
	}
}

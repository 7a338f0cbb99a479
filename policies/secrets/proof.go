package secrets

import (
	"regexp/syntax"
	"slices"
	"strings"
)

// proof walks through all pairs of an instruction and what was read of the
// keywords before it, from the beginning of a match until the first keyword ends.
type proof struct {
	l        *locator
	keywords []string
	prefixes []string             // what may have been read of keywords, "" first
	index    map[string]int32     // into prefixes
	steps    map[[2]int32]advance // by prefix and letter
	seen     []uint32             // of follow
	mark     uint32
	state    map[node]int8 // 1: on the way, 2: done
	far      map[node]int  // the most bytes from there until a keyword ends
	ends     map[string]map[int32]bool
	longest  int
	failed   bool
}

// node is an instruction that is about to be reached with a prefix read.
type node struct {
	pc     int32
	prefix int32
}

// advance is what one more letter makes of a prefix: another prefix, or the end
// of a keyword.
type advance struct {
	prefix  int32
	keyword string
}

func newProof(l *locator, keywords []string) *proof {
	p := &proof{
		l: l, keywords: keywords, index: map[string]int32{}, steps: map[[2]int32]advance{},
		seen: make([]uint32, len(l.insts)), state: map[node]int8{}, far: map[node]int{}, ends: map[string]map[int32]bool{},
	}
	for _, k := range append([]string{""}, keywords...) {
		for i := range len(k) + 1 {
			if _, ok := p.index[k[:i]]; !ok {
				p.index[k[:i]] = int32(len(p.prefixes)) //nolint:gosec // few keywords
				p.prefixes = append(p.prefixes, k[:i])
			}
		}
	}
	return p
}

// run says whether the proof succeeds, and puts its results into the locator.
func (p *proof) run(start int32) bool {
	p.longest = p.walk(node{start, 0}, 0)
	if p.failed || p.longest > maxLeft || len(p.ends) == 0 {
		return false
	}
	p.l.starts = map[string][]int32{}
	for k, ends := range p.ends {
		p.mark++
		var set []int32
		for pc := range ends {
			p.l.follow(pc, false, p.seen, p.mark, func(at int32) { set = append(set, at) })
		}
		slices.Sort(set)
		p.l.starts[k] = set
	}
	return true
}

// walk gives the most bytes that can be read from n until the first keyword ends.
// It fails where the expression can match without a keyword or can read without
// end before one.
func (p *proof) walk(n node, depth int) int {
	switch {
	case p.failed || len(p.state) > maxNodes || depth > maxLeft:
		p.failed = true
		return 0
	case p.state[n] == 1:
		p.failed = true // a loop
		return 0
	case p.state[n] == 2:
		return p.far[n]
	}
	p.state[n] = 1
	p.mark++
	var reached []int32
	p.l.follow(n.pc, true, p.seen, p.mark, func(pc int32) { reached = append(reached, pc) })
	far := 0
	for _, pc := range reached {
		in := &p.l.insts[pc]
		if in.op == syntax.InstMatch {
			p.failed = true
			return 0
		}
		far = max(far, p.consume(n, in, depth))
		if p.failed {
			return 0
		}
	}
	p.state[n], p.far[n] = 2, far
	return far
}

// consume goes over one consuming instruction.
func (p *proof) consume(n node, in *inst, depth int) int {
	far := 0
	done := map[int32]bool{}
	if in.beyond {
		done[0] = true
		far = 4 + p.walk(node{in.out, 0}, depth+1)
	}
	for c := range int32(nonASCII) {
		if !in.takes[p.l.symbols[c]] {
			continue
		}
		a := p.advance(n.prefix, c)
		if a.keyword != "" {
			if p.ends[a.keyword] == nil {
				p.ends[a.keyword] = map[int32]bool{}
			}
			p.ends[a.keyword][in.out] = true
			far = max(far, 1)
			continue
		}
		if done[a.prefix] {
			continue
		}
		done[a.prefix] = true
		if far = max(far, 1+p.walk(node{in.out, a.prefix}, depth+1)); p.failed {
			return 0
		}
	}
	return far
}

// advance reads one letter in small form: the longest keyword that ends with it, or
// the longest prefix of a keyword that does.
func (p *proof) advance(prefix, c int32) advance {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	key := [2]int32{prefix, c}
	if a, ok := p.steps[key]; ok {
		return a
	}
	text := p.prefixes[prefix] + string(rune(c))
	a := advance{}
	for i := 0; i < len(text) && a.keyword == ""; i++ {
		if slices.Contains(p.keywords, text[i:]) {
			a.keyword = text[i:]
		}
	}
	for i := 0; i < len(text) && a.keyword == ""; i++ {
		if at, ok := p.index[text[i:]]; ok && strings.HasPrefix(p.prefixes[at], text[i:]) {
			a.prefix = at
			break
		}
	}
	p.steps[key] = a
	return a
}

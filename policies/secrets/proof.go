package secrets

import (
	"regexp/syntax"
	"slices"
)

// proof walks through all pairs of an instruction and what was read of the
// keywords before it, from the beginning of a match until the first keyword ends.
type proof struct {
	l        *locator
	keywords []string
	prefixes []string // what may have been read of keywords, "" first
	index    map[string]int32
	letters  []byte      // of keywords; every other one leads back to ""
	steps    [][]advance // by prefix and letter
	other    []bool      // by symbol, whether it has other letters
	seen     []uint32    // of follow
	mark     uint32
	state    []int8 // by node; 1: on the way, 2: done
	far      []int  // by node, the most bytes from there until a keyword ends
	ends     map[string]map[int32]bool
	longest  int
	failed   bool
}

// advance is what one more letter makes of a prefix: another prefix, or the end
// of a keyword.
type advance struct {
	prefix  int32
	keyword string
}

func newProof(l *locator, keywords []string) *proof {
	p := &proof{l: l, keywords: keywords, index: map[string]int32{}, seen: make([]uint32, len(l.insts)), ends: map[string]map[int32]bool{}}
	for _, k := range append([]string{""}, keywords...) {
		for i := range len(k) + 1 {
			if _, ok := p.index[k[:i]]; !ok {
				p.index[k[:i]] = int32(len(p.prefixes)) //nolint:gosec // few keywords
				p.prefixes = append(p.prefixes, k[:i])
			}
		}
		for i := range len(k) {
			if !slices.Contains(p.letters, k[i]) {
				p.letters = append(p.letters, k[i])
			}
		}
	}
	slices.Sort(p.letters)
	for _, prefix := range p.prefixes {
		row := make([]advance, len(p.letters))
		for i, c := range p.letters {
			row[i] = p.advance(prefix + string(rune(c)))
		}
		p.steps = append(p.steps, row)
	}
	p.other = make([]bool, l.width)
	for c := range nonASCII {
		if small := lower(byte(c)); !slices.Contains(p.letters, small) {
			p.other[l.symbols[c]] = true
		}
	}
	p.state = make([]int8, len(l.insts)*len(p.prefixes))
	p.far = make([]int, len(p.state))
	return p
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// advance gives the longest keyword that a text ends with, or the longest prefix of
// a keyword that it does.
func (p *proof) advance(text string) advance {
	for i := range len(text) {
		if slices.Contains(p.keywords, text[i:]) {
			return advance{keyword: text[i:]}
		}
	}
	for i := range len(text) {
		if at, ok := p.index[text[i:]]; ok {
			return advance{prefix: at}
		}
	}
	return advance{}
}

// run says whether the proof succeeds, and puts its results into the locator.
func (p *proof) run(start int32) bool {
	p.longest = p.walk(start, 0, 0)
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

// walk gives the most bytes that can be read, before an instruction with a prefix
// read, until the first keyword ends. It fails where the expression can match
// without a keyword or can read without end before one.
func (p *proof) walk(pc, prefix int32, depth int) int {
	at := int(pc)*len(p.prefixes) + int(prefix)
	switch {
	case p.failed || depth > maxLeft || p.state[at] == 1: // the last is a loop
		p.failed = true
		return 0
	case p.state[at] == 2:
		return p.far[at]
	}
	p.state[at] = 1
	p.mark++
	var reached []int32
	p.l.follow(pc, true, p.seen, p.mark, func(pc int32) { reached = append(reached, pc) })
	far := 0
	for _, pc := range reached {
		in := &p.l.insts[pc]
		if in.op == syntax.InstMatch {
			p.failed = true
			return 0
		}
		if far = max(far, p.consume(prefix, in, depth+1)); p.failed {
			return 0
		}
	}
	p.state[at], p.far[at] = 2, far
	return far
}

// consume goes over one consuming instruction.
func (p *proof) consume(prefix int32, in *inst, depth int) int {
	far, plain := 0, false
	for symbol, takes := range in.takes {
		plain = plain || takes && p.other[symbol]
	}
	if in.beyond || plain {
		far = in.bytes + p.walk(in.out, 0, depth)
	}
	for i, c := range p.letters {
		if !in.takes[p.l.symbols[c]] && !in.takes[p.l.symbols[upper(c)]] {
			continue
		}
		a := p.steps[prefix][i]
		if a.keyword == "" {
			if far = max(far, in.bytes+p.walk(in.out, a.prefix, depth)); p.failed {
				return 0
			}
			continue
		}
		if p.ends[a.keyword] == nil {
			p.ends[a.keyword] = map[int32]bool{}
		}
		p.ends[a.keyword][in.out] = true
		far = max(far, in.bytes)
	}
	return far
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}

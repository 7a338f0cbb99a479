package secrets

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

// A locator says where the matches of a rule can be, from the places of its
// keywords alone. It is made from the compiled expression, by what is proven for
// any text:
//
//   - every match holds one of the keywords (otherwise there is no locator);
//   - the keyword that ends first in a match ends at most left bytes after the
//     match begins;
//   - when that keyword ends, the expression is in one of the states starts; from
//     there on a deterministic automaton (see track.go) tells where it may match.
//
// Assertions such as \b are taken to hold, except for the end of the text; bytes
// beyond ASCII are one symbol. Both can only add places, never lose one. The
// places are then searched with the expression itself.
type locator struct {
	left    int
	symbols [256]uint8 // classes of bytes that the expression does not tell apart
	width   int
	insts   []inst
	starts  map[string][]int32 // by keyword, closed sets of instructions
}

// inst is one instruction of the expression's program.
type inst struct {
	op       syntax.InstOp
	out, arg int32
	atEnd    bool   // an assertion of the end of the text
	takes    []bool // by symbol, of instructions that consume
	beyond   bool   // it consumes other characters beyond ASCII than longS and kelvin
	bytes    int    // the most bytes that it consumes
}

const (
	nonASCII = utf8.RuneSelf // the last symbol before classes are formed
	// maxLeft bounds the proof; the rules stay far below.
	maxLeft = 2048
)

// newLocator gives nil if matches cannot be located by the keywords.
func newLocator(expr string, keywords []string) *locator {
	if len(keywords) == 0 || expr == "" {
		return nil
	}
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil
	}
	for _, k := range keywords {
		if k == "" || strings.ContainsFunc(k, func(r rune) bool { return r >= utf8.RuneSelf }) {
			return nil
		}
	}
	l := &locator{}
	l.translate(prog)
	p := newProof(l, keywords)
	if !p.run(int32(prog.Start)) { //nolint:gosec // a program has few instructions
		return nil
	}
	l.left = p.longest
	return l
}

// translate takes over the program with symbols instead of characters.
func (l *locator) translate(prog *syntax.Prog) {
	l.insts = make([]inst, len(prog.Inst))
	kinds := map[string]*kind{} // one for all instructions that take the same
	for i := range prog.Inst {
		in := &prog.Inst[i]
		n := inst{op: in.Op, out: int32(in.Out), arg: int32(in.Arg)} //nolint:gosec // a program has few instructions
		switch in.Op {
		case syntax.InstEmptyWidth:
			n.atEnd = in.Arg&uint32(syntax.EmptyEndText) != 0
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			key := string(rune(in.Op)) + string(rune(in.Arg&1)) + string(in.Rune)
			k, ok := kinds[key]
			if !ok {
				k = taken(in)
				kinds[key] = k
			}
			n.op, n.takes, n.beyond, n.bytes = syntax.InstRune, k.takes, k.beyond, k.bytes
		}
		l.insts[i] = n
	}
	l.classes(kinds)
}

// kind is what an instruction consumes: which bytes of ASCII, and whether any others.
type kind struct {
	takes  []bool
	beyond bool
	bytes  int
}

// taken gives what an instruction consumes. The two letters beyond ASCII that are
// ASCII in another case are no reason for beyond: in the proof they are that letter.
func taken(in *syntax.Inst) *kind {
	k := &kind{takes: make([]bool, nonASCII+1), bytes: 1}
	for c := range rune(nonASCII) {
		k.takes[c] = in.MatchRune(c)
	}
	odd := k.takes['s'] && in.MatchRune(longS) || k.takes['k'] && in.MatchRune(kelvin)
	k.beyond = in.Op == syntax.InstRuneAny || in.Op == syntax.InstRuneAnyNotNL
	for i := 0; i < len(in.Rune); i += 2 {
		low, high := in.Rune[i], in.Rune[min(i+1, len(in.Rune)-1)]
		known := low == high && (low == longS && k.takes['s'] || low == kelvin && k.takes['k'])
		k.beyond = k.beyond || high >= utf8.RuneSelf && !known
	}
	k.takes[nonASCII] = k.beyond || odd
	switch {
	case k.beyond:
		k.bytes = utf8.UTFMax
	case odd:
		k.bytes = len(string(kelvin))
	}
	return k
}

// longS and kelvin match s and k without regard to case; kelvin and dottedI are k
// and i in small form.
const (
	longS   = '\u017f'
	kelvin  = '\u212a'
	dottedI = '\u0130'
)

// classes joins symbols that no instruction tells apart. Letters of keywords stay
// apart on their own, since the proof reads bytes.
func (l *locator) classes(kinds map[string]*kind) {
	keys := make([]string, 0, len(kinds))
	for k := range kinds {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	index := map[string]uint8{}
	var first []int // a symbol of each class
	signature := make([]byte, len(keys))
	for c := range nonASCII + 1 {
		for i, k := range keys {
			signature[i] = '0'
			if kinds[k].takes[c] {
				signature[i] = '1'
			}
		}
		class, ok := index[string(signature)]
		if !ok {
			class = uint8(len(first)) //nolint:gosec // at most 129
			index[string(signature)] = class
			first = append(first, c)
		}
		l.symbols[c] = class
	}
	for c := nonASCII + 1; c < len(l.symbols); c++ {
		l.symbols[c] = l.symbols[nonASCII]
	}
	l.width = len(first)
	byKind := map[*bool][]bool{}
	for _, k := range keys {
		takes := make([]bool, l.width)
		for class, c := range first {
			takes[class] = kinds[k].takes[c]
		}
		byKind[&kinds[k].takes[0]] = takes
	}
	for i := range l.insts {
		if n := &l.insts[i]; n.takes != nil {
			n.takes = byKind[&n.takes[0]]
		}
	}
}

// follow calls visit for every consuming or matching instruction that is reached
// from pc without consuming. end says that assertions of the end of the text hold.
func (l *locator) follow(pc int32, end bool, seen []uint32, mark uint32, visit func(pc int32)) {
	if seen[pc] == mark {
		return
	}
	seen[pc] = mark
	switch n := &l.insts[pc]; n.op {
	case syntax.InstAlt, syntax.InstAltMatch:
		l.follow(n.out, end, seen, mark, visit)
		l.follow(n.arg, end, seen, mark, visit)
	case syntax.InstCapture, syntax.InstNop:
		l.follow(n.out, end, seen, mark, visit)
	case syntax.InstEmptyWidth:
		if end || !n.atEnd {
			l.follow(n.out, end, seen, mark, visit)
		} else {
			visit(pc) // it is asked again at the end
		}
	case syntax.InstRune, syntax.InstMatch:
		visit(pc)
	}
}

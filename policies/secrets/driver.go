package secrets

import (
	"bytes"
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/redact"
)

// engine is what all scans of the rules share. It does not change.
type engine struct {
	rules      []*rule
	allowlists []*allowlist // for all rules
	keywords   []string
	finder     *redact.Automaton
	byKeyword  [][]int // the rules of each keyword
	pathRules  []int   // rules about paths alone
	always     []int   // rules about text without keywords
	// everyPath says that the allowlists' paths hold, as with gitleaks. Otherwise no
	// path makes a text uninteresting: whoever writes a change chooses its file names.
	everyPath bool
}

func newEngine(f *ruleFile) *engine {
	e := &engine{rules: f.Rules, allowlists: f.Allowlists}
	index := map[string]int{}
	for i, r := range f.Rules {
		switch {
		case r.Regex == "":
			e.pathRules = append(e.pathRules, i)
		case len(r.Keywords) == 0:
			e.always = append(e.always, i)
		}
		for _, k := range r.Keywords {
			at, ok := index[k]
			if !ok {
				at = len(e.keywords)
				index[k] = at
				e.keywords = append(e.keywords, k)
				e.byKeyword = append(e.byKeyword, nil)
			}
			e.byKeyword[at] = append(e.byKeyword[at], i)
		}
	}
	words := make([][]byte, len(e.keywords))
	for i, k := range e.keywords {
		words[i] = []byte(k)
	}
	e.finder = redact.NewAutomaton(words, true)
	return e
}

// scanner looks through texts, one after the other, and keeps what it can use
// again. It is for one goroutine.
type scanner struct {
	e      *engine
	tracks map[int]*track
	places [][]int // by keyword, where it ends in this text
	met    []int   // keywords that have a place
	gate   []int   // keywords in this text, as gitleaks sees it
	before []int   // keywords that count as if they were in this text
	inLine bool    // the text begins within a line, so that its form says nothing
}

func newScanner(e *engine) *scanner {
	return &scanner{e: e, tracks: map[int]*track{}, places: make([][]int, len(e.keywords))}
}

// margin is how many bytes of text an expression sees around what it may match:
// the characters that assertions look at, and whole ones at the cut.
const margin = 8

// rules looks for secrets in one text of a file; name is the file's path, or
// empty. The findings are exactly those of gitleaks, but for the paths that it
// passes over (see engine.everyPath).
func (s *scanner) rules(ctx context.Context, text []byte, name string) ([]finding, error) {
	if s.e.everyPath && pathAllowed(s.e.allowlists, name) {
		return nil, nil
	}
	s.keywords(text)
	defer s.forget()
	if len(s.gate)+len(s.before) == 0 && len(s.e.always) == 0 {
		return nil, nil
	}
	lines := &lineIndex{text: text}
	var out []finding
	for _, i := range s.wanted() {
		r := s.e.rules[i]
		switch {
		case s.e.everyPath && pathAllowed(r.Allowlists, name),
			r.Path != "" && !r.path().MatchString(name):
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for _, m := range s.matches(i, text) {
			if f, ok := s.e.finding(r, text, name, lines, m); ok && (s.e.everyPath || s.inLine || !lines.checksum(&f)) {
				out = append(out, f)
			}
		}
	}
	return preferExact(out), nil
}

// keywords notes which keywords a text has and where they stand.
func (s *scanner) keywords(text []byte) {
	odd := false
	for _, r := range []rune{longS, kelvin, dottedI} {
		odd = odd || bytes.ContainsRune(text, r)
	}
	if !odd {
		s.e.finder.Find(text, s.place)
		s.gate = append(s.gate[:0], s.met...)
		return
	}
	// As gitleaks does it, a keyword is there if it is in the text's small form. It
	// stands where an expression would take it for one.
	s.gate = s.gate[:0]
	s.e.finder.Find([]byte(strings.ToLower(string(text))), func(k, _ int) {
		if !slices.Contains(s.gate, k) {
			s.gate = append(s.gate, k)
		}
	})
	folded, shifts := fold(text)
	s.e.finder.Find(folded, func(k, end int) {
		i, _ := slices.BinarySearchFunc(shifts, end, func(sh shift, at int) int { return cmp.Compare(sh.here, at+1) })
		if i > 0 {
			end += shifts[i-1].there - shifts[i-1].here
		}
		s.place(k, end)
	})
}

func (s *scanner) place(k, end int) {
	if len(s.places[k]) == 0 {
		s.met = append(s.met, k)
	}
	s.places[k] = append(s.places[k], end)
}

// fold puts s and k where a text has longS and kelvin, and tells how places move.
func fold(text []byte) ([]byte, []shift) {
	out := make([]byte, 0, len(text))
	var shifts []shift
	small := map[rune]byte{longS: 's', kelvin: 'k'}
	next := map[rune]int{longS: -1, kelvin: -1}
	for i := 0; ; {
		to, which := len(text), rune(0)
		for _, r := range []rune{longS, kelvin} {
			if next[r] < i {
				next[r] = len(text)
				if n := bytes.Index(text[i:], []byte(string(r))); n >= 0 {
					next[r] = i + n
				}
			}
			if next[r] < to {
				to, which = next[r], r
			}
		}
		out = append(out, text[i:to]...)
		if which == 0 {
			return out, shifts
		}
		out = append(out, small[which])
		i = to + utf8.RuneLen(which)
		shifts = append(shifts, shift{len(out), i})
	}
}

func (s *scanner) forget() {
	for _, k := range s.met {
		s.places[k] = s.places[k][:0]
	}
	s.met = s.met[:0]
}

// wanted gives the rules one of whose keywords is in the text, in their order.
func (s *scanner) wanted() []int {
	out := slices.Clone(s.e.always)
	for _, k := range slices.Concat(s.gate, s.before) {
		out = append(out, s.e.byKeyword[k]...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// matches gives the places of a text that a rule's expression matches.
func (s *scanner) matches(i int, text []byte) [][]int {
	r := s.e.rules[i]
	l := r.locator()
	if l == nil {
		return r.regex().FindAllIndex(text, -1)
	}
	windows, ok := s.windows(i, l, text)
	if !ok {
		return r.regex().FindAllIndex(text, -1)
	}
	var out [][]int
	for _, w := range windows {
		found, ok := within(r.regex(), text, w)
		if !ok {
			return r.regex().FindAllIndex(text, -1)
		}
		out = append(out, found...)
	}
	return out
}

// window is a part of a text.
type window struct{ from, to int }

// windows gives the parts of a text that hold every match of a rule, each with a
// margin, none overlapping another. It gives up where that takes longer than
// looking through the text.
func (s *scanner) windows(i int, l *locator, text []byte) ([]window, bool) {
	t := s.tracks[i]
	if t == nil || len(t.states) > maxTrack {
		t = newTrack(l)
		s.tracks[i] = t
	}
	var out []window
	budget := 8*len(text) + 4096
	for _, k := range s.met {
		if !slices.Contains(s.e.byKeyword[k], i) {
			continue
		}
		word := s.e.keywords[k]
		if len(l.starts[word]) == 0 {
			continue // it is never the first keyword of a match
		}
		for _, at := range s.places[k] {
			end, used, done := t.reach(text, word, at, budget)
			if !done {
				return nil, false
			}
			budget -= used + 1
			if end >= 0 {
				out = append(out, window{max(0, at-l.left-margin), min(len(text), end+margin)})
			}
		}
	}
	return join(out), true
}

// join puts windows that overlap or touch together.
func join(list []window) []window {
	slices.SortFunc(list, func(a, b window) int { return a.from - b.from })
	var out []window
	for _, w := range list {
		if n := len(out); n > 0 && w.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, w.to)
		} else {
			out = append(out, w)
		}
	}
	return out
}

// within gives the matches in a window. A match that comes near an edge that is
// not the text's may be there by the cut alone; then it gives up.
//
// Otherwise the matches are those of the whole text: all ways to match that begin
// in the window lie in it with their surroundings, so the expression chooses among
// the same, from left to right.
func within(re *regexp.Regexp, text []byte, w window) ([][]int, bool) {
	found := re.FindAllIndex(text[w.from:w.to], -1)
	for _, m := range found {
		m[0] += w.from
		m[1] += w.from
		if w.from > 0 && m[0] < w.from+margin || w.to < len(text) && m[1] > w.to-margin {
			return nil, false
		}
	}
	return found, true
}

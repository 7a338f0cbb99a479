package llm

import (
	"slices"

	"github.com/cabincrew/action/gateways/llm/frames"
	"github.com/cabincrew/action/internal/limits"
)

// lane is one text of a stream as far as it came.
type lane struct {
	at     frames.Lane
	search Search
	raw    []byte // what came; of a lane of the kind Other it is not kept
	came   int    // how much came
	decide int    // up to where it is decided whether a secret stands in it
	loose  int    // up to where it goes on undecided, see let
	seen   int    // how much of raw the judges of windows have seen
	words  int    // how many of the last bytes are nothing but words
	marks  []mark // the secrets, in order
	ended  bool
}

// mark is where a secret stands in a lane. What it covers is given on as its rule's name.
type mark struct {
	from, to int
	rule     string
}

// add notes secrets.
func (l *lane) add(found []Found) {
	if len(found) == 0 {
		return
	}
	for _, f := range found {
		l.marks = append(l.marks, mark{int(f.From), int(f.To), f.Rule})
	}
	slices.SortStableFunc(l.marks, func(a, b mark) int { return a.from - b.from })
	out := l.marks[:1]
	for _, m := range l.marks[1:] {
		if last := &out[len(out)-1]; m.from < last.to {
			last.to = max(last.to, m.to)
			continue
		}
		out = append(out, m)
	}
	l.marks = out
}

// covered says that a secret stands in a part of the lane.
func (l *lane) covered(from, to int) bool {
	for _, m := range l.marks {
		if m.from < to && m.to > from {
			return true
		}
	}
	return false
}

// masked appends a text that stands at a place of the lane, without the secrets in it. A
// secret that begins in it leaves its mark there.
func (l *lane) masked(dst, text []byte, from int) []byte {
	at, to := from, from+len(text)
	for _, m := range l.marks {
		if m.to <= at || m.from >= to {
			continue
		}
		if m.from >= at {
			dst = append(dst, text[at-from:m.from-from]...)
			dst = append(dst, "[REDACTED:"+m.rule+"]"...)
		}
		at = min(max(at, m.to), to)
	}
	return append(dst, text[at-from:]...)
}

// spoken gives what the client was told, or will be unless the stream ends here.
func (l *lane) spoken() []byte {
	if len(l.marks) == 0 {
		return l.raw
	}
	return l.masked(nil, l.raw, 0)
}

// safe is up to where the lane's text may be given on.
func (l *lane) safe(windows bool) int {
	to := l.came
	if !l.ended && l.search != nil {
		to = max(l.decide, l.loose)
	}
	if windows && l.at.Kind != frames.Other {
		to = min(to, l.seen)
	}
	return to
}

// let lets the last few bytes of a lane go, because another lane speaks and this one may
// say no more before all of that: a word cannot wait for the whole of the answer. The
// search goes on, and what comes then is held until those bytes are decided too.
func (l *lane) let() {
	left := l.came - l.decide
	few := left <= limits.LLMLetGo || left <= min(l.words, limits.LLMLetGoWords)
	if !l.ended && few && l.loose <= l.decide {
		l.loose = l.came
	}
}

// worded counts the bytes of words at the end of the lane: small letters, a large one where
// a word begins, the number of a version.
func (l *lane) worded(text []byte) {
	for i, c := range slices.Backward(text) {
		begins := c >= 'A' && c <= 'Z' && (i == 0 || text[i-1] == ' ')
		version := c >= '0' && c <= '9' && i > 0 && text[i-1] == 'v'
		if (c < 'a' || c > 'z') && !begins && !version && c != '.' && c != '-' && c != '_' && c != ' ' {
			l.words = len(text) - 1 - i
			return
		}
	}
	l.words += len(text)
}

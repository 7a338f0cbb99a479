package secrets

import (
	"bytes"
	"regexp"
	"slices"
	"sync"
)

// lineIndex knows where the lines of a text begin. It is made when first needed.
type lineIndex struct {
	text []byte
	ends []int // places of newlines
	made bool
	// The last answer of each allowlist about a line, since one long line may hold
	// very many matches.
	last map[*allowlist]answer
}

// answer is what an allowlist says of a line.
type answer struct {
	from, to int
	allowed  bool
}

func (l *lineIndex) make() {
	if l.made {
		return
	}
	l.made = true
	for at := 0; ; {
		n := bytes.IndexByte(l.text[at:], '\n')
		if n < 0 {
			return
		}
		at += n
		l.ends = append(l.ends, at)
		at++
	}
}

// of gives the number of the line of a place, from 0.
func (l *lineIndex) of(at int) int {
	l.make()
	i, _ := slices.BinarySearch(l.ends, at+1) // the first newline behind the place
	return i
}

// place gives line and column of a place, both from 1, the column in bytes.
func (l *lineIndex) place(at int) (line, column int) {
	l.make()
	i, _ := slices.BinarySearch(l.ends, at)
	begin := 0
	if i > 0 {
		begin = l.ends[i-1] + 1
	}
	return i + 1, at - begin + 1
}

// around gives the line that gitleaks sees around a match. It has the newline
// before it; and in a last line without newline it begins with the text.
func (l *lineIndex) around(from, to int) (int, int) {
	l.make()
	i := l.of(from)
	if i == len(l.ends) {
		if i == 0 {
			return 0, max(to, len(l.text))
		}
		end := to
		for end < len(l.text) && l.text[end] != '\n' && l.text[end] != '\r' {
			end++
		}
		return 0, end
	}
	begin, end := 0, l.ends[i]
	if i > 0 {
		begin = l.ends[i-1]
	}
	if j, _ := slices.BinarySearch(l.ends, to); j < len(l.ends) {
		end = l.ends[j]
	}
	return begin, max(to, end)
}

// checksumLine are lines as tools write them into lock files: a name that the rule
// which guesses may take for that of a key, and a checksum of a fixed form.
var checksumLine = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[+ ]?[\w.~!/-]+ v[\w.+-]+(?:/go\.mod)? h1:[A-Za-z0-9+/]{43}=$`)
})

// checksum says whether the rule that guesses took a checksum for a secret. The form
// of the whole line decides, not the file's name, which whoever writes it chooses.
func (l *lineIndex) checksum(f *finding) bool {
	if !f.rule.generic {
		return false
	}
	from, to := l.around(f.from, f.to)
	line := bytes.TrimSpace(l.text[from:to])
	return len(line) < maxChecksumLine && checksumLine().Match(line)
}

// maxChecksumLine is the length in bytes of the longest such line.
const maxChecksumLine = 512

// allowed asks an allowlist about the line around a match.
func (l *lineIndex) allowed(a *allowlist, from, to int) bool {
	from, to = l.around(from, to)
	if last, ok := l.last[a]; ok && last.from == from && last.to == to {
		return last.allowed
	}
	if l.last == nil {
		l.last = map[*allowlist]answer{}
	}
	out := answer{from, to, from < to && a.regexes().Match(l.text[from:to])}
	l.last[a] = out
	return out.allowed
}

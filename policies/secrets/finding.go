package secrets

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/redact"
)

// finding is a secret in a text, as a rule found it.
type finding struct {
	rule *rule
	// from and to are the match without newlines around it, as gitleaks counts them.
	from, to int
	secret   string
	at       int // where the secret stands in the text
	entropy  float64
	line     int // of the match, from 0
}

// finding makes of a match what gitleaks makes of it: the secret among the groups,
// its entropy, and whether an allowlist knows it.
func (e *engine) finding(r *rule, text []byte, name string, lines *lineIndex, m []int) (finding, bool) {
	whole := text[m[0]:m[1]]
	match := bytes.Trim(whole, "\n")
	f := finding{rule: r, from: m[0], to: m[0] + len(match), secret: string(match)}
	f.at = m[0] + len(whole) - len(bytes.TrimLeft(whole, "\n"))
	begin := f.at
	if groups := r.regex().FindSubmatchIndex(match); len(groups) >= 4 {
		from := 1
		if r.SecretGroup > 0 {
			from = r.SecretGroup
		}
		for g := from; g < len(groups)/2; g++ {
			lo, hi := groups[2*g], groups[2*g+1]
			if r.SecretGroup > 0 && lo < 0 {
				f.secret = "" // gitleaks takes a group that did not take part as empty
			}
			if lo >= 0 && (hi > lo || r.SecretGroup > 0) {
				f.secret, f.at = string(match[lo:hi]), begin+lo
			}
			if r.SecretGroup > 0 || hi > lo {
				break
			}
		}
	}
	f.entropy = entropy(f.secret)
	if r.Entropy != 0 && f.entropy <= r.Entropy {
		return f, false
	}
	f.line = lines.of(f.from)
	for _, list := range [][]*allowlist{e.allowlists, r.Allowlists} {
		for _, a := range list {
			if e.allowed(a, &f, string(match), name, lines) {
				return f, false
			}
		}
	}
	return f, true
}

func (e *engine) allowed(a *allowlist, f *finding, match, name string, lines *lineIndex) bool {
	if !a.All {
		return a.regexAllowed(f, match, lines) || a.hasStopword(f.secret)
	}
	if len(a.Paths) > 0 && (!e.everyPath || name == "" || !a.paths().MatchString(name)) {
		return false
	}
	if len(a.Regexes) > 0 && !a.regexAllowed(f, match, lines) {
		return false
	}
	return len(a.Stopwords) == 0 || a.hasStopword(f.secret)
}

func (a *allowlist) regexAllowed(f *finding, match string, lines *lineIndex) bool {
	if len(a.Regexes) == 0 {
		return false
	}
	switch a.Target {
	case "match":
		return match != "" && a.regexes().MatchString(match)
	case "line":
		return lines.allowed(a, f.from, f.to)
	}
	return f.secret != "" && a.regexes().MatchString(f.secret)
}

func (a *allowlist) hasStopword(secret string) bool {
	if len(a.Stopwords) == 0 || secret == "" {
		return false
	}
	found := false
	a.stopwords().Find([]byte(strings.ToLower(secret)), func(int, int) { found = true })
	return found
}

// pathAllowed says whether a path alone makes a text uninteresting.
func pathAllowed(lists []*allowlist, name string) bool {
	if name == "" {
		return false
	}
	for _, a := range lists {
		if a.All && (len(a.Regexes) > 0 || len(a.Stopwords) > 0) {
			continue // the rest of it is asked for each finding
		}
		if len(a.Paths) > 0 && a.paths().MatchString(name) {
			return true
		}
	}
	return false
}

// preferExact drops what the rule that guesses found where another rule knows the
// secret on the same line.
func preferExact(list []finding) []finding {
	exact := map[int][]string{}
	guessed := map[int][][]byte{}
	for i := range list {
		if f := &list[i]; f.rule.generic {
			guessed[f.line] = append(guessed[f.line], []byte(f.secret))
		} else {
			exact[f.line] = append(exact[f.line], f.secret)
		}
	}
	type known struct {
		line   int
		secret string
	}
	drop := map[known]bool{}
	for line, secrets := range guessed {
		if len(exact[line]) == 0 {
			continue
		}
		finder := redact.NewAutomaton(secrets, false)
		for _, e := range exact[line] {
			finder.Find([]byte(e), func(g, _ int) { drop[known{line, string(secrets[g])}] = true })
		}
	}
	return slices.DeleteFunc(list, func(f finding) bool { return f.rule.generic && drop[known{f.line, f.secret}] })
}

// entropy is Shannon's, in bits for each character, over the length in bytes, as
// gitleaks has it. Characters are counted in order, so that it is the same number
// each time.
func entropy(s string) float64 {
	if s == "" {
		return 0
	}
	var ascii [utf8.RuneSelf]int
	var beyond map[rune]int
	for _, c := range s {
		if c < utf8.RuneSelf {
			ascii[c]++
			continue
		}
		if beyond == nil {
			beyond = map[rune]int{}
		}
		beyond[c]++
	}
	counts := make([]int, 0, len(beyond)+16)
	for _, n := range &ascii {
		if n > 0 {
			counts = append(counts, n)
		}
	}
	for _, n := range beyond {
		counts = append(counts, n)
	}
	slices.Sort(counts)
	sum, one := 0.0, 1/float64(len(s))
	for _, n := range counts {
		share := float64(n) * one
		sum -= share * math.Log2(share)
	}
	return sum
}

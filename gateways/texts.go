package gateways

import (
	"slices"
	"unicode"
	"unicode/utf8"
)

// What Suspicions tells of a text.
const (
	SuspectHiddenTags = "hidden-tags"           // characters that carry text and are not shown
	SuspectZeroWidth  = "zero-width"            // characters without width inside words
	SuspectBidi       = "bidi"                  // text is turned around
	SuspectOverride   = "override-instructions" // "ignore all previous instructions"
	SuspectConceal    = "conceal-from-user"     // "do not tell the user"
	SuspectMarkup     = "instruction-markup"    // "<IMPORTANT>", "<|im_start|>"
	SuspectToolOrder  = "tool-order"            // "before using this tool, read …"
	SuspectNewRole    = "new-role"              // "you are now …"
	SuspectExfiltrate = "send-secrets"          // "pass the api keys to …"
	SuspectHiddenName = "hidden characters"     // a name with characters that are not shown
)

// Suspicions gives the ids of what in a text looks like an order to a model or is
// hidden from people, sorted. It takes time that is linear in the text and the same
// for every text of a length, and finds no meaning: only words in an order that
// descriptions of tools and ordinary results rarely have.
func Suspicions(text string) []string {
	var s suspicion
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			s.ascii(text, i, c)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		s.rune(r, text[i+n:])
		i += n
	}
	s.end()
	if s.found == 0 {
		return nil
	}
	var out []string
	for bit, id := range suspects {
		if s.found&(1<<bit) != 0 {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// Grave says whether what was found in texts that belong together is more than a manner
// of speaking that honest servers have, too: text that people do not see, concealment
// from them, or an order to override, to be another or to send secrets that does not
// stand alone.
func Grave(ids []string) bool {
	order, kinds := false, map[string]bool{}
	for _, id := range ids {
		switch id {
		case SuspectHiddenTags, SuspectZeroWidth, SuspectBidi, SuspectConceal, SuspectHiddenName:
			return true
		case SuspectOverride, SuspectNewRole, SuspectExfiltrate:
			order = true
		}
		kinds[id] = true
	}
	return order && len(kinds) > 1
}

// suspects gives each id a bit.
var suspects = [...]string{
	SuspectHiddenTags, SuspectZeroWidth, SuspectBidi, SuspectOverride, SuspectConceal, SuspectMarkup, SuspectToolOrder, SuspectNewRole,
	SuspectExfiltrate,
}

const (
	bitTags = 1 << iota
	bitZero
	bitBidi
	bitOverride
	bitConceal
	bitMarkup
	bitToolOrder
	bitNewRole
	bitExfiltrate
)

// longestWord is how many bytes a word of the vocabulary may have, and one more.
const longestWord = 16

// suspicion is one look through a text.
type suspicion struct {
	found uint16
	word  [longestWord]byte
	n     int // length of the word; beyond longestWord it is none of the vocabulary
	at    int // how many words there were
	// last says for each step of each order of words when it was last reached; 0: never.
	last [maxOrders][maxSteps]int
	flag bool // the last base was a black flag, which tags may follow
	hold bool // a character without width stands after a letter
}

func (s *suspicion) letter(c byte) {
	if s.n < longestWord {
		s.word[s.n] = c
	}
	s.n++
}

func (s *suspicion) ascii(text string, i int, c byte) {
	s.flag = false
	switch {
	case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
	case c >= 'A' && c <= 'Z':
		c += 'a' - 'A'
	case c == '\'':
		return // don't
	default:
		s.hold = false
		s.end()
		if c == '<' || c == '[' {
			s.markup(text[i+1:], c)
		}
		return
	}
	if s.hold {
		s.found |= bitZero
		s.hold = false
	}
	s.letter(c)
}

func (s *suspicion) rune(r rune, rest string) {
	switch {
	case r >= 0xE0000 && r <= 0xE007F:
		if !s.flag {
			s.found |= bitTags
		}
		return
	case r >= 0xE0100 && r <= 0xE01EF:
		// One selects a form of an ideograph; a row of them carries text.
		if next, _ := utf8.DecodeRuneInString(rest); next >= 0xE0100 && next <= 0xE01EF {
			s.found |= bitTags
		}
		return
	case r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069:
		s.found |= bitBidi
		return
	case r == 0x200B, r >= 0x2060 && r <= 0x2064, r == 0xFEFF, r == 0x200C, r == 0x200D, r == 0xAD, r == 0x180E, r == 0x34F:
		s.hold = s.n > 0 // between two letters of this alphabet nobody needs it
		return
	case r == 0x2019, r == 0x2BC:
		return // don’t
	}
	s.flag = r == 0x1F3F4
	if c := plain(r); c != 0 {
		s.ascii("", 0, c)
		return
	}
	s.hold = false
	if unicode.IsLetter(r) {
		s.n = longestWord + 1 // a word of another alphabet
		return
	}
	s.end()
}

// plain gives the ASCII letter that a letter is, but for its accent or width, or that
// it looks like; 0 for all else.
func plain(r rune) byte {
	switch {
	case r >= 0xFF21 && r <= 0xFF3A:
		return byte(r-0xFF21) + 'a'
	case r >= 0xFF41 && r <= 0xFF5A:
		return byte(r-0xFF41) + 'a'
	case r >= 0x1D400 && r <= 0x1D6A3: // mathematical letters: 26 capital, 26 small
		return byte((r-0x1D400)%52%26) + 'a'
	}
	switch r {
	case 'à', 'á', 'â', 'ã', 'ä', 'å', 'а', 'А', 'α', 'Α':
		return 'a'
	case 'ç', 'с', 'С':
		return 'c'
	case 'è', 'é', 'ê', 'ë', 'е', 'Е', 'ё', 'ε', 'Ε':
		return 'e'
	case 'ì', 'í', 'î', 'ï', 'і', 'І', 'ı', 'ι', 'Ι':
		return 'i'
	case 'ñ', 'п':
		return 'n'
	case 'ò', 'ó', 'ô', 'õ', 'ö', 'о', 'О', 'ο', 'Ο':
		return 'o'
	case 'р', 'Р', 'ρ', 'Ρ':
		return 'p'
	case 'ѕ', 'Ѕ', 'ſ':
		return 's'
	case 'т', 'Т', 'τ', 'Τ':
		return 't'
	case 'ù', 'ú', 'û', 'ü', 'υ':
		return 'u'
	case 'ν':
		return 'v'
	case 'у', 'У', 'ý', 'ÿ', 'γ':
		return 'y'
	case 'ԁ':
		return 'd'
	case 'һ', 'Н':
		return 'h'
	case 'к', 'К', 'κ', 'K':
		return 'k'
	case 'М', 'м':
		return 'm'
	case 'х', 'Х', 'χ':
		return 'x'
	}
	return 0
}

// end ends a word and takes all orders of words further that it continues.
func (s *suspicion) end() {
	if s.n == 0 {
		return
	}
	n := s.n
	s.n = 0
	s.at++
	if n > longestWord {
		return
	}
	classes := classOf(s.word[:n])
	if classes == 0 {
		return
	}
	for o := range orders {
		steps := orders[o].steps
		for i := len(steps) - 1; i >= 0; i-- {
			if steps[i].class&classes == 0 {
				continue
			}
			// A later beginning is never worse than an earlier one: only the gap counts.
			if i > 0 && (s.last[o][i-1] == 0 || s.at-s.last[o][i-1] > steps[i].within) {
				continue
			}
			if s.last[o][i] = s.at; i == len(steps)-1 {
				s.found |= orders[o].bit
			}
		}
	}
}

// markup looks at what follows a bracket.
func (s *suspicion) markup(rest string, open byte) {
	var name [longestWord]byte
	n := 0
	for i := 0; i < len(rest) && n < longestWord; i++ {
		c := rest[i]
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case c >= 'a' && c <= 'z', c == '_':
		case n == 0 && (c == '/' || c == '|' || c == '<' || c == ' '):
			continue
		default:
			if c == '>' || c == ']' || c == '|' || c == ' ' && open == '<' {
				if marked(string(name[:n])) {
					s.found |= bitMarkup
				}
			}
			return
		}
		name[n] = c
		n++
	}
}

// marked says whether models, or people who write for them, use a mark of this name.
func marked(name string) bool {
	switch name {
	case "important", "system", "sys", "inst", "im_start", "im_end", "system_prompt", "instructions", "instruction", "hidden", "secret",
		"endoftext", "assistant", "system_message", "critical", "override", "admin":
		return true
	}
	return false
}

package config

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
)

// closest gives the known word that is most like a wrong one, or "".
func closest(word string, known []string) string {
	if len(word) > 64 {
		return ""
	}
	best, least := "", 1+len(word)/3
	if least > 3 {
		least = 3
	}
	for _, k := range known {
		if d := distance(strings.ToLower(word), k); d <= least && (best == "" || d < least) {
			best, least = k, d
		}
	}
	return best
}

// distance is Levenshtein's, over bytes, with a swap of neighbours as one step.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// list writes words for a message.
func list(words []string) string { return strings.Join(words, ", ") }

// short bounds a text of the file for a message.
func short(s string) string {
	if len(s) <= limits.ConfigQuote {
		return s
	}
	s = s[:limits.ConfigQuote]
	for !utf8.ValidString(s) { // cut within a character
		s = s[:len(s)-1]
	}
	return s + "…"
}

// clip bounds a text of the file for a message without quotation marks and
// escapes its control characters.
func clip(s string) string {
	q := strconv.Quote(short(s))
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

package main

import (
	"regexp"
	"strings"
)

// The graph cuts a text into words and each word into its stem, its first
// letters: "ignore", "ignored" and "ignoring" share one. Chinese and Japanese are
// cut into single characters. Both patterns are written into the model; RE2 in
// the runtime and package regexp read them alike, as leftmost-longest.
const (
	letters     = `[\p{Latin}\p{Cyrillic}\p{Greek}\p{M}\p{Nd}]`
	single      = `[\p{Han}\p{Hiragana}\p{Katakana}]|\n|<!--|<\||[.!:;=(){}]`
	wordPattern = letters + `+|` + single
	stemPattern = `^(?:` + letters + `{1,6}|` + single + `)` // ^: only the first piece of a word
)

var (
	wordExp = longest(wordPattern)
	stemExp = longest(stemPattern)
)

func longest(pattern string) *regexp.Regexp {
	re := regexp.MustCompile(pattern)
	re.Longest()
	return re
}

// words gives the words of a text as the graph sees them.
func words(text string) []string { return wordExp.FindAllString(lower(text), -1) }

// stem gives the first piece of a word.
func stem(word string) string { return stemExp.FindString(word) }

// lower is what StringNormalizer does with locale "C": ASCII only.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

package ci

import (
	"strings"
	"unicode"

	"github.com/cabincrew/action/internal/limits"
)

// namesCode says whether a text names the code as a word of its own, and gives the
// first word in it that is another code. Names with a dash, such as a UUID, and paths,
// such as a link to a commit, are one word.
func namesCode(text, code string) (named bool, wrong string) {
	if code == "" {
		return false, ""
	}
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' && r != '/'
	}) {
		switch w := strings.ToLower(word); {
		case w == code:
			named = true
		case wrong == "" && len(w) == limits.ApprovalCodeDigits && strings.Trim(w, "0123456789abcdef") == "":
			wrong = w
		}
	}
	return named, wrong
}

// Names says whether a text names the code as a word of its own.
func Names(text, code string) bool {
	named, _ := namesCode(text, code)
	return named
}

package harmless

import (
	"regexp"
	"strings"
	"unicode"
)

// CI platforms read commands out of what a job prints: a line that begins, after
// blanks, with :: and, anywhere in a line, ## and a word before a bracket. Text of
// an engine, a policy or a file must not give any, wherever it is printed.

// isCommand finds the older form: ##[error], ##vso[task.setvariable …].
var isCommand = regexp.MustCompile(`##([A-Za-z]*)\[`)

// Unmarked breaks the older form.
func Unmarked(s string) string {
	if !strings.Contains(s, "##") {
		return s
	}
	return isCommand.ReplaceAllString(s, `##$1\[`)
}

// Tame takes from text for people what a CI platform would obey.
func Tame(s string) string {
	s = Unmarked(s)
	if !strings.Contains(s, "::") {
		return s
	}
	var b strings.Builder
	for line := range strings.Lines(s) {
		if strings.HasPrefix(strings.TrimLeftFunc(line, unicode.IsSpace), "::") {
			b.WriteString("| ")
		}
		b.WriteString(line)
	}
	return b.String()
}

package cli

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"unicode"
)

// CI platforms read commands out of what a job prints: a line that begins, after
// blanks, with :: and, anywhere in a line, ## and a word before a bracket. Text of
// an engine, a policy or a file must not give any, wherever it is printed.

// gutter stands before each line of an artifact.
const gutter = "  | "

// isCommand finds the older form: ##[error], ##vso[task.setvariable …].
var isCommand = regexp.MustCompile(`##([A-Za-z]*)\[`)

// unmarked breaks the older form.
func unmarked(s string) string {
	if !strings.Contains(s, "##") {
		return s
	}
	return isCommand.ReplaceAllString(s, `##$1\[`)
}

// tame takes from text for people what a CI platform would obey. It is applied to
// everything that is printed, so no single place can forget it.
func tame(s string) string {
	s = unmarked(s)
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

// tameJSON is tame for JSON: there ## stands in texts only, whose meaning an escape
// does not change, and no line begins with a colon.
func tameJSON(data []byte) []byte { return bytes.ReplaceAll(data, []byte("##"), []byte(`#\u0023`)) }

// tameXML is the same for XML without CDATA sections and comments.
func tameXML(data []byte) []byte { return bytes.ReplaceAll(data, []byte("##"), []byte("#&#35;")) }

// tamed passes whole lines on, each of which is tamed. What follows the last line
// break waits for the next one.
type tamed struct {
	to   io.Writer
	tame func(string) string
	part []byte
}

// lined makes a writer for text of many lines.
func lined(to io.Writer) io.Writer { return &tamed{to: to, tame: tame} }

// Write passes lines on.
func (w *tamed) Write(p []byte) (int, error) {
	w.part = append(w.part, p...)
	end := bytes.LastIndexByte(w.part, '\n') + 1
	if end == 0 {
		return len(p), nil
	}
	_, err := io.WriteString(w.to, w.tame(string(w.part[:end])))
	w.part = append(w.part[:0], w.part[end:]...)
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

package cli

import (
	"bytes"
	"io"
)

// gutter stands before each line of an artifact.
const gutter = "  | "

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

package patch

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aymanbagabas/go-udiff/lcs"

	"github.com/cabincrew/action/internal/limits"
)

// binaryProbe is how many bytes git looks at for a NUL byte.
const binaryProbe = 8000

// isBinary judges content as git does.
func isBinary(content []byte) bool {
	return len(content) > limits.PatchTextBytes || bytes.IndexByte(content[:min(binaryProbe, len(content))], 0) >= 0
}

// Text says what content is, as far as that can be told without knowing its format.
type Text struct {
	Binary      bool // as git judges: a NUL byte among the first 8000
	UTF8        bool
	LongestLine int64 // bytes, without the line's end
}

// Look reads content to its end, holding little of it.
func Look(r io.Reader) (Text, error) {
	t := Text{UTF8: true}
	var line, seen int64
	buf, kept := make([]byte, 64<<10), 0 // kept: bytes of a letter that is cut
	for {
		n, err := r.Read(buf[kept:])
		fresh := buf[kept : kept+n]
		if seen < binaryProbe && bytes.IndexByte(fresh[:min(int64(n), binaryProbe-seen)], 0) >= 0 {
			t.Binary = true
		}
		seen += int64(n)
		for rest := fresh; len(rest) > 0; {
			end := bytes.IndexByte(rest, '\n')
			if end < 0 {
				line += int64(len(rest))
				break
			}
			t.LongestLine = max(t.LongestLine, line+int64(end))
			line, rest = 0, rest[end+1:]
		}
		chunk := buf[:kept+n]
		whole := len(chunk) - cutLetter(chunk)
		t.UTF8 = t.UTF8 && utf8.Valid(chunk[:whole])
		kept = copy(buf, chunk[whole:])
		if errors.Is(err, io.EOF) {
			t.UTF8 = t.UTF8 && kept == 0
			t.LongestLine = max(t.LongestLine, line)
			return t, nil
		}
		if err != nil {
			return t, err
		}
	}
}

// cutLetter gives how many bytes at the end are the beginning of a letter.
func cutLetter(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if tail := b[len(b)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

// splitLines splits content into lines that keep their newlines.
func splitLines(content string) []string {
	if content == "" {
		return nil
	}
	lines := strings.SplitAfter(content, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// writeHunks writes the hunks between two texts and gives the lines added and deleted.
func writeHunks(b *bytes.Buffer, before, after string) (added, deleted int) {
	from, to := splitLines(before), splitLines(after)
	edits := diffLines(from, to)
	for len(edits) > 0 {
		// Edits whose context would meet go into one hunk.
		n := 1
		for n < len(edits) && edits[n].Start-edits[n-1].End <= 2*limits.PatchContext {
			n++
		}
		a, d := writeHunk(b, from, to, edits[:n])
		added, deleted, edits = added+a, deleted+d, edits[n:]
	}
	return added, deleted
}

// diffLines compares what lies between the common beginning and end.
func diffLines(from, to []string) []lcs.Diff {
	head := 0
	for head < min(len(from), len(to)) && from[head] == to[head] {
		head++
	}
	tail := 0
	for tail < min(len(from), len(to))-head && from[len(from)-1-tail] == to[len(to)-1-tail] {
		tail++
	}
	from, to = from[head:len(from)-tail], to[head:len(to)-tail]
	var edits []lcs.Diff
	switch {
	case len(from) == 0 && len(to) == 0:
	case len(from) == 0 || len(to) == 0:
		edits = []lcs.Diff{{Start: 0, End: len(from), ReplStart: 0, ReplEnd: len(to)}}
	default:
		edits = lcs.DiffLines(from, to)
	}
	for i := range edits {
		e := &edits[i]
		e.Start, e.End, e.ReplStart, e.ReplEnd = e.Start+head, e.End+head, e.ReplStart+head, e.ReplEnd+head
	}
	return edits
}

func writeHunk(b *bytes.Buffer, from, to []string, edits []lcs.Diff) (added, deleted int) {
	first, last := edits[0], edits[len(edits)-1]
	start := max(0, first.Start-limits.PatchContext)
	end := min(len(from), last.End+limits.PatchContext)
	newStart := first.ReplStart - (first.Start - start)
	newEnd := last.ReplEnd + (end - last.End)
	b.WriteString("@@ -")
	writeRange(b, start, end-start)
	b.WriteString(" +")
	writeRange(b, newStart, newEnd-newStart)
	b.WriteString(" @@\n")
	at := start
	for _, e := range edits {
		writeLines(b, ' ', from[at:e.Start])
		writeLines(b, '-', from[e.Start:e.End])
		writeLines(b, '+', to[e.ReplStart:e.ReplEnd])
		added, deleted = added+e.ReplEnd-e.ReplStart, deleted+e.End-e.Start
		at = e.End
	}
	writeLines(b, ' ', from[at:end])
	return added, deleted
}

// writeRange writes start (from 0) and count of lines; of no lines, the line before.
func writeRange(b *bytes.Buffer, start, count int) {
	if count > 0 {
		start++
	}
	b.WriteString(strconv.Itoa(start))
	if count != 1 {
		b.WriteByte(',')
		b.WriteString(strconv.Itoa(count))
	}
}

const noNewline = "\\ No newline at end of file\n"

func writeLines(b *bytes.Buffer, kind byte, lines []string) {
	for _, l := range lines {
		b.WriteByte(kind)
		b.WriteString(l)
		if !strings.HasSuffix(l, "\n") {
			b.WriteString("\n" + noNewline)
		}
	}
}

var errHunk = errors.New("a hunk does not fit the file")

// applyHunks makes the content after from the content before. Every context and
// deleted line must be found exactly where the hunk says: there is no fuzz.
func applyHunks(before []byte, hunks []Hunk, limit int64) ([]byte, error) {
	var out bytes.Buffer
	line := 1 // of the rest of before
	for i := range hunks {
		h := &hunks[i]
		start := h.OldStart
		if h.OldLines == 0 {
			start++
		}
		for ; line < start; line++ {
			n := bytes.IndexByte(before, '\n') + 1
			if n == 0 {
				return nil, errHunk
			}
			out.Write(before[:n])
			before = before[n:]
		}
		for _, l := range h.Lines {
			if l.Kind != '+' {
				rest, ok := bytes.CutPrefix(before, l.Text)
				if !ok || !bytes.HasSuffix(l.Text, []byte("\n")) && len(rest) > 0 {
					return nil, errHunk
				}
				before = rest
				line++
			}
			if l.Kind != '-' {
				out.Write(l.Text)
			}
			if int64(out.Len()) > limit {
				return nil, errHunk
			}
		}
	}
	if int64(out.Len()+len(before)) > limit {
		return nil, errHunk
	}
	out.Write(before)
	return out.Bytes(), nil
}

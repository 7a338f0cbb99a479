package patch

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // git's blob ids are SHA-1; nothing is trusted by them
	"encoding/hex"
	"io"
	"strconv"
	"strings"
)

// text reads the --- and +++ lines and the hunks of a text file.
func (p *reader) text(c *Change) error {
	for _, side := range []struct{ mark, prefix, path string }{{"--- ", "a/", c.OldPath}, {"+++ ", "b/", c.NewPath}} {
		got, ok := p.take(side.mark)
		if !ok {
			return p.fail("a %q line is expected", strings.TrimSpace(side.mark))
		}
		name, ok := parseName(strings.TrimSuffix(got, "\t"))
		want := "/dev/null"
		if side.path != "" {
			want = side.prefix + side.path
		}
		if !ok || name != want {
			return p.fail("the %q line names another file than the header", strings.TrimSpace(side.mark))
		}
	}
	var end ending
	shift := 0 // lines added minus deleted so far
	last := 0  // last line of the old file that a hunk covered
	for bytes.HasPrefix(p.rest, []byte("@@ -")) {
		if p.hunks++; p.hunks > p.lim.Hunks {
			return p.fail("there are more than %d hunks", p.lim.Hunks)
		}
		h, err := p.hunk(c, &end)
		if err != nil {
			return err
		}
		oldAt, newAt := h.OldStart, h.NewStart
		if h.OldLines == 0 {
			oldAt++
		}
		if h.NewLines == 0 {
			newAt++
		}
		if oldAt <= last || newAt != oldAt+shift {
			return p.fail("the hunks are out of order, or their line numbers do not fit")
		}
		last, shift = oldAt+h.OldLines-1, shift+h.NewLines-h.OldLines
		c.Hunks = append(c.Hunks, *h)
	}
	switch {
	case len(c.Hunks) == 0:
		return p.fail("a hunk is expected")
	case c.Op == Add && (len(c.Hunks) != 1 || c.Hunks[0].OldLines != 0 || c.Hunks[0].OldStart != 0),
		c.Op == Delete && (len(c.Hunks) != 1 || c.Hunks[0].NewLines != 0 || c.Hunks[0].NewStart != 0):
		return p.fail("the hunks of a new or deleted file do not cover it as a whole")
	}
	return nil
}

// ending remembers that a side of the file ended without newline.
type ending struct{ old, new bool }

// hunk reads one hunk.
func (p *reader) hunk(c *Change, end *ending) (*Hunk, error) {
	line, _ := p.take("@@ -")
	ranges, _, ok := strings.Cut(line, " @@")
	from, to, ok2 := strings.Cut(ranges, " +")
	h := &Hunk{}
	var ok3, ok4 bool
	h.OldStart, h.OldLines, ok3 = parseRange(from)
	h.NewStart, h.NewLines, ok4 = parseRange(to)
	if !ok || !ok2 || !ok3 || !ok4 || h.OldLines+h.NewLines == 0 {
		return nil, p.fail("the hunk's line numbers are malformed")
	}
	changed := false
	for oldLeft, newLeft := h.OldLines, h.NewLines; oldLeft > 0 || newLeft > 0; {
		if p.lines++; p.lines > p.lim.Lines {
			return nil, p.fail("there are more than %d lines in hunks", p.lim.Lines)
		}
		n := bytes.IndexByte(p.rest, '\n') + 1
		if n < 2 {
			return nil, p.fail("the hunk is cut off")
		}
		l := Line{Kind: p.rest[0], Text: p.rest[1:n]}
		switch l.Kind {
		case ' ':
			oldLeft, newLeft = oldLeft-1, newLeft-1
		case '-':
			oldLeft--
			c.Deleted++
		case '+':
			newLeft--
			c.Added++
		default:
			return nil, p.fail("a line of a hunk begins with none of space, plus and minus")
		}
		changed = changed || l.Kind != ' '
		if oldLeft < 0 || newLeft < 0 || l.Kind != '+' && end.old || l.Kind != '-' && end.new {
			return nil, p.fail("the hunk has more lines than it says, or lines after the end of the file")
		}
		p.next(n - 1)
		if bytes.HasPrefix(p.rest, []byte(noNewline)) {
			p.next(len(noNewline) - 1)
			l.Text = l.Text[:len(l.Text)-1]
			end.old, end.new = end.old || l.Kind != '+', end.new || l.Kind != '-'
			if len(l.Text) == 0 {
				return nil, p.fail("a line without newline is empty")
			}
		}
		h.Lines = append(h.Lines, l)
	}
	if !changed {
		return nil, p.fail("the hunk changes nothing")
	}
	return h, nil
}

// parseRange reads "start" or "start,count".
func parseRange(s string) (start, count int, ok bool) {
	first, second, has := strings.Cut(s, ",")
	count = 1
	var err error
	if has {
		if count, err = parseCount(second); err != nil {
			return 0, 0, false
		}
	}
	if start, err = parseCount(first); err != nil {
		return 0, 0, false
	}
	return start, count, start > 0 || count == 0
}

func parseCount(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 30)
	return int(n), err //nolint:gosec // 30 bits
}

// binary reads a "GIT binary patch" with its forward and reverse block.
func (p *reader) binary(c *Change) error {
	p.next(len("GIT binary patch"))
	c.Binary = true
	var err error
	if c.Forward, err = p.block(c.NewID); err != nil {
		return err
	}
	if c.Reverse, err = p.block(c.OldID); err != nil {
		return err
	}
	if len(c.OldID) != 40 || len(c.NewID) != 40 {
		return p.fail("binary content needs a full index line")
	}
	if c.Op == Add && (c.Forward.Delta || c.Reverse.Delta || c.Reverse.Size != 0) ||
		c.Op == Delete && (c.Reverse.Delta || c.Forward.Delta || c.Forward.Size != 0) {
		return p.fail("the binary content of a new or deleted file is malformed")
	}
	return nil
}

// block reads one block and checks that it inflates to what it says; id is the
// blob id that a literal must have, or zeros.
func (p *reader) block(id string) (*Binary, error) {
	b := &Binary{}
	size, ok := p.take("literal ")
	if !ok {
		if size, ok = p.take("delta "); !ok {
			return nil, p.fail("a \"literal\" or \"delta\" line is expected")
		}
		b.Delta = true
	}
	n, err := strconv.ParseUint(size, 10, 62)
	if err != nil || int64(n) > p.lim.FileBytes { //nolint:gosec // 62 bits
		return nil, p.fail("binary content is malformed or larger than %d bytes", p.lim.FileBytes)
	}
	b.Size = int64(n) //nolint:gosec // 62 bits
	if p.inflated += b.Size; p.inflated > p.lim.InflatedBytes {
		return nil, p.fail("all binary content together is larger than %d bytes", p.lim.InflatedBytes)
	}
	for {
		line := p.peek()
		if len(p.rest) == 0 {
			return nil, p.fail("the binary content is cut off")
		}
		p.next(len(line))
		if len(line) == 0 {
			break
		}
		if b.data, ok = decode85(b.data, line); !ok {
			return nil, p.fail("a line of binary content is malformed")
		}
	}
	h := sha1.New() //nolint:gosec // as above
	_, _ = io.WriteString(h, "blob "+strconv.FormatInt(b.Size, 10)+"\x00")
	if err := b.inflate(h); err != nil {
		return nil, p.fail("%w", err)
	}
	if !b.Delta && !allZero(id) && hex.EncodeToString(h.Sum(nil)) != id {
		return nil, p.fail("binary content has another id than the index line says")
	}
	return b, nil
}

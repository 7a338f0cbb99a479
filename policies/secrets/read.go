package secrets

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/cabincrew/action/internal/limits"
)

// reader looks through a stream in parts that overlap, so that memory does not
// grow with it. A match counts in the part in which it begins, unless it begins
// in the overlap, which the next part has whole.
func (c *scan) reader(ctx context.Context, src source, r io.Reader) error {
	head := make([]byte, limits.SecretOverlap/2)
	n, err := io.ReadFull(r, head)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // most are small
		return c.short(ctx, src, head[:n])
	case err != nil:
		return err
	}
	r = io.MultiReader(bytes.NewReader(head), r)
	overlap := max(limits.SecretOverlap, c.values.Longest())
	size := max(limits.SecretChunk, 4*overlap)
	buffer := make([]byte, 0, size+1)
	var before struct{ line, column int64 } // of the buffer's begin, from 0
	for zone := 0; ; {
		n, err := io.ReadFull(r, buffer[len(buffer):size])
		buffer = buffer[:len(buffer)+n]
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return err
		}
		if len(buffer) == 0 {
			return nil
		}
		end := len(buffer)
		if !last {
			end -= overlap
		}
		text := buffer
		if text[len(text)-1] != '\n' {
			text = append(text, '\n') // as expressions and allowlists see all other lines
		}
		lines := &lineIndex{text: text}
		src.keep = func(from, _ int) bool { return from >= zone && from < end }
		src.place = func(at int) (line, column int64) {
			l, col := lines.place(at)
			if l == 1 {
				col += int(before.column)
			}
			return before.line + int64(l), int64(col)
		}
		if err := c.text(ctx, &src, text); err != nil || last {
			return err
		}
		cut := max(0, end-limits.SecretBefore)
		l, col := lines.place(cut)
		if before.line += int64(l - 1); l > 1 {
			before.column = 0
		}
		before.column += int64(col - 1)
		buffer, zone = buffer[:copy(buffer, buffer[cut:])], end-cut
	}
}

// short looks through a text that is at hand.
func (c *scan) short(ctx context.Context, src source, text []byte) error {
	if len(text) > limits.SecretChunk {
		return c.reader(ctx, src, bytes.NewReader(text))
	}
	if len(text) == 0 {
		return nil
	}
	if text[len(text)-1] != '\n' {
		text = append(bytes.Clone(text), '\n')
	}
	if src.part == PartBody || src.part == PartBinary {
		lines := &lineIndex{text: text}
		src.place = func(at int) (line, column int64) {
			l, col := lines.place(at)
			return int64(l), int64(col)
		}
	}
	return c.text(ctx, &src, text)
}

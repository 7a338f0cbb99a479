package onnx

import (
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// window is one piece of a text, as a model gets it.
type window struct {
	text   string // cleaned
	offset int64  // of its first byte in the text as it was
	bytes  int    // as it was
}

// clean gives text that a runtime takes: runs of bytes that are no UTF-8 become
// one U+FFFD, and NUL, which ends a text in C, is left out.
func clean(b []byte) string {
	s := strings.ToValidUTF8(string(b), "\ufffd")
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "")
	}
	return s
}

// forms gives the forms in which a window is judged: as it stands, and, if that is
// another, with compatible characters as ordinary ones. Full-width or mathematical
// letters read as words to whoever obeys them, and as noise to most models; a model
// that looks for just these shall see them, too. The largest score counts.
func forms(text string) []string {
	if norm.NFKC.IsNormalString(text) {
		return []string{text}
	}
	return []string{text, norm.NFKC.String(text)}
}

// windows cuts a text into windows of at most size bytes, each of which begins
// overlap bytes before the end of the one before, and gives them to emit in order.
// It cuts between runes as far as the text has runes, and leaves out windows
// without anything but white space.
func windows(r io.Reader, size, overlap int, emit func(window) error) error {
	buf := make([]byte, size)
	kept := 0 // bytes at the beginning of buf that are there already
	had := 0  // bytes of those that the last window had too
	var offset int64
	for {
		n, err := io.ReadFull(r, buf[kept:])
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return err
		}
		if n == 0 && kept == had {
			return nil
		}
		end := kept + n
		cut := end
		if !last {
			cut = boundary(buf, end)
		}
		w := window{text: clean(buf[:cut]), offset: offset, bytes: cut}
		if strings.TrimSpace(w.text) != "" {
			if err := emit(w); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
		next := boundary(buf, cut-overlap)
		kept, had = copy(buf, buf[next:end]), cut-next
		offset += int64(next)
	}
}

// boundary gives the last place at or before at where a rune begins, if one is
// near: else the bytes are no text, and any place will do.
func boundary(b []byte, at int) int {
	for i := at; i > 0 && i > at-utf8.UTFMax; i-- {
		if i == len(b) {
			// The rune before may go on behind the buffer.
			if r, n := utf8.DecodeLastRune(b); r != utf8.RuneError || n > 1 {
				return i
			}
			continue
		}
		if utf8.RuneStart(b[i]) {
			return i
		}
	}
	return at
}

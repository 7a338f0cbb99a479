package patch

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"math/bits"
	"strconv"
	"strings"
)

// Binary is a block of a "GIT binary patch": the whole content, or a delta to
// the content on the other side. It is kept compressed.
type Binary struct {
	Delta bool
	Size  int64 // inflated; of a delta, of the delta itself
	data  []byte
}

const (
	base85      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
	base85Bytes = 52 // content bytes on one line
)

// writeBinary writes a literal block and the empty line after it.
func writeBinary(b *bytes.Buffer, content []byte) error {
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	if _, err := w.Write(content); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	b.WriteString("literal ")
	b.WriteString(strconv.Itoa(len(content)))
	b.WriteByte('\n')
	for data := z.Bytes(); len(data) > 0; {
		n := min(base85Bytes, len(data))
		if n <= 26 {
			b.WriteByte(byte('A' + n - 1))
		} else {
			b.WriteByte(byte('a' + n - 27))
		}
		encode85(b, data[:n])
		b.WriteByte('\n')
		data = data[n:]
	}
	b.WriteByte('\n')
	return nil
}

func encode85(b *bytes.Buffer, data []byte) {
	for len(data) > 0 {
		var v uint32
		for i := range 4 {
			v <<= 8
			if i < len(data) {
				v |= uint32(data[i])
			}
		}
		var out [5]byte
		for i := 4; i >= 0; i-- {
			out[i] = base85[v%85]
			v /= 85
		}
		b.Write(out[:])
		data = data[min(4, len(data)):]
	}
}

// decode85 reads one line of a block: a letter for its length, then base 85.
func decode85(out, line []byte) ([]byte, bool) {
	if len(line) < 6 || (len(line)-1)%5 != 0 {
		return out, false
	}
	n := 0
	switch c := line[0]; {
	case 'A' <= c && c <= 'Z':
		n = int(c-'A') + 1
	case 'a' <= c && c <= 'z':
		n = int(c-'a') + 27
	}
	if n == 0 || (n+3)/4 != (len(line)-1)/5 {
		return out, false
	}
	for at := 1; at < len(line); at += 5 {
		var v uint64
		for _, c := range line[at : at+5] {
			d := strings.IndexByte(base85, c)
			if d < 0 {
				return out, false
			}
			v = v*85 + uint64(d) //nolint:gosec // an index is never negative
		}
		if v > 0xffffffff {
			return out, false
		}
		word := []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
		for _, c := range word[min(n, 4):] {
			if c != 0 {
				return out, false // unused bytes are zero, so that there is one way to write a block
			}
		}
		out = append(out, word[:min(n, 4)]...)
		n -= min(n, 4)
	}
	return out, true
}

var (
	errInflate = errors.New("binary content does not inflate to the size that it declares")
	errDelta   = errors.New("a binary delta does not fit the content that it is for")
)

// inflate writes the block's bytes to w: exactly Size of them, or it fails
// having written at most Size.
func (b *Binary) inflate(w io.Writer) error {
	in := bytes.NewReader(b.data)
	z, err := zlib.NewReader(in)
	if err != nil {
		return errInflate
	}
	if n, err := io.CopyN(w, z, b.Size); err != nil || n != b.Size {
		if err != nil && !errors.Is(err, io.EOF) && !isZlib(err) {
			return err // from the writer
		}
		return errInflate
	}
	var one [1]byte
	if n, err := io.ReadFull(z, one[:]); n != 0 || !errors.Is(err, io.EOF) || in.Len() != 0 {
		return errInflate
	}
	return nil
}

func isZlib(err error) bool {
	return errors.Is(err, zlib.ErrChecksum) || errors.Is(err, zlib.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) ||
		strings.HasPrefix(err.Error(), "flate:")
}

// bytes gives the block's inflated bytes. Memory grows with what is there, not
// with what is declared.
func (b *Binary) bytes() ([]byte, error) {
	var out bytes.Buffer
	err := b.inflate(&out)
	return out.Bytes(), err
}

// applyDelta makes the content from its base and a delta in git's pack form.
func applyDelta(base, delta []byte, limit int64) ([]byte, error) {
	from, delta, ok := deltaSize(delta)
	if !ok || from != int64(len(base)) {
		return nil, errDelta
	}
	to, delta, ok := deltaSize(delta)
	if !ok || to > limit {
		return nil, errDelta
	}
	var out []byte
	for len(delta) > 0 {
		op := delta[0]
		delta = delta[1:]
		var part []byte
		if op&0x80 != 0 {
			if part, delta, ok = deltaCopy(base, delta, op); !ok {
				return nil, errDelta
			}
		} else {
			if op == 0 || int(op) > len(delta) {
				return nil, errDelta
			}
			part, delta = delta[:op], delta[op:]
		}
		if int64(len(out)+len(part)) > to {
			return nil, errDelta
		}
		out = append(out, part...)
	}
	if int64(len(out)) != to {
		return nil, errDelta
	}
	return out, nil
}

// deltaCopy reads the place and length that a copy instruction names: up to four
// bytes of place and three of length, each there if its bit in op is set.
func deltaCopy(base, delta []byte, op byte) (part, rest []byte, ok bool) {
	var at, n int64
	for i := range 7 {
		if op&(1<<i) == 0 {
			continue
		}
		if len(delta) == 0 {
			return nil, nil, false
		}
		if i < 4 {
			at |= int64(delta[0]) << (8 * i)
		} else {
			n |= int64(delta[0]) << (8 * (i - 4))
		}
		delta = delta[1:]
	}
	if n == 0 {
		n = 0x10000
	}
	if at+n > int64(len(base)) {
		return nil, nil, false
	}
	return base[at : at+n], delta, true
}

// deltaSize reads a number of seven bits a byte, the lowest first.
func deltaSize(d []byte) (int64, []byte, bool) {
	var v int64
	for i := 0; i < len(d) && i < 8; i++ {
		v |= int64(d[i]&0x7f) << (7 * i)
		if d[i]&0x80 == 0 {
			return v, d[i+1:], true
		}
	}
	return 0, d, false
}

// Open gives the block's bytes: exactly Size of them, for Read has inflated them
// before. Of a delta that is the delta itself.
func (b *Binary) Open() (io.Reader, error) {
	z, err := zlib.NewReader(bytes.NewReader(b.data))
	if err != nil {
		return nil, errInflate
	}
	return io.LimitReader(z, b.Size), nil
}

// Inserted gives what a delta holds itself: pieces that follow each other are one,
// others stand on lines of their own. whole says that it takes nothing over from the
// content on the other side, so that this is all.
func (b *Binary) Inserted() (text []byte, whole bool, err error) {
	delta, err := b.bytes()
	if err != nil {
		return nil, false, err
	}
	for range 2 {
		var ok bool
		if _, delta, ok = deltaSize(delta); !ok {
			return nil, false, errDelta
		}
	}
	whole = true
	for len(delta) > 0 {
		op := delta[0]
		size := int(op)
		if op&0x80 != 0 { // a byte for each bit set
			size = bits.OnesCount8(op & 0x7f)
		}
		if delta = delta[1:]; op == 0 || size > len(delta) {
			return nil, false, errDelta
		}
		if op&0x80 == 0 {
			text = append(text, delta[:size]...)
		} else if whole = false; len(text) > 0 && text[len(text)-1] != '\n' {
			text = append(text, '\n')
		}
		delta = delta[size:]
	}
	return text, whole, nil
}

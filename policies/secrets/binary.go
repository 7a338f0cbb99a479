package secrets

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/cabincrew/action/internal/limits"
)

// block is the first block of a binary file in a patch: the content afterwards,
// or a delta to it.
type block struct {
	delta bool
	size  int64
	data  []byte // compressed
}

const base85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"

// binaryBlocks gives the first block of each binary file of a patch, in order. The
// patch was read by internal/patch before, so its form is known to be right: in
// text hunks every line begins with a sign, so no other line looks like a header.
func binaryBlocks(data []byte) []block {
	var out []block
	for len(data) > 0 {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
		if string(line) != "GIT binary patch" {
			continue
		}
		line, data, _ = bytes.Cut(data, []byte("\n"))
		kind, number, _ := strings.Cut(string(line), " ")
		size, err := strconv.ParseInt(number, 10, 64)
		b := block{delta: kind == "delta", size: size}
		if err != nil {
			b.size = -1
		}
		for len(data) > 0 && data[0] != '\n' {
			line, data, _ = bytes.Cut(data, []byte("\n"))
			b.data = append(b.data, unBase85(line)...)
		}
		out = append(out, b)
	}
	return out
}

// unBase85 decodes one line: a letter for its length, then groups of five.
func unBase85(line []byte) []byte {
	n := 0
	switch c := line[0]; {
	case 'A' <= c && c <= 'Z':
		n = int(c-'A') + 1
	case 'a' <= c && c <= 'z':
		n = int(c-'a') + 27
	}
	var out []byte
	for line = line[1:]; len(line) >= 5; line = line[5:] {
		var v uint32
		for _, c := range line[:5] {
			v = v*85 + uint32(max(0, strings.IndexByte(base85, c))) //nolint:gosec // below 85
		}
		out = append(out, byte(v>>24), byte(v>>16), byte(v>>8), byte(v)) //nolint:gosec // cut to bytes on purpose
	}
	return out[:min(n, len(out))]
}

var errBlock = errors.New("the content of a binary file cannot be read")

// open gives the content; of a delta, what it adds: pieces that follow each other
// are one, others stand on lines of their own.
func (b *block) open() (io.Reader, error) {
	z, err := zlib.NewReader(bytes.NewReader(b.data))
	if err != nil || b.size < 0 {
		return nil, errBlock
	}
	if !b.delta {
		return io.LimitReader(z, b.size), nil
	}
	if b.size > limits.PatchFileBytes {
		return nil, errBlock
	}
	delta, err := io.ReadAll(io.LimitReader(z, b.size))
	if err != nil {
		return nil, errBlock
	}
	added, ok := deltaText(delta)
	if !ok {
		return nil, errBlock
	}
	return bytes.NewReader(added), nil
}

// deltaText gives what a delta in git's pack form adds.
func deltaText(d []byte) ([]byte, bool) {
	for range 2 { // the two sizes, seven bits a byte
		for len(d) > 0 && d[0]&0x80 != 0 {
			d = d[1:]
		}
		if len(d) == 0 {
			return nil, false
		}
		d = d[1:]
	}
	var out []byte
	for len(d) > 0 {
		op := d[0]
		d = d[1:]
		size := int(op)
		if op&0x80 != 0 { // a copy: a byte for each bit set
			size = 0
			for bit := range 7 {
				size += int(op >> bit & 1)
			}
		}
		if size > len(d) || op == 0 {
			return nil, false
		}
		if op&0x80 == 0 {
			out = append(out, d[:size]...)
		} else if n := len(out); n > 0 && out[n-1] != '\n' {
			out = append(out, '\n')
		}
		d = d[size:]
	}
	return out, true
}

package merkle

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/cabincrew/action/internal/limits"
)

// Root is the root of a tree, the SHA-256 that RFC 6962, section 2.1, defines.
type Root = [sha256.Size]byte

// Tree is the tree of the lines so far. It holds one hash a level.
type Tree struct {
	lines *compact.Range
	last  []byte
}

func factory() *compact.RangeFactory {
	return &compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
}

// New gives an empty tree.
func New() *Tree { return &Tree{lines: factory().NewEmptyRange(0)} }

// Append adds a line, without the newline at its end.
func (t *Tree) Append(line []byte) error {
	return t.lines.Append(rfc6962.DefaultHasher.HashLeaf(line), nil)
}

// Size is the number of lines.
func (t *Tree) Size() uint64 { return t.lines.End() }

// Last gives the last line of a tree that Read made of so many lines.
func (t *Tree) Last() []byte { return t.last }

// Root gives the root of the lines so far.
func (t *Tree) Root() (Root, error) {
	if t.Size() == 0 {
		return Root(rfc6962.DefaultHasher.EmptyRoot()), nil
	}
	hash, err := t.lines.GetRootHash(nil)
	if err != nil || len(hash) != sha256.Size {
		return Root{}, errors.Join(errors.New("the root of the tree cannot be computed"), err)
	}
	return Root(hash), nil
}

// Read gives the tree of a log's first lines, or of all lines if size is nil. A last
// line without its newline is no line of a log, and refused.
func Read(r io.Reader, size *uint64) (*Tree, error) {
	t := New()
	if size != nil && *size == 0 {
		return t, nil
	}
	err := eachLine(r, func(line []byte) (bool, error) {
		err := t.Append(line)
		more := size == nil || t.Size() < *size // what follows may be half written
		if !more {
			t.last = bytes.Clone(line)
		}
		return more, err
	})
	if err != nil {
		return nil, err
	}
	if size != nil && t.Size() < *size {
		return nil, fmt.Errorf("the log has %d lines, not %d", t.Size(), *size)
	}
	return t, nil
}

// eachLine visits the lines of a log until visit says that it has seen enough.
func eachLine(r io.Reader, visit func(line []byte) (bool, error)) error {
	lines := bufio.NewReaderSize(r, 64<<10)
	var long []byte
	for n := 1; ; n++ {
		long = long[:0]
		line, err := lines.ReadSlice('\n')
		for errors.Is(err, bufio.ErrBufferFull) {
			if long = append(long, line...); len(long) > limits.AuditLine {
				return fmt.Errorf("line %d is longer than %d bytes", n, limits.AuditLine)
			}
			line, err = lines.ReadSlice('\n')
		}
		if len(long) > 0 {
			long = append(long, line...)
			line = long
		}
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("line %d has no end", n)
		case err != nil:
			return fmt.Errorf("line %d: %w", n, err)
		case len(line) > limits.AuditLine+1:
			return fmt.Errorf("line %d is longer than %d bytes", n, limits.AuditLine)
		}
		more, err := visit(line[:len(line)-1])
		if err != nil || !more {
			return err
		}
	}
}

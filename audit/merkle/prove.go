package merkle

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/cabincrew/action/internal/limits"
)

// Proof says that a line is part of the log that has a root. It does not hold the
// root: who checks it has root and size from a statement or checkpoint that is trusted.
type Proof struct {
	Index  uint64   // of the line, from 0
	Size   uint64   // of the log, in lines
	Line   []byte   // without its newline
	Hashes [][]byte // the audit path of RFC 6962, section 2.1.1
}

// ErrNoLine says that the log does not have the line that was sought.
var ErrNoLine = errors.New("the log has no such line")

// Prove makes the proof of the first line that want accepts, in the tree of the first
// size lines, or of all if size is nil. It reads the log once, and holds 32 bytes for
// each of its lines.
func Prove(r io.Reader, size *uint64, want func(line []byte) bool) (Proof, error) {
	var p Proof
	found := false
	nodes := map[compact.NodeID][]byte{}
	var leaves uint64
	lines := factory().NewEmptyRange(0)
	if size != nil && *size == 0 {
		return p, ErrNoLine
	}
	err := eachLine(r, func(line []byte) (bool, error) {
		if leaves == limits.AuditProofLines {
			return false, fmt.Errorf("the log has more than %d lines", limits.AuditProofLines)
		}
		if !found && want(line) {
			found, p.Index, p.Line = true, leaves, bytes.Clone(line)
		}
		leaf := rfc6962.DefaultHasher.HashLeaf(line)
		nodes[compact.NewNodeID(0, leaves)] = leaf
		leaves++
		err := lines.Append(leaf, func(id compact.NodeID, hash []byte) { nodes[id] = hash })
		return size == nil || leaves < *size, err // what follows may be half written
	})
	switch {
	case err != nil:
		return Proof{}, err
	case size != nil && leaves < *size:
		return Proof{}, fmt.Errorf("the log has %d lines, not %d", leaves, *size)
	case !found:
		return Proof{}, ErrNoLine
	}
	p.Size = leaves
	path, err := proof.Inclusion(p.Index, p.Size)
	if err != nil {
		return Proof{}, err
	}
	hashes := make([][]byte, len(path.IDs))
	for i, id := range path.IDs {
		hashes[i] = nodes[id]
	}
	p.Hashes, err = path.Rehash(hashes, rfc6962.DefaultHasher.HashChildren)
	return p, err
}

// Check refuses a proof that is not one for the log that had this root when it had
// so many lines. A path alone does not say of how many lines a tree is.
func (p Proof) Check(size uint64, root Root) error {
	if p.Size != size {
		return fmt.Errorf("the proof is about a log of %d lines, not %d", p.Size, size)
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, p.Size, rfc6962.DefaultHasher.HashLeaf(p.Line), p.Hashes, root[:]); err != nil {
		var other proof.RootMismatchError
		if errors.As(err, &other) { // its text is lists of numbers
			err = fmt.Errorf("the path leads to root sha256:%x, not sha256:%x", other.CalculatedRoot, other.ExpectedRoot)
		}
		return fmt.Errorf("the line is not line %d of the log of %d lines with this root: %w", p.Index+1, p.Size, err)
	}
	return nil
}

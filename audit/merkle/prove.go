package merkle

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

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
		return fmt.Errorf("the line is not number %d of the log of %d lines with this root: %w", p.Index, p.Size, err)
	}
	return nil
}

// proofHeader begins the text of a proof.
const proofHeader = "cabincrew audit proof v1"

// Marshal gives the proof as text: the header, index and size, the hashes one a line
// in base64, an empty line, and the log's line.
func (p Proof) Marshal() []byte {
	var b bytes.Buffer
	_, _ = fmt.Fprintf(&b, "%s\nindex %d\nsize %d\n", proofHeader, p.Index, p.Size)
	for _, h := range p.Hashes {
		b.WriteString(base64.StdEncoding.EncodeToString(h) + "\n")
	}
	b.WriteString("\n")
	b.Write(p.Line)
	b.WriteString("\n")
	return b.Bytes()
}

// maxPath is how many hashes a path has at most: a size has 64 bits.
const maxPath = 64

// UnmarshalProof reads what Marshal writes, and nothing else.
func UnmarshalProof(text []byte) (Proof, error) {
	var p Proof
	head, line, ok := bytes.Cut(text, []byte("\n\n"))
	line, ended := bytes.CutSuffix(line, []byte("\n"))
	if !ok || !ended || len(line) > limits.AuditLine || bytes.ContainsRune(line, '\n') {
		return p, errors.New("the proof does not end with an empty line and one line of the log")
	}
	rows := strings.Split(string(head), "\n")
	if len(rows) < 3 || len(rows) > 3+maxPath || rows[0] != proofHeader {
		return p, fmt.Errorf("it does not begin with %q, index and size", proofHeader)
	}
	var err error
	if p.Index, err = numbered(rows[1], "index "); err != nil {
		return p, err
	}
	if p.Size, err = numbered(rows[2], "size "); err != nil {
		return p, err
	}
	for i, row := range rows[3:] {
		hash, err := base64.StdEncoding.Strict().DecodeString(row)
		if err != nil || len(hash) != sha256.Size || base64.StdEncoding.EncodeToString(hash) != row {
			return p, fmt.Errorf("line %d of the proof is no SHA-256 in base64", i+4)
		}
		p.Hashes = append(p.Hashes, hash)
	}
	p.Line = bytes.Clone(line)
	return p, nil
}

// numbered reads a decimal number in its one form.
func numbered(row, name string) (uint64, error) {
	text, ok := strings.CutPrefix(row, name)
	n, err := strconv.ParseUint(text, 10, 63)
	if !ok || err != nil || strconv.FormatUint(n, 10) != text {
		return 0, fmt.Errorf("%q is not %sand a number", row, name)
	}
	return n, nil
}

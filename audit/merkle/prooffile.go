package merkle

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	tlog "github.com/transparency-dev/formats/proof"

	"github.com/cabincrew/action/internal/limits"
)

// maxPath is how many hashes a path has at most: a size has 64 bits.
const maxPath = 64

// Marshal gives the proof in the form of C2SP's tlog-proof, with the checkpoint that it
// leads to: a signed one, or the text alone of one that a statement vouches for. The
// line, if there is one, is the extra data.
func (p Proof) Marshal(checkpoint []byte) []byte {
	out := tlog.TLogProof{Index: p.Index, Checkpoint: checkpoint, ExtraData: p.Line}
	for _, h := range p.Hashes {
		out.Hashes = append(out.Hashes, [sha256.Size]byte(h))
	}
	return out.Marshal()
}

// UnmarshalProof reads what Marshal writes, and nothing else. The size is that of the
// checkpoint, of which no signature has been looked at: see OpenCheckpoint. Line is nil
// where the file does not bring it.
func UnmarshalProof(text []byte) (p Proof, checkpoint []byte, err error) {
	if len(text) > limits.AuditProof {
		return p, nil, fmt.Errorf("the proof is longer than %d bytes", limits.AuditProof)
	}
	rest := text
	// The line is cut out first: it may be longer than the lines that the library reads.
	if header, after, ok := bytes.Cut(text, []byte("\nextra ")); ok && !bytes.Contains(header, []byte{'\n'}) {
		line, tail, _ := bytes.Cut(after, []byte{'\n'})
		if p.Line, err = base64.StdEncoding.Strict().DecodeString(string(line)); err != nil || len(p.Line) == 0 ||
			len(p.Line) > limits.AuditLine || bytes.ContainsRune(p.Line, '\n') {
			return Proof{}, nil, errors.New("the extra data of the proof is not one line of a log in base64")
		}
		rest = append(append(bytes.Clone(header), '\n'), tail...)
	}
	if len(rest) > limits.AuditCheckpoint+maxPath*base64.StdEncoding.EncodedLen(sha256.Size)+1024 {
		return Proof{}, nil, errors.New("the proof is too long beside the line that it is about")
	}
	var in tlog.TLogProof
	if err := in.Unmarshal(rest); err != nil {
		return Proof{}, nil, err
	}
	if len(in.Hashes) > maxPath {
		return Proof{}, nil, fmt.Errorf("the proof has %d hashes, at most %d make sense", len(in.Hashes), maxPath)
	}
	p.Index = in.Index
	for _, h := range in.Hashes {
		p.Hashes = append(p.Hashes, h[:])
	}
	// What reads numbers or base64 less strictly must not find another proof in it.
	if !bytes.Equal(p.Marshal(in.Checkpoint), text) {
		return Proof{}, nil, errors.New("the proof is not in its one form")
	}
	c, _, err := ReadCheckpoint(in.Checkpoint)
	if err != nil {
		return Proof{}, nil, err
	}
	p.Size = c.Size
	return p, in.Checkpoint, nil
}

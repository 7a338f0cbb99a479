package merkle

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"

	"github.com/cabincrew/action/internal/limits"
)

// Checkpoint says which root a log had when it had so many lines. Origin names the
// log: the repository's id and the flight.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   Root
}

// Text gives what is signed of a checkpoint (C2SP tlog-checkpoint).
func (c Checkpoint) Text() []byte {
	return log.Checkpoint{Origin: c.Origin, Size: c.Size, Hash: c.Root[:]}.Marshal()
}

// Sign gives the checkpoint as a signed note.
func (c Checkpoint) Sign(by note.Signer) ([]byte, error) {
	if err := checkOrigin(c.Origin); err != nil {
		return nil, err
	}
	out, err := note.Sign(&note.Note{Text: string(c.Text())}, by)
	if err != nil {
		return nil, fmt.Errorf("signing the checkpoint: %w", err)
	}
	return out, nil
}

// OpenCheckpoint gives what a signed note says if it is signed by a key and about the
// log that is expected. Signatures of other keys do not count and do no harm.
func OpenCheckpoint(signed []byte, origin string, by ...note.Verifier) (Checkpoint, error) {
	if len(signed) > limits.AuditCheckpoint {
		return Checkpoint{}, fmt.Errorf("the checkpoint is longer than %d bytes", limits.AuditCheckpoint)
	}
	if err := checkOrigin(origin); err != nil {
		return Checkpoint{}, err
	}
	n, err := note.Open(signed, note.VerifierList(by...))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("the checkpoint is not signed by a key that is trusted: %w", err)
	}
	for _, s := range n.Sigs {
		if raw, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil || base64.StdEncoding.EncodeToString(raw) != s.Base64 {
			return Checkpoint{}, errors.New("the checkpoint's signature is not in its one form")
		}
	}
	c, err := parse([]byte(n.Text))
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != origin {
		return Checkpoint{}, fmt.Errorf("the checkpoint is about the log %q, not %q", c.Origin, origin)
	}
	return c, nil
}

// ReadCheckpoint gives what a checkpoint says, whoever says it: no signature is looked
// at. signed tells whether there are any.
func ReadCheckpoint(text []byte) (c Checkpoint, signed bool, err error) {
	if len(text) > limits.AuditCheckpoint {
		return c, false, fmt.Errorf("the checkpoint is longer than %d bytes", limits.AuditCheckpoint)
	}
	if at := bytes.Index(text, []byte("\n\n")); at >= 0 {
		text, signed = text[:at+1], true
	}
	c, err = parse(text)
	return c, signed, err
}

// parse reads the text of a checkpoint.
func parse(text []byte) (Checkpoint, error) {
	var cp log.Checkpoint
	rest, err := cp.Unmarshal(text)
	switch {
	case err != nil:
		return Checkpoint{}, fmt.Errorf("the checkpoint cannot be read: %w", err)
	case len(rest) > 0:
		return Checkpoint{}, errors.New("the checkpoint says more than origin, size and root")
	case len(cp.Hash) != sha256.Size:
		return Checkpoint{}, errors.New("the checkpoint's root is no SHA-256")
	}
	c := Checkpoint{Origin: cp.Origin, Size: cp.Size, Root: Root(cp.Hash)}
	// One text for one checkpoint: what reads numbers or base64 less strictly must not
	// find another one in it.
	if !bytes.Equal(c.Text(), text) {
		return Checkpoint{}, errors.New("the checkpoint is not in its one form")
	}
	return c, checkOrigin(c.Origin)
}

func checkOrigin(origin string) error {
	if origin == "" || len(origin) > limits.AuditOrigin || origin != strings.TrimSpace(origin) ||
		strings.ContainsFunc(origin, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		return fmt.Errorf("%q is no origin of a log: one line of at most %d bytes", origin, limits.AuditOrigin)
	}
	return nil
}

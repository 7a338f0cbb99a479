package merkle

import (
	"crypto/sha256"
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

// Sign gives the checkpoint as a signed note (C2SP tlog-checkpoint).
func (c Checkpoint) Sign(by note.Signer) ([]byte, error) {
	if err := checkOrigin(c.Origin); err != nil {
		return nil, err
	}
	text := log.Checkpoint{Origin: c.Origin, Size: c.Size, Hash: c.Root[:]}.Marshal()
	out, err := note.Sign(&note.Note{Text: string(text)}, by)
	if err != nil {
		return nil, fmt.Errorf("signing the checkpoint: %w", err)
	}
	return out, nil
}

// OpenCheckpoint gives what a signed note says if it is signed by a key and about the
// log that is expected. Signatures of other keys do not count and do no harm.
func OpenCheckpoint(signed []byte, origin string, by note.Verifier) (Checkpoint, error) {
	var c Checkpoint
	if len(signed) > limits.AuditCheckpoint {
		return c, fmt.Errorf("the checkpoint is longer than %d bytes", limits.AuditCheckpoint)
	}
	if err := checkOrigin(origin); err != nil {
		return c, err
	}
	n, err := note.Open(signed, note.VerifierList(by))
	if err != nil {
		return c, fmt.Errorf("the checkpoint is not signed by %s: %w", by.Name(), err)
	}
	var cp log.Checkpoint
	rest, err := cp.Unmarshal([]byte(n.Text))
	switch {
	case err != nil:
		return c, fmt.Errorf("the checkpoint cannot be read: %w", err)
	case len(rest) > 0:
		return c, errors.New("the checkpoint says more than origin, size and root")
	case cp.Origin != origin:
		return c, fmt.Errorf("the checkpoint is about the log %q, not %q", cp.Origin, origin)
	case len(cp.Hash) != sha256.Size:
		return c, errors.New("the checkpoint's root is no SHA-256")
	}
	c = Checkpoint{Origin: cp.Origin, Size: cp.Size, Root: Root(cp.Hash)}
	// One text for one checkpoint: what reads numbers or base64 less strictly must not
	// find another one in it.
	if again := (log.Checkpoint{Origin: c.Origin, Size: c.Size, Hash: c.Root[:]}).Marshal(); string(again) != n.Text {
		return Checkpoint{}, errors.New("the checkpoint is not in its one form")
	}
	return c, nil
}

func checkOrigin(origin string) error {
	if origin == "" || len(origin) > limits.AuditOrigin || origin != strings.TrimSpace(origin) ||
		strings.ContainsFunc(origin, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		return fmt.Errorf("%q is no origin of a log: one line of at most %d bytes", origin, limits.AuditOrigin)
	}
	return nil
}

package audit

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cabincrew/action/protocol"
)

// Signer signs the events of a log.
type Signer interface {
	// KeyRef names the key in each event.
	KeyRef() string
	// Sign signs what an event is without its signature.
	Sign(event []byte) ([]byte, error)
}

// SignedBy says whether a signature is that of the key which an event names. It may be
// called from several goroutines.
type SignedBy func(keyRef string, event, signature []byte) error

var (
	errUnsigned = errors.New("the event is not signed")
	errForged   = errors.New("the signature does not hold")
	errFound    = errors.New("found")
)

// finished gives the event as it is written, with its id and, with a signer, its
// signature. It is in the log's own memory, until the next one.
// SPEC: docs/protocol.md 11.
func (l *Log) finished(e *protocol.AuditEvent) ([]byte, error) {
	if l.signer != nil {
		e.SignatureKeyRef = l.signer.KeyRef()
	}
	e.EventID = ""
	line, err := l.encoder.Append(l.text[:0], e)
	if err != nil {
		return nil, err
	}
	l.text = line
	id, err := emptyID(line)
	if err != nil {
		return nil, err
	}
	// The id is of the event without it, and is all that is missing then.
	sum := l.judge.hash(l.judge.event, func(b []byte) []byte { return protocol.AppendWithout(b, line, id) })
	var digits [2 * len(sum)]byte
	hex.Encode(digits[:], sum[:])
	line = slices.Insert(line, id.End-1, digits[:]...)
	l.text = line
	if l.signer == nil {
		return line, nil
	}
	signature, err := l.signer.Sign(line)
	if err != nil {
		return nil, fmt.Errorf("signing it: %w", err)
	}
	e.EventID = hexOf(sum)
	e.Signature = base64.StdEncoding.EncodeToString(signature)
	l.text, err = l.encoder.Append(line[:0], e)
	return l.text, err
}

// emptyID finds the event_id of an event that has none yet, and reads no further.
func emptyID(line []byte) (id protocol.Member, err error) {
	err = protocol.ScanCanonical(line, func(m protocol.Member) error {
		if string(m.Key) != "event_id" {
			return nil
		}
		id = m
		return errFound
	})
	if !errors.Is(err, errFound) {
		return id, errors.Join(errors.New("an event has an event_id"), err)
	}
	return id, nil
}

func member(doc []byte, name string) (found protocol.Member, err error) {
	err = protocol.ScanCanonical(doc, func(m protocol.Member) error {
		if string(m.Key) == name {
			found = m
		}
		return nil
	})
	return found, err
}

// signatureOf is what a line says of its signature.
type signatureOf struct {
	member protocol.Member
	ref    []byte // the key's name, quoted
}

// check holds the signature of a line against the keys that may sign.
func (s signatureOf) check(line []byte, by SignedBy) error {
	if s.member.Value == nil || s.ref == nil {
		return errUnsigned
	}
	ref, err := protocol.Unquote(s.ref)
	if err != nil {
		return fmt.Errorf("%w: %w", errForged, err)
	}
	text := string(s.member.Value[1 : len(s.member.Value)-1])
	signature, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || base64.StdEncoding.EncodeToString(signature) != text {
		return fmt.Errorf("%w: it is not in base64", errForged)
	}
	if err := by(ref, protocol.AppendWithout(nil, line, s.member), signature); err != nil {
		return fmt.Errorf("%w: %w", errForged, err)
	}
	return nil
}

// CheckLine refuses a line of a log that does not certify itself by its event_id, and,
// with by, one whose signature does not hold. The chain is not looked at.
func CheckLine(line []byte, by SignedBy) error {
	var in lineInfo
	c := newChecker(false)
	c.signed = by
	c.check(line, &in)
	return in.bad
}

// EventID gives the event_id that a line says it has, "" if it says none.
func EventID(line []byte) string {
	m, err := member(line, "event_id")
	if err != nil || len(m.Value) < 2 {
		return ""
	}
	return string(m.Value[1 : len(m.Value)-1])
}

// originPrefix is the host that names of logs begin with, as C2SP wants it.
const originPrefix = "cabincrew.dev/"

// LocalRepository stands for a repository in origins where no forge tells its id.
const LocalRepository = "local"

var repositoryID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// Origin names the log of a flight in its checkpoints, and the key that signs them:
// cabincrew.dev/<repository's id>/<flight's id>.
func Origin(repository, workflowID string) (string, error) {
	if !repositoryID.MatchString(repository) || !protocol.ValidWorkflowID(workflowID) {
		return "", protocol.Errorf(protocol.ExitUsage, "audit_origin", "repository %.100q and flight %.100q do not name an audit log", repository, workflowID)
	}
	return originPrefix + repository + "/" + workflowID, nil
}

// ParseOrigin parts what Origin gives.
func ParseOrigin(origin string) (repository, workflowID string, err error) {
	rest, ok := strings.CutPrefix(origin, originPrefix)
	repository, workflowID, found := strings.Cut(rest, "/")
	if again, err := Origin(repository, workflowID); !ok || !found || err != nil || again != origin {
		return "", "", fmt.Errorf("%.200q does not name the audit log of a flight: %s<repository>/<flight>", origin, originPrefix)
	}
	return repository, workflowID, nil
}

package signing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

const (
	// StatementType is the in-toto statement version that is written and read.
	StatementType = "https://in-toto.io/Statement/v1"
	// PayloadType is the DSSE payload type of in-toto statements.
	PayloadType = "application/vnd.in-toto+json"
	// ManifestName is the name of the subject that every statement is about.
	ManifestName = "plan-manifest.json"
	// PlanBundleName is the name of the second subject of an approval of a signed plan.
	PlanBundleName = "plan.sigstore.json"
)

// Statement is an in-toto Statement v1.
type Statement struct {
	Type          string          `json:"_type"`
	Subject       []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// Subject is one file that a statement is about.
type Subject struct {
	Name   string    `json:"name"`
	Digest DigestSet `json:"digest"`
}

// DigestSet holds the digest of a subject: bare lower-case hex, as in-toto has it.
type DigestSet struct {
	SHA256 string `json:"sha256"`
}

// predicate is what the three predicate types have in common.
type predicate interface {
	predicateType() string
	check() error
}

// newStatement gives the statement in JCS form: a predicate about a manifest.
// SPEC: docs/protocol.md 7
func newStatement(manifest []byte, p predicate) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, statementError(protocol.ExitFailure, p.predicateType(), err)
	}
	raw, err := protocol.Canonical(p)
	if err != nil {
		return nil, statementError(protocol.ExitFailure, p.predicateType(), err)
	}
	sum, err := protocol.ParseDigest(protocol.Digest(manifest))
	if err != nil {
		return nil, statementError(protocol.ExitFailure, p.predicateType(), err)
	}
	subjects := []Subject{{Name: ManifestName, Digest: DigestSet{SHA256: sum}}}
	if a, ok := p.(*ApprovalPredicate); ok && a.PlanBundle != "" {
		if sum, err = protocol.ParseDigest(a.PlanBundle); err != nil {
			return nil, statementError(protocol.ExitFailure, p.predicateType(), err)
		}
		subjects = append(subjects, Subject{Name: PlanBundleName, Digest: DigestSet{SHA256: sum}})
	}
	out, err := protocol.Canonical(Statement{
		Type:          StatementType,
		Subject:       subjects,
		PredicateType: p.predicateType(),
		Predicate:     raw,
	})
	if err != nil {
		return nil, statementError(protocol.ExitFailure, p.predicateType(), err)
	}
	return out, nil
}

// parseStatement reads a statement strictly and checks its version. The payload
// may be of another tool, so it need not be in JCS form; it must be unambiguous.
func parseStatement(payload []byte) (*Statement, error) {
	if len(payload) > limits.StatementBytes {
		return nil, fmt.Errorf("%d bytes are too many (at most %d)", len(payload), limits.StatementBytes)
	}
	var s Statement
	if err := protocol.Decode(payload, &s); err != nil {
		return nil, err
	}
	if s.Type != StatementType {
		return nil, fmt.Errorf("_type is %.100q, not %q", s.Type, StatementType)
	}
	if s.Subject == nil || s.PredicateType == "" || len(s.Predicate) == 0 {
		return nil, errors.New("subject, predicateType or predicate is missing")
	}
	for i, subject := range s.Subject {
		if subject.Name == "" || subject.Digest.SHA256 == "" {
			return nil, fmt.Errorf("subject[%d]: name or sha256 is missing", i)
		}
	}
	return &s, nil
}

// decodePredicate reads the predicate of a verified statement into p.
func decodePredicate(s *Statement, p predicate) error {
	exact, err := protocol.DecodeExact(s.Predicate, p)
	if err == nil && !exact { // what this program writes is canonical: nothing to read twice
		err = sameForm(s.Predicate, p)
	}
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return statementError(protocol.ExitIntegrity, p.predicateType(), err)
	}
	return nil
}

// sameForm says whether a Go value holds all that a document says and nothing
// that it does not: a missing or null member would read as an empty value.
func sameForm(data []byte, v any) error {
	got, err := protocol.Canonical(v)
	if err != nil {
		return err
	}
	tree, err := protocol.DecodeAny(data)
	if err != nil {
		return err
	}
	want, err := protocol.Canonical(tree)
	if err != nil {
		return err
	}
	if !bytes.Equal(want, got) {
		return fmt.Errorf("a required member is missing, null or empty (%s)", firstDifference(want, got))
	}
	return nil
}

// firstDifference shows where two canonical documents part.
func firstDifference(x, y []byte) string {
	const around = 24
	n := 0
	for n < len(x) && n < len(y) && x[n] == y[n] {
		n++
	}
	return fmt.Sprintf("near %q", x[max(0, n-around):min(len(x), n+around)])
}

func statementError(exit int, predicateType string, err error) error {
	e := protocol.Errorf(exit, CodeStatementMalformed, "not a statement of type %s: %w", predicateType, clipped(err))
	if exit == protocol.ExitIntegrity {
		e = e.WithHint("%s", hintReplace)
	}
	return e
}

// clipped keeps a hostile document's own text from filling the screen.
func clipped(err error) error {
	const most = 500
	if text := err.Error(); len(text) > most {
		return errors.New(strings.ToValidUTF8(text[:most], "") + " …")
	}
	return err
}

const hintReplace = "take the file from where it was made; a changed or foreign file is never accepted"

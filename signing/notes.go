package signing

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"

	"github.com/cabincrew/action/protocol"
)

// NoteSigner gives the key as one that signs notes (C2SP signed-note) under a name,
// as checkpoints of the audit log are.
func (k *Key) NoteSigner(name string) (note.Signer, error) {
	v, err := k.pub.NoteVerifier(name)
	if err != nil {
		return nil, err
	}
	return noteSigner{k, v}, nil
}

type noteSigner struct {
	key *Key
	as  note.Verifier
}

func (s noteSigner) Name() string    { return s.as.Name() }
func (s noteSigner) KeyHash() uint32 { return s.as.KeyHash() }

func (s noteSigner) Sign(text []byte) ([]byte, error) {
	return s.key.signer.SignMessage(bytes.NewReader(text))
}

// NoteVerifier gives the key as one that verifies notes which a name signed.
func (p *PublicKey) NoteVerifier(name string) (note.Verifier, error) {
	if name == "" || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsSpace) || strings.Contains(name, "+") {
		return nil, keyError("%q is no name of a signer: one word without +", name)
	}
	switch key := p.key.(type) {
	case ed25519.PublicKey:
		text, err := note.NewEd25519VerifierKey(name, key)
		if err != nil {
			return nil, keyError("the key verifies no notes: %w", err)
		}
		return note.NewVerifier(text)
	case *ecdsa.PublicKey:
		// C2SP signed-note, type 2: the hash is of the key's PKIX form, without the name.
		return ecdsaNotes{name: name, hash: binary.BigEndian.Uint32(p.sum[:]), key: key}, nil
	}
	return nil, keyError("keys of type %T sign no notes", p.key).WithHint("%s", hintGenerate)
}

// ecdsaNotes verifies notes with ECDSA over SHA-256, which x/mod does not know.
type ecdsaNotes struct {
	name string
	hash uint32
	key  *ecdsa.PublicKey
}

func (v ecdsaNotes) Name() string    { return v.name }
func (v ecdsaNotes) KeyHash() uint32 { return v.hash }

func (v ecdsaNotes) Verify(text, sig []byte) bool {
	sum := sha256.Sum256(text)
	return ecdsa.VerifyASN1(v.key, sum[:], sig)
}

// AuditHead gives the audit head of a flight plan or of a take-off whose signature has
// been verified, and the flight that it is of.
func (v *Verified) AuditHead() (workflowID string, head AuditHead, err error) {
	return auditHeadOf(&v.Statement)
}

// UnverifiedAuditHead gives what a bundle says of the audit log, whoever signed it: to
// find what to prove against, never to trust it.
func UnverifiedAuditHead(bundle []byte) (workflowID string, head AuditHead, err error) {
	parts, err := parseBundle(bundle)
	if err != nil {
		return "", head, err
	}
	s, err := parseStatement(parts.payload)
	if err != nil {
		return "", head, statementError(protocol.ExitIntegrity, "in-toto Statement v1", err)
	}
	return auditHeadOf(s)
}

// UnverifiedType gives the predicate type that a bundle says it has, whoever signed it:
// to find whose signature would count, never to trust it.
func UnverifiedType(bundle []byte) (string, error) {
	parts, err := parseBundle(bundle)
	if err != nil {
		return "", err
	}
	s, err := parseStatement(parts.payload)
	if err != nil {
		return "", statementError(protocol.ExitIntegrity, "in-toto Statement v1", err)
	}
	return s.PredicateType, nil
}

func auditHeadOf(s *Statement) (string, AuditHead, error) {
	switch s.PredicateType {
	case FlightPlanType:
		var p FlightPlanPredicate
		err := decodePredicate(s, &p)
		return p.WorkflowID, p.AuditHead, err
	case TakeOffType:
		var p TakeOffPredicate
		err := decodePredicate(s, &p)
		return p.WorkflowID, p.AuditHead, err
	}
	return "", AuditHead{}, mismatch("a statement of type %.100q says nothing of an audit log", s.PredicateType)
}

// Derived gives what the statement of a plan or take-off says that the signing side
// found out itself.
func (v *Verified) Derived() (Derived, error) { return derivedOf(&v.Statement) }

// UnverifiedDerived gives the same of a bundle, whoever signed it: to show it, never
// to decide by it.
func UnverifiedDerived(bundle []byte) (Derived, error) {
	parts, err := parseBundle(bundle)
	if err != nil {
		return Derived{}, err
	}
	s, err := parseStatement(parts.payload)
	if err != nil {
		return Derived{}, statementError(protocol.ExitIntegrity, "in-toto Statement v1", err)
	}
	return derivedOf(s)
}

func derivedOf(s *Statement) (Derived, error) {
	switch s.PredicateType {
	case FlightPlanType:
		var p FlightPlanPredicate
		err := decodePredicate(s, &p)
		return p.Derived, err
	case TakeOffType:
		var p TakeOffPredicate
		err := decodePredicate(s, &p)
		return p.Derived, err
	}
	return Derived{}, mismatch("a statement of type %.100q says nothing of a repository", s.PredicateType)
}

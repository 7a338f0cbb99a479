package signing

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// TrustedKey is a key whose signatures count, from NotBefore to NotAfter, both
// included; a zero time is no bound. The same key may be given with several windows.
type TrustedKey struct {
	Key       *PublicKey
	NotBefore time.Time
	NotAfter  time.Time
}

func (t TrustedKey) validAt(at time.Time) bool {
	if t.NotBefore.IsZero() && t.NotAfter.IsZero() {
		return true
	}
	// Without a time no window can be said to hold.
	return !at.IsZero() && (t.NotBefore.IsZero() || !at.Before(t.NotBefore)) &&
		(t.NotAfter.IsZero() || !at.After(t.NotAfter))
}

// Verified is what a bundle says whose signature holds. What it is about is not
// yet checked: see VerifyStatement.
type Verified struct {
	Payload        []byte    // the signed bytes
	Statement      Statement // the same, read strictly
	KeyFingerprint string    // of the trusted key that signed
}

// Verify checks that a bundle is in its one form and signed by one of the trusted
// keys, which must be valid at that time: the moment of checking, or one that
// something trusted attests (a time in the statement is the signer's own word).
// It does not check what the statement is about.
func Verify(bundle []byte, at time.Time, trusted ...TrustedKey) (*Verified, error) {
	parts, err := parseBundle(bundle)
	if err != nil {
		return nil, err
	}
	key, err := choose(parts.hint, at, trusted)
	if err != nil {
		return nil, err
	}
	err = verifySignature(bundle, parts, key)
	if errors.Is(err, errNoStatement) {
		return nil, statementError(protocol.ExitIntegrity, "in-toto Statement v1", err)
	}
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitIntegrity, CodeSignatureInvalid,
			"the signature is not that of key %s over this statement: %w", key.Fingerprint(), err).WithHint("%s", hintReplace)
	}
	s, err := parseStatement(parts.payload)
	if err != nil {
		return nil, statementError(protocol.ExitIntegrity, "in-toto Statement v1", err)
	}
	return &Verified{Payload: parts.payload, Statement: *s, KeyFingerprint: key.Fingerprint()}, nil
}

// choose finds the trusted key that the bundle names. The hint only selects;
// the signature must then be that key's.
func choose(hint string, at time.Time, trusted []TrustedKey) (*PublicKey, error) {
	if len(trusted) == 0 || len(trusted) > limits.TrustedKeys {
		return nil, protocol.Errorf(protocol.ExitIntegrity, CodeSignatureUntrusted,
			"%d trusted keys to verify with (1 to %d)", len(trusted), limits.TrustedKeys).
			WithHint("name the public keys of those who may sign")
	}
	var found *PublicKey
	for _, t := range trusted {
		if t.Key == nil || t.Key.hint() != hint {
			continue
		}
		found = t.Key
		if t.validAt(at) {
			return found, nil
		}
	}
	if found == nil {
		return nil, protocol.Errorf(protocol.ExitIntegrity, CodeSignatureUntrusted,
			"signed by key %s, which is none of the %d trusted ones", readable(hint), len(trusted)).
			WithHint("if the signer may sign this, add their public key to the governance in force")
	}
	return nil, protocol.Errorf(protocol.ExitIntegrity, CodeSignatureKeyWindow,
		"key %s is not valid at %s", found.Fingerprint(), at.UTC().Format(time.RFC3339)).
		WithHint("sign again with a key that is valid, or correct the key's validity window")
}

// readable gives the fingerprint form of a bundle's hint, or quotes a foreign one.
func readable(hint string) string {
	const digestBytes = 32
	if sum, err := strictBase64("hint", hint, digestBytes); err == nil && len(sum) == digestBytes {
		return protocol.FormatDigest(sum)
	}
	return fmt.Sprintf("%.60q", hint)
}

// verifySignature checks the signature of a well-formed bundle through
// sigstore-go, and that sigstore-go saw the same payload as parseBundle did.
func verifySignature(data []byte, parts *bundleParts, key *PublicKey) error {
	if err := strictSignature(key.typ, parts.signature); err != nil {
		return err
	}
	verifier, err := signature.LoadVerifier(key.key, crypto.SHA256)
	if err != nil {
		return err
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(data); err != nil {
		return err
	}
	content, err := b.SignatureContent()
	if err != nil {
		return err
	}
	if e := content.EnvelopeContent(); e == nil || !samePayload(e, parts.payload) {
		return errors.New("the envelope reads in two ways")
	}
	// The window was checked against the caller's time; sigstore-go looks at
	// windows only where a time stamp is attested.
	material := root.NewTrustedPublicKeyMaterial(func(hint string) (root.TimeConstrainedVerifier, error) {
		if hint != key.hint() {
			return nil, fmt.Errorf("the bundle names key %q", hint)
		}
		return root.NewExpiringKey(verifier, time.Time{}, time.Time{}), nil
	})
	v, err := verify.NewVerifier(material, verify.WithNoObserverTimestamps(), verify.WithoutStatementPredicate())
	if err != nil {
		return err
	}
	// The subject is compared by checkSubject, more strictly than sigstore-go
	// does: by name as well, and exactly one.
	_, err = v.Verify(&b, verify.NewPolicy(verify.WithoutArtifactUnsafe(), verify.WithKey()))
	if err == nil {
		return nil
	}
	// sigstore-go also reads the payload once the signature holds; do not blame
	// the signature for what is wrong with a genuine payload.
	if c, e := b.VerificationContent(); e == nil && verify.VerifySignature(content, c, material) == nil {
		return fmt.Errorf("%w: %w", errNoStatement, err)
	}
	return err
}

// errNoStatement says that a signature holds over something that is no statement.
var errNoStatement = errors.New("the signature holds, but what was signed is no statement")

func samePayload(e verify.EnvelopeContent, payload []byte) bool {
	got, err := e.RawEnvelope().DecodeB64Payload()
	return err == nil && bytes.Equal(got, payload)
}

// VerifyStatement is Verify, and checks that the statement is of that predicate
// type and about exactly one subject: plan-manifest.json with that digest.
func VerifyStatement(bundle []byte, manifestDigest, predicateType string, at time.Time, trusted ...TrustedKey) (*Verified, error) {
	v, err := Verify(bundle, at, trusted...)
	if err != nil {
		return nil, err
	}
	if v.Statement.PredicateType != predicateType {
		return nil, mismatch("the statement is a %.100q, not a %q", v.Statement.PredicateType, predicateType)
	}
	if err := checkSubject(v.Statement.Subject, manifestDigest); err != nil {
		return nil, err
	}
	return v, nil
}

func checkSubject(subjects []Subject, manifestDigest string) error {
	if len(subjects) != 1 {
		return mismatch("the statement has %d subjects, not exactly one", len(subjects))
	}
	s := subjects[0]
	if s.Name != ManifestName {
		return mismatch("the statement is about %.100q, not about %q", s.Name, ManifestName)
	}
	want, err := protocol.ParseDigest(manifestDigest)
	if err != nil {
		return protocol.Errorf(protocol.ExitFailure, CodeStatementMismatch, "the manifest's digest: %w", err)
	}
	if s.Digest.SHA256 != want {
		if _, err := hex.DecodeString(s.Digest.SHA256); err != nil {
			return mismatch("the subject's digest is malformed")
		}
		return mismatch("the statement is about a %s with digest sha256:%.64s, this one has %s",
			ManifestName, s.Digest.SHA256, manifestDigest)
	}
	return nil
}

func mismatch(format string, args ...any) error {
	return protocol.Errorf(protocol.ExitIntegrity, CodeStatementMismatch, format, args...).
		WithHint("the signature is genuine, but for something else; use the file that belongs to this flight, or sign this flight anew")
}

// VerifyApproval reads an approval about this manifest, and gives the fingerprint
// of the key that signed. Whether it counts (id, tokens, role, expiry, use) is for
// the caller to judge. SPEC: docs/protocol.md 7
func VerifyApproval(bundle, manifest []byte, at time.Time, trusted ...TrustedKey) (*ApprovalPredicate, string, error) {
	return verifyTyped[ApprovalPredicate](bundle, manifest, at, trusted)
}

// VerifyFlightPlan reads a flight plan about this manifest, and gives the
// fingerprint of the key that signed.
func VerifyFlightPlan(bundle, manifest []byte, at time.Time, trusted ...TrustedKey) (*FlightPlanPredicate, string, error) {
	return verifyTyped[FlightPlanPredicate](bundle, manifest, at, trusted)
}

// VerifyTakeOff reads the end of the flight with this manifest, and gives the
// fingerprint of the key that signed.
func VerifyTakeOff(bundle, manifest []byte, at time.Time, trusted ...TrustedKey) (*TakeOffPredicate, string, error) {
	return verifyTyped[TakeOffPredicate](bundle, manifest, at, trusted)
}

func verifyTyped[P any, T interface {
	*P
	predicate
}](bundle, manifest []byte, at time.Time, trusted []TrustedKey) (*P, string, error) {
	var p P
	v, err := VerifyStatement(bundle, protocol.Digest(manifest), T(&p).predicateType(), at, trusted...)
	if err != nil {
		return nil, "", err
	}
	if err := decodePredicate(&v.Statement, T(&p)); err != nil {
		return nil, "", err
	}
	return &p, v.KeyFingerprint, nil
}

package signing

import (
	"encoding/hex"
	"fmt"
	"time"

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
// yet checked: see Trust.VerifyStatement.
type Verified struct {
	Payload        []byte       // the signed bytes
	Statement      Statement    // the same, read strictly
	KeyFingerprint string       // of the trusted key that signed; empty for a certificate
	Certificate    *Certificate // of who signed; nil for a key
	Time           time.Time    // when it was signed, as an authority attests; zero if none does
	TimeSource     string       // TimeTimestamp or TimeLog; empty if there is no Time
	PlanBundle     string       // digest of an approval's second subject; empty: it has none
}

// Who attests a time.
const (
	TimeTimestamp = "rfc3161"
	TimeLog       = "transparency-log"
)

// Verify is Trust.Verify with keys only.
func Verify(bundle []byte, at time.Time, trusted ...TrustedKey) (*Verified, error) {
	return TrustKeys(trusted...).Verify(bundle, at)
}

// choose finds the trusted key that the bundle names, with all its windows. The
// hint only selects; the signature must then be that key's.
func choose(hint string, trusted []TrustedKey) (*PublicKey, []TrustedKey, error) {
	if len(trusted) == 0 || len(trusted) > limits.TrustedKeys {
		return nil, nil, protocol.Errorf(protocol.ExitIntegrity, CodeSignatureUntrusted,
			"%d trusted keys to verify with (1 to %d)", len(trusted), limits.TrustedKeys).
			WithHint("name the public keys of those who may sign")
	}
	var windows []TrustedKey
	for _, t := range trusted {
		if t.Key != nil && t.Key.hint() == hint {
			windows = append(windows, t)
		}
	}
	if windows == nil {
		return nil, nil, protocol.Errorf(protocol.ExitIntegrity, CodeSignatureUntrusted,
			"signed by key %s, which is none of the %d trusted ones", readable(hint), len(trusted)).
			WithHint("if the signer may sign this, add their public key to the governance in force")
	}
	return windows[0].Key, windows, nil
}

// inWindow checks that a key counts at a time: overlapping windows are as one.
func inWindow(windows []TrustedKey, at time.Time) error {
	for _, t := range windows {
		if t.validAt(at) {
			return nil
		}
	}
	return protocol.Errorf(protocol.ExitIntegrity, CodeSignatureKeyWindow,
		"key %s is not valid at %s", windows[0].Key.Fingerprint(), at.UTC().Format(time.RFC3339)).
		WithHint("sign again with a key that is valid, or correct the key's validity window")
}

// Counts says whether what a key signs at that time would count.
func (t Trust) Counts(key *PublicKey, at time.Time) error {
	_, windows, err := choose(key.hint(), t.Keys)
	if err != nil {
		return err
	}
	return inWindow(windows, at)
}

// readable gives the fingerprint form of a bundle's hint, or quotes a foreign one.
func readable(hint string) string {
	const digestBytes = 32
	if sum, err := strictBase64("hint", hint, digestBytes); err == nil && len(sum) == digestBytes {
		return protocol.FormatDigest(sum)
	}
	return fmt.Sprintf("%.60q", hint)
}

// VerifyStatement is Trust.VerifyStatement with keys only.
func VerifyStatement(bundle []byte, manifestDigest, predicateType string, at time.Time, trusted ...TrustedKey) (*Verified, error) {
	return TrustKeys(trusted...).VerifyStatement(bundle, manifestDigest, predicateType, at)
}

func checkSubject(subjects []Subject, manifestDigest string) error {
	if len(subjects) != 1 {
		return mismatch("the statement's subject has %d entries, not exactly one", len(subjects))
	}
	s := subjects[0]
	if s.Name != ManifestName {
		return mismatch("the statement's subject has name %.100q, not %q", s.Name, ManifestName)
	}
	want, err := protocol.ParseDigest(manifestDigest)
	if err != nil {
		return protocol.Errorf(protocol.ExitFailure, CodeStatementMismatch, "the manifest's digest: %w", err)
	}
	if s.Digest.SHA256 != want {
		if _, err := hex.DecodeString(s.Digest.SHA256); err != nil {
			return mismatch("the subject's digest is malformed")
		}
		return mismatch("the statement's subject %s has digest sha256:%.64s, this one has %s",
			ManifestName, s.Digest.SHA256, manifestDigest)
	}
	return nil
}

func mismatch(format string, args ...any) error {
	return protocol.Errorf(protocol.ExitIntegrity, CodeStatementMismatch, format, args...).
		WithHint("the signature is genuine, but for something else; use the file that belongs to this flight, or sign this flight anew")
}

// VerifyApproval is Trust.VerifyApproval with keys only, and gives the fingerprint
// of the one that signed.
func VerifyApproval(bundle, manifest []byte, at time.Time, trusted ...TrustedKey) (*ApprovalPredicate, string, error) {
	return fingerprint(TrustKeys(trusted...).VerifyApproval(bundle, manifest, at))
}

// VerifyFlightPlan is Trust.VerifyFlightPlan with keys only, and gives the
// fingerprint of the one that signed.
func VerifyFlightPlan(bundle, manifest []byte, at time.Time, trusted ...TrustedKey) (*FlightPlanPredicate, string, error) {
	return fingerprint(TrustKeys(trusted...).VerifyFlightPlan(bundle, manifest, at))
}

// VerifyTakeOff is Trust.VerifyTakeOff with keys only, and gives the fingerprint
// of the one that signed.
func VerifyTakeOff(bundle, manifest []byte, at time.Time, trusted ...TrustedKey) (*TakeOffPredicate, string, error) {
	return fingerprint(TrustKeys(trusted...).VerifyTakeOff(bundle, manifest, at))
}

func fingerprint[P any](p *P, v *Verified, err error) (*P, string, error) {
	if err != nil {
		return nil, "", err
	}
	return p, v.KeyFingerprint, nil
}

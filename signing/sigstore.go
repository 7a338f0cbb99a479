package signing

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/cabincrew/action/protocol"
)

// verifyKey checks a bundle that names a key.
func (t Trust) verifyKey(data []byte, parts *bundleParts, at time.Time) (*Verified, error) {
	key, windows, err := choose(parts.hint, t.Keys)
	if err != nil {
		return nil, err
	}
	if !t.RequireTimestamp {
		if err := inWindow(windows, at); err != nil {
			return nil, err
		}
	}
	if err := t.canCheckTimes(parts, t.RequireTimestamp); err != nil {
		return nil, err
	}
	result, err := verifyWithKey(data, parts, key, t.Root)
	if err != nil {
		return nil, t.explain(data, parts, err, "key "+key.Fingerprint(), key)
	}
	v := &Verified{KeyFingerprint: key.Fingerprint()}
	v.Time, v.TimeSource = trustedTime(result)
	if t.RequireTimestamp {
		if err := inWindow(windows, v.Time); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// verifyCertificate checks a bundle with a certificate.
func (t Trust) verifyCertificate(data []byte, parts *bundleParts, matches func(*Certificate) error) (*Verified, error) {
	facts, leaf, err := readCertificate(parts.certificate)
	if err != nil {
		return nil, malformed(fmt.Errorf("certificate: %w", err))
	}
	key, err := newPublicKey(leaf.PublicKey)
	if err != nil {
		return nil, malformed(fmt.Errorf("certificate: %w", err))
	}
	if t.Root == nil || len(t.Root.root.FulcioCertificateAuthorities()) == 0 {
		return nil, protocol.Errorf(protocol.ExitIntegrity, CodeCertificateUntrusted,
			"signed with a certificate, and no trusted root names an authority for certificates").
			WithHint("give the trusted_root.json of the authority that issues your certificates")
	}
	if err := t.canCheckTimes(parts, false); err != nil {
		return nil, err
	}
	demandsLog := t.Root.hasLogs() && !t.InsecureNoLogEntry
	if demandsLog && parts.logEntries == 0 {
		return nil, protocol.Errorf(protocol.ExitIntegrity, CodeSignatureLog,
			"the bundle has no entry of a transparency log, although the trusted root names logs").
			WithHint("sign with the log, or pin a trusted root without one")
	}
	opts := []verify.VerifierOption{verify.WithoutStatementPredicate()}
	if parts.timestamps > 0 {
		opts = append(opts, verify.WithSignedTimestamps(parts.timestamps))
	} else {
		opts = append(opts, verify.WithIntegratedTimestamps(1))
	}
	if parts.logEntries > 0 {
		opts = append(opts, verify.WithTransparencyLog(parts.logEntries))
	}
	if t.Root.hasCTLogs() && !t.InsecureNoSCT {
		opts = append(opts, verify.WithSignedCertificateTimestamps(1))
	}
	result, err := verifySigstore(data, parts, key, t.Root.material(), verify.WithoutIdentitiesUnsafe(), opts...)
	if err != nil {
		return nil, t.explain(data, parts, err, "the certificate of "+fmt.Sprintf("%.200q", facts.SAN), key)
	}
	v := &Verified{Certificate: facts}
	if v.Time, v.TimeSource = trustedTime(result); v.Time.IsZero() {
		return nil, noTime("nothing attests when the certificate signed")
	}
	// sigstore-go has compared the chain with this time, as RFC 5280 wants.
	if err := matches(facts); err != nil {
		return nil, err
	}
	return v, nil
}

// canCheckTimes refuses, before anything is verified, what has no time that could
// be trusted, and what nobody could check: bytes that nothing vouches for.
func (t Trust) canCheckTimes(parts *bundleParts, demanded bool) error {
	switch {
	case parts.timestamps > 0 && !t.Root.hasTimestamps():
		return noTime("the bundle has a time stamp, and no trusted root names an authority for it")
	case parts.timestamps == 0 && (demanded || parts.certificate != nil && parts.logEntries == 0):
		return noTime("the bundle has no time stamp of a trusted authority; the current time proves nothing")
	case parts.logEntries > 0 && !t.Root.hasLogs():
		return protocol.Errorf(protocol.ExitIntegrity, CodeSignatureLog,
			"the bundle has an entry of a transparency log, and no trusted root names one").
			WithHint("pin a trusted root that names the log")
	}
	return nil
}

func noTime(format string, args ...any) error {
	return protocol.Errorf(protocol.ExitIntegrity, CodeSignatureTime, format, args...).
		WithHint("sign with a time stamping authority (RFC 3161), and pin a trusted root that names it")
}

// trustedTime gives the latest time at which all that was checked held.
func trustedTime(result *verify.VerificationResult) (at time.Time, source string) {
	for _, s := range result.VerifiedTimestamps {
		if at.IsZero() || s.Timestamp.After(at) {
			at, source = s.Timestamp.UTC(), TimeLog
			if s.Type == "TimestampAuthority" {
				source = TimeTimestamp
			}
		}
	}
	return at, source
}

// verifyWithKey checks a bundle of a key, its time stamps and its log entries.
func verifyWithKey(data []byte, parts *bundleParts, key *PublicKey, trusted *TrustedRoot) (*verify.VerificationResult, error) {
	material := root.TrustedMaterialCollection{key.material(), trusted.material()}
	opts := []verify.VerifierOption{verify.WithoutStatementPredicate()}
	if parts.timestamps > 0 {
		opts = append(opts, verify.WithSignedTimestamps(parts.timestamps))
	} else {
		opts = append(opts, verify.WithNoObserverTimestamps())
	}
	if parts.logEntries > 0 {
		opts = append(opts, verify.WithTransparencyLog(parts.logEntries))
	}
	return verifySigstore(data, parts, key, material, verify.WithKey(), opts...)
}

// material gives the key to sigstore-go. Windows are judged by verifyKey:
// sigstore-go looks at them only where a time stamp is attested.
func (p *PublicKey) material() root.TrustedMaterial {
	return root.NewTrustedPublicKeyMaterial(func(hint string) (root.TimeConstrainedVerifier, error) {
		if hint != p.hint() {
			return nil, fmt.Errorf("the bundle names key %q", hint)
		}
		verifier, err := signature.LoadVerifier(p.key, crypto.SHA256)
		if err != nil {
			return nil, err
		}
		return root.NewExpiringKey(verifier, time.Time{}, time.Time{}), nil
	})
}

// verifySigstore has sigstore-go verify a well-formed bundle, and checks that it
// saw the same payload as parseBundle did.
func verifySigstore(data []byte, parts *bundleParts, key *PublicKey, material root.TrustedMaterial,
	who verify.PolicyOption, opts ...verify.VerifierOption,
) (*verify.VerificationResult, error) {
	if err := strictSignature(key.typ, parts.signature); err != nil {
		return nil, err
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(data); err != nil {
		return nil, err
	}
	content, err := b.SignatureContent()
	if err != nil {
		return nil, err
	}
	if e := content.EnvelopeContent(); e == nil || !samePayload(e, parts.payload) {
		return nil, errors.New("the envelope reads in two ways")
	}
	v, err := verify.NewVerifier(material, opts...)
	if err != nil {
		return nil, err
	}
	// The subject is compared by checkSubject, more strictly than sigstore-go
	// does: by name as well, and exactly one.
	return v.Verify(&b, verify.NewPolicy(verify.WithoutArtifactUnsafe(), who))
}

func samePayload(e verify.EnvelopeContent, payload []byte) bool {
	got, err := e.RawEnvelope().DecodeB64Payload()
	return err == nil && bytes.Equal(got, payload)
}

// explain says which part of a bundle does not hold. The bundle is refused in any
// case; this only finds the words.
func (t Trust) explain(data []byte, parts *bundleParts, err error, who string, key *PublicKey) error {
	material := root.TrustedMaterialCollection{key.material(), t.Root.material()}
	invalid := protocol.Errorf(protocol.ExitIntegrity, CodeSignatureInvalid,
		"the signature is not that of %s over this statement: %w", who, clipped(err)).WithHint("%s", hintReplace)
	var b bundle.Bundle
	if strictSignature(key.typ, parts.signature) != nil || b.UnmarshalJSON(data) != nil {
		return invalid
	}
	stamps, problems, e := verify.VerifySignedTimestamp(&b, material)
	if e != nil || len(stamps) < parts.timestamps {
		return noTime("the time stamp is not that of a trusted authority over this signature: %w", clipped(errors.Join(append(problems, e)...)))
	}
	if parts.logEntries > 0 {
		if _, e := verify.VerifyTlogEntry(&b, material, parts.logEntries, true); e != nil {
			return protocol.Errorf(protocol.ExitIntegrity, CodeSignatureLog,
				"the log entry is not that of a trusted log over this signature: %w", clipped(e)).WithHint("%s", hintReplace)
		}
	}
	c, e := b.VerificationContent()
	if e != nil {
		return invalid
	}
	if err := t.explainChain(stamps, c.Certificate()); err != nil {
		return err
	}
	content, e := b.SignatureContent()
	if e != nil || verify.VerifySignature(content, c, material) != nil {
		return invalid
	}
	// The signature holds: do not blame it for what is wrong with the payload.
	if _, e := content.EnvelopeContent().Statement(); e != nil || parts.certificate == nil {
		return statementError(protocol.ExitIntegrity, "in-toto Statement v1", fmt.Errorf("the signature holds, but what was signed is no statement: %w", err))
	}
	return protocol.Errorf(protocol.ExitIntegrity, CodeCertificateUntrusted,
		"the certificate, its time or its transparency log does not hold: %w", clipped(err)).
		WithHint("sign again, or pin a trusted root that names the authorities that were used")
}

// explainChain says why a certificate does not count at a trusted time.
func (t Trust) explainChain(stamps []*root.Timestamp, leaf *x509.Certificate) error {
	if leaf == nil {
		return nil
	}
	for _, s := range stamps {
		if s.Time.Before(leaf.NotBefore) || s.Time.After(leaf.NotAfter) {
			return protocol.Errorf(protocol.ExitIntegrity, CodeCertificateUntrusted,
				"the time stamp says %s, and the certificate was valid from %s to %s", s.Time.UTC().Format(time.RFC3339),
				leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339)).WithHint("%s", hintReplace)
		}
		if _, err := verify.VerifyLeafCertificate(s.Time, leaf, t.Root.material()); err != nil {
			return protocol.Errorf(protocol.ExitIntegrity, CodeCertificateUntrusted,
				"the certificate is of no authority that is trusted at %s", s.Time.UTC().Format(time.RFC3339)).
				WithHint("if the authority may issue certificates, pin a trusted root that names it for that time")
		}
	}
	return nil
}

package signing

import (
	"strings"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Trust is what signatures are judged by. The zero one trusts nobody.
type Trust struct {
	// Keys whose signatures count, each in its window.
	Keys []TrustedKey
	// Identities whose certificates count.
	Identities []Identity
	// Root holds the authorities for certificates, time stamps and log entries.
	// Without it only bundles of keys without a time stamp can be verified.
	Root *TrustedRoot
	// RequireTimestamp wants an RFC 3161 time stamp for bundles of keys, too, and
	// judges a key's window by it. (A certificate always needs a trusted time.)
	RequireTimestamp bool
	// InsecureNoLogEntry accepts certificates' bundles without an entry in a
	// transparency log, although Root names logs.
	InsecureNoLogEntry bool
	// InsecureNoSCT accepts certificates that no certificate transparency log has
	// seen, although Root names such logs.
	InsecureNoSCT bool
}

// TrustKeys trusts keys only.
func TrustKeys(keys ...TrustedKey) Trust { return Trust{Keys: keys} }

// Verify checks that a bundle is in its one form and signed by a trusted key or by
// a certificate of a trusted identity. Keys must be valid at that time: the moment
// of checking, or one that something trusted attests (a time in the statement is
// the signer's own word). A certificate must have been valid at a time that an
// authority of Root attests; the moment of checking does not count for it.
// It does not check what the statement is about.
func (t Trust) Verify(bundle []byte, at time.Time) (*Verified, error) {
	v, err := t.verify(bundle, at, t.matches)
	if err != nil || v.Certificate == nil {
		return v, err
	}
	if err := t.maySign(v); err != nil {
		return nil, err
	}
	return v, nil
}

// maySign refuses a statement of a type that no identity may sign which the certificate
// has: a workflow that plans, say, must not tell who approved.
func (t Trust) maySign(v *Verified) error {
	var may []Identity
	for _, i := range t.Identities {
		if i.signs(v.Statement.PredicateType) {
			may = append(may, i)
		}
	}
	if matchIdentity(v.Certificate, may) == nil {
		return nil
	}
	return protocol.Errorf(protocol.ExitIntegrity, CodeSignatureUntrusted, "%.300q may not sign statements of type %.100q", v.Certificate.SAN, v.Statement.PredicateType).
		WithHint("if it may, list that under signs of its identity in the governance in force")
}

// InsecureVerifyAnyIdentity is Verify, but accepts a certificate of any identity
// that an authority of Root has issued: whoever has an account there.
func (t Trust) InsecureVerifyAnyIdentity(bundle []byte, at time.Time) (*Verified, error) {
	return t.verify(bundle, at, func(*Certificate) error { return nil })
}

func (t Trust) matches(c *Certificate) error {
	if len(t.Identities) > limits.TrustedIdentities {
		return protocol.Errorf(protocol.ExitIntegrity, CodeSignatureUntrusted,
			"%d identities are too many (at most %d)", len(t.Identities), limits.TrustedIdentities).WithHint("name fewer")
	}
	return matchIdentity(c, t.Identities)
}

func (t Trust) verify(bundle []byte, at time.Time, matches func(*Certificate) error) (*Verified, error) {
	parts, err := parseBundle(bundle)
	if err != nil {
		return nil, err
	}
	var v *Verified
	if parts.certificate != nil {
		v, err = t.verifyCertificate(bundle, parts, matches)
	} else {
		v, err = t.verifyKey(bundle, parts, at)
	}
	if err != nil {
		return nil, err
	}
	s, err := parseStatement(parts.payload)
	if err != nil {
		return nil, statementError(protocol.ExitIntegrity, "in-toto Statement v1", err)
	}
	v.Payload, v.Statement = parts.payload, *s
	return v, nil
}

// VerifyStatement is Verify, and checks that the statement is of that predicate
// type and about exactly one subject: plan-manifest.json with that digest. An approval
// may have the signed plan as a second one, which the caller compares.
func (t Trust) VerifyStatement(bundle []byte, manifestDigest, predicateType string, at time.Time) (*Verified, error) {
	v, err := t.Verify(bundle, at)
	if err != nil {
		return nil, err
	}
	if v.Statement.PredicateType != predicateType {
		return nil, mismatch("the statement's predicateType is %.100q, not %q", v.Statement.PredicateType, predicateType)
	}
	subjects := v.Statement.Subject
	if predicateType == ApprovalType && len(subjects) == 2 && subjects[1].Name == PlanBundleName {
		sum := subjects[1].Digest.SHA256
		if v.PlanBundle, err = protocol.NormalDigest(sum); err != nil || !strings.HasSuffix(v.PlanBundle, ":"+sum) {
			return nil, mismatch("the digest of %s is malformed", PlanBundleName)
		}
		subjects = subjects[:1]
	}
	if err := checkSubject(subjects, manifestDigest); err != nil {
		return nil, err
	}
	return v, nil
}

// VerifyApproval reads an approval about this manifest. Whether it counts (id,
// tokens, role, expiry, use) is for the caller to judge. SPEC: docs/protocol.md 7
func (t Trust) VerifyApproval(bundle, manifest []byte, at time.Time) (*ApprovalPredicate, *Verified, error) {
	p, v, err := verifyTyped[ApprovalPredicate](t, bundle, manifest, at)
	if err == nil {
		p.PlanBundle = v.PlanBundle
	}
	return p, v, err
}

// VerifyFlightPlan reads a flight plan about this manifest.
func (t Trust) VerifyFlightPlan(bundle, manifest []byte, at time.Time) (*FlightPlanPredicate, *Verified, error) {
	return verifyTyped[FlightPlanPredicate](t, bundle, manifest, at)
}

// VerifyTakeOff reads the end of the flight with this manifest.
func (t Trust) VerifyTakeOff(bundle, manifest []byte, at time.Time) (*TakeOffPredicate, *Verified, error) {
	return verifyTyped[TakeOffPredicate](t, bundle, manifest, at)
}

// VerifyEnd reads the end of a flight whose manifest is not at hand: what the statement
// names is for the caller to compare.
func (t Trust) VerifyEnd(bundle []byte, at time.Time) (*TakeOffPredicate, *Verified, error) {
	v, err := t.Verify(bundle, at)
	if err != nil {
		return nil, nil, err
	}
	if v.Statement.PredicateType != TakeOffType {
		return nil, nil, mismatch("the statement's predicateType is %.100q, not %q", v.Statement.PredicateType, TakeOffType)
	}
	var p TakeOffPredicate
	if err := decodePredicate(&v.Statement, &p); err != nil {
		return nil, nil, err
	}
	return &p, v, nil
}

// VerifyEndThen is VerifyEnd as of when the statement itself says that the flight ended,
// which is no later than now. Who holds a key whose window ended can say so too, where
// nothing attests the time.
func (t Trust) VerifyEndThen(bundle []byte, now time.Time) (*TakeOffPredicate, *Verified, error) {
	parts, err := parseBundle(bundle)
	if err != nil {
		return nil, nil, err
	}
	s, err := parseStatement(parts.payload)
	if err != nil {
		return nil, nil, statementError(protocol.ExitIntegrity, "in-toto Statement v1", err)
	}
	var p TakeOffPredicate
	if err := decodePredicate(s, &p); err != nil {
		return nil, nil, err
	}
	then, err := time.Parse(time.RFC3339, p.FinishedAt)
	if err != nil {
		return nil, nil, mismatch("the time %.100q cannot be read", p.FinishedAt)
	}
	if then.After(now) {
		then = now
	}
	return t.VerifyEnd(bundle, then)
}

func verifyTyped[P any, T interface {
	*P
	predicate
}](t Trust, bundle, manifest []byte, at time.Time) (*P, *Verified, error) {
	var p P
	v, err := t.VerifyStatement(bundle, protocol.Digest(manifest), T(&p).predicateType(), at)
	if err != nil {
		return nil, nil, err
	}
	if err := decodePredicate(&v.Statement, T(&p)); err != nil {
		return nil, nil, err
	}
	return &p, v, nil
}

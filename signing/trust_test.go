package signing_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/signing/signingtest"
)

// rig is an authority, and what trusts it.
type rig struct {
	*signingtest.Authority

	t testing.TB
}

func newRig(t testing.TB) *rig {
	t.Helper()
	return &rig{signingtest.New(t, today), t}
}

func (r *rig) root(parts signingtest.Parts) *signing.TrustedRoot {
	r.t.Helper()
	root, err := signing.ParseTrustedRoot(r.TrustedRoot(parts))
	if err != nil {
		r.t.Fatal(err)
	}
	return root
}

func githubPolicy() signing.IdentityPolicy {
	f := signingtest.GitHub()
	return signing.IdentityPolicy{
		Issuer: f.Extensions[8], SAN: f.SAN, SourceRepositoryID: "17", OwnerID: "7",
		RunnerEnvironment: "github-hosted", Events: []string{"push", "workflow_dispatch"}, SourceRef: "refs/heads/main",
	}
}

func identity(t testing.TB, p signing.IdentityPolicy) signing.Identity {
	t.Helper()
	i, err := signing.NewIdentity(p)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func (r *rig) trust() signing.Trust {
	return signing.Trust{Root: r.root(signingtest.Parts{CA: true, TSA: true}), Identities: []signing.Identity{identity(r.t, githubPolicy())}}
}

// document is a bundle that a test takes apart.
type document map[string]any

func (d document) in(names ...string) document {
	for _, n := range names {
		d, _ = d[n].(map[string]any)
	}
	return d
}

func (d document) canonical(t testing.TB) []byte {
	t.Helper()
	out, err := protocol.Canonical(map[string]any(d))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func open(t testing.TB, bundle []byte) document {
	t.Helper()
	var d document
	if err := json.Unmarshal(bundle, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d document) signature(t testing.TB) []byte {
	t.Helper()
	list, _ := d.in("dsseEnvelope")["signatures"].([]any)
	sig, err := base64.StdEncoding.DecodeString(list[0].(map[string]any)["sig"].(string))
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func (d document) stamp(stamps ...[]byte) document {
	var list []any
	for _, s := range stamps {
		list = append(list, map[string]any{"signedTimestamp": base64.StdEncoding.EncodeToString(s)})
	}
	d.in("verificationMaterial")["timestampVerificationData"] = map[string]any{"rfc3161Timestamps": list}
	return d
}

// unstamped signs with a certificate that says these facts, and without a time.
func (r *rig) unstamped(statement []byte, f signingtest.Facts) document {
	r.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	key, err := signing.NewRemoteKey(&private.PublicKey, func(_ context.Context, message []byte) ([]byte, error) {
		sum := sha256.Sum256(message)
		return ecdsa.SignASN1(rand.Reader, private, sum[:])
	})
	if err != nil {
		r.t.Fatal(err)
	}
	d := open(r.t, signed(r.t, key, statement))
	d["verificationMaterial"] = map[string]any{
		"certificate": map[string]any{"rawBytes": base64.StdEncoding.EncodeToString(r.Certificate(&private.PublicKey, f))},
	}
	return d
}

func (r *rig) bundle(f signingtest.Facts) []byte {
	r.t.Helper()
	d := r.unstamped(approvalStatement(r.t), f)
	return d.stamp(r.Timestamp(d.signature(r.t))).canonical(r.t)
}

func TestCertificateBundle(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p, v, err := r.trust().VerifyApproval(r.bundle(signingtest.GitHub()), manifest, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Role != approval().Role || v.KeyFingerprint != "" || !v.Time.Equal(today) || v.TimeSource != signing.TimeTimestamp {
		t.Errorf("%+v", v)
	}
	c, f := v.Certificate, signingtest.GitHub()
	got := map[int]string{
		8: c.Issuer, 9: c.BuildSignerURI, 10: c.BuildSignerDigest, 11: c.RunnerEnvironment, 12: c.SourceRepositoryURI, 13: c.SourceDigest,
		14: c.SourceRepositoryRef, 15: c.SourceRepositoryID, 16: c.OwnerURI, 17: c.OwnerID, 18: c.BuildConfigURI, 19: c.BuildConfigDigest,
		20: c.BuildTrigger, 21: c.RunInvocationURI, 22: c.Visibility, 24: c.Subject,
	}
	for n, want := range f.Extensions {
		if got[n] != want {
			t.Errorf("extension %d reads %q, not %q", n, got[n], want)
		}
	}
	if c.SAN != f.SAN || c.Email || !c.NotBefore.Equal(today) {
		t.Errorf("%+v", c)
	}
}

// Each fact of the certificate is another's in turn.
func TestCertificateOfSomebodyElse(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	good, trust := signingtest.GitHub(), r.trust()
	for name, c := range map[string]struct {
		facts signingtest.Facts
		want  []string
	}{
		"another workflow": {
			good.Signer("https://github.com/cabincrew/flights/.github/workflows/evil.yml@refs/heads/main"),
			[]string{"subject alternative name", "evil.yml", "wanted", "plan.yml@refs/heads/main"},
		},
		"the workflow as a pull request has it": {
			good.Signer("https://github.com/cabincrew/flights/.github/workflows/plan.yml@refs/pull/7/merge"),
			[]string{"subject alternative name", "refs/pull/7/merge"},
		},
		"a longer name":       {good.Signer(good.SAN + "x"), []string{"subject alternative name"}},
		"a name in capitals":  {good.Signer(strings.Replace(good.SAN, "plan", "Plan", 1)), []string{"subject alternative name"}},
		"a signer unlike SAN": {good.With(9, "https://github.com/x/y@refs/heads/main"), []string{"build signer URI is", "https://github.com/x/y"}},
		"no signer URI":       {good.With(9, ""), []string{"build signer URI is not stated"}},
		"self-hosted runner":  {good.With(11, "self-hosted"), []string{`runner environment is "self-hosted", wanted "github-hosted"`}},
		"no runner":           {good.With(11, ""), []string{"runner environment is not stated"}},
		"a fork":              {good.With(15, "42"), []string{"source repository id is 42, wanted 17"}},
		"no repository id":    {good.With(15, ""), []string{"source repository id is not stated, wanted 17"}},
		"another owner":       {good.With(17, "8"), []string{"source repository owner id is 8, wanted 7"}},
		"another event":       {good.With(20, "pull_request"), []string{`event is "pull_request", wanted "push" or "workflow_dispatch"`}},
		"another issuer":      {good.With(8, "https://gitlab.com"), []string{`issuer is "https://gitlab.com", wanted "https://token.actions`}},
		"another ref":         {good.With(14, "refs/pull/7/merge"), []string{`source repository ref is "refs/pull/7/merge", wanted "refs/heads/main"`}},
		"a person":            {signingtest.Facts{SAN: "a@example.com", Email: true, Extensions: map[int]string{8: good.Extensions[8]}}, []string{"subject alternative name"}},
	} {
		_, err := trust.Verify(r.bundle(c.facts), today)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantError(t, err, protocol.ExitIntegrity, signing.CodeIdentityMismatch, c.want...)
		if _, err := trust.InsecureVerifyAnyIdentity(r.bundle(c.facts), today); err != nil {
			t.Errorf("%s: the certificate itself is not good: %v", name, err)
		}
	}
	trust.Identities = nil
	_, err := trust.Verify(r.bundle(good), today)
	wantError(t, err, protocol.ExitIntegrity, signing.CodeSignatureUntrusted, "no certificate's identity is trusted")
	trust.Identities = []signing.Identity{{}}
	_, err = trust.Verify(r.bundle(good), today)
	wantError(t, err, protocol.ExitIntegrity, signing.CodeIdentityMismatch)
}

// The closest of several identities tells what is wrong, and one that fits is enough.
func TestSeveralIdentities(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	far, near := githubPolicy(), githubPolicy()
	far.Issuer, near.OwnerID = "https://gitlab.com", "9"
	trust := r.trust()
	trust.Identities = []signing.Identity{identity(t, far), identity(t, near)}
	_, err := trust.Verify(r.bundle(signingtest.GitHub()), today)
	wantError(t, err, protocol.ExitIntegrity, signing.CodeIdentityMismatch, "owner id is 7, wanted 9", "closest of 2")
	trust.Identities = append(trust.Identities, identity(t, githubPolicy()))
	if _, err := trust.Verify(r.bundle(signingtest.GitHub()), today); err != nil {
		t.Error(err)
	}
}

// An identity signs the types of statements that it lists, and no others: a workflow that
// plans does not tell who approved.
func TestIdentityByStatement(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bundle := r.bundle(signingtest.GitHub())
	kind, err := signing.UnverifiedType(bundle)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		types [][]string // of one identity each
		ok    bool
	}{
		"all":        {[][]string{nil}, true},
		"this":       {[][]string{{kind}}, true},
		"others":     {[][]string{{"https://example.com/other"}}, false},
		"one of two": {[][]string{{"https://example.com/other"}, {kind}}, true},
	} {
		trust := r.trust()
		trust.Identities = nil
		for _, types := range c.types {
			p := githubPolicy()
			p.PredicateTypes = types
			trust.Identities = append(trust.Identities, identity(t, p))
		}
		_, err := trust.Verify(bundle, today)
		if c.ok && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !c.ok {
			wantError(t, err, protocol.ExitIntegrity, signing.CodeSignatureUntrusted, "may not sign statements of type "+strconv.Quote(kind))
		}
	}
}

func TestSignerByCommit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	good := signingtest.GitHub()
	p := githubPolicy()
	uri, _, _ := strings.Cut(p.SAN, "@")
	p.SAN, p.SignerURI, p.SignerDigests = "", uri, []string{strings.Repeat("3", 40), good.Extensions[10]}
	trust := r.trust()
	trust.Identities = []signing.Identity{identity(t, p)}
	for _, f := range []signingtest.Facts{good, good.Signer(uri + "@refs/tags/v1"), good.Signer(uri + "@" + good.Extensions[10])} {
		if _, err := trust.Verify(r.bundle(f), today); err != nil {
			t.Errorf("%s: %v", f.SAN, err)
		}
	}
	for name, c := range map[string]struct {
		facts signingtest.Facts
		want  string
	}{
		"another commit":   {good.With(10, strings.Repeat("4", 40)), "build signer digest"},
		"no commit":        {good.With(10, ""), "build signer digest is not stated"},
		"another workflow": {good.Signer(uri + "x@refs/heads/main"), "build signer URI without its ref"},
		"no ref":           {good.Signer(uri), "build signer URI without its ref"},
		"a bare branch":    {good.Signer(uri + "@main"), "build signer URI without its ref"},
		"two refs":         {good.Signer(uri + "@evil.yml@refs/heads/main"), "build signer URI without its ref"},
	} {
		_, err := trust.Verify(r.bundle(c.facts), today)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantError(t, err, protocol.ExitIntegrity, signing.CodeIdentityMismatch, c.want)
	}
}

func TestPersonsAndGitLab(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	trust := r.trust()
	mail := signingtest.Facts{SAN: "a@example.com", Email: true, Extensions: map[int]string{1: "https://accounts.example.com", 8: "https://accounts.example.com"}}
	trust.Identities = []signing.Identity{identity(t, signing.IdentityPolicy{Issuer: "https://accounts.example.com", SAN: "a@example.com"})}
	if _, err := trust.Verify(r.bundle(mail), today); err != nil {
		t.Error(err)
	}
	other := mail
	other.SAN = "b@example.com"
	_, err := trust.Verify(r.bundle(other), today)
	wantError(t, err, protocol.ExitIntegrity, signing.CodeIdentityMismatch, `"b@example.com", wanted "a@example.com"`)
	_, err = trust.Verify(r.bundle(mail.With(20, "push")), today)
	wantError(t, err, protocol.ExitIntegrity, signing.CodeIdentityMismatch, "kind of certificate")
	_, err = trust.Verify(r.bundle(mail.With(1, "https://evil.example.com")), today)
	wantError(t, err, protocol.ExitIntegrity, signing.CodeBundleMalformed, "two issuers")

	ci := "https://gitlab.example.com/acme/infra//.gitlab-ci.yml@refs/heads/main"
	gitlab := signingtest.Facts{SAN: ci, Extensions: map[int]string{
		8: "https://gitlab.example.com", 9: ci, 10: strings.Repeat("1", 40), 11: "gitlab-hosted", 12: "https://gitlab.example.com/acme/infra",
		13: strings.Repeat("1", 40), 14: "refs/heads/main", 15: "101", 17: "202", 18: ci, 20: "push",
	}}
	trust.Identities = []signing.Identity{identity(t, signing.IdentityPolicy{
		Issuer: "https://gitlab.example.com", SAN: ci, SourceRepositoryID: "101", OwnerID: "202", SourceRef: "refs/heads/main", RunnerEnvironment: "gitlab-hosted",
	})}
	if _, err := trust.Verify(r.bundle(gitlab), today); err != nil {
		t.Error(err)
	}
	_, err = trust.Verify(r.bundle(gitlab.With(14, "refs/heads/topic")), today)
	wantError(t, err, protocol.ExitIntegrity, signing.CodeIdentityMismatch, "source repository ref")
}

func TestTimesOfCertificates(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	good := r.trust()
	refused := func(name string, trust signing.Trust, bundle []byte, code string, want ...string) {
		t.Helper()
		_, err := trust.Verify(bundle, today)
		if err == nil {
			t.Errorf("%s: accepted", name)
			return
		}
		wantError(t, err, protocol.ExitIntegrity, code, want...)
	}
	d := r.unstamped(approvalStatement(t), signingtest.GitHub())
	sig := d.signature(t)
	refused("no time stamp", good, d.canonical(t), signing.CodeSignatureTime, "no time stamp", "current time proves nothing")

	stranger := signingtest.New(t, today)
	refused("a stranger's time stamp", good, d.stamp(stranger.Timestamp(sig)).canonical(t), signing.CodeSignatureTime, "trusted authority")
	refused("a stranger's beside ours", good, d.stamp(r.Timestamp(sig), stranger.Timestamp(sig)).canonical(t), signing.CodeSignatureTime)
	refused("the same one twice", good, d.stamp(r.Timestamp(sig), r.Timestamp(sig)).canonical(t), signing.CodeSignatureTime, "duplicate")

	other := r.unstamped(approvalStatement(t), signingtest.GitHub())
	refused("another signature's time stamp", good, d.stamp(r.Timestamp(other.signature(t))).canonical(t), signing.CodeSignatureTime)

	for name, shift := range map[string]time.Duration{"too early": -time.Second, "too late": r.LeafLife + time.Second} {
		r.Now = today.Add(shift)
		refused(name, good, d.stamp(r.Timestamp(sig)).canonical(t), signing.CodeCertificateUntrusted, "the certificate was valid from 2026-03-01T12:00:00Z")
		r.Now = today
	}
	d.stamp(r.Timestamp(sig))

	trust := good
	trust.Root = r.root(signingtest.Parts{TSA: true})
	refused("no authority for certificates", trust, d.canonical(t), signing.CodeCertificateUntrusted)
	trust.Root = r.root(signingtest.Parts{CA: true})
	refused("no authority for times", trust, d.canonical(t), signing.CodeSignatureTime)
	trust.Root = nil
	refused("no trusted root", trust, d.canonical(t), signing.CodeCertificateUntrusted)
	trust.Root = (&rig{stranger, t}).root(signingtest.Parts{CA: true, TSA: true})
	refused("a stranger's root", trust, d.canonical(t), signing.CodeSignatureTime)

	r.End = today.Add(-time.Hour)
	trust.Root = r.root(signingtest.Parts{CA: true, TSA: true})
	refused("an authority that has ended", trust, d.canonical(t), signing.CodeSignatureTime)
	ca := open(t, r.TrustedRoot(signingtest.Parts{CA: true}))
	r.End = time.Time{}
	both := open(t, r.TrustedRoot(signingtest.Parts{CA: true, TSA: true}))
	both["certificateAuthorities"] = ca["certificateAuthorities"]
	root, err := signing.ParseTrustedRoot(both.canonical(t))
	if err != nil {
		t.Fatal(err)
	}
	trust.Root = root
	refused("a Fulcio that has ended", trust, d.canonical(t), signing.CodeCertificateUntrusted, "no authority that is trusted at 2026-03-01T12:00:00Z")

	trust.Root = r.root(signingtest.Parts{CA: true, TSA: true, CT: true})
	refused("no SCT", trust, d.canonical(t), signing.CodeCertificateUntrusted, "SCT")
	trust.InsecureNoSCT = true
	if _, err := trust.Verify(d.canonical(t), today); err != nil {
		t.Error(err)
	}
	trust.Root = r.root(signingtest.Parts{CA: true, TSA: true, Log: true})
	refused("no log entry", trust, d.canonical(t), signing.CodeSignatureLog)
	trust.InsecureNoLogEntry = true
	if _, err := trust.Verify(d.canonical(t), time.Time{}); err != nil {
		t.Error(err)
	}
}

// Whatever is changed in a value of the bundle is refused.
func TestChangedCertificateBundles(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	trust := r.trust()
	good := r.bundle(signingtest.GitHub())
	if _, err := trust.Verify(good, today); err != nil {
		t.Fatal(err)
	}
	const step = 29 // each byte has been tried once: none is accepted
	for at := 0; at < len(good); at += step {
		bad := bytes.Clone(good)
		if bad[at]++; bad[at] > '~' {
			bad[at] = 'A'
		}
		if _, err := trust.Verify(bad, today); err == nil {
			t.Errorf("accepted with byte %d changed: %s|%s", at, good[max(0, at-40):at+1], good[at+1:at+200])
		} else if protocol.ExitCode(err) != protocol.ExitIntegrity {
			t.Errorf("byte %d: exit %d: %v", at, protocol.ExitCode(err), err)
		}
	}
	other := r.unstamped([]byte(strings.Replace(string(approvalStatement(t)), "wf-1", "wf-2", 1)), signingtest.GitHub())
	d := open(t, good)
	d.in("dsseEnvelope")["payload"] = other.in("dsseEnvelope")["payload"]
	_, err := trust.Verify(d.canonical(t), today)
	wantError(t, err, protocol.ExitIntegrity, signing.CodeSignatureInvalid, "over this statement")
	d = open(t, good)
	d.in("verificationMaterial")["certificate"] = other.in("verificationMaterial")["certificate"]
	_, err = trust.Verify(d.canonical(t), today)
	wantError(t, err, protocol.ExitIntegrity, signing.CodeSignatureInvalid)
	d = open(t, good)
	d.in("verificationMaterial")["publicKey"] = map[string]any{"hint": "x"}
	_, err = trust.Verify(d.canonical(t), today)
	wantError(t, err, protocol.ExitIntegrity, signing.CodeBundleMalformed, "exactly one")
}

func TestKeysWithTimestamps(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	key := newKey(t, signing.ECDSAP256, 1)
	root := r.root(signingtest.Parts{TSA: true})
	plain := signedApproval(t, key)
	d := open(t, plain)
	stamped := d.stamp(r.Timestamp(d.signature(t))).canonical(t)

	window := func(from, to time.Duration) signing.TrustedKey {
		return signing.TrustedKey{Key: key.Public(), NotBefore: today.Add(from), NotAfter: today.Add(to)}
	}
	later := today.Add(30 * 24 * time.Hour)
	day := 24 * time.Hour
	ok := func(name string, trust signing.Trust, bundle []byte, at time.Time) {
		t.Helper()
		v, err := trust.Verify(bundle, at)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if bytes.Equal(bundle, stamped) && (!v.Time.Equal(today) || v.TimeSource != signing.TimeTimestamp || v.KeyFingerprint != key.Public().Fingerprint()) {
			t.Errorf("%s: %+v", name, v)
		}
	}
	refused := func(name string, trust signing.Trust, bundle []byte, at time.Time, code string) {
		t.Helper()
		_, err := trust.Verify(bundle, at)
		if err == nil {
			t.Errorf("%s: accepted", name)
			return
		}
		wantError(t, err, protocol.ExitIntegrity, code)
	}
	ok("in the window", signing.TrustKeys(window(-day, day)), plain, today)
	refused("after the window", signing.TrustKeys(window(-day, day)), plain, later, signing.CodeSignatureKeyWindow)
	refused("a time stamp that nobody can check", signing.TrustKeys(window(-day, day)), stamped, today, signing.CodeSignatureTime)

	trust := signing.Trust{Keys: []signing.TrustedKey{window(-day, day)}, Root: root}
	ok("with a time stamp", trust, stamped, today)
	refused("the window ended, the time stamp is not asked", trust, stamped, later, signing.CodeSignatureKeyWindow)
	trust.RequireTimestamp = true
	ok("the window ended, the time stamp says before", trust, stamped, later)
	refused("no time stamp", trust, plain, today, signing.CodeSignatureTime)
	trust.Keys = []signing.TrustedKey{window(day, 2*day)}
	refused("before the window", trust, stamped, today.Add(day+time.Hour), signing.CodeSignatureKeyWindow)

	// Rotation: the old key's window and the new one's overlap.
	next := newKey(t, signing.ECDSAP256, 2)
	both := signing.TrustKeys(window(-10*day, day), signing.TrustedKey{Key: next.Public(), NotBefore: today.Add(-day), NotAfter: today.Add(10 * day)})
	ok("old", both, plain, today)
	ok("new", both, signedApproval(t, next), today)
	refused("old after its end", both, plain, today.Add(2*day), signing.CodeSignatureKeyWindow)
	ok("new after the old one's end", both, signedApproval(t, next), today.Add(2*day))
	refused("new before its start", both, signedApproval(t, next), today.Add(-2*day), signing.CodeSignatureKeyWindow)
	ok("two windows of one key", signing.TrustKeys(window(-5*day, -4*day), window(-day, day)), plain, today)
	refused("the zero trust", signing.Trust{}, plain, today, signing.CodeSignatureUntrusted)
}

func (r *rig) logged(t testing.TB) document {
	t.Helper()
	d := r.unstamped(approvalStatement(t), signingtest.GitHub())
	sig := d.signature(t)
	d.stamp(r.Timestamp(sig))
	sum := sha256.Sum256(pae(t, d))
	request := fmt.Sprintf(`{"hashedRekordRequestV002":{"digest":%q,"signature":{"content":%q,"verifier":{"x509Certificate":{"rawBytes":%q},"keyDetails":"PKIX_ECDSA_P256_SHA_256"}}}}`,
		base64.StdEncoding.EncodeToString(sum[:]), base64.StdEncoding.EncodeToString(sig), d.in("verificationMaterial", "certificate")["rawBytes"])
	var entry map[string]any
	if err := json.Unmarshal(r.LogEntry([]byte(request)), &entry); err != nil {
		t.Fatal(err)
	}
	d.in("verificationMaterial")["tlogEntries"] = []any{entry}
	return d
}

func pae(t testing.TB, d document) []byte {
	t.Helper()
	payload, err := base64.StdEncoding.DecodeString(d.in("dsseEnvelope")["payload"].(string))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(signing.PayloadType), signing.PayloadType, len(payload), payload)
}

func TestLogEntries(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.logged(t)
	bundle := d.canonical(t)
	trust := r.trust()
	_, err := trust.Verify(bundle, today)
	wantError(t, err, protocol.ExitIntegrity, signing.CodeSignatureLog, "no trusted root names one")
	trust.Root = r.root(signingtest.Parts{CA: true, TSA: true, Log: true})
	if _, err := trust.Verify(bundle, today); err != nil {
		t.Fatal(err)
	}
	entry := func(d document) document {
		list := d.in("verificationMaterial")["tlogEntries"].([]any)
		return list[0].(map[string]any)
	}
	for name, change := range map[string]func(e document){
		"index":           func(e document) { e["logIndex"] = "1" },
		"zero index":      func(e document) { e["logIndex"] = "0" },
		"log":             func(e document) { e.in("logId")["keyId"] = "AAAA" },
		"kind":            func(e document) { e.in("kindVersion")["kind"] = "dsse" },
		"version":         func(e document) { e.in("kindVersion")["version"] = "0.0.1" },
		"time":            func(e document) { e["integratedTime"] = "1772366400" },
		"body":            func(e document) { e["canonicalizedBody"] = "e30=" },
		"no proof":        func(e document) { delete(e, "inclusionProof") },
		"size":            func(e document) { e.in("inclusionProof")["treeSize"] = "2" },
		"root":            func(e document) { e.in("inclusionProof")["rootHash"] = "AAAA" },
		"index of proof":  func(e document) { e.in("inclusionProof")["logIndex"] = "1" },
		"hashes":          func(e document) { e.in("inclusionProof")["hashes"] = []any{"AAAA"} },
		"checkpoint":      func(e document) { e.in("inclusionProof", "checkpoint")["envelope"] = "x" },
		"negative":        func(e document) { e["logIndex"] = "-1" },
		"a leading zero":  func(e document) { e.in("inclusionProof")["treeSize"] = "01" },
		"another's entry": func(e document) { clear(e); mergeInto(e, entry(r.logged(t))) },
	} {
		d := open(t, bundle)
		change(entry(d))
		if _, err := trust.Verify(d.canonical(t), today); err == nil {
			t.Errorf("%s: accepted", name)
		} else if protocol.ExitCode(err) != protocol.ExitIntegrity {
			t.Errorf("%s: exit %d: %v", name, protocol.ExitCode(err), err)
		}
	}
	// A log gives no time: it does not stand for the time stamp.
	d = open(t, bundle)
	delete(d.in("verificationMaterial"), "timestampVerificationData")
	if _, err := trust.Verify(d.canonical(t), today); err == nil {
		t.Error("accepted without a trusted time")
	}
	stranger := signingtest.New(t, today)
	both := open(t, r.TrustedRoot(signingtest.Parts{CA: true, TSA: true}))
	both["tlogs"] = open(t, stranger.TrustedRoot(signingtest.Parts{Log: true}))["tlogs"]
	root, err := signing.ParseTrustedRoot(both.canonical(t))
	if err != nil {
		t.Fatal(err)
	}
	trust.Root = root
	_, err = trust.Verify(bundle, today)
	wantError(t, err, protocol.ExitIntegrity, signing.CodeSignatureLog)
}

func mergeInto(to, from document) {
	maps.Copy(to, from)
}

//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/signing/online"
)

// root gives the authorities of the rig.
func root(t *testing.T) *signing.TrustedRoot {
	t.Helper()
	raw, err := os.ReadFile(house.trustedRoot)
	if err != nil {
		t.Fatal(err)
	}
	r, err := signing.ParseTrustedRoot(raw)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// policy gives what the configuration would pin about this signer.
func (s signer) policy() signing.IdentityPolicy {
	p := signing.IdentityPolicy{Issuer: s.issuer.URL(), SAN: s.identity, SourceRef: "refs/heads/main", Events: []string{"push"}}
	if s.issuer == house.github {
		p.SignerDigests, p.SourceRepositoryID, p.OwnerID, p.RunnerEnvironment = []string{planSHA}, repoID, ownerID, "github-hosted"
	} else {
		p.SourceRepositoryID, p.OwnerID, p.RunnerEnvironment = projectID, groupID, "gitlab-hosted"
	}
	return p
}

// trust trusts this signer alone.
func (s signer) trust(t *testing.T) signing.Trust {
	t.Helper()
	identity, err := signing.NewIdentity(s.policy())
	if err != nil {
		t.Fatal(err)
	}
	return signing.Trust{Identities: []signing.Identity{identity}, Root: root(t)}
}

// tokens is where a job of this signer gets its identity token from, as its CI has it.
func (s signer) tokens(t *testing.T) online.TokenSource {
	t.Helper()
	env := map[string]string{}
	if s.issuer == house.gitlab {
		env["SIGSTORE_ID_TOKEN"] = s.issuer.token(t, s.claims)
	} else {
		for _, v := range s.issuer.Job(s.claims) {
			name, value, _ := strings.Cut(v, "=")
			env[name] = value
		}
	}
	source, err := online.FromEnvironment(env, nil)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// signs lets a job of this signer sign a flight's statement with our own code.
func (s signer) signs(t *testing.T, plan bundled) bundled {
	t.Helper()
	k, err := online.NewKeyless(s.tokens(t), online.Services{
		Fulcio: house.fulcio, Timestamp: house.tsa + "/api/v1/timestamp", Trust: signing.Trust{Root: root(t)},
	})
	if err != nil {
		t.Fatal(err)
	}
	statement, err := os.ReadFile(plan.statement(t))
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := k.Sign(t.Context(), statement)
	if err != nil {
		t.Fatal(err)
	}
	return bundled{file(t, "bundle.json", bundle), plan.artifact}
}

// verified asks our own verification. Another tool's bundle is brought into our form
// first.
func (b bundled) verified(t *testing.T, trust signing.Trust, predicate string) error {
	t.Helper()
	bundle, err := os.ReadFile(b.bundle)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(b.artifact)
	if err != nil {
		t.Fatal(err)
	}
	if bundle, err = signing.Normalize(bundle); err != nil {
		return err
	}
	_, err = trust.VerifyStatement(bundle, protocol.Digest(manifest), predicate, time.Now())
	return err
}

// npm asks npm's sigstore.
func (b bundled) npm(t *testing.T, predicate string, by ...string) result {
	t.Helper()
	args := append([]string{filepath.Join(house.repository, "test", "e2e", "npm", "judge.mjs"), house.tool("npm/node_modules"), b.bundle, b.artifact, predicate}, by...)
	r := command(t, t.TempDir(), bare(t.TempDir()), "node", args...)
	if r.code > 1 {
		t.Fatalf("node ended with exit %d: %s", r.code, r.stderr)
	}
	return r
}

// judges asks all three. No judge may differ from what is wanted.
func (s signer) judges(t *testing.T, what string, b bundled, predicate string, want bool) {
	t.Helper()
	if err := b.verified(t, s.trust(t), predicate); (err == nil) != want {
		t.Errorf("%s: our own verification says %v", what, err)
	}
	if r := b.judgedAs(t, predicate, s.flags()...); (r.code == 0) != want {
		t.Errorf("%s: cosign says %s", what, r.stderr)
	}
	if r := b.npm(t, predicate, "certificate", house.trustedRoot, s.identity, s.issuer.URL()); (r.code == 0) != want {
		t.Errorf("%s: npm's sigstore says %s", what, r.stderr)
	}
}

// TestCertificates lets cosign and npm's sigstore judge what our own code signs with
// certificates of a real Fulcio and time stamps of a real authority, and every way in
// which it may be tampered with.
func TestCertificates(t *testing.T) {
	t.Parallel()
	plan := of(newWS(t, "signing: {key: keys/plan}\n").json(4, "flight-plan").FlightDir)
	const material = "verificationMaterial."
	const certificate, stamp = material + "certificate.rawBytes", material + "timestampVerificationData.rfc3161Timestamps.signedTimestamp"
	for name, who := range map[string]signer{"github": githubJob(), "gitlab": gitlabJob()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good, second := who.signs(t, plan), who.signs(t, plan)
			who.judges(t, "in order", good, signing.FlightPlanType, true)
			who.judges(t, "as another type", good, signing.TakeOffType, false)
			other := good
			other.artifact = file(t, "plan-manifest.json", []byte(`{"files":[]}`))
			who.judges(t, "another artifact", other, signing.FlightPlanType, false)
			of := func(path string) func(string) string { return func(string) string { return second.text(t, path) } }
			for what, bad := range map[string]bundled{
				"a softer payload":               good.with(t, "dsseEnvelope.payload", softened),
				"another type of payload":        good.with(t, "dsseEnvelope.payloadType", func(s string) string { return s + ";v=2" }),
				"another signature":              good.with(t, "dsseEnvelope.signatures.sig", bitten),
				"a signature by another key":     good.with(t, "dsseEnvelope.signatures.sig", of("dsseEnvelope.signatures.sig")),
				"a changed certificate":          good.with(t, certificate, bitten),
				"a certificate for another key":  good.with(t, certificate, of(certificate)),
				"a changed time stamp":           good.with(t, stamp, bittenLate),
				"a time stamp of something else": good.with(t, stamp, of(stamp)),
				"no time stamp":                  good.without(t, "verificationMaterial", "timestampVerificationData"),
				"no certificate":                 good.without(t, "verificationMaterial", "certificate"),
				"no signature":                   good.without(t, "dsseEnvelope", "signatures"),
			} {
				who.judges(t, what, bad, signing.FlightPlanType, false)
			}
			who.identity += "0"
			who.judges(t, "another identity", good, signing.FlightPlanType, false)
		})
	}
}

// TestOurKeysInJavaScript lets npm's sigstore judge what our keys sign.
func TestOurKeysInJavaScript(t *testing.T) {
	t.Parallel()
	for _, kind := range []signing.KeyType{signing.ECDSAP256, signing.Ed25519} {
		w := newWS(t, "signing: {key: signer}\n")
		w.want(0, "keys", "generate", "--no-passphrase", "--type", string(kind), "--out", "signer")
		good, key := of(w.json(4, "flight-plan").FlightDir), filepath.Join(w.dir, "signer.pub")
		if r := good.npm(t, signing.FlightPlanType, "key", key); r.code != 0 {
			t.Errorf("%s: npm's sigstore refuses our bundle: %s", kind, r.stderr)
		}
		for what, r := range map[string]result{
			"a softer payload":  good.with(t, "dsseEnvelope.payload", softened).npm(t, signing.FlightPlanType, "key", key),
			"another signature": good.with(t, "dsseEnvelope.signatures.sig", bitten).npm(t, signing.FlightPlanType, "key", key),
			"another key":       good.npm(t, signing.FlightPlanType, "key", filepath.Join(w.dir, "keys", "boss.pub")),
			"another type":      good.npm(t, signing.ApprovalType, "key", key),
		} {
			if r.code != 1 {
				t.Errorf("%s, %s: npm's sigstore accepts it", kind, what)
			}
		}
	}
}

// TestCosignSignsForUs verifies what cosign signed, with a key and with certificates.
func TestCosignSignsForUs(t *testing.T) {
	t.Parallel()
	w := newWS(t, "signing: {key: keys/plan}\n")
	s := w.json(4, "flight-plan")
	plan := of(s.FlightDir)
	for name, who := range map[string]signer{"github": githubJob(), "gitlab": gitlabJob()} {
		signed := plan.signedByCosign(t, "--identity-token", who.issuer.token(t, who.claims))
		who.judges(t, name, signed, signing.FlightPlanType, true)
		who.judges(t, name+", changed", signed.with(t, "dsseEnvelope.payload", softened), signing.FlightPlanType, false)
	}
	private, public, err := signing.Generate(signing.ECDSAP256, []byte("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := signing.ParsePublic(public)
	if err != nil {
		t.Fatal(err)
	}
	config := file(t, "none.json", []byte(`{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json"}`))
	signed := bundled{filepath.Join(t.TempDir(), "cosign.json"), plan.artifact}
	if r := cosign(t, "attest-blob", "--yes", "--signing-config", config, "--key", file(t, "key", private), "--statement", plan.statement(t), "--bundle", signed.bundle); r.code != 0 {
		t.Fatalf("cosign does not sign: %s", r.stderr)
	}
	trust := signing.TrustKeys(signing.TrustedKey{Key: key})
	if err := signed.verified(t, trust, signing.FlightPlanType); err != nil {
		t.Errorf("signed by cosign with a key: %v", err)
	}
	if err := signed.with(t, "dsseEnvelope.signatures.sig", bitten).verified(t, trust, signing.FlightPlanType); err == nil {
		t.Error("another signature is accepted")
	}
}

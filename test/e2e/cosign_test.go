//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/signing"
)

// cosign runs cosign with nothing of the person's own, and no network.
func cosign(t *testing.T, args ...string) result {
	t.Helper()
	return command(t, t.TempDir(), append(bare(t.TempDir()), "COSIGN_PASSWORD=secret"), house.tool("cosign"), args...)
}

// bundled is a bundle about an artifact, as files.
type bundled struct{ bundle, artifact string }

// judged asks cosign about a bundle of a flight plan. who are the flags about whose
// signatures count.
func (b bundled) judged(t *testing.T, who ...string) result {
	t.Helper()
	return b.judgedAs(t, signing.FlightPlanType, who...)
}

func (b bundled) judgedAs(t *testing.T, predicate string, who ...string) result {
	t.Helper()
	args := append([]string{"verify-blob-attestation", "--bundle", b.bundle, "--insecure-ignore-tlog", "--type", predicate}, who...)
	return cosign(t, append(args, b.artifact)...)
}

// with gives the bundle with one text of it changed.
func (b bundled) with(t *testing.T, path string, by func(string) string) bundled {
	t.Helper()
	data, err := os.ReadFile(b.bundle)
	if err != nil {
		t.Fatal(err)
	}
	data, err = changed(data, path, by)
	if err != nil {
		t.Fatal(err)
	}
	b.bundle = filepath.Join(t.TempDir(), "bundle.json")
	if err := os.WriteFile(b.bundle, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

// without gives the bundle without a member of one of its objects.
func (b bundled) without(t *testing.T, object, member string) bundled {
	t.Helper()
	data, err := os.ReadFile(b.bundle)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	in, ok := doc[object].(map[string]any)
	if _, has := in[member]; !ok || !has {
		t.Fatalf("there is no %s in %s", member, object)
	}
	delete(in, member)
	data, err = json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	b.bundle = file(t, "bundle.json", data)
	return b
}

// text gives one text of the bundle.
func (b bundled) text(t *testing.T, path string) (text string) {
	t.Helper()
	b.with(t, path, func(s string) string { text = s; return s + "." })
	return text
}

// of gives the plan's bundle of a flight.
func of(flight string) bundled {
	return bundled{filepath.Join(flight, "plan.sigstore.json"), filepath.Join(flight, "plan-manifest.json")}
}

// file writes a file that lives as long as the test.
func file(t *testing.T, name string, data []byte) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestCosignJudgesKeys lets cosign accept what our keys sign, and nothing else.
func TestCosignJudgesKeys(t *testing.T) {
	t.Parallel()
	for _, kind := range []signing.KeyType{signing.ECDSAP256, signing.Ed25519} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := newWS(t, "signing: {key: signer}\n")
			w.want(0, "keys", "generate", "--no-passphrase", "--type", string(kind), "--out", "signer")
			good := of(w.json(4, "flight-plan").FlightDir)
			key := []string{"--key", filepath.Join(w.dir, "signer.pub")}
			if r := good.judged(t, key...); r.code != 0 {
				t.Fatalf("cosign refuses our bundle: %s", r.stderr)
			}
			other := good
			other.artifact = file(t, "plan-manifest.json", []byte(`{"files":[]}`))
			for name, r := range map[string]result{
				"another artifact":   other.judged(t, key...),
				"another type":       good.judgedAs(t, signing.TakeOffType, key...),
				"another key":        good.judged(t, "--key", filepath.Join(w.dir, "keys", "boss.pub")),
				"another payload":    good.with(t, "dsseEnvelope.payload", softened).judged(t, key...),
				"another type of it": good.with(t, "dsseEnvelope.payloadType", func(s string) string { return s + ";v=2" }).judged(t, key...),
				"another signature":  good.with(t, "dsseEnvelope.signatures.sig", bitten).judged(t, key...),
			} {
				if r.code == 0 {
					t.Errorf("cosign accepts %s: %s%s", name, r.stdout, r.stderr)
				}
			}
		})
	}
}

// TestCosignReadsOurKeys lets cosign open a private key of ours with its passphrase.
func TestCosignReadsOurKeys(t *testing.T) {
	t.Parallel()
	for _, kind := range []signing.KeyType{signing.ECDSAP256, signing.Ed25519} {
		private, public, err := signing.Generate(kind, []byte("secret"), nil)
		if err != nil {
			t.Fatal(err)
		}
		r := cosign(t, "public-key", "--key", file(t, "key", private))
		if r.code != 0 || strings.TrimSpace(r.stdout) != strings.TrimSpace(string(public)) {
			t.Errorf("%s: exit %d, %q, not %q: %s", kind, r.code, r.stdout, public, r.stderr)
		}
	}
}

// softened lets a payload ask for no approval.
func softened(text string) string {
	return recoded(text, `"decision":"require_approval"`, `"decision":"allow"`)
}

// bitten changes a character in the middle of base64 text.
func bitten(text string) string { return bittenAt(text, len(text)/2) }

// bittenLate changes one near the end: of a time stamp that is its signature, where the
// middle is a certificate that npm's sigstore does not look at, having its own.
func bittenLate(text string) string { return bittenAt(text, len(text)-12) }

func bittenAt(text string, at int) string {
	by := byte('A')
	if text[at] == by {
		by = 'B'
	}
	return text[:at] + string(by) + text[at+1:]
}

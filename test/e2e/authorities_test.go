//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cabincrew/action/signing"
)

// signer is who a job is, as certificates and flags name it.
type signer struct {
	issuer   *issuer
	claims   claims
	identity string // the subject alternative name of its certificates
}

func githubJob() signer { return signer{house.github, github(), planner} }

func gitlabJob() signer { return signer{house.gitlab, gitlab(), gitlabCI} }

// flags tell cosign that this signer's signatures count.
func (s signer) flags() []string {
	return []string{
		"--trusted-root", house.trustedRoot, "--use-signed-timestamps", "--insecure-ignore-sct",
		"--certificate-identity", s.identity, "--certificate-oidc-issuer", s.issuer.URL(),
	}
}

// statement writes the statement that a flight's bundle holds into a file.
func (b bundled) statement(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(b.bundle)
	if err != nil {
		t.Fatal(err)
	}
	return file(t, "statement.json", []byte(payload(t, data)))
}

// signedByCosign lets cosign sign a flight's statement.
func (b bundled) signedByCosign(t *testing.T, flags ...string) bundled {
	t.Helper()
	signed := bundled{filepath.Join(t.TempDir(), "cosign.json"), b.artifact}
	args := append([]string{"attest-blob", "--yes", "--signing-config", house.signingConfig, "--statement", b.statement(t), "--bundle", signed.bundle}, flags...)
	if r := cosign(t, args...); r.code != 0 {
		t.Fatalf("cosign does not sign: %s", r.stderr)
	}
	return signed
}

// TestAuthorities lets cosign sign and verify with the certificates and time stamps of
// the rig: if that fails, the rig is wrong and not what it judges.
func TestAuthorities(t *testing.T) {
	t.Parallel()
	plan := of(newWS(t, "signing: {key: keys/plan}\n").json(4, "flight-plan").FlightDir)
	for name, who := range map[string]signer{"github": githubJob(), "gitlab": gitlabJob()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			signed := plan.signedByCosign(t, "--identity-token", who.issuer.token(t, who.claims), "--trusted-root", house.trustedRoot)
			if r := signed.judged(t, who.flags()...); r.code != 0 {
				t.Errorf("cosign refuses its own: %s", r.stderr)
			}
			who.identity += "0"
			if r := signed.judged(t, who.flags()...); r.code == 0 {
				t.Errorf("cosign accepts another identity: %s", r.stderr)
			}
			if r := signed.judgedAs(t, signing.TakeOffType, who.flags()...); r.code == 0 {
				t.Errorf("cosign accepts another type: %s", r.stderr)
			}
		})
	}
}

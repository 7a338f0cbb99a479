//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/signing"
)

// configuration is the signing section by which this signer's jobs sign and count.
func (s signer) configuration() string {
	p := s.policy()
	digests := ""
	if len(p.SignerDigests) > 0 {
		digests = ", signer_digests: ['" + strings.Join(p.SignerDigests, "', '") + "']"
	}
	return fmt.Sprintf(`signing:
  keyless: true
  fulcio_url: %s
  timestamp_url: %s/api/v1/timestamp
  trusted_root: trusted_root.json
  trusted:
    identities:
      - {issuer: %q, san: %q, repository_id: %q, owner_id: %q, runner_environment: %s, events: [%s], ref: %s%s}
`, house.fulcio, house.tsa, p.Issuer, p.SAN, p.SourceRepositoryID, p.OwnerID, p.RunnerEnvironment, strings.Join(p.Events, ", "), p.SourceRef, digests)
}

// environment is what this signer's jobs find their identity token by.
func (s signer) environment(t *testing.T) []string {
	t.Helper()
	if s.issuer == house.gitlab {
		return []string{"SIGSTORE_ID_TOKEN=" + s.issuer.token(t, s.claims)}
	}
	return s.issuer.Job(s.claims)
}

// jobWS is a workspace whose plans this signer's jobs sign.
func (s signer) jobWS(t *testing.T) *ws {
	t.Helper()
	trusted, err := os.ReadFile(house.trustedRoot)
	if err != nil {
		t.Fatal(err)
	}
	w := newWS(t, s.configuration(), file(t, "trusted_root.json", trusted))
	w.env = append(w.env, s.environment(t)...)
	return w
}

// TestJobs flies whole flights that jobs of GitHub and GitLab sign without a key, and
// verifies them without a network.
func TestJobs(t *testing.T) {
	t.Parallel()
	for name, who := range map[string]signer{"github": githubJob(), "gitlab": gitlabJob()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := who.jobWS(t)
			s := w.json(4, "flight-plan")
			w.want(0, "approve", "--as", "boss", "--key", "keys/boss")
			w.want(0, "take-off", s.WorkflowID)
			plan := of(s.FlightDir)
			end := bundled{filepath.Join(s.FlightDir, "take-off.sigstore.json"), plan.artifact}
			who.judges(t, "the plan", plan, signing.FlightPlanType, true)
			who.judges(t, "the end", end, signing.TakeOffType, true)
			w.env = slices.DeleteFunc(w.env, func(v string) bool { return strings.Contains(v, "ID_TOKEN") })
			cmd := exec.CommandContext(t.Context(), house.program, "verify", s.WorkflowID, "--offline")
			cmd.Dir, cmd.Env = w.dir, w.env
			if err := unshare(cmd); err != nil {
				t.Skip("no network can be taken away here: ", err)
			}
			r, err := ran(cmd)
			if err != nil {
				t.Skip("no network can be taken away here: ", err)
			}
			if r.code != 0 {
				t.Errorf("verify without a network: exit %d\n%s%s", r.code, r.stdout, r.stderr)
			}
			for _, bundle := range []string{"plan.sigstore.json", "take-off.sigstore.json"} {
				w.want(0, "verify", filepath.Join(s.FlightDir, bundle))
			}
		})
	}
}

// TestStrangersJobs: a job that is not the one that the configuration names signs
// nothing under it, and what it signed elsewhere is refused.
func TestStrangersJobs(t *testing.T) {
	t.Parallel()
	who := githubJob()
	w := who.jobWS(t)
	s := w.json(4, "flight-plan")
	for name, c := range strangers() {
		if c.of.issuer != house.github || !slices.Contains([]string{"github, a self-hosted runner", "github, the workflow as a pull request has it", "github, a fork"}, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stranger := c.of
			stranger.claims = stranger.claims.With(c.claims)
			other := who.jobWS(t)
			other.env = append(other.env, stranger.environment(t)...)
			if got := other.json(1, "flight-plan"); got.Error == nil || !strings.Contains(got.Error.Message, c.field) {
				t.Errorf("planned by a stranger: %+v", got.Error)
			}
			signed := stranger.signs(t, of(s.FlightDir))
			r := w.want(5, "verify", signed.bundle, "--manifest", signed.artifact)
			if !strings.Contains(r.stderr, "identity_mismatch") || !strings.Contains(r.stderr, c.field) {
				t.Errorf("verify says %s", r.stderr)
			}
		})
	}
}

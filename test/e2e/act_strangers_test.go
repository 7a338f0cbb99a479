//go:build e2e

package e2e

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/storage/bundle"
	"github.com/cabincrew/action/test/githubtest"
)

// TestT11StrangersUnderAct: jobs of other workflows, with identities that the same
// issuer and the same Fulcio give them, sign nothing that takes off.
func TestT11StrangersUnderAct(t *testing.T) {
	t.Parallel()
	f := newField(t)
	f.threeJobs()
	own := claims{"job_workflow_ref": "acme/infra/.github/workflows/sign.yml@refs/pull/1/merge"}
	is := func(who claims) { f.as = func(_ string, c claims) claims { return c.With(who) } }

	is(own)
	p := f.open("feature", map[string]string{"README": "two\n"})
	first := f.flies(f.opened(p, "opened"))
	f.wants(first, 1, "plan 0", "judge 0", "sign 1")
	if k := f.check(planCheck); first.kept["cabincrew-signed"] != nil || strings.Contains(k.Text, "### Signed plan") || !strings.Contains(first.out, "identity_mismatch") {
		t.Errorf("a stranger signed: %+v\n%s", k, first.out)
	}

	is(claims{})
	plan := f.flies(f.opened(p, "reopened"))
	f.wants(plan, 0, "plan 0", "judge 0", "sign 0")
	token := plan.outputs["judge"]["plan-token"]
	p.Review(f.bob, githubtest.Approved, "fine")
	f.tick()
	plan.UploadZip("cabincrew-signed", f.forged(plan, own))
	push := f.merge(baseFile, p)
	refused := f.flies(push)
	f.wants(refused, 1, "take-off 5")
	if !strings.Contains(refused.out, "[identity_mismatch]") || len(f.marks(token)) != 0 {
		t.Errorf("the tags are %q\n%s", f.marks(token), refused.out)
	}

	f.tick()
	plan.UploadZip("cabincrew-signed", plan.zips["cabincrew-signed"])
	is(claims{"job_workflow_ref": "cabincrew/action/.github/workflows/flight-plan.yml@" + f.own, "event_name": "workflow_dispatch"}) // which signs plans only
	refused = f.flies(push)
	f.wants(refused, 1, "take-off 1")
	if !strings.Contains(refused.out, "[sign_failed]") || len(f.marks(token)) != 0 {
		t.Errorf("the tags are %q\n%s", f.marks(token), refused.out)
	}

	is(claims{})
	done := f.flies(push)
	f.wants(done, 0, "take-off 0")
	f.landed(done, token)
}

// forged gives a run's signed artifact with the same statement, signed by cosign with
// the identity of another job of that run.
func (f *field) forged(plan flight, who claims) []byte {
	f.t.Helper()
	dir := f.unpacked(plan.at("cabincrew-signed"))
	genuine := bundled{filepath.Join(dir, "plan.sigstore.json"), filepath.Join(dir, "plan-manifest.json")}
	token := house.github.token(f.t, plan.Claims("refs/pull/1/merge").With(who))
	signed := genuine.signedByCosign(f.t, "--identity-token", token)
	raw, err := signing.Normalize([]byte(read(f.t, signed.bundle)))
	if err == nil {
		err = os.WriteFile(genuine.bundle, raw, 0o600)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	var archive, zipped bytes.Buffer
	if _, err := bundle.Pack(f.t.Context(), root, &archive, bundle.PackOptions{PlainState: true, Temp: f.t.TempDir()}); err != nil {
		f.t.Fatal(err)
	}
	z := zip.NewWriter(&zipped)
	w, err := z.Create("signed/flight.tar.zst")
	if err == nil {
		_, err = w.Write(archive.Bytes())
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return zipped.Bytes()
}

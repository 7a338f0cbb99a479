//go:build e2e

package e2e

import (
	"archive/zip"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/storage/bundle"
	"github.com/cabincrew/action/test/githubtest"
)

// The checks of a flight.
const (
	planCheck    = "cabincrew / flight-plan"
	takeOffCheck = "cabincrew / take-off"
)

// threeJobs begins a repository with what `cabincrew init --for github` writes, pinned
// by the action's commit. Only the authorities are those of the rig.
func (f *field) threeJobs() {
	f.t.Helper()
	token := f.hub.Token(githubtest.Token{Repo: f.repo, Permissions: map[string]string{"contents": "read"}})
	f.must("work", "env", "GITHUB_TOKEN="+token, "GITHUB_API_URL="+f.hub.URL(), "GITHUB_REPOSITORY=acme/infra", house.program, "init", "--for", "github", "--pin", f.own)
	files := map[string]string{"README": "one\n", "trusted_root.json": read(f.t, house.trustedRoot)}
	for _, name := range []string{".cabincrew.yaml", "policies/house.rego", "policies/house_test.rego", ".github/workflows/" + planFile, ".github/workflows/" + baseFile} {
		files[name] = read(f.t, filepath.Join(f.dir, "work", name))
	}
	text := files[".cabincrew.yaml"]
	before, rest, _ := strings.Cut(text, "  public: ")
	_, rest, found := strings.Cut(rest, "\n")
	if !found || strings.Count(rest, "https://token.actions.githubusercontent.com") != 2 {
		f.t.Fatalf("init wrote\n%s", text)
	}
	files[".cabincrew.yaml"] = before + "  fulcio_url: " + house.fulcio + "\n  timestamp_url: " + house.tsa + "/api/v1/timestamp\n" +
		strings.ReplaceAll(rest, "https://token.actions.githubusercontent.com", house.github.URL())
	base := files[".github/workflows/"+baseFile]
	files[".github/workflows/"+baseFile] = strings.Replace(base, "    # with:\n    #   environment:", "    with:\n      deployment:", 1)
	f.must("work", "rm", "-r", ".cabincrew.yaml", "policies", ".github")
	f.begin(files)
	f.flags = append(f.flags, "--local-repository", "cabincrew/action@"+f.own+"="+filepath.Join(f.dir, "called"))
}

// TestThreeJobsUnderAct flies a pull request from its opening to its merge, through the
// reusable workflows and with the configuration that init writes: plan, judge and sign
// hand artifacts on, a review approves, and the merge takes off once. Nothing has a key:
// plan and take-off are signed with certificates for the workflows.
func TestThreeJobsUnderAct(t *testing.T) {
	t.Parallel()
	f := newField(t)
	f.threeJobs()
	p := f.open("feature", map[string]string{"README": "two\n"})
	plan := f.flies(f.opened(p, "opened"))
	f.wants(plan, 0, "plan 0", "judge 0", "sign 0")
	token := plan.outputs["judge"]["plan-token"]
	if k := f.check(planCheck); k.Conclusion != "action_required" || k.SHA != p.Head() || k.ExternalID != token || !strings.Contains(k.Text, "### Signed plan") || !strings.HasPrefix(token, "sha256:") {
		t.Errorf("the check is %+v", k)
	}
	for _, name := range []string{"cabincrew-planned", "cabincrew-judged", "cabincrew-decision", "cabincrew-signed"} {
		if plan.kept[name] == nil {
			t.Errorf("there is no artifact %s", name)
		}
	}
	if strings.Contains(plan.out, "next      cabincrew") {
		t.Error("a job tells people what to type")
	}
	f.certified(plan.at("cabincrew-signed"), "plan.sigstore.json", "flight-plan.yml", signing.FlightPlanType)

	review := f.flies(f.reviewed(p, p.Review(f.bob, githubtest.Approved, "fine")))
	f.wants(review, 0, "review 0")
	if k := f.check(planCheck); k.Conclusion != "success" || !strings.Contains(k.Summary, "bob") {
		t.Errorf("after the review the check is %+v", k)
	}

	push := f.merge(baseFile, p)
	done := f.flies(push)
	f.wants(done, 0, "take-off 0")
	f.landed(done, token)
	if all := f.repo.Deployments(); len(all) != 1 || all[0].Environment != "production" || all[0].SHA != done.SHA || !slices.Equal(all[0].States, []string{"in_progress", "success"}) {
		t.Errorf("the deployments are %+v", all)
	}
	f.certified(done.at("cabincrew-take-off"), "take-off.sigstore.json", "take-off.yml", signing.TakeOffType)
	f.again(push, token)
}

// landed looks at a flight that took off.
func (f *field) landed(done flight, token string) {
	f.t.Helper()
	if marks := f.marks(token); !slices.Equal(marks, []string{"begun", "done"}) {
		f.t.Errorf("the tags are %q", marks)
	}
	if k := f.check(takeOffCheck); k.Conclusion != "success" || k.SHA != f.repo.Tip("refs/heads/main") || k.ExternalID != token {
		f.t.Errorf("the check is %+v", k)
	}
	if job := done.outputs["take-off"]; job != nil && (job["state"] != "COMPLETED" || job["decision"] != "require_approval") {
		f.t.Errorf("the outputs are %v", job)
	}
}

// again lets the same push start another run, which does nothing.
func (f *field) again(push trigger, token string) {
	f.t.Helper()
	names := f.repo.Refs("refs/tags/")
	var tips []string
	for _, name := range names {
		tips = append(tips, f.repo.Tip(name))
	}
	second := f.flies(push)
	if second.code != 0 || len(second.ended) != 1 || !strings.HasSuffix(second.ended[0], " 0") || !strings.Contains(second.out, "took off before") {
		f.t.Errorf("a second run ended with %d, %q\n%s", second.code, second.ended, second.out)
	}
	if !slices.Equal(f.repo.Refs("refs/tags/"), names) {
		f.t.Errorf("the tags are %q, and were %q", f.repo.Refs("refs/tags/"), names)
	}
	for i, name := range names {
		if f.repo.Tip(name) != tips[i] {
			f.t.Errorf("%s has moved", name)
		}
	}
	if k := f.check(takeOffCheck); k.Conclusion != "success" || k.ExternalID != token {
		f.t.Errorf("the check of the second run is %+v", k)
	}
}

// certified lets cosign, npm's sigstore and the program itself judge what a job of a
// reusable workflow signed: the certificate is of the local Fulcio, for that workflow at
// its commit, and the time stamp of the local authority.
func (f *field) certified(archive, name, workflow, kind string) {
	f.t.Helper()
	top := f.unpacked(archive)
	b := bundled{filepath.Join(top, name), filepath.Join(top, "plan-manifest.json")}
	who := signer{issuer: house.github, identity: "https://github.com/cabincrew/action/.github/workflows/" + workflow + "@" + f.own}
	if r := b.judgedAs(f.t, kind, who.flags()...); r.code != 0 {
		f.t.Errorf("cosign refuses %s: %s", name, r.stderr)
	}
	if r := b.npm(f.t, kind, "certificate", house.trustedRoot, who.identity, who.issuer.URL()); r.code != 0 {
		f.t.Errorf("npm's sigstore refuses %s: %s", name, r.stderr)
	}
	who.identity = strings.Replace(who.identity, workflow, "other.yml", 1)
	if r := b.judgedAs(f.t, kind, who.flags()...); r.code == 0 {
		f.t.Errorf("cosign accepts %s for another workflow", name)
	}
	if code, out := f.run("work", house.program, "verify", b.bundle, "--manifest", b.artifact, "--offline"); code != 0 {
		f.t.Errorf("verify %s: exit %d\n%s", name, code, out)
	}
}

// at writes the archive that an artifact holds into a file.
func (r flight) at(artifact string) string {
	t, a := r.t, r.kept[artifact]
	t.Helper()
	if a == nil {
		t.Fatalf("there is no artifact %s\n%s", artifact, r.out)
	}
	zipped := r.zips[artifact]
	z, err := zip.NewReader(bytes.NewReader(zipped), int64(len(zipped)))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range z.File {
		if filepath.Base(file.Name) != "flight.tar.zst" {
			continue
		}
		in, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(t.TempDir(), "flight.tar.zst")
		if err := os.WriteFile(at, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return at
	}
	t.Fatalf("the artifact %s holds no flight", artifact)
	return ""
}

// unpacked gives a directory with the files of an archive.
func (f *field) unpacked(archive string) string {
	f.t.Helper()
	in, err := os.Open(archive) //nolint:gosec // of the test
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	top := f.t.TempDir()
	root, err := os.OpenRoot(top)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	if _, err := bundle.Unpack(f.t.Context(), in, root); err != nil {
		f.t.Fatal(err)
	}
	dir := top
	err = filepath.WalkDir(top, func(at string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "plan-manifest.json" {
			dir = filepath.Dir(at)
		}
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return dir
}

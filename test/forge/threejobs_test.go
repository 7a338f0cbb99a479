package forge

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	agecrypt "filippo.io/age"

	"github.com/cabincrew/action/internal/cli"
	"github.com/cabincrew/action/storage/bundle"
	"github.com/cabincrew/action/test/githubtest"
)

// The form with three jobs: its two workflows, as the examples name them.
const (
	planFile = ".github/workflows/cabincrew.yml"
	baseFile = ".github/workflows/cabincrew-base.yml"
)

// step is the action in a job of the reusable workflows: on a machine of its own, with
// its checkout in a directory below the workspace, and what other jobs gave beside it.
type step struct {
	job
	file  string            // of the calling workflow
	dir   string            // of the checkout
	at    string            // the commit that is checked out; the event's if empty
	takes map[string]string // directory below the workspace: what is downloaded into it
}

// act runs the program as such a step.
func (r *rig) act(command string, s step) result {
	r.t.Helper()
	top := r.t.TempDir()
	out := result{workspace: filepath.Join(top, "work")}
	if err := os.MkdirAll(filepath.Join(out.workspace, s.dir), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if s.at == "" {
		s.at = s.sha
	}
	r.checkout(filepath.Join(out.workspace, s.dir), s.at)
	for name, from := range s.takes {
		if err := os.CopyFS(filepath.Join(out.workspace, name), os.DirFS(from)); err != nil {
			r.t.Fatal(err)
		}
	}
	s.inputs = merged(map[string]string{"working-directory": s.dir, "command": command, "fail-on": "deny"}, s.inputs)
	s.env = merged(map[string]string{"GITHUB_WORKFLOW_REF": r.repo.FullName() + "/" + s.file + "@" + s.ref}, s.env)
	var stdout, stderr bytes.Buffer
	out.code = cli.Main(r.t.Context(), []string{"ci", command}, strings.NewReader(""), &stdout, &stderr, r.environment(top, out.workspace, s.job))
	out.stdout, out.stderr = stdout.String(), stderr.String()
	out.outputs = outputs(r.t, filepath.Join(top, "output"))
	out.summary = read(r.t, filepath.Join(top, "summary"))
	return out
}

func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// does is act with an exit code that is demanded.
func (r *rig) does(code int, command string, s step) result {
	r.t.Helper()
	got := r.act(command, s)
	if got.code != code {
		r.t.Fatalf("ci %s: exit %d, want %d\nstdout: %s\nstderr: %s", command, got.code, code, got.stdout, got.stderr)
	}
	return got
}

// handed is a directory of what a job hands over.
func (g result) handed(part ...string) string {
	return filepath.Join(append([]string{g.outputs["flight-path"]}, part...)...)
}

// jobs are the three jobs of one run.
type jobs struct {
	run               *githubtest.Run
	plan, judge, sign result
}

// start starts a run for the change's head.
func (r *rig) start(p *githubtest.Pull, by *githubtest.User) *githubtest.Run {
	r.t.Helper()
	return r.repo.Start(githubtest.Started{Workflow: planFile, Event: "pull_request", Branch: "feature", SHA: p.Head(), Actor: by, Pulls: []*githubtest.Pull{p}})
}

func number(n *githubtest.Run) string { return strconv.FormatInt(n.ID, 10) }

func (r *rig) planStep(p *githubtest.Pull, run *githubtest.Run) step {
	j := r.pullRequest(p, "synchronize", number(run))
	j.inputs = map[string]string{"token": ""}
	return step{job: j, file: planFile, dir: "change"}
}

func (r *rig) judgeStep(p *githubtest.Pull, run *githubtest.Run, planned string) step {
	j := r.pullRequest(p, "synchronize", number(run))
	j.inputs = map[string]string{"flight-path": "planned"}
	return step{job: j, file: planFile, dir: "change", takes: map[string]string{"planned": planned}}
}

func (r *rig) signStep(p *githubtest.Pull, run *githubtest.Run, decision string) step {
	j := r.pullRequest(p, "synchronize", number(run))
	j.inputs, j.token = map[string]string{"flight-path": "decision"}, r.signs
	return step{job: j, file: planFile, dir: "governance", at: r.repo.Tip("refs/heads/main"), takes: map[string]string{"decision": decision}}
}

// inThree flies the three jobs, each with what the one before uploaded.
func (r *rig) inThree(p *githubtest.Pull) jobs {
	r.t.Helper()
	out := jobs{run: r.start(p, p.Author)}
	out.plan = r.does(0, "plan", r.planStep(p, out.run))
	out.run.UploadZip("cabincrew-planned", zipOf(r.t, out.plan.handed()))
	out.judge = r.does(0, "judge", r.judgeStep(p, out.run, out.plan.handed()))
	out.run.UploadZip("cabincrew-judged", zipOf(r.t, out.judge.handed("judged")))
	out.run.UploadZip("cabincrew-decision", zipOf(r.t, out.judge.handed("decision")))
	out.sign = r.does(0, "sign", r.signStep(p, out.run, out.judge.handed("decision")))
	out.run.UploadZip("cabincrew-signed", zipOf(r.t, out.sign.handed()))
	out.run.Finish("success")
	r.later()
	return out
}

// review runs the job of a review.
func (r *rig) review(p *githubtest.Pull) result {
	r.t.Helper()
	run := r.repo.Start(githubtest.Started{Workflow: planFile, Event: "pull_request_review", Branch: "feature", SHA: p.Head(), Actor: r.bob, Pulls: []*githubtest.Pull{p}})
	j := r.pullRequest(p, "submitted", number(run))
	j.event, j.payload["review"] = "pull_request_review", map[string]any{"id": 5}
	got := r.does(0, "review", step{job: j, file: planFile, dir: "governance", at: r.repo.Tip("refs/heads/main")})
	run.Finish("success")
	r.later()
	return got
}

// lands merges a change and runs the take-off of the base's workflow.
func (r *rig) lands(p *githubtest.Pull, code int) result {
	r.t.Helper()
	before := r.repo.Tip("refs/heads/main")
	commit := p.Merge(r.author, "merge")
	run := r.repo.Start(githubtest.Started{Workflow: baseFile, Event: "push", Branch: "main", SHA: commit, Actor: r.author})
	got := r.does(code, "take-off", step{job: r.push(commit, before, number(run)), file: baseFile, dir: "change"})
	run.Finish("success")
	return got
}

// unpacked gives the files of an archive.
func unpacked(t *testing.T, archive string) map[string][]byte {
	t.Helper()
	in, err := os.Open(archive)
	must(t, err)
	defer func() { _ = in.Close() }()
	root, err := os.OpenRoot(t.TempDir())
	must(t, err)
	defer func() { _ = root.Close() }()
	_, err = bundle.Unpack(t.Context(), in, root)
	must(t, err)
	out := map[string][]byte{}
	must(t, fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out[name], err = root.ReadFile(name)
		}
		return err
	}))
	return out
}

// byTeam lets one person of a team approve.
const byTeam = "approvals: {roles: {platform: {teams: [acme/platform]}}}\n"

// readsTeams makes the team, and gives jobs a token of an App that may read it: that of
// a workflow cannot.
func (r *rig) readsTeams() {
	r.hub.Team("acme/platform", r.bob)
	permissions := githubtest.JobPermissions()
	permissions["members"] = "read"
	r.token = r.hub.Token(githubtest.Token{Repo: r.repo, Permissions: permissions})
}

// TestThreeJobs flies a change in three jobs, each on a machine of its own, then has it
// approved, merged and taken off.
func TestThreeJobs(t *testing.T) {
	t.Parallel()
	r := newRig(t, byTeam, nil)
	r.readsTeams()
	p := r.open("feature", "a text of its own\n")
	got := r.inThree(p)
	r.budget(0, 12)
	token := got.judge.outputs["plan-token"]
	if got.judge.outputs["decision"] != "require_approval" || !strings.HasPrefix(token, "sha256:") || got.sign.outputs["plan-token"] != token {
		t.Errorf("the outputs are %v and %v", got.judge.outputs, got.sign.outputs)
	}
	k := r.lastCheck(planCheck)
	if k.Conclusion != "action_required" || k.SHA != p.Head() || k.ExternalID != token || !strings.Contains(k.Text, "**Approval code:** `") || !strings.Contains(k.Text, "### Signed plan") {
		t.Errorf("the check is %+v", k)
	}
	for name, data := range unpacked(t, got.judge.handed("decision", "flight.tar.zst")) {
		if strings.Contains(name, "artifacts") || bytes.Contains(data, []byte("a text of its own")) {
			t.Errorf("the signing job is given %s", name)
		}
	}
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(1e9)
	r.review(p)
	if k := r.lastCheck(planCheck); k.Conclusion != "success" || !strings.Contains(k.Summary, "bob") {
		t.Errorf("after the review the check is %s:\n%s", k.Conclusion, k.Summary)
	}
	calls := len(r.hub.Requests())
	done := r.lands(p, 0)
	r.budget(calls, 20)
	if out := read(t, filepath.Join(done.workspace, "change/out.txt")); out != "a text of its own\n" {
		t.Errorf("the take-off wrote %q", out)
	}
	if k := r.lastCheck(takeOffCheck); k.Conclusion != "success" {
		t.Errorf("the check is %+v", k)
	}
}

// TestStateInThreeJobs: state goes from job to job in the clear within a private
// repository, and encrypted in a public one, where the jobs that need it can read it.
func TestStateInThreeJobs(t *testing.T) {
	t.Parallel()
	identity, err := agecrypt.GenerateX25519Identity()
	must(t, err)
	sealed := "storage: {encrypt_to: [" + identity.Recipient().String() + "]}\n"
	const state = "steps/notify/artifacts/saved/body.data"
	for title, c := range map[string]struct {
		private bool
		rest    string
		kept    string
	}{
		"private": {true, "", state},
		"public":  {false, sealed, state + ".age"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			r := notifying(t, byReview+c.rest, "full")
			r.repo.Private, r.inputs = c.private, map[string]string{"age-identity": "# made for a test\n" + identity.String() + "\n"}
			p := r.open("feature", "two\n")
			got := r.inThree(p)
			for _, at := range []string{got.plan.handed("planned", "flight.tar.zst"), got.judge.handed("judged", "flight.tar.zst")} {
				if files := unpacked(t, at); files[c.kept] == nil {
					t.Errorf("%s has %q", at, slices.Sorted(maps.Keys(files)))
				}
			}
			p.Review(r.bob, githubtest.Approved, "fine")
			r.hub.Advance(1e9)
			r.review(p)
			done := r.lands(p, 0)
			for key := range strings.FieldsSeq(identity.String()) {
				if strings.Contains(done.stdout+strings.ReplaceAll(done.stderr, "::add-mask::"+key, ""), key) {
					t.Error("the identity is told")
				}
			}
		})
	}
}

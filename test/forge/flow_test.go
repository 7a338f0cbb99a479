package forge

import (
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/test/githubtest"
)

// planned is a change that was planned, judged and signed in one job.
type planned struct {
	pull *githubtest.Pull
	run  *githubtest.Run
	got  result
	kept *githubtest.Artifact // that the run uploaded
}

// plan opens a run for the change's head and does what the action does in it; what it
// hands over becomes the run's artifacts.
func (r *rig) plan(p *githubtest.Pull, action string, code int) planned {
	r.t.Helper()
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "pull_request", Branch: "feature", SHA: p.Head(), Actor: r.author, Pulls: []*githubtest.Pull{p}})
	got := r.want(code, "auto", r.pullRequest(p, action, strconv.FormatInt(run.ID, 10)))
	conclusion := "success"
	var kept *githubtest.Artifact
	if code != 0 {
		conclusion = "failure"
	} else {
		kept = run.UploadZip("cabincrew-judged", zipOf(r.t, filepath.Join(got.outputs["flight-path"], "judged")))
	}
	run.Finish(conclusion)
	r.later()
	return planned{p, run, got, kept}
}

// later brings the fake's clock two seconds beyond this machine's: GitHub tells times in
// seconds.
func (r *rig) later() {
	if d := time.Until(r.hub.Now()); d < 2*time.Second {
		r.hub.Advance(2*time.Second - d)
	}
}

// land merges a change and runs the job that the push starts.
func (r *rig) land(p *githubtest.Pull, code int) result {
	r.t.Helper()
	before := r.repo.Tip("refs/heads/main")
	r.hub.Advance(time.Second) // what started before the merge is not of its second
	commit := p.Merge(r.author, "merge")
	return r.takeOff(commit, before, code)
}

func (r *rig) takeOff(commit, before string, code int) result {
	r.t.Helper()
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "push", Branch: "main", SHA: commit, Actor: r.author})
	got := r.want(code, "auto", r.push(commit, before, strconv.FormatInt(run.ID, 10)))
	run.Finish("success")
	return got
}

// budget counts the calls since then; what was not modified costs none of GitHub's hour.
func (r *rig) budget(since, most int) {
	r.t.Helper()
	n := 0
	var list []string
	for _, q := range r.hub.Requests()[since:] {
		if q.Status != http.StatusNotModified {
			n++
			list = append(list, q.Op)
		}
	}
	if n > most {
		r.t.Errorf("%d calls, at most %d are allowed: %s", n, most, strings.Join(list, ", "))
	}
}

// lastCheck is the newest check of a name.
func (r *rig) lastCheck(name string) githubtest.CheckRun {
	r.t.Helper()
	var out githubtest.CheckRun
	for _, k := range r.repo.Checks() {
		if k.Name == name {
			out = k
		}
	}
	if out.ID == 0 {
		r.t.Fatalf("there is no check %q", name)
	}
	return out
}

const (
	planCheck    = "cabincrew / flight-plan"
	takeOffCheck = "cabincrew / take-off"
)

// TestFromPullRequestToMerge is the main job: a change is planned, shown, approved by a
// review, merged, and exactly its plan is applied, once.
func TestFromPullRequestToMerge(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	got := r.plan(p, "opened", 0)
	r.budget(0, 12)
	k := r.lastCheck(planCheck)
	if k.Conclusion != "action_required" || k.SHA != p.Head() || k.ExternalID != got.got.outputs["plan-token"] || !strings.HasPrefix(k.ExternalID, "sha256:") {
		t.Errorf("the check is %+v", k)
	}
	if got.got.outputs["decision"] != "require_approval" || got.got.outputs["state"] != "AWAITING_APPROVAL" || got.got.outputs["exit-code"] != "4" {
		t.Errorf("the outputs are %v", got.got.outputs)
	}
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	calls := len(r.hub.Requests())
	done := r.land(p, 0)
	r.budget(calls, 20)
	if k := r.lastCheck(takeOffCheck); k.Conclusion != "success" || k.SHA != r.repo.Tip("refs/heads/main") {
		t.Errorf("the check is %+v", k)
	}
	if out := read(t, filepath.Join(done.workspace, "out.txt")); out != "two\n" {
		t.Errorf("the take-off wrote %q", out)
	}
	token := strings.TrimPrefix(got.got.outputs["plan-token"], "sha256:")
	for _, mark := range []string{"begun", "done"} {
		if r.repo.Tip("refs/tags/cabincrew/"+token+"/"+mark) == "" {
			t.Errorf("there is no tag %s", mark)
		}
	}
	again := r.takeOff(r.repo.Tip("refs/heads/main"), p.Head(), 0)
	if !strings.Contains(again.stdout+again.stderr, "took off before") {
		t.Errorf("a second run says\n%s\n%s", again.stdout, again.stderr)
	}
}

// TestWorkflowsGovern asks a policy owner where a change edits what calls the judges and
// takes off.
func TestWorkflowsGovern(t *testing.T) {
	t.Parallel()
	r := newRig(t, "approvals: {roles: {platform: {users: [bob]}, policy-owner: {users: [carol]}}}\n", map[string]string{".github/workflows/cabincrew.yml": "on: push\n"})
	p := r.openFiles("feature", map[string]string{"app.txt": "two\n", ".github/workflows/cabincrew.yml": "on: [push, pull_request]\n"})
	got := r.plan(p, "opened", 0)
	if !strings.Contains(got.got.stdout, "approval  role policy-owner") || !strings.Contains(got.got.stdout, ".github/workflows/cabincrew.yml") {
		t.Fatalf("nobody asks a policy owner:\n%s", got.got.stdout)
	}
	p.Review(r.bob, githubtest.Approved, "fine")
	if bad := r.land(p, 4); !strings.Contains(bad.stderr, "policy-owner: 0 of 1") {
		t.Errorf("%s", bad.stderr)
	}
}

// TestInputsOnlyTighten: what a workflow's file says can demand more, never less.
func TestInputsOnlyTighten(t *testing.T) {
	t.Parallel()
	r := newRig(t, "approvals: {default_role: platform, roles: {platform: {users: [bob]}}}\n", map[string]string{"pol/rig.rego": "package cabincrew.rig\n\nwarn contains \"seen\" if input.artifacts[_].name\n"})
	p := r.open("feature", "two\n")
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "pull_request", Branch: "feature", SHA: p.Head(), Actor: r.author})
	j := r.pullRequest(p, "opened", strconv.FormatInt(run.ID, 10))
	if got := r.want(0, "auto", j); got.outputs["decision"] != "warn" {
		t.Errorf("%v", got.outputs)
	}
	j.inputs = map[string]string{"approvals": "required"}
	if got := r.want(0, "auto", j); got.outputs["decision"] != "require_approval" || got.outputs["exit-code"] != "4" {
		t.Errorf("%v", got.outputs)
	}
	j.inputs["fail-on"] = "require_approval"
	r.want(4, "auto", j)
	for name, value := range map[string]string{"approvals": "none", "signing": "off", "fail-on": "never", "working-directory": "../x", "config": "/etc/passwd", "step": "no step", "store": "oci:registry.example.com/x"} {
		j.inputs = map[string]string{name: value}
		if got := r.want(2, "auto", j); !strings.Contains(got.stderr, "[ci_input]") {
			t.Errorf("%s=%s: %s", name, value, got.stderr)
		}
	}
}

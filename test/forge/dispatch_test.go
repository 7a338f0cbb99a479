package forge

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/test/githubtest"
)

const driftCheck = "cabincrew / drift"

// dispatch runs a command in a run that somebody starts by hand on a branch.
func (r *rig) dispatch(code int, command, branch string, more ...func(*job)) result {
	r.t.Helper()
	sha := r.repo.Tip("refs/heads/" + branch)
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "workflow_dispatch", Branch: branch, SHA: sha, Actor: r.author})
	j := job{
		event: "workflow_dispatch", run: number(run), sha: sha, ref: "refs/heads/" + branch,
		payload: map[string]any{"ref": "refs/heads/" + branch, "inputs": nil, "workflow": workflowFile, "repository": r.repository(), "sender": r.person(r.author)},
	}
	for _, change := range more {
		change(&j)
	}
	got := r.want(code, command, j)
	run.Finish("success")
	r.later()
	return got
}

// checksAt counts the checks of a name at a commit.
func (r *rig) checksAt(name, commit string) int {
	n := 0
	for _, k := range r.repo.Checks() {
		if k.Name == name && k.SHA == commit {
			n++
		}
	}
	return n
}

// TestT39StartedByHandOnTheChange: a run that somebody starts on the change's branch
// plans nothing and shows nothing, so the approved plan stays the newest.
func TestT39StartedByHandOnTheChange(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"before approval", "after approval"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, byReview, nil)
			p := r.plan(r.open("feature", "two\n"), "opened", 0)
			if when == "after approval" {
				p.pull.Review(r.bob, githubtest.Approved, "fine")
			}
			r.hub.Advance(time.Second)
			before := len(r.repo.Checks())
			if got := r.dispatch(2, "auto", "feature"); !strings.Contains(got.stderr, "[ci_event]") || !strings.Contains(got.stderr, "Re-run all jobs") {
				t.Errorf("it says %s", got.stderr)
			}
			if now := len(r.repo.Checks()); now != before {
				t.Errorf("%d checks were made", now-before)
			}
			if when == "before approval" {
				p.pull.Review(r.bob, githubtest.Approved, "fine")
			}
			r.hub.Advance(2 * time.Second)
			r.land(p.pull, 0)
			r.wantTagged("begun done", p)
		})
	}
}

// TestT10StartedByHandOnTheChange: a change that is denied as a change gets no green
// check by a run on its branch.
func TestT10StartedByHandOnTheChange(t *testing.T) {
	t.Parallel()
	r := newRig(t, "", map[string]string{"pol/rig.rego": "package cabincrew.rig\n\ndeny contains \"no\" if startswith(input.context.change, \"pull/\")\n"})
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 3)
	r.dispatch(2, "auto", "feature")
	if k := r.lastCheck(planCheck); k.SHA != p.Head() || k.Conclusion != "failure" || r.checksAt(planCheck, p.Head()) != 1 {
		t.Errorf("the check is %+v", k)
	}
}

// TestStartedByHandElsewhere: each job that plans, judges, signs or counts refuses, also
// where the payload says another default branch than the forge.
func TestStartedByHandElsewhere(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	r.open("feature", "two\n")
	lies := func(j *job) {
		repo := r.repository()
		repo["default_branch"] = "feature"
		j.payload["repository"] = repo
	}
	silent := func(j *job) {
		repo := r.repository()
		delete(repo, "default_branch")
		j.payload["repository"] = repo
	}
	tagged := func(j *job) { j.ref = "refs/tags/main" }
	for _, command := range []string{"auto", "flight-plan", "plan", "judge", "sign", "seal", "review"} {
		if got := r.dispatch(2, command, "feature"); !strings.Contains(got.stderr, "[ci_event]") {
			t.Errorf("%s says %s", command, got.stderr)
		}
	}
	for name, how := range map[string]func(*job){"another default branch": lies, "no default branch": silent, "a tag": tagged} {
		if got := r.dispatch(2, "auto", "feature", how); !strings.Contains(got.stderr, "[ci_event]") {
			t.Errorf("%s: it says %s", name, got.stderr)
		}
	}
	if n := len(r.repo.Checks()); n != 0 {
		t.Errorf("%d checks were made", n)
	}
}

// TestT39PlanOfNoChangeAtTheQueuesCommit: what plans the default branch as it is, at the
// commit that a merge queue made, is not a later plan of the queue's group.
func TestT39PlanOfNoChangeAtTheQueuesCommit(t *testing.T) {
	t.Parallel()
	for name, planned := range map[string]func(*rig){
		"schedule": func(r *rig) { r.scheduled(0) },
		"by hand":  func(r *rig) { r.dispatch(0, "auto", "main") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "checks: per-step\n", allowed)
			p := r.plan(r.open("feature", "two\n"), "opened", 0)
			before := r.repo.Tip("refs/heads/main")
			group, commit := r.queue(p.pull, 0)
			p.pull.Land(r.author, commit)
			shown := r.checksAt(planCheck, commit)
			planned(r)
			r.later()
			drift := r.lastCheck(driftCheck)
			if drift.SHA != commit || drift.ExternalID == group.got.outputs["plan-token"] || drift.Conclusion != "success" || r.checksAt(planCheck, commit) != shown || shown != 1 {
				t.Errorf("the checks are %+v", r.repo.Checks())
			}
			if r.checksAt(driftCheck+" / edit", commit) != 1 || r.checksAt(planCheck+" / edit", commit) != 1 {
				t.Errorf("the checks of the steps are %+v", r.repo.Checks())
			}
			if form := "/actions/workflows/" + filepath.Base(workflowFile); !strings.Contains(drift.Summary, form) {
				t.Errorf("nothing leads to where it is planned again:\n%s", drift.Summary)
			}
			done := r.takeOff(commit, before, 0)
			if out := read(t, filepath.Join(done.workspace, "out.txt")); out != "two\n" {
				t.Errorf("the take-off wrote %q", out)
			}
			r.wantTagged("begun done", group)
			r.wantTagged("", p)
		})
	}
}

// TestPlanOfNoChangeOfOneStep: it has a check of its own too.
func TestPlanOfNoChangeOfOneStep(t *testing.T) {
	t.Parallel()
	r := newRig(t, "", allowed)
	r.dispatch(0, "auto", "main", func(j *job) { j.inputs = map[string]string{"step": "edit"} })
	names := []string{}
	for _, k := range r.repo.Checks() {
		names = append(names, k.Name)
	}
	if !slices.Equal(names, []string{driftCheck + " (edit)"}) {
		t.Errorf("the checks are %q", names)
	}
}

// TestLinkToPlanAgain: the report of a change leads to the run that planned it, also
// where another run counted the approvals.
func TestLinkToPlanAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.plan(r.open("feature", "two\n"), "opened", 0)
	want := "[Plan again](<" + r.hub.WebURL() + "/" + r.repo.FullName() + "/actions/runs/" + number(p.run) + ">)"
	if k := r.lastCheck(planCheck); !strings.Contains(k.Summary, want) || strings.Contains(k.Summary, "/actions/workflows/") {
		t.Errorf("there is no %s:\n%s", want, k.Summary)
	}
	p.pull.Review(r.bob, githubtest.Approved, "fine")
	r.review(p.pull)
	if k := r.lastCheck(planCheck); k.Conclusion != "success" || !strings.Contains(k.Summary, want) || strings.Contains(k.Summary, "/actions/workflows/") {
		t.Errorf("there is no %s:\n%s", want, k.Summary)
	}
}

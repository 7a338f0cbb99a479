package forge

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/test/githubtest"
)

// fork is somebody's fork with a pull request.
type fork struct {
	*githubtest.Pull
	repo *githubtest.Repo
}

// forked opens a pull request of somebody's fork.
func (r *rig) forked(owner, content string) fork {
	r.t.Helper()
	who := r.hub.User(owner)
	repo := r.hub.Fork(r.repo, who)
	f := fork{repo: repo}
	r.pushes(f, who, content)
	f.Pull = r.repo.Open(githubtest.Opened{Title: "from a fork", Author: who, From: repo, Head: "feature"})
	return f
}

// pushes puts a commit onto the fork's branch.
func (r *rig) pushes(f fork, who *githubtest.User, content string) {
	f.repo.Push("feature", f.repo.Commit(githubtest.Commit{
		Author: who, Message: content, Parents: []string{r.repo.Tip("refs/heads/main")}, Files: map[string]string{"app.txt": content},
	}), who)
}

// ofFork says in a payload where the change comes from.
func (r *rig) ofFork(j job, f fork) job {
	j.payload["pull_request"].(map[string]any)["head"].(map[string]any)["repo"] = map[string]any{
		"id": f.repo.ID, "full_name": f.repo.FullName(), "default_branch": "main", "owner": r.person(f.repo.Owner),
	}
	return j
}

// startFork starts a run for a fork's change.
func (r *rig) startFork(f fork, event, workflow string, by *githubtest.User) *githubtest.Run {
	r.t.Helper()
	return r.repo.Start(githubtest.Started{Workflow: workflow, Event: event, Branch: "feature", SHA: f.Head(), From: f.repo, Actor: by})
}

// planForked plans a fork's change in a run of its own, without a token.
func (r *rig) planForked(f fork) (*githubtest.Run, result) {
	r.t.Helper()
	run := r.startFork(f, "pull_request", planFile, f.Author)
	s := r.planStep(f.Pull, run)
	s.job = r.ofFork(s.job, f)
	got := r.does(0, "plan", s)
	run.UploadZip("cabincrew-planned", zipOf(r.t, got.handed()))
	run.Finish("success")
	r.later()
	return run, got
}

// after is a job of the run in the base that follows another one.
func (r *rig) after(run *githubtest.Run) (*githubtest.Run, job) {
	r.t.Helper()
	main := r.repo.Tip("refs/heads/main")
	next := r.repo.Start(githubtest.Started{Workflow: baseFile, Event: "workflow_run", Branch: "main", SHA: main, Actor: run.Actor})
	return next, job{
		event: "workflow_run", run: number(next), sha: main, ref: "refs/heads/main",
		payload: map[string]any{
			"action": "completed", "repository": r.repository(), "sender": r.person(run.Actor),
			"workflow_run": map[string]any{
				"id": run.ID, "event": run.Event, "head_sha": run.SHA, "head_branch": run.Branch, "conclusion": "success", "path": run.Workflow,
				"head_repository": map[string]any{"id": run.From.ID, "full_name": run.From.FullName(), "owner": r.person(run.From.Owner)}, "pull_requests": []any{},
				"workflow_id": 1, "created_at": "2026-01-01T00:00:00Z",
			},
		},
	}
}

func (r *rig) judgeForked(f fork, j job, planned string) step {
	j.inputs = map[string]string{"flight-path": "planned"}
	return step{job: j, file: baseFile, dir: "change", at: f.MergeCommit(), takes: map[string]string{"planned": planned}}
}

// sealForked judges and signs in the base what a fork's run planned.
func (r *rig) sealForked(f fork, run *githubtest.Run, planned string) (judge, sign result) {
	r.t.Helper()
	next, j := r.after(run)
	judge = r.does(0, "judge", r.judgeForked(f, j, planned))
	next.UploadZip("cabincrew-judged", zipOf(r.t, judge.handed("judged")))
	j.inputs, j.token = map[string]string{"flight-path": "decision"}, r.signs
	sign = r.does(0, "sign", step{job: j, file: baseFile, dir: "governance", takes: map[string]string{"decision": judge.handed("decision")}})
	next.UploadZip("cabincrew-signed", zipOf(r.t, sign.handed()))
	next.Finish("success")
	r.later()
	return judge, sign
}

// reviewForked has a run of a review, which may only read, do nothing, and the one that
// follows it count.
func (r *rig) reviewForked(f fork) {
	r.t.Helper()
	run := r.startFork(f, "pull_request_review", planFile, r.bob)
	j := r.ofFork(r.pullRequest(f.Pull, "submitted", number(run)), f)
	j.event, j.payload["review"] = "pull_request_review", map[string]any{"id": 5}
	j.token = r.hub.Token(githubtest.Token{Repo: r.repo, Permissions: githubtest.ForkPermissions()})
	governance := step{job: j, file: planFile, dir: "governance", at: r.repo.Tip("refs/heads/main")}
	if got := r.does(0, "review", governance); !strings.Contains(got.stdout, "the run that follows this one counts its approvals") {
		r.t.Errorf("the fork's own run says %s", got.stdout)
	}
	run.Finish("success")
	r.later()
	next, j := r.after(run)
	r.does(0, "review", step{job: j, file: baseFile, dir: "governance"})
	next.Finish("success")
}

// TestForkIsSealedInTheBase flies forks' changes: their own runs plan, those of the base
// judge and sign, others count reviews, and the merge takes off.
func TestForkIsSealedInTheBase(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p, other := r.forked("mallory", "a fork's\n"), r.forked("trudy", "another fork's\n")
	run, plan := r.planForked(p)
	otherRun, otherPlan := r.planForked(other)
	judge, sign := r.sealForked(p, run, plan.handed())
	_, later := r.sealForked(other, otherRun, otherPlan.handed())
	token := judge.outputs["plan-token"]
	if sign.outputs["plan-token"] != token || later.outputs["plan-token"] == token {
		t.Errorf("the outputs are %v, %v and %v", judge.outputs, sign.outputs, later.outputs)
	}
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	r.reviewForked(p)
	approved := 0
	for _, k := range r.repo.Checks() {
		if k.SHA == p.Head() && k.ExternalID == token && k.Conclusion == "success" && strings.Contains(k.Summary, "bob") {
			approved++
		}
		if k.SHA == other.Head() && k.Conclusion != "action_required" {
			t.Errorf("the check of the other fork is %+v", k)
		}
	}
	if approved != 1 {
		t.Errorf("%d checks show the approval: %+v", approved, r.repo.Checks())
	}
	done := r.lands(p.Pull, 0)
	if out := read(t, filepath.Join(done.workspace, "change/out.txt")); out != "a fork's\n" {
		t.Errorf("the take-off wrote %q", out)
	}
}

// TestForkIsSealedByOneJob has auto do in the base all that a fork's run could not.
func TestForkIsSealedByOneJob(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.forked("mallory", "a fork's\n")
	run, _ := r.planForked(p)
	next, j := r.after(run)
	got := r.does(0, "auto", step{job: j, file: baseFile, dir: "base"})
	next.UploadZip("cabincrew-judged", zipOf(t, got.handed("judged")))
	next.Finish("success")
	r.later()
	if k := r.lastCheck(planCheck); k.Conclusion != "action_required" || k.SHA != p.Head() || !strings.Contains(k.Summary, "/actions/runs/"+number(run)+">)") {
		t.Errorf("the check is %+v", k)
	}
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	done := r.lands(p.Pull, 0)
	if out := read(t, filepath.Join(done.workspace, "change/out.txt")); out != "a fork's\n" {
		t.Errorf("the take-off wrote %q", out)
	}
}

// TestT14NoEngineWithRightsOfTheBase: under events with the rights of the base nothing is
// planned or taken off, whatever was checked out.
func TestT14NoEngineWithRightsOfTheBase(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.forked("mallory", "a fork's\n")
	run, plan := r.planForked(p)
	_, following := r.after(run)
	target := r.ofFork(r.pullRequest(p.Pull, "opened", number(run)), p)
	target.event = "pull_request_target"
	for event, j := range map[string]job{"workflow_run": following, "pull_request_target": target} {
		for _, command := range []string{"plan", "flight-plan", "take-off", "auto", "judge", "sign", "review"} {
			if event == "workflow_run" && (command == "auto" || command == "judge" || command == "sign" || command == "review") {
				continue // what they do is to run nothing
			}
			s := r.judgeForked(p, j, plan.handed())
			got := r.act(command, s)
			if got.code != 2 || !strings.Contains(got.stderr, "[ci_event]") {
				t.Errorf("%s under %s: exit %d\n%s", command, event, got.code, got.stderr)
			}
		}
	}
}

// TestT15PlansOfOthers: what another workflow, run or fork planned is refused, and so is
// a commit that several changes have as head, or none.
func TestT15PlansOfOthers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code int
		says string
		make func(r *rig, p fork) step
	}{
		"another workflow of that name": {5, "run_foreign", func(r *rig, p fork) step {
			_, plan := r.planForked(p)
			_, j := r.after(r.startFork(p, "pull_request", ".github/workflows/evil.yml", p.Author))
			return r.judgeForked(p, j, plan.handed())
		}},
		"the plan of another fork": {6, "workspace_changed", func(r *rig, p fork) step {
			run, _ := r.planForked(p)
			_, plan := r.planForked(r.forked("trudy", "another fork's\n"))
			_, j := r.after(run)
			return r.judgeForked(p, j, plan.handed())
		}},
		"two changes with that head": {5, "change_ambiguous", func(r *rig, p fork) step {
			run, plan := r.planForked(p)
			r.repo.Push("next", r.repo.Tip("refs/heads/main"), r.author)
			r.repo.Open(githubtest.Opened{Title: "again", Author: p.Author, From: p.repo, Head: "feature", Base: "next"})
			_, j := r.after(run)
			return r.judgeForked(p, j, plan.handed())
		}},
		"the head moved": {6, "head_moved", func(r *rig, p fork) step {
			run, plan := r.planForked(p)
			at := p.MergeCommit()
			r.pushes(p, p.Author, "evil\n")
			_, j := r.after(run)
			s := r.judgeForked(p, j, plan.handed())
			s.at = at
			return s
		}},
		"the merge of a newer commit": {6, "checkout_wrong", func(r *rig, p fork) step {
			run, plan := r.planForked(p)
			_, j := r.after(run)
			s := r.judgeForked(p, j, plan.handed())
			s.at = r.forked("trudy", "another fork's\n").MergeCommit()
			return s
		}},
		"a change of this repository": {2, "ci_event", func(r *rig, _ fork) step {
			own := r.open("feature", "two\n")
			run := r.start(own, r.author)
			plan := r.does(0, "plan", r.planStep(own, run))
			_, j := r.after(run)
			return r.judgeForked(fork{Pull: own}, j, plan.handed())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, byReview, nil)
			s := c.make(r, r.forked("mallory", "a fork's\n"))
			if got := r.act("judge", s); got.code != c.code || !strings.Contains(got.stderr, "["+c.says+"]") {
				t.Errorf("exit %d\n%s", got.code, got.stderr)
			}
		})
	}
}

package forge

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/test/githubtest"
)

// TestT39RunStartedAgainAfterTheMerge: a run that was started again keeps the time at
// which it was created, and hands over what was not there when the change was merged.
func TestT39RunStartedAgainAfterTheMerge(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.approved("feature", "two\n")
	before := r.repo.Tip("refs/heads/main")
	commit := p.pull.Merge(r.author, "merge")
	r.hub.Advance(time.Second)
	p.run.Rerun(r.author)
	p.run.Finish("success")
	r.refused(r.takeOff(commit, before, 7), "started again after the merge")
}

// TestT39NothingIsSealedAfterTheMerge: what was merged is neither planned nor signed any
// more, in whatever form.
func TestT39NothingIsSealedAfterTheMerge(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	run, judge := r.judged(p)
	one := r.pullRequest(p, "synchronize", number(run))
	r.hub.Advance(time.Second)
	p.Merge(r.author, "merge")
	if got := r.want(2, "auto", one); !strings.Contains(got.stderr, "[change_closed]") {
		t.Errorf("one job: %s", got.stderr)
	}
	sign := r.signStep(p, run, judge.handed("decision"))
	if got := r.act("sign", sign); got.code != 2 || !strings.Contains(got.stderr, "[change_closed]") || got.outputs["plan-token"] != "" {
		t.Errorf("sign: exit %d\n%s", got.code, got.stderr)
	}
}

// TestT15RunOfAForkHidesNothing: runs of a fork with the same commit are passed over, and
// the change's own newest one counts all the same.
func TestT15RunOfAForkHidesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.approved("feature", "two\n")
	mallory := r.hub.User("mallory")
	fork := r.hub.Fork(r.repo, mallory)
	own := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "pull_request", Branch: "feature", SHA: p.pull.Head(), Actor: r.author})
	own.Finish("failure")
	other := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "pull_request", Branch: "feature", SHA: p.pull.Head(), Actor: mallory, From: fork})
	other.Finish("success")
	r.later()
	r.landRefused(p.pull, 7, "flight_missing")
}

// TestT11WorkflowOfTheChange: a change brings a workflow of its own, which plans and takes
// off: the protected branch did not have it when it was planned.
func TestT11WorkflowOfTheChange(t *testing.T) {
	t.Parallel()
	for file, code := range map[string]int{".github/workflows/evil.yml": 5, workflowFile: 0} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, owned, nil)
			p := r.openFiles("feature", map[string]string{"app.txt": "two\n", file: "on: [pull_request, push]\n"})
			run := r.repo.Start(githubtest.Started{Workflow: file, Event: "pull_request", Branch: "feature", SHA: p.Head(), Actor: r.author, Pulls: []*githubtest.Pull{p}})
			j := r.pullRequest(p, "opened", number(run))
			j.env = map[string]string{"GITHUB_WORKFLOW_REF": r.repo.FullName() + "/" + file + "@" + j.ref}
			got := r.want(0, "auto", j)
			run.UploadZip("cabincrew-judged", zipOf(t, filepath.Join(got.outputs["flight-path"], "judged")))
			run.Finish("success")
			r.later()
			p.Review(r.bob, githubtest.Approved, "fine")
			p.Review(r.carol, githubtest.Approved, "fine")
			r.hub.Advance(time.Second)
			before := r.repo.Tip("refs/heads/main")
			commit := p.Merge(r.author, "merge")
			next := r.repo.Start(githubtest.Started{Workflow: file, Event: "push", Branch: "main", SHA: commit, Actor: r.author})
			j = r.push(commit, before, number(next))
			j.env = map[string]string{"GITHUB_WORKFLOW_REF": r.repo.FullName() + "/" + file + "@" + j.ref}
			landed := r.want(code, "auto", j)
			if code != 0 {
				r.refused(landed, "workflow_unknown")
			}
		})
	}
}

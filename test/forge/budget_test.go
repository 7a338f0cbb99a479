package forge

import (
	"maps"
	"strings"
	"testing"

	"github.com/cabincrew/action/test/githubtest"
)

// TestBudgetOfThreeJobs counts the calls of the form with three jobs where one person of
// a team approves one step. A comment takes two calls more, a deployment three.
func TestBudgetOfThreeJobs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config  string
		inputs  map[string]string
		plan    int
		takeOff int
	}{
		"neither":    {"", nil, 9, 19},
		"comment":    {"comment: true\n", nil, 11, 21},
		"deployment": {"", map[string]string{"deployment": "production"}, 9, 22},
		"both":       {"comment: true\n", map[string]string{"deployment": "production"}, 11, 24},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.config+byTeam, nil)
			r.readsTeams()
			p := r.open("feature", "two\n")
			r.inThree(p)
			r.budget(0, c.plan)
			p.Review(r.bob, githubtest.Approved, "fine")
			r.hub.Advance(1e9)
			calls, before := len(r.hub.Requests()), r.repo.Tip("refs/heads/main")
			commit := p.Merge(r.author, "merge")
			run := r.repo.Start(githubtest.Started{Workflow: baseFile, Event: "push", Branch: "main", SHA: commit, Actor: r.author})
			j := r.push(commit, before, number(run))
			j.inputs = maps.Clone(c.inputs)
			r.does(0, "take-off", step{job: j, file: baseFile, dir: "change"})
			run.Finish("success")
			r.budget(calls, c.takeOff)
		})
	}
}

// TestBudgetOfAFork counts the calls of the run that seals a fork's change, and a comment.
func TestBudgetOfAFork(t *testing.T) {
	t.Parallel()
	for rest, most := range map[string]int{byReview: 12, "comment: true\n" + byReview: 14} {
		r := newRig(t, rest, nil)
		p := r.forked("mallory", "a fork's\n")
		run, plan := r.planForked(p)
		calls := len(r.hub.Requests())
		r.sealForked(p, run, plan.handed())
		r.budget(calls, most)
	}
}

// TestT04BegunSinceTheCheckout: the tags of a job's checkout tell what took off before it;
// what took off since is found when this run would begin.
func TestT04BegunSinceTheCheckout(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.plan(r.open("feature", "two\n"), "opened", 0)
	r.approve(p.pull)
	r.hub.Advance(1e9)
	token := strings.TrimPrefix(p.got.outputs["plan-token"], "sha256:")
	main := r.repo.Tip("refs/heads/main")
	r.between("checks/list-for-ref", func() {
		r.git(r.origin, "-c", "user.name=x", "-c", "user.email=x@example.com", "tag", "-a", "-m", `{"content":"another","run":"x"}`, "cabincrew/"+token+"/begun", main)
	})
	got := r.land(p.pull, 5)
	r.notApplied(got, "token_consumed")
	if !strings.Contains(got.stderr, "flight another began") {
		t.Errorf("it does not say who began:\n%s", got.stderr)
	}
}

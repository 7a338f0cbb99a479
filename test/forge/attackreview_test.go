package forge

import (
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/test/githubtest"
)

// TestT06EditedReview has the text of a review be edited after it was submitted, by
// whomever: GitHub keeps the time of submission, and that is what counts.
func TestT06EditedReview(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rest string
		text func(code string) string
		want string
	}{
		"an approval":     {byReview, func(code string) string { return "fine " + code }, "before the plan was made"},
		"with the code":   {byCode, func(code string) string { return "fine " + code }, "before the plan was made"},
		"the glass break": {glass, fire, "of 1 approved"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.rest, nil)
			p := r.open("feature", "two\n")
			early := []*githubtest.Review{p.Review(r.bob, githubtest.Approved, ""), p.Review(r.carol, githubtest.Approved, "")}
			r.hub.Advance(time.Second)
			got := r.plan(p, "opened", 0)
			for _, v := range early {
				p.Edit(v, c.text(codeIn(t, read(t, got.got.outputs["report-path"]))))
			}
			r.hub.Advance(time.Second)
			r.landRefused(p, 4, c.want)
		})
	}
}

// TestT06CodeWrittenInLater plans the same again, and writes the code of the second
// flight into the review of the first.
func TestT06CodeWrittenInLater(t *testing.T) {
	t.Parallel()
	r := newRig(t, byCode, nil)
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 0)
	v := p.Review(r.bob, githubtest.Approved, "fine")
	time.Sleep(time.Until(r.hub.Now()) + time.Second) // plans are sealed by this machine's clock
	got := r.plan(p, "reopened", 0)
	p.Edit(v, "fine "+codeIn(t, read(t, got.got.outputs["report-path"])))
	r.hub.Advance(time.Second)
	r.landRefused(p, 4, "its text was edited")
}

// TestT06EditedWithTheCode has somebody with write access put the code into a review
// that was submitted without it.
func TestT06EditedWithTheCode(t *testing.T) {
	t.Parallel()
	r := newRig(t, byCode, nil)
	p := r.open("feature", "two\n")
	got := r.plan(p, "opened", 0)
	v := p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Minute)
	p.Edit(v, "fine "+codeIn(t, read(t, got.got.outputs["report-path"])))
	r.hub.Advance(time.Second)
	r.landRefused(p, 4, "its text was edited")
}

// TestT08DismissedObjection has somebody dismiss the review of a holder of the role who
// asked for changes: only they themselves and others who hold the role take that back.
func TestT08DismissedObjection(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		by   string
		exit int
	}{
		"the author": {"alice", 4}, "somebody who may write": {"dave", 4}, "an App": {"robot[bot]", 4},
		"the reviewer": {"carol", 0}, "another holder": {"bob", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "approvals: {roles: {platform: {users: [alice, bob, carol]}}}\n", nil)
			by := r.hub.User(c.by)
			if c.by == "robot[bot]" {
				by = r.hub.Account("robot[bot]", "Bot")
			}
			p := r.open("feature", "two\n")
			r.plan(p, "opened", 0)
			v := p.Review(r.carol, githubtest.ChangesRequested, "no")
			p.Review(r.bob, githubtest.Approved, "fine")
			r.hub.Advance(time.Second)
			p.DismissBy(v, by)
			r.hub.Advance(time.Second)
			since := len(r.hub.Requests())
			if c.exit == 0 {
				r.land(p, 0)
				r.budget(since, 20)
				return
			}
			r.landRefused(p, c.exit, "carol asked for changes, and "+c.by)
		})
	}
}

// TestT08DismissalThatCannotBeTold refuses rather than guesses.
func TestT08DismissalThatCannotBeTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 0)
	p.Dismiss(p.Review(r.carol, githubtest.ChangesRequested, "no"))
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	r.hub.Fail("issues/list-events-for-timeline", 9, githubtest.Fault{Status: 404})
	r.landRefused(p, 7, "forge_refused")
}

// between does something to a repository after a question was answered for the first
// time, and before whoever asked gets the answer.
func (r *rig) between(op string, do func()) {
	answered := make(chan struct{})
	r.hub.Fail(op, 1, githubtest.Fault{Slow: answered})
	calls := len(r.hub.Requests())
	go func() {
		defer close(answered)
		for r.t.Context().Err() == nil {
			for _, q := range r.hub.Requests()[calls:] {
				if q.Op == op && q.Status == 200 {
					do()
					return
				}
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
}

// TestT07RoleLostWhileTakingOff takes the team, or the permission, from whoever approved
// after it was asked for the first time, and before the engine starts.
func TestT07RoleLostWhileTakingOff(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		role, op string
		lose     func(r *rig, team *githubtest.Team)
	}{
		"team":       {"teams: [acme/platform]", "teams/list-members-in-org", func(r *rig, team *githubtest.Team) { team.Remove(r.bob) }},
		"permission": {"permission: write", "repos/get-collaborator-permission-level", func(r *rig, _ *githubtest.Team) { r.repo.Allow(r.bob, "read") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "approvals: {roles: {platform: {"+c.role+"}}}\n", nil)
			team := r.hub.Team("acme/platform", r.bob)
			r.teamToken()
			p := r.open("feature", "two\n")
			r.plan(p, "opened", 0)
			p.Review(r.bob, githubtest.Approved, "fine")
			r.hub.Advance(time.Second)
			r.between(c.op, func() { c.lose(r, team) })
			r.landRefused(p, 4, "approval_withdrawn")
		})
	}
}

// TestT07PushedByABot has a bot push the head: who had it do so may not approve, and
// where nobody is told, nobody may. The App whose own change it is pushes by itself.
func TestT07PushedByABot(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		author, pusher, actor, again string // again starts the run again
		exit                         int
		want                         string
	}{
		"a job's token":               {"alice", "github-actions[bot]", "github-actions[bot]", "", 7, "pusher_unknown"},
		"a job's token for bob":       {"alice", "github-actions[bot]", "bob", "", 4, "started a run for the change"},
		"a job's token for carol":     {"alice", "github-actions[bot]", "carol", "", 0, ""},
		"a job's token all of it":     {"github-actions[bot]", "github-actions[bot]", "github-actions[bot]", "", 7, "pusher_unknown"},
		"an App on somebody's change": {"alice", "fix[bot]", "fix[bot]", "", 7, "pusher_unknown"},
		"an App by itself":            {"renovate[bot]", "renovate[bot]", "renovate[bot]", "", 0, ""},
		"an App started again by bob": {"renovate[bot]", "renovate[bot]", "renovate[bot]", "bob", 4, "started a run for the change"},
		"a person started by bob":     {"alice", "alice", "alice", "bob", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, byReview, nil)
			who := func(login string) *githubtest.User {
				if strings.HasSuffix(login, "[bot]") {
					return r.hub.Bot(login)
				}
				return r.hub.User(login)
			}
			head := r.repo.Commit(githubtest.Commit{Author: who(c.author), Message: "feature", Parents: []string{r.repo.Tip("refs/heads/main")}, Files: map[string]string{"app.txt": "two\n"}})
			r.repo.Push("feature", head, who(c.pusher))
			p := r.repo.Open(githubtest.Opened{Title: "feature", Author: who(c.author), Head: "feature"})
			alice := r.author
			r.author = who(c.actor) // who starts the runs
			got := r.plan(p, "opened", 0)
			if c.again != "" {
				got.run.Rerun(who(c.again))
				got.run.Finish("success")
			}
			r.author = alice
			p.Review(r.bob, githubtest.Approved, "fine")
			r.hub.Advance(time.Second)
			if c.exit == 0 {
				r.land(p, 0)
				return
			}
			r.landRefused(p, c.exit, c.want)
		})
	}
}

// TestT07MergedByTheApprover: who merges starts a run for the same commit, and may have
// approved it.
func TestT07MergedByTheApprover(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	robot := r.hub.Bot("renovate[bot]")
	head := r.repo.Commit(githubtest.Commit{Author: robot, Message: "feature", Parents: []string{r.repo.Tip("refs/heads/main")}, Files: map[string]string{"app.txt": "two\n"}})
	r.repo.Push("feature", head, robot)
	p := r.repo.Open(githubtest.Opened{Title: "feature", Author: robot, Head: "feature"})
	alice := r.author
	r.author = robot
	r.plan(p, "opened", 0)
	r.author = alice
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	before := r.repo.Tip("refs/heads/main")
	commit := p.Merge(r.bob, "merge")
	r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "pull_request", Branch: "feature", SHA: head, Actor: r.bob, Conclusion: "success"})
	r.hub.Advance(time.Second)
	r.takeOff(commit, before, 0)
}

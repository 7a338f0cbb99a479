package forge

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/test/githubtest"
)

// TestTwoChangesOfOneHead: another pull request from the same branch, into a branch that
// governs too, is planned later; the first one's plan is still its newest.
func TestTwoChangesOfOneHead(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview+"governance: {refs: [release]}\n", nil)
	r.repo.Push("release", r.repo.Tip("refs/heads/main"), r.author)
	p := r.plan(r.open("feature", "two\n"), "opened", 0)
	other := r.repo.Open(githubtest.Opened{Title: "backport", Author: r.author, Head: "feature", Base: "release"})
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "pull_request", Branch: "feature", SHA: other.Head(), Actor: r.author, Pulls: []*githubtest.Pull{other}})
	j := r.pullRequest(other, "opened", number(run))
	j.payload["pull_request"].(map[string]any)["base"].(map[string]any)["ref"] = "release"
	got := r.want(0, "auto", j)
	run.UploadZip("cabincrew-judged", zipOf(t, filepath.Join(got.outputs["flight-path"], "judged")))
	run.Finish("success")
	r.later()
	p.pull.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(2 * time.Second)
	before := r.repo.Tip("refs/heads/main")
	r.takeOff(p.pull.Merge(r.author, "merge"), before, 0)
	r.wantTagged("begun done", p)
}

// TestQueueMergeLeftBehind: what a merge queue merged and nobody flew flies by its
// group's plan in the run of a later push by a person.
func TestQueueMergeLeftBehind(t *testing.T) {
	t.Parallel()
	r := newRig(t, "", map[string]string{
		".cabincrew.yaml": "version: 1\nworkflow: deploy\nsteps:\n  - id: edit\n    engine: {use: command, with: {shell: \"cp app.txt out.txt\"}}\n    inputs: [app.txt, beside.txt]\npolicies: {rego: [pol/]}\nsigning: {key: " + keysDir + "/plan}\n",
		"beside.txt":      "one\n", "pol/rig.rego": allowed["pol/rig.rego"],
	})
	r.land(r.plan(r.open("zero", "zero\n"), "opened", 0).pull, 0)
	p := r.plan(r.open("feature", "two\n"), "opened", 0)
	r.commit(map[string]string{"beside.txt": "two\n"}) // only the group's plan is not stale
	group, left := r.queue(p.pull, 0)
	r.hub.Advance(2 * time.Second)
	p.pull.Land(r.author, left)
	next := r.plan(r.openFiles("other", map[string]string{"unrelated.txt": "x\n"}), "opened", 0)
	r.hub.Advance(2 * time.Second)
	r.takeOff(next.pull.Merge(r.author, "merge"), left, 0)
	r.wantTagged("begun done", group)
	r.wantTagged("", p)
}

// TestT09GateForAPlanMadeAgain: who opens an environment names the code of the plan that
// people saw, not that of the one in its place, which is another in each attempt.
func TestT09GateForAPlanMadeAgain(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]int{"the code": 0, "another code": 4} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := notifying(t, "approvals: {carry_over: same-intent, environments: [production], roles: {platform: {users: [bob, carol]}}}\ntake_off: {on_stale: replan}\n", "none")
			r.repo.Environment(githubtest.Environment{Name: "production", Users: []*githubtest.User{r.bob, r.carol}})
			p := r.approved("feature", "two\n")
			said := codeIn(t, read(t, p.got.outputs["report-path"]))
			if code != 0 {
				said = strings.Repeat("0", len(said))
			}
			before := r.commit(map[string]string{"beside.txt": "two\n"})
			commit := p.pull.Merge(r.author, "merge")
			run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "push", Branch: "main", SHA: commit, Actor: r.author})
			run.Approve(r.carol, "approved", "ok "+said, "production")
			j := r.push(commit, before, strconv.FormatInt(run.ID, 10))
			j.env = map[string]string{"GITHUB_RUN_ATTEMPT": "2"}
			r.want(code, "auto", j)
		})
	}
}

// TestT38DoneInAdvance: a tag that says that a plan took off, made before anything began,
// keeps it from flying, and nobody takes it for flown.
func TestT38DoneInAdvance(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, allowed)
	p := r.plan(r.open("feature", "two\n"), "opened", 0)
	before, commit := r.repo.Tip("refs/heads/main"), p.pull.Merge(r.author, "merge")
	r.git(r.origin, "-c", "user.name=x", "-c", "user.email=x@example.com", "tag", "-a", "-m", `{"content":"{\"flight\":\"f1\"}","run":"x"}`, "cabincrew/"+strings.TrimPrefix(p.got.outputs["plan-token"], "sha256:")+"/done", commit)
	if got := r.takeOff(commit, before, 5); !strings.Contains(got.stderr, "takeoff_unproven") {
		t.Errorf("it says %s", got.stderr)
	}
	r.wantTagged("done", p)
}

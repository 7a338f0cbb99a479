package forge

import (
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/test/githubtest"
)

// owned lets carol answer for governance.
const owned = "approvals: {roles: {platform: {users: [bob, carol]}, policy-owner: {users: [carol]}}}\n"

// asksOwner says whether a plan asks the owner of policies because nobody endorsed
// governance.
func (p planned) asksOwner() bool {
	return strings.Contains(p.got.stdout+p.got.summary, "no flight of it took off")
}

// TestT33GovernanceOfNoFlight: governance that was merged past its judges, as under a
// forged check, asks its owner for every flight; what flew does not, nor the very first.
func TestT33GovernanceOfNoFlight(t *testing.T) {
	t.Parallel()
	for name, flew := range map[string]bool{"flew": true, "forged": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, owned, nil)
			change := r.openFiles("governance", map[string]string{"pol/rig.rego": policy + "# changed\n"})
			got := r.plan(change, "opened", 0)
			if got.asksOwner() {
				t.Error("the first governance has none before it")
			}
			change.Review(r.carol, githubtest.Approved, "fine")
			change.Review(r.bob, githubtest.Approved, "fine")
			r.hub.Advance(time.Second)
			if flew {
				r.land(change, 0)
			} else {
				change.Merge(r.author, "merge") // and no job takes off
			}
			next := r.open("feature", "two\n")
			plan := r.plan(next, "opened", 0)
			if plan.asksOwner() == flew {
				t.Errorf("the owner is asked: %t\n%s", plan.asksOwner(), plan.got.stdout)
			}
			next.Review(r.bob, githubtest.Approved, "fine")
			r.hub.Advance(time.Second)
			code := 0
			if !flew {
				code = 4
			}
			r.land(next, code)
		})
	}
}

// TestT33GovernanceAgain: to remove governance and bring another one back is no first
// governance.
func TestT33GovernanceAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, owned, nil)
	without := r.repo.Commit(githubtest.Commit{Author: r.author, Message: "without", Parents: []string{r.repo.Tip("refs/heads/main")}, Remove: []string{".cabincrew.yaml"}})
	r.repo.Push("main", without, r.author)
	r.repo.Push("main", r.repo.Commit(githubtest.Commit{Author: r.author, Message: "again", Parents: []string{without}, Files: map[string]string{".cabincrew.yaml": r.configuration(owned)}}), r.author)
	if plan := r.plan(r.open("feature", "two\n"), "opened", 0); !plan.asksOwner() {
		t.Errorf("%s", plan.got.stdout)
	}
}

// endorsed begins the tags that endorse makes.
const endorsed = "refs/tags/cabincrew/eeeeeeeeeeeeeeeeeeeeeeee"

// endorse makes what a take-off of a commit leaves: then its governance was approved.
func (r *rig) endorse(sha string) {
	r.t.Helper()
	for _, mark := range []string{"begun", "done"} {
		r.git(r.origin, "update-ref", endorsed+sha+"/"+mark, sha)
	}
}

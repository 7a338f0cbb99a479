//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/test/githubtest"
)

// TestForkUnderAct flies a fork's pull request: its own run only plans, a run of the base
// that follows judges and signs, another counts the review, and the merge takes off.
func TestForkUnderAct(t *testing.T) {
	t.Parallel()
	f := newField(t)
	f.threeJobs()
	mallory := f.hub.User("mallory")
	fork := f.hub.Fork(f.repo, mallory)
	fork.Push("feature", fork.Commit(githubtest.Commit{
		Author: mallory, Message: "feature", Parents: []string{f.repo.Tip("refs/heads/main")}, Files: map[string]string{"README": "a fork's\n"},
	}), mallory)
	p := f.repo.Open(githubtest.Opened{Title: "from a fork", Author: mallory, From: fork, Head: "feature"})
	from := func(e trigger) trigger {
		e.From, e.Pulls = fork, nil // GitHub names none of a fork
		return e
	}

	plan := f.flies(from(f.onPull(p, "pull_request", mallory, p.Payload("opened", mallory))))
	f.wants(plan, 0, "plan 0")
	if len(plan.kept) != 1 || len(f.repo.Checks()) != 0 {
		t.Errorf("the fork's run left %v and %+v", plan.kept, f.repo.Checks())
	}
	seal := f.flies(f.after(plan))
	f.wants(seal, 0, "judge 0", "sign 0")
	token := seal.outputs["judge"]["plan-token"]
	if k := f.check(planCheck); k.Conclusion != "action_required" || k.SHA != p.Head() || k.ExternalID != token || !strings.Contains(k.Text, "### Signed plan") {
		t.Errorf("the check is %+v", k)
	}
	f.certified(seal.at("cabincrew-signed"), "plan.sigstore.json", "flight-plan.yml", signing.FlightPlanType)

	review := f.flies(from(f.reviewed(p, p.Review(f.bob, githubtest.Approved, "fine"))))
	f.wants(review, 0)
	f.wants(f.flies(f.after(review)), 0, "review 0")
	if k := f.check(planCheck); k.Conclusion != "success" || !strings.Contains(k.Summary, "bob") {
		t.Errorf("after the review the check is %+v", k)
	}
	done := f.flies(f.merge(baseFile, p))
	f.wants(done, 0, "take-off 0")
	f.landed(done, token)
}

package forge

import (
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/test/githubtest"
)

// TestOneComment: the change has one comment of ours, changed in place; a comment of
// somebody else is left alone, whatever it begins with.
func TestOneComment(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview+"comment: true\n", nil)
	p := r.open("feature", "two\n")
	theirs := r.repo.Comment(p.Number, r.bob, "<!-- cabincrew:report -->\nmine")
	first := r.plan(p, "opened", 0)
	r.budget(0, 12)
	r.plan(p, "reopened", 0)
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(1e9)
	calls := len(r.hub.Requests())
	r.land(p, 0)
	r.budget(calls, 19)
	all := r.repo.Comments(p.Number)
	if len(all) != 2 || all[0].ID != theirs || !strings.HasSuffix(all[0].Body, "\nmine") {
		t.Fatalf("%+v", all)
	}
	if text := all[1].Body; !strings.HasPrefix(text, "<!-- cabincrew:report -->\n") || !strings.Contains(text, "app.txt") && !strings.Contains(text, "out.txt") {
		t.Errorf("%s", text)
	}
	if k := r.lastCheck(planCheck); !strings.Contains(k.Summary, "[Plan again](<") {
		t.Errorf("nothing leads to another plan:\n%s", k.Summary)
	}
	if first.got.stderr == "" {
		t.Error("nothing is told")
	}
}

// TestNoComment: nobody asked for one, and one that cannot be written holds nothing up.
func TestNoComment(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 0)
	if all := r.repo.Comments(p.Number); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	r = newRig(t, byReview+"comment: true\n", nil)
	p = r.open("feature", "two\n")
	permissions := githubtest.JobPermissions()
	permissions["pull-requests"], permissions["issues"] = "read", "read"
	r.token = r.hub.Token(githubtest.Token{Repo: r.repo, Permissions: permissions})
	if got := r.plan(p, "opened", 0); !strings.Contains(got.got.stderr, "comment on pull request") {
		t.Errorf("%s", got.got.stderr)
	}
}

// TestChecksPerStep: each step has a check of its own beside the one for all.
func TestChecksPerStep(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	two := strings.Replace(r.configuration(byReview+"checks: per-step\n"), "inputs: [app.txt]\n", "inputs: [app.txt]\n  - id: look\n    engine: {use: command, with: {shell: \"true\"}}\n    inputs: [app.txt]\n", 1)
	r.repo.Push("main", r.repo.Commit(githubtest.Commit{Author: r.author, Message: "two steps", Parents: []string{r.repo.Tip("refs/heads/main")}, Files: map[string]string{".cabincrew.yaml": two}}), r.author)
	r.endorse(r.repo.Tip("refs/heads/main"))
	p := r.open("feature", "two\n")
	calls := len(r.hub.Requests())
	got := r.plan(p, "opened", 0)
	r.budget(calls, 12)
	all, edit, look := r.lastCheck(planCheck), r.lastCheck(planCheck+" / edit"), r.lastCheck(planCheck+" / look")
	if all.Conclusion != "action_required" || edit.Conclusion != "action_required" || look.Conclusion != "action_required" {
		t.Errorf("%s, %s, %s\n%s", all.Conclusion, edit.Conclusion, look.Conclusion, got.got.stdout)
	}
	if edit.SHA != p.Head() || edit.ExternalID == all.ExternalID || !strings.HasPrefix(edit.ExternalID, "sha256:") || !strings.Contains(shown(edit), "out.txt") || strings.Contains(shown(look), "out.txt") {
		t.Errorf("%+v\n%+v", edit, look)
	}
}

// TestDeploymentOfAMerge: where the job names no environment, the take-off says itself
// what became of the merged commit; one that never began says nothing.
func TestDeploymentOfAMerge(t *testing.T) {
	t.Parallel()
	for name, approved := range map[string]bool{"approved": true, "not approved": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, byReview, nil)
			p := r.open("feature", "two\n")
			r.plan(p, "opened", 0)
			code := 4
			if approved {
				p.Review(r.bob, githubtest.Approved, "fine")
				r.hub.Advance(1e9)
				code = 0
			}
			calls := len(r.hub.Requests())
			r.landIn(p, code, func(*githubtest.Run) {}, map[string]string{"INPUT_DEPLOYMENT": "production"})
			r.budget(calls, 20)
			all := r.repo.Deployments()
			if !approved && len(all) != 0 {
				t.Errorf("%+v", all)
			}
			if approved && (len(all) != 1 || all[0].SHA != r.repo.Tip("refs/heads/main") || all[0].Environment != "production" || !slices.Equal(all[0].States, []string{"in_progress", "success"})) {
				t.Errorf("%+v", all)
			}
		})
	}
}

// TestDeploymentHoldsNothingUp: what GitHub refuses at the beginning is said at the end,
// and what it refuses then too is told in the log.
func TestDeploymentHoldsNothingUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	deploys := map[string]string{"INPUT_DEPLOYMENT": "production"}
	approved := func(branch, content string) *githubtest.Pull {
		p := r.open(branch, content)
		r.plan(p, "opened", 0)
		p.Review(r.bob, githubtest.Approved, "fine")
		r.hub.Advance(1e9)
		return p
	}
	p := approved("feature", "two\n")
	r.hub.Fail("repos/create-deployment", 1, githubtest.Fault{Status: 403})
	r.landIn(p, 0, func(*githubtest.Run) {}, deploys)
	if all := r.repo.Deployments(); len(all) != 1 || !slices.Equal(all[0].States, []string{"success"}) {
		t.Errorf("%+v", all)
	}
	p = approved("next", "three\n")
	permissions := githubtest.JobPermissions()
	delete(permissions, "deployments")
	r.token = r.hub.Token(githubtest.Token{Repo: r.repo, Permissions: permissions})
	got := r.landIn(p, 0, func(*githubtest.Run) {}, deploys)
	if all := r.repo.Deployments(); len(all) != 1 || strings.Count(got.stderr, "make a deployment") != 2 {
		t.Errorf("%+v\n%s", all, got.stderr)
	}
}

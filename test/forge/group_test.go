package forge

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/test/githubtest"
)

// queue lets a merge queue make the commit of a change, and plans it as its group.
func (r *rig) queue(p *githubtest.Pull, code int) (planned, string) {
	r.t.Helper()
	base := r.repo.Tip("refs/heads/main")
	commit := p.MergeCommit() // the same tree, on the same base
	ref := "gh-readonly-queue/main/pr-" + strconv.Itoa(p.Number) + "-" + base
	r.repo.Push(ref, commit, r.author)
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "merge_group", Branch: ref, SHA: commit, Actor: r.author})
	got := r.want(code, "auto", job{
		event: "merge_group", run: strconv.FormatInt(run.ID, 10), sha: commit, ref: "refs/heads/" + ref,
		payload: map[string]any{
			"action": "checks_requested", "repository": r.repository(), "sender": r.person(r.author),
			"merge_group": map[string]any{"head_sha": commit, "head_ref": "refs/heads/" + ref, "base_sha": base, "base_ref": "refs/heads/main"},
		},
	})
	if code == 0 {
		run.UploadZip("cabincrew-judged", zipOf(r.t, filepath.Join(got.outputs["flight-path"], "judged")))
	}
	run.Finish("success")
	r.later()
	return planned{pull: p, run: run, got: got}, commit
}

// allowed is a policy that lets everything pass.
var allowed = map[string]string{"pol/rig.rego": "package cabincrew.rig\n\ndecision := \"allow\"\n"}

// TestMergeGroup plans the commit of a merge queue's group, shows it there, and flies
// that plan when the commit lands.
func TestMergeGroup(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, allowed)
	p := r.plan(r.open("feature", "two\n"), "opened", 0)
	before := r.repo.Tip("refs/heads/main")
	group, commit := r.queue(p.pull, 0)
	if k := r.lastCheck(planCheck); k.SHA != commit || k.Conclusion != "success" || k.ExternalID != group.got.outputs["plan-token"] {
		t.Errorf("the check is %+v", k)
	}
	if group.got.outputs["plan-token"] == p.got.outputs["plan-token"] {
		t.Error("the group has the token of its change")
	}
	p.pull.Land(r.author, commit)
	calls := len(r.hub.Requests())
	done := r.takeOff(commit, before, 0)
	r.budget(calls, 20)
	if out := read(t, filepath.Join(done.workspace, "out.txt")); out != "two\n" {
		t.Errorf("the take-off wrote %q", out)
	}
	r.wantTagged("begun done", group)
	r.wantTagged("", p)
}

// TestMergeGroupNeedsApproval: what people said of the change is not said of its group,
// unless the configuration lets it carry over.
func TestMergeGroupNeedsApproval(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.approved("feature", "two\n")
	before := r.repo.Tip("refs/heads/main")
	group, commit := r.queue(p.pull, 0)
	if k := r.lastCheck(planCheck); k.SHA != commit || k.Conclusion != "action_required" {
		t.Errorf("the check is %+v", k)
	}
	p.pull.Land(r.author, commit)
	r.takeOff(commit, before, 4)
	r.wantTagged("", p, group)
}

// TestMergeGroupThatMoved: the queue made another commit meanwhile.
func TestMergeGroupThatMoved(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, allowed)
	p := r.plan(r.open("feature", "two\n"), "opened", 0)
	tip, commit := r.repo.Tip("refs/heads/main"), p.pull.MergeCommit()
	r.repo.Push("gh-readonly-queue/main/pr-1", tip, r.author)
	r.hub.Advance(time.Second)
	got := r.want(6, "auto", job{
		event: "merge_group", run: "5", sha: commit, ref: "refs/heads/gh-readonly-queue/main/pr-1",
		payload: map[string]any{
			"action": "checks_requested", "repository": r.repository(), "sender": r.person(r.author),
			"merge_group": map[string]any{"head_sha": commit, "head_ref": "refs/heads/gh-readonly-queue/main/pr-1", "base_sha": tip, "base_ref": "refs/heads/main"},
		},
	})
	if !strings.Contains(got.stderr, "head_moved") {
		t.Errorf("it says %s", got.stderr)
	}
}

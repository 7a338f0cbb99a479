package forge

import (
	"maps"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cabincrew/action/test/githubtest"
)

// threeJobs plans, judges and signs a run in a job each, and uploads what they hand over.
func (r *rig) threeJobs(run *githubtest.Run, j job) (judged result) {
	r.t.Helper()
	with := func(more map[string]string) job {
		c := j
		c.run, c.inputs = strconv.FormatInt(run.ID, 10), maps.Clone(more)
		return c
	}
	plan := r.want(0, "plan", with(map[string]string{"token": ""}))
	judged = r.want(0, "judge", with(map[string]string{"flight-path": filepath.Join(plan.outputs["flight-path"], "planned")}))
	top := judged.outputs["flight-path"]
	run.UploadZip("cabincrew-judged", zipOf(r.t, filepath.Join(top, "judged")))
	signs := with(map[string]string{"flight-path": filepath.Join(top, "decision")})
	signs.at = r.repo.Tip("refs/heads/main") // it sees nothing of the change
	sign := r.want(0, "sign", signs)
	run.UploadZip("cabincrew-signed", zipOf(r.t, filepath.Join(sign.outputs["flight-path"], "signed")))
	run.Finish("success")
	r.later()
	return judged
}

// TestThreeJobsOfAMergeGroup: the group of a merge queue is planned, judged and signed
// by three jobs, and its plan flies.
func TestThreeJobsOfAMergeGroup(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, allowed)
	p := r.plan(r.open("feature", "two\n"), "opened", 0)
	base, commit := r.repo.Tip("refs/heads/main"), p.pull.MergeCommit()
	ref := "gh-readonly-queue/main/pr-1"
	r.repo.Push(ref, commit, r.author)
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "merge_group", Branch: ref, SHA: commit, Actor: r.author})
	judged := r.threeJobs(run, job{
		event: "merge_group", sha: commit, ref: "refs/heads/" + ref,
		payload: map[string]any{
			"action": "checks_requested", "repository": r.repository(), "sender": r.person(r.author),
			"merge_group": map[string]any{"head_sha": commit, "head_ref": "refs/heads/" + ref, "base_sha": base, "base_ref": "refs/heads/main"},
		},
	})
	k := r.lastCheck(planCheck)
	if k.SHA != commit || k.Conclusion != "success" || !strings.Contains(k.Text, "Signed plan") {
		t.Errorf("the check is %+v", k)
	}
	p.pull.Land(r.author, commit)
	r.takeOff(commit, base, 0)
	r.wantTagged("begun done", planned{pull: p.pull, got: judged})
}

// TestThreeJobsOnASchedule: the judging job tells of drift.
func TestThreeJobsOnASchedule(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	tip := r.repo.Tip("refs/heads/main")
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "schedule", Branch: "main", SHA: tip, Actor: r.author})
	r.threeJobs(run, job{event: "schedule", sha: tip, ref: "refs/heads/main", payload: map[string]any{"repository": r.repository(), "sender": r.person(r.author)}})
	if issues := r.repo.Issues(); len(issues) != 1 || !strings.HasPrefix(issues[0].Title, "Drift: ") {
		t.Errorf("the issues are %+v", issues)
	}
	if k := r.lastCheck(driftCheck); !strings.Contains(k.Text, "Signed plan") {
		t.Errorf("the check has no signed plan:\n%s", k.Text)
	}
}

package forge

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/test/githubtest"
)

// twoSteps are steps that two jobs fly, each on its own; shared serves one of them.
const twoSteps = `version: 1
workflow: deploy
steps:
  - id: edit
    engine: {use: command, with: {shell: "cp app.txt out.txt"}}
    inputs: [app.txt]
  - id: shared
    engine: {use: command, with: {shell: "cp app.txt shared.txt"}}
    inputs: [app.txt]
  - id: more
    needs: [shared]
    engine: {use: command, with: {shell: "cp shared.txt more.txt"}}
    inputs: [shared.txt]
policies: {rego: [pol/]}
signing: {key: ` + keysDir + `/plan}
` + byReview

// inSteps opens a change and plans it in one run by two jobs, one for edit and one for
// more; a reviewer approves.
func (r *rig) inSteps(branch, content string) *githubtest.Pull {
	r.t.Helper()
	p := r.open(branch, content)
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "pull_request", Branch: "feature", SHA: p.Head(), Actor: r.author, Pulls: []*githubtest.Pull{p}})
	for _, step := range []string{"edit", "more"} {
		j := r.pullRequest(p, "opened", strconv.FormatInt(run.ID, 10))
		j.inputs = map[string]string{"step": step}
		got := r.want(0, "auto", j)
		run.UploadZip("cabincrew-judged-"+step, zipOf(r.t, filepath.Join(got.outputs["flight-path"], "judged")))
		if k := r.lastCheck(planCheck + " (" + step + ")"); k.Conclusion != "action_required" || k.ExternalID != got.outputs["plan-token"] {
			r.t.Errorf("the check of %s is %+v", step, k)
		}
		if strings.Contains(got.stdout, "step edit") != (step == "edit") || strings.Contains(got.stdout, "step more") != (step == "more") {
			r.t.Errorf("for %s it planned\n%s", step, got.stdout)
		}
	}
	run.Finish("success")
	r.later()
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	return p
}

// flyStep runs the job of one step for a merge, and tells which files it wrote.
func (r *rig) flyStep(step, commit, before string, code int) (result, string) {
	r.t.Helper()
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "push", Branch: "main", SHA: commit, Actor: r.author})
	j := r.push(commit, before, strconv.FormatInt(run.ID, 10))
	j.inputs = map[string]string{"step": step}
	got := r.want(code, "auto", j)
	run.Finish("success")
	var wrote []string
	for _, name := range []string{"out.txt", "shared.txt", "more.txt"} {
		if _, err := os.Stat(filepath.Join(got.workspace, name)); err == nil {
			wrote = append(wrote, name)
		}
	}
	return got, strings.Join(wrote, " ")
}

// TestSingleSteps flies the steps of a change in two jobs: each has checks, artifacts and
// marks of its own, and brings the steps that it needs.
func TestSingleSteps(t *testing.T) {
	t.Parallel()
	r := newRig(t, "", map[string]string{".cabincrew.yaml": twoSteps})
	p := r.inSteps("feature", "two\n")
	before := r.repo.Tip("refs/heads/main")
	commit := p.Merge(r.author, "merge")
	if _, wrote := r.flyStep("edit", commit, before, 0); wrote != "out.txt" {
		t.Errorf("edit wrote %s", wrote)
	}
	if _, wrote := r.flyStep("more", commit, before, 0); wrote != "shared.txt more.txt" {
		t.Errorf("more wrote %s", wrote)
	}
	if again, _ := r.flyStep("more", commit, before, 0); !strings.Contains(again.stdout+again.stderr, "took off before") {
		t.Errorf("a second run says %s", again.stdout)
	}
	if got, _ := r.flyStep("mor", commit, before, 7); !strings.Contains(got.stderr, "flight_missing") {
		t.Errorf("it says %s", got.stderr)
	}
	q := r.open("other", "three\n")
	j := r.pullRequest(q, "opened", "77")
	j.inputs = map[string]string{"step": "mor"}
	if got := r.want(2, "auto", j); !strings.Contains(got.stderr, "step_unknown") || !strings.Contains(got.stderr, `did you mean "more"?`) {
		t.Errorf("it says %s", got.stderr)
	}
	if got := r.takeOff(commit, before, 7); !strings.Contains(got.stderr, "flight_missing") {
		t.Errorf("all steps: %s", got.stderr)
	}
}

// TestSingleStepsInOrder: that another step of a merge took off does not make this one's
// forgotten.
func TestSingleStepsInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t, "", map[string]string{".cabincrew.yaml": twoSteps})
	start := r.repo.Tip("refs/heads/main")
	p := r.inSteps("first", "first\n")
	first := p.Merge(r.author, "merge")
	r.flyStep("edit", first, start, 0)
	r.flyStep("more", first, start, 0)
	p = r.inSteps("second", "second\n")
	second := p.Merge(r.author, "merge")
	r.flyStep("edit", second, first, 0) // and nobody flies more
	p = r.inSteps("third", "third\n")
	third := p.Merge(r.author, "merge")
	got, wrote := r.flyStep("more", third, second, 0)
	if wrote != "shared.txt more.txt" || strings.Count(got.stdout, "COMPLETED") != 2 {
		t.Errorf("it wrote %s, and says\n%s", wrote, got.stdout)
	}
	if got, _ := r.flyStep("edit", third, second, 0); strings.Count(got.stdout, "COMPLETED") != 1 {
		t.Errorf("it says\n%s", got.stdout)
	}
	if got, _ := r.flyStep("edit", second, first, 0); !strings.Contains(got.stdout+got.stderr, "took off before") {
		t.Errorf("it says\n%s%s", got.stdout, got.stderr)
	}
}

// TestT04SharedStepOnce: two jobs of one merge share a step, which takes off with the first.
func TestT04SharedStepOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, "", map[string]string{".cabincrew.yaml": strings.Replace(twoSteps, "  - id: edit\n", "  - id: edit\n    needs: [shared]\n", 1)})
	p := r.inSteps("feature", "two\n")
	before := r.repo.Tip("refs/heads/main")
	commit := p.Merge(r.author, "merge")
	r.flyStep("more", commit, before, 0)
	if got, wrote := r.flyStep("edit", commit, before, 5); wrote != "" || !strings.Contains(got.stderr, "commit_flown") {
		t.Errorf("it wrote %s, and says %s", wrote, got.stderr)
	}
}

// TestT03StepOfAnOlderMerge: a step of a newer merge took off with others, so that of an
// older one does not any more.
func TestT03StepOfAnOlderMerge(t *testing.T) {
	t.Parallel()
	r := newRig(t, "", map[string]string{".cabincrew.yaml": strings.Replace(twoSteps, "  - id: edit\n", "  - id: edit\n    needs: [shared]\n", 1)})
	start := r.repo.Tip("refs/heads/main")
	first := r.inSteps("first", "first\n").Merge(r.author, "merge")
	second := r.inSteps("second", "second\n").Merge(r.author, "merge")
	r.flyStep("more", second, first, 0)
	if got, wrote := r.flyStep("edit", first, start, 6); wrote != "" || !strings.Contains(got.stderr, "merge_older") {
		t.Errorf("it wrote %s, and says %s", wrote, got.stderr)
	}
}

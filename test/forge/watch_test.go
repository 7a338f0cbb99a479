package forge

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/test/githubtest"
)

// scheduled is a job of a schedule on the default branch.
func (r *rig) scheduled(code int) result {
	r.t.Helper()
	tip := r.repo.Tip("refs/heads/main")
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "schedule", Branch: "main", SHA: tip, Actor: r.author})
	got := r.want(code, "auto", job{
		event: "schedule", run: strconv.FormatInt(run.ID, 10), sha: tip, ref: "refs/heads/main", payload: map[string]any{"repository": r.repository(), "sender": r.person(r.author)},
	})
	run.Finish("success")
	return got
}

// TestDrift: a plan of the default branch that would change something is told in one
// issue, which is kept up to date; one that would not is none.
func TestDrift(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	r.scheduled(0)
	r.repo.Push("main", r.repo.Commit(githubtest.Commit{
		Author: r.author, Message: "by hand", Parents: []string{r.repo.Tip("refs/heads/main")}, Files: map[string]string{"app.txt": "other\n"},
	}), r.author)
	r.scheduled(0)
	issues := r.repo.Issues()
	if len(issues) != 1 || !strings.HasPrefix(issues[0].Title, "Drift: ") || !strings.Contains(issues[0].Body, "out.txt") || issues[0].State != "open" {
		t.Fatalf("the issues are %+v", issues)
	}
	if !strings.Contains(issues[0].Body, "other") {
		t.Errorf("the issue was not kept up to date:\n%s", issues[0].Body)
	}
}

func TestNoDrift(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	r.repo.Push("main", r.repo.Commit(githubtest.Commit{
		Author: r.author, Message: "applied", Parents: []string{r.repo.Tip("refs/heads/main")},
		Files: map[string]string{"out.txt": "one\n", ".cabincrew.yaml": strings.Replace(r.configuration(byReview), "[app.txt]", "[app.txt, out.txt]", 1)},
	}), r.author)
	got := r.scheduled(0)
	if issues := r.repo.Issues(); len(issues) != 0 || !strings.Contains(got.stdout, "would change nothing") {
		t.Fatalf("the issues are %+v; it says\n%s", issues, got.stdout)
	}
}

// TestDriftOfAnotherBranch: what somebody starts on another branch is no drift.
func TestDriftOfAnotherBranch(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	tip := r.repo.Tip("refs/heads/main")
	r.want(2, "auto", job{
		event: "workflow_dispatch", run: "9", sha: tip, ref: "refs/heads/other",
		payload: map[string]any{"ref": "refs/heads/other", "repository": r.repository(), "sender": r.person(r.author)},
	})
	if issues := r.repo.Issues(); len(issues) != 0 {
		t.Fatalf("the issues are %+v", issues)
	}
}

// TestT46OpenTakeOffIsTold: of a take-off whose runner was killed after the fence, an
// issue tells once its deadline is over; one that is done, and a young one, are not.
func TestT46OpenTakeOffIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	tip, run := r.repo.Tip("refs/heads/main"), r.hub.WebURL()+"/"+r.repo.FullName()+"/actions/runs/77"
	mark := func(name, message string, age time.Duration) {
		at := time.Now().Add(-age)
		work := t.TempDir()
		r.checkout(work+"/w", tip)
		r.gitAt(work+"/w", at, "tag", "-a", "-m", message, "cabincrew/"+name, tip)
		r.git(work+"/w", "push", "-q", "origin", "refs/tags/cabincrew/"+name)
	}
	late, ended, young, ahead := strings.Repeat("a", 64), strings.Repeat("b", 64), strings.Repeat("c", 64), strings.Repeat("d", 64)
	mark(late+"/begun", `{"content":"x","run":"`+run+`"}`, limits.TakeOffDeadline+time.Minute)
	mark(ended+"/begun", `{"content":"x","run":"`+run+`"}`, 2*limits.TakeOffDeadline)
	mark(ended+"/done", `{"content":"x","run":"`+run+`"}`, 2*limits.TakeOffDeadline)
	mark(young+"/begun", `{"content":"x","run":"`+run+`"}`, time.Minute)
	mark(ahead+"/begun", `{"content":"x","run":"https://elsewhere.example/@everybody"}`, -time.Hour)
	alert := func() result {
		return r.want(0, "alerts", job{event: "schedule", run: "8", sha: tip, ref: "refs/heads/main", payload: map[string]any{"repository": r.repository()}})
	}
	alert()
	got := alert()
	issues := r.repo.Issues()
	if len(issues) != 1 {
		t.Fatalf("there are %d issues, of which one is wanted; it says\n%s", len(issues), got.stdout)
	}
	body := issues[0].Body
	for text, want := range map[string]bool{
		late: true, run: true, ended: false, young: false, ahead: true, "elsewhere": false, "@everybody": false, "git push origin cabincrew/TOKEN/done": true,
	} {
		if strings.Contains(body, text) != want {
			t.Errorf("that the issue holds %q is not %v:\n%s", text, want, body)
		}
	}
	if !strings.Contains(got.stdout, "have no end") {
		t.Errorf("it says %s", got.stdout)
	}
}

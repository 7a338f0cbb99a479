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

// TestT39NewestRunIsDeleted: who deletes the run of the newest plan does not bring an
// older one back, nor does a review that is counted in between.
func TestT39NewestRunIsDeleted(t *testing.T) {
	t.Parallel()
	r := newRandomRig(t)
	p := r.open("feature", "two\n")
	first := r.plan(p, "opened", 0)
	second := r.plan(p, "reopened", 0)
	second.run.Delete()
	p.Review(r.bob, githubtest.Approved, "fine: "+r.code(first))
	r.hub.Advance(time.Second)
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "pull_request_review", Branch: "feature", SHA: p.Head(), Actor: r.bob})
	j := r.pullRequest(p, "submitted", number(run))
	j.event, j.payload["review"] = "pull_request_review", map[string]any{"id": 5}
	if got := r.want(7, "review", j); !strings.Contains(got.stderr, "[flight_not_newest]") {
		t.Errorf("it says %s", got.stderr)
	}
	run.Finish("failure")
	r.landRefused(p, 7, "flight_not_newest")
}

// TestT39ForgedNewerCheck: a check that any workflow of the repository can make, which
// shows the older token anew, does not bring that plan back; the same plan made anew does.
func TestT39ForgedNewerCheck(t *testing.T) {
	t.Parallel()
	for what, again := range map[string]bool{"forged": false, "planned again": true} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, byReview, nil)
			p := r.open("feature", "two\n")
			first := r.plan(p, "opened", 0)
			token := r.lastCheck(planCheck)
			other := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "pull_request", Branch: "feature", SHA: p.Head(), Actor: r.author, Pulls: []*githubtest.Pull{p}})
			other.Finish("success")
			strict := token
			strict.ExternalID = "sha256:" + strings.Repeat("0", 64)
			r.repo.Check(strict)
			other.Delete()
			r.later()
			r.hub.Advance(time.Second)
			if again {
				first = r.plan(p, "reopened", 0)
			} else {
				r.repo.Check(token)
			}
			p.Review(r.bob, githubtest.Approved, "fine")
			if again {
				p.Review(r.bob, githubtest.Approved, "fine: "+r.code(first))
			}
			r.hub.Advance(time.Second)
			if again {
				r.land(p, 0)
			} else {
				r.landRefused(p, 7, "flight_not_newest")
			}
		})
	}
}

// TestT39ChecksOfOtherApps: what another App shows holds no plan back.
func TestT39ChecksOfOtherApps(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.approved("feature", "two\n")
	r.repo.Check(githubtest.CheckRun{App: 4711, Name: planCheck, SHA: p.pull.Head(), ExternalID: "sha256:" + strings.Repeat("0", 64), Conclusion: "success", Title: "x", Summary: "x"})
	r.land(p.pull, 0)
}

// TestT39EarlierRunCannotBeRead: an earlier run that failed may have planned something
// else; where the forge does not say, nothing is signed.
func TestT39EarlierRunCannotBeRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "pull_request", Branch: "feature", SHA: p.Head(), Actor: r.author, Pulls: []*githubtest.Pull{p}})
	run.UploadZip("cabincrew-judged", []byte("PK"))
	run.Finish("failure")
	r.later()
	again := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "pull_request", Branch: "feature", SHA: p.Head(), Actor: r.author, Pulls: []*githubtest.Pull{p}})
	r.hub.Fail("actions/download-artifact", 100, githubtest.Fault{Status: 403, Message: "Resource not accessible by integration"})
	got := r.want(7, "auto", r.pullRequest(p, "reopened", strconv.FormatInt(again.ID, 10)))
	if got.outputs["plan-token"] != "" && strings.Contains(r.lastCheck(planCheck).Text, "Signed plan") {
		t.Errorf("it was signed: %s", got.stdout)
	}
}

// TestT44CheckChangedBeforeSigning: a check that is not as the judging job posted it any
// more shows people something else than what would be signed.
func TestT44CheckChangedBeforeSigning(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(r *rig, decision string, k githubtest.CheckRun){
		"another summary": func(r *rig, _ string, k githubtest.CheckRun) { k.Summary = "All is well."; r.repo.Edit(k) },
		"another text":    func(r *rig, _ string, k githubtest.CheckRun) { k.Text = "Nothing would be done."; r.repo.Edit(k) },
		"another title":   func(r *rig, _ string, k githubtest.CheckRun) { k.Title = "Fine"; r.repo.Edit(k) },
		"another token": func(r *rig, _ string, k githubtest.CheckRun) {
			k.ExternalID = "sha256:" + strings.Repeat("0", 64)
			r.repo.Edit(k)
		},
		"another check in its place": func(r *rig, _ string, k githubtest.CheckRun) {
			was := k
			was.ExternalID = "sha256:" + strings.Repeat("0", 64)
			r.repo.Edit(was)
			k.Summary = "All is well."
			r.repo.Check(k)
		},
		"nothing is handed over": func(r *rig, decision string, _ githubtest.CheckRun) {
			must(r.t, os.Remove(filepath.Join(decision, "check.json")))
		},
		"a link": func(r *rig, decision string, _ githubtest.CheckRun) {
			must(r.t, os.Rename(filepath.Join(decision, "check.json"), filepath.Join(decision, "moved.json")))
			must(r.t, os.Mkdir(filepath.Join(decision, "check.json"), 0o700))
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, byReview, nil)
			p := r.open("feature", "two\n")
			run, judge := r.judged(p)
			decision := judge.handed("decision")
			change(r, decision, r.lastCheck(planCheck))
			got := r.act("sign", r.signStep(p, run, decision))
			if got.code != 5 || !strings.Contains(got.stderr, "[check_changed]") || got.outputs["plan-token"] != "" {
				t.Errorf("exit %d, outputs %v\n%s", got.code, got.outputs, got.stderr)
			}
		})
	}
}

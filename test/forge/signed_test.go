package forge

import (
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/test/githubtest"
)

// TestCheckWaitsForTheSignature: where another job signs, the check stays open until it
// did, however the plan was judged, and then it says what was decided and the code.
func TestCheckWaitsForTheSignature(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rest       string
		files      map[string]string
		conclusion string
		says       string
	}{
		"allowed":  {"", allowed, "success", "Allowed: "},
		"warned":   {"", map[string]string{"pol/rig.rego": "package cabincrew.rig\n\nwarn contains \"x\" if input.artifacts[_].name\n"}, "neutral", "Allowed, with warnings: "},
		"to ask":   {byReview, nil, "action_required", "Approval needed: "},
		"the code": {byCode, nil, "action_required", "Approval needed: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.rest, c.files)
			p := r.open("feature", "two\n")
			run, judge := r.judged(p)
			k := r.lastCheck(planCheck)
			if k.Status != "in_progress" || k.Conclusion != "" || !strings.HasSuffix(k.Title, "; not signed yet") || !strings.HasPrefix(k.Summary, "**Not signed yet.**") || k.ExternalID != judge.outputs["plan-token"] {
				t.Errorf("before the signature the check is %s %q, %q\n%s", k.Status, k.Conclusion, k.Title, k.Summary)
			}
			calls := len(r.hub.Requests())
			r.does(0, "sign", r.signStep(p, run, judge.handed("decision")))
			r.budget(calls, 6)
			k = r.lastCheck(planCheck)
			if k.Status != "completed" || k.Conclusion != c.conclusion || !strings.HasPrefix(k.Title, c.says) || strings.Contains(strings.ToLower(k.Title+k.Summary), "not signed") || !strings.Contains(k.Text, "### Signed plan") {
				t.Errorf("after it the check is %s %q, %q\n%s", k.Status, k.Conclusion, k.Title, k.Summary)
			}
			if c.rest == byCode && codeIn(t, k.Summary) != codeIn(t, k.Text) {
				t.Errorf("the summary shows another code:\n%s", k.Summary)
			}
			if strings.Contains(k.Summary, "there is none yet") {
				t.Errorf("the summary says that there is no code:\n%s", k.Summary)
			}
		})
	}
}

// TestDeniedWaitsForNoSignature: what is never signed is concluded at once.
func TestDeniedWaitsForNoSignature(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "forbidden\n")
	run := r.start(p, p.Author)
	plan := r.does(0, "plan", r.planStep(p, run))
	r.does(3, "judge", r.judgeStep(p, run, plan.handed()))
	if k := r.lastCheck(planCheck); k.Status != "completed" || k.Conclusion != "failure" || strings.Contains(k.Summary, "Not signed") {
		t.Errorf("the check is %s %q\n%s", k.Status, k.Conclusion, k.Summary)
	}
}

// TestSignatureThatFails: a check of what could not be signed is red, and says why; a
// review does not make it green, and the job that signs may run again.
func TestSignatureThatFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	run, judge := r.judged(p)
	run.UploadZip("cabincrew-judged", zipOf(t, judge.handed("judged")))
	at, away := filepath.Join(r.keys, "plan"), filepath.Join(r.keys, "gone")
	must(t, os.Rename(at, away))
	for range 2 {
		got := r.act("sign", r.signStep(p, run, judge.handed("decision")))
		k := r.lastCheck(planCheck)
		if got.code == 0 || k.Status != "completed" || k.Conclusion != "failure" || !strings.HasSuffix(k.Title, "; not signed") || strings.Count(k.Title+k.Summary, "ot signed") != 2 ||
			!strings.HasPrefix(k.Summary, "**Not signed.** Error `") || !strings.Contains(k.Summary, "exit "+strconv.Itoa(got.code)) || strings.Contains(k.Summary, r.keys) {
			t.Errorf("exit %d; the check is %s %q, %q\n%s", got.code, k.Status, k.Conclusion, k.Title, k.Summary)
		}
	}
	must(t, os.Rename(away, at))
	sign := r.does(0, "sign", r.signStep(p, run, judge.handed("decision")))
	if k := r.lastCheck(planCheck); k.Conclusion != "action_required" || strings.Contains(k.Title+k.Summary, "ot signed") || !strings.Contains(k.Text, "### Signed plan") {
		t.Errorf("signed at last, the check is %s %q, %q\n%s", k.Status, k.Conclusion, k.Title, k.Summary)
	}
	run.UploadZip("cabincrew-signed", zipOf(t, sign.handed()))
	run.Finish("success")
	r.later()
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	r.review(p)
	r.lands(p, 0)
}

// TestReviewOfAnUnsignedPlan: approvals do not turn the check of a plan green that
// nobody signed.
func TestReviewOfAnUnsignedPlan(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	run, judge := r.judged(p)
	run.UploadZip("cabincrew-judged", zipOf(t, judge.handed("judged")))
	run.Finish("failure")
	r.later()
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	again := r.repo.Start(githubtest.Started{Workflow: planFile, Event: "pull_request_review", Branch: "feature", SHA: p.Head(), Actor: r.bob, Pulls: []*githubtest.Pull{p}})
	j := r.pullRequest(p, "submitted", number(again))
	j.event, j.payload["review"] = "pull_request_review", map[string]any{"id": 5}
	got := r.act("review", step{job: j, file: planFile, dir: "governance", at: r.repo.Tip("refs/heads/main")})
	if k := r.lastCheck(planCheck); got.code != 5 || k.Conclusion != "failure" || !strings.Contains(k.Summary, "plan_unsigned") {
		t.Errorf("exit %d; the check is %s %q\n%s", got.code, k.Status, k.Conclusion, k.Summary)
	}
}

// TestSignatureOverAForgedFailure: what stands in a failed check beside the note of the
// job that signs is still compared with what was posted.
func TestSignatureOverAForgedFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	run, judge := r.judged(p)
	k := r.lastCheck(planCheck)
	k.Summary = strings.Replace(k.Summary, "app.txt", "other.txt", 1) + "All is well."
	r.repo.Edit(k)
	for range 2 {
		got := r.act("sign", r.signStep(p, run, judge.handed("decision")))
		if k := r.lastCheck(planCheck); got.code != 5 || !strings.Contains(got.stderr, "[check_changed]") || k.Conclusion != "failure" || !strings.Contains(k.Summary, "Error `check_changed`") {
			t.Errorf("exit %d; the check is %s %q\n%s\n%s", got.code, k.Status, k.Conclusion, k.Summary, got.stderr)
		}
	}
}

// TestNothingToSign: where the configuration signs nothing, the judging job concludes.
func TestNothingToSign(t *testing.T) {
	t.Parallel()
	r := newRig(t, "", maps.Clone(allowed))
	plain := strings.Replace(r.configuration(""), "signing: {key: "+filepath.Join(r.keys, "plan")+"}\n", "", 1)
	r.onMain(map[string]string{".cabincrew.yaml": plain})
	p := r.open("feature", "two\n")
	r.judged(p)
	if k := r.lastCheck(planCheck); k.Status != "completed" || strings.Contains(k.Title+k.Summary, "ot signed") {
		t.Errorf("the check is %s %q\n%s", k.Status, k.Title, k.Summary)
	}
}

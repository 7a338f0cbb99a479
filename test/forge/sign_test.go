package forge

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/storage/bundle"
	"github.com/cabincrew/action/test/githubtest"
)

// judged plans and judges a change.
func (r *rig) judged(p *githubtest.Pull) (*githubtest.Run, result) {
	r.t.Helper()
	run := r.start(p, p.Author)
	plan := r.does(0, "plan", r.planStep(p, run))
	return run, r.does(0, "judge", r.judgeStep(p, run, plan.handed()))
}

// TestT37SignsOnlyTheChangeOfTheAPI: the job that signs asks the forge itself which
// change and commit it is for, and refuses decisions about others.
func TestT37SignsOnlyTheChangeOfTheAPI(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p, other := r.open("feature", "two\n"), r.open("other", "three\n")
	_, judge := r.judged(p)
	decision := judge.handed("decision")
	if got := r.act("sign", r.signStep(other, r.start(other, r.author), decision)); got.code != 5 || !strings.Contains(got.stderr, "[plan_foreign]") {
		t.Errorf("the decision about another change: exit %d\n%s", got.code, got.stderr)
	}
	stale := r.signStep(p, r.start(p, r.author), decision)
	p.Push(r.repo.Commit(githubtest.Commit{Author: r.author, Message: "more", Parents: []string{p.Head()}, Files: map[string]string{"app.txt": "four\n"}}), r.author)
	if got := r.act("sign", stale); got.code != 6 || !strings.Contains(got.stderr, "[head_moved]") {
		t.Errorf("the event of an older commit: exit %d\n%s", got.code, got.stderr)
	}
	if got := r.act("sign", r.signStep(p, r.start(p, r.author), decision)); got.code != 5 || !strings.Contains(got.stderr, "[plan_foreign]") {
		t.Errorf("the decision about an older commit: exit %d\n%s", got.code, got.stderr)
	}
}

// TestT42SignRefusesMoreThanDecisions: what else is handed to the job that signs is
// refused, and nothing is signed.
func TestT42SignRefusesMoreThanDecisions(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	run, judge := r.judged(p)
	for _, name := range []string{"steps/edit/artifacts/preflight.json", "steps/edit/receipt.json", "more/plan-token.json"} {
		top := t.TempDir()
		for at, data := range unpacked(t, judge.handed("decision", "flight.tar.zst")) {
			put(t, filepath.Join(top, at), data)
		}
		put(t, filepath.Join(top, name), []byte("{}"))
		to := t.TempDir()
		root, err := os.OpenRoot(top)
		must(t, err)
		out, err := os.Create(filepath.Join(to, "flight.tar.zst"))
		must(t, err)
		_, err = bundle.Pack(t.Context(), root, out, bundle.PackOptions{PlainState: true, Temp: t.TempDir()})
		must(t, err)
		must(t, out.Close())
		must(t, root.Close())
		if got := r.act("sign", r.signStep(p, run, to)); got.code != 5 || got.outputs["plan-token"] != "" {
			t.Errorf("%s: exit %d\n%s", name, got.code, got.stderr)
		}
	}
	if got := r.act("sign", r.signStep(p, run, judge.handed("judged"))); got.code != 5 || !strings.Contains(got.stderr, "[file_extra]") {
		t.Errorf("the whole flight: exit %d\n%s", got.code, got.stderr)
	}
}

func put(t *testing.T, at string, data []byte) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(at), 0o700))
	must(t, os.WriteFile(at, data, 0o600))
}

// TestT44ShortenedNeedsTheCode: where the check does not show the whole plan, the code is
// not in it either, and a review counts only with the code.
func TestT44ShortenedNeedsTheCode(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	var long strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&long, "line %d of a text that is too long to be shown\n", i)
	}
	p := r.open("feature", long.String())
	got := r.inThree(p)
	k := r.lastCheck(planCheck)
	_, code, _ := strings.Cut(got.sign.summary, "approve with the code ")
	code, _, _ = strings.Cut(code, ".")
	if len(code) < 12 || strings.Contains(k.Summary+k.Text, code) {
		t.Fatalf("the code is %q; the check is\n%s\n%s", code, k.Summary, k.Text)
	}
	if !strings.Contains(read(t, got.judge.handed("judged", "report.md")), "line 3999 of") {
		t.Error("the whole report is not beside the flight")
	}
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	r.review(p)
	if k := r.lastCheck(planCheck); k.Conclusion != "action_required" {
		t.Errorf("without the code the check is %s\n%s", k.Conclusion, k.Summary)
	}
	p.Review(r.bob, githubtest.Approved, "fine: "+code)
	r.hub.Advance(time.Second)
	r.review(p)
	if k := r.lastCheck(planCheck); k.Conclusion != "success" {
		t.Errorf("with the code the check is %s\n%s", k.Conclusion, k.Summary)
	}
	r.lands(p, 0)
}

// TestT37FlightThatSaysItWasJudged: the planning side hands over a flight that it sealed
// and judged itself, under policies of its own.
func TestT37FlightThatSaysItWasJudged(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "forbidden\n")
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "pull_request", Branch: "feature", SHA: p.Head(), Actor: r.author})
	j := r.pullRequest(p, "opened", strconv.FormatInt(run.ID, 10))
	// Sealed by a rig whose policies deny nothing, as a program of the attacker would.
	lax := newRig(t, "approvals: {roles: {platform: {users: [bob]}}}\n", map[string]string{"pol/rig.rego": "package cabincrew.rig\n\nwarn contains \"x\" if input.artifacts[_].name\n"})
	q := lax.open("feature", "forbidden\n")
	own := lax.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "pull_request", Branch: "feature", SHA: q.Head(), Actor: lax.author})
	forged := lax.want(0, "auto", lax.pullRequest(q, "opened", strconv.FormatInt(own.ID, 10)))
	j.inputs = map[string]string{"flight-path": filepath.Join(forged.outputs["flight-path"], "judged")}
	got := r.want(5, "judge", j)
	if !strings.Contains(got.stderr, "[plan_foreign]") {
		t.Errorf("it says %s", got.stderr)
	}
	if k := r.lastCheck(planCheck); k.Conclusion != "failure" {
		t.Errorf("the check is %s", k.Conclusion)
	}
}

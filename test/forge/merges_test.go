package forge

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/test/githubtest"
)

// approved opens a change, plans it and lets bob approve it.
func (r *rig) approved(branch, content string) planned {
	r.t.Helper()
	p := r.plan(r.open(branch, content), "opened", 0)
	p.pull.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	return p
}

// tagged tells which marks a plan has.
func (r *rig) tagged(p planned) string {
	r.t.Helper()
	var out []string
	for _, mark := range []string{"begun", "done"} {
		if r.repo.Tip("refs/tags/cabincrew/"+strings.TrimPrefix(p.got.outputs["plan-token"], "sha256:")+"/"+mark) != "" {
			out = append(out, mark)
		}
	}
	return strings.Join(out, " ")
}

func (r *rig) wantTagged(want string, plans ...planned) {
	r.t.Helper()
	for i, p := range plans {
		if got := r.tagged(p); got != want {
			r.t.Errorf("plan %d has the marks %q, not %q", i, got, want)
		}
	}
}

// TestEveryWayToMerge flies what was merged in each of GitHub's ways.
func TestEveryWayToMerge(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"merge", "squash", "rebase"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, byReview, nil)
			p := r.approved("feature", "two\n")
			before := r.repo.Tip("refs/heads/main")
			done := r.takeOff(p.pull.Merge(r.author, how), before, 0)
			if out := read(t, filepath.Join(done.workspace, "out.txt")); out != "two\n" {
				t.Errorf("the take-off wrote %q", out)
			}
			r.wantTagged("begun done", p)
		})
	}
}

// three lands one change, and then merges two more whose own runs never start.
func (r *rig) three() (first planned, rest []planned, before, last string) {
	r.t.Helper()
	first = r.approved("one", "two\n")
	r.land(first.pull, 0)
	before = r.repo.Tip("refs/heads/main")
	for i, how := range []string{"merge", "squash"} {
		p := r.approved("more-"+strconv.Itoa(i), "more "+strconv.Itoa(i)+"\n")
		last = p.pull.Merge(r.author, how)
		rest = append(rest, p)
	}
	return first, rest, before, last
}

// TestSeveralMerges: a run flies for the merges before it that have not flown, in
// order, whether one push brought them or the run of an earlier one never started.
func TestSeveralMerges(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	_, rest, _, last := r.three()
	done := r.takeOff(last, rest[0].pull.MergeCommit(), 0)
	r.wantTagged("begun done", rest...)
	if out := read(t, filepath.Join(done.workspace, "out.txt")); out != "more 1\n" {
		t.Errorf("the take-off of the last wrote %q", out)
	}
	checks := map[string]string{}
	for _, k := range r.repo.Checks() {
		if k.Name == takeOffCheck {
			checks[k.SHA] = k.Conclusion
		}
	}
	for _, p := range rest {
		if checks[p.pull.MergeCommit()] != "success" {
			t.Errorf("the checks are %v", checks)
		}
	}
	if at := filepath.Join(done.outputs["flight-path"], "landed", rest[0].pull.MergeCommit(), "flight.tar.zst"); read(t, at) == "" {
		t.Error("the earlier flight was not handed over")
	}
	// The job of the event that came second finds both done.
	again := r.takeOff(last, rest[0].pull.MergeCommit(), 0)
	if !strings.Contains(again.stdout, "took off before") {
		t.Errorf("it says\n%s\n%s", again.stdout, again.stderr)
	}
}

// TestOnePushOfSeveralMerges: before anything ever took off, what a push brought is
// known from the push.
func TestOnePushOfSeveralMerges(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	start := r.repo.Tip("refs/heads/main")
	a := r.approved("one", "two\n")
	a.pull.Merge(r.author, "merge")
	b := r.approved("two", "three\n")
	r.takeOff(b.pull.Merge(r.author, "rebase"), start, 0)
	r.wantTagged("begun done", a, b)
}

// TestClosedAndPush: both events fire for a merge; the second finds it done.
func TestClosedAndPush(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.approved("feature", "two\n")
	before := r.repo.Tip("refs/heads/main")
	commit := p.pull.Merge(r.author, "merge")
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "pull_request", Branch: "feature", SHA: p.pull.Head(), Actor: r.author, Pulls: []*githubtest.Pull{p.pull}})
	j := r.pullRequest(p.pull, "closed", strconv.FormatInt(run.ID, 10))
	body := r.pullBody(p.pull, true)
	body["state"], body["merged_at"] = "closed", r.hub.Now().UTC().Format(time.RFC3339)
	j.payload["pull_request"] = body
	r.want(0, "auto", j)
	run.Finish("success")
	r.wantTagged("begun done", p)
	again := r.takeOff(commit, before, 0)
	if !strings.Contains(again.stdout, "took off before") {
		t.Errorf("it says\n%s\n%s", again.stdout, again.stderr)
	}
}

// TestRefusedMergeHoldsNobodyUp: an earlier merge that nobody approved is told, and the
// later one flies; after that the earlier one is too old. docs/threats.md T03.
func TestT03RefusedMergeHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	r.land(r.approved("one", "two\n").pull, 0)
	a := r.plan(r.open("waits", "three\n"), "opened", 0)
	old := r.repo.Tip("refs/heads/main")
	refused := a.pull.Merge(r.author, "merge")
	b := r.approved("flies", "four\n")
	got := r.takeOff(b.pull.Merge(r.author, "merge"), refused, 0)
	if !strings.Contains(got.stdout, refused+" did not take off") || !strings.Contains(r.lastCheck(takeOffCheck).Summary+r.lastCheck(takeOffCheck).Text, refused) {
		t.Errorf("it says\n%s\n%s", got.stdout, r.lastCheck(takeOffCheck).Summary)
	}
	r.wantTagged("", a)
	r.wantTagged("begun done", b)
	a.pull.Review(r.bob, githubtest.Approved, "late")
	r.hub.Advance(time.Second)
	late := r.takeOff(refused, old, 6)
	if !strings.Contains(late.stderr, "merge_older") {
		t.Errorf("it says %s", late.stderr)
	}
	r.wantTagged("", a)
}

// TestOpenTakeOffHoldsUp: after a take-off that began and has no end, nothing takes off
// until a person has looked.
func TestOpenTakeOffHoldsUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, map[string]string{"fail.txt": ""})
	r.land(r.approved("one", "two\n").pull, 0)
	a := r.approved("dies", "three\n")
	before := r.repo.Tip("refs/heads/main")
	commit := a.pull.Merge(r.author, "merge")
	token := strings.TrimPrefix(a.got.outputs["plan-token"], "sha256:")
	r.repo.Tag("cabincrew/"+token+"/begun", commit) // its runner died
	b := r.approved("waits", "four\n")
	last := b.pull.Merge(r.author, "merge")
	got := r.takeOff(last, commit, 5)
	if !strings.Contains(got.stderr, "takeoff_open") || !strings.Contains(got.stderr, token+"/done") {
		t.Errorf("it says %s", got.stderr)
	}
	r.takeOff(commit, before, 5) // its own run does not begin again
	r.wantTagged("", b)
	r.repo.Tag("cabincrew/"+token+"/done", commit)
	r.takeOff(last, commit, 0)
	r.wantTagged("begun done", b)
}

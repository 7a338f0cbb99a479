package forge

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/test/githubtest"
)

// carrying lets approvals serve another plan of the same intent.
const carrying = "approvals: {carry_over: same-intent, roles: {platform: {users: [bob, carol]}}}\n"

// TestCarriedToTheQueue: what people said of a change is said of the group by which a
// merge queue merges it, where both want the same.
func TestCarriedToTheQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t, carrying, nil)
	p := r.approved("feature", "two\n")
	before := r.repo.Tip("refs/heads/main")
	group, commit := r.queue(p.pull, 0)
	k := r.lastCheck(planCheck)
	if k.SHA != commit || k.Conclusion != "success" || k.ExternalID != group.got.outputs["plan-token"] {
		t.Errorf("the check is %+v", k)
	}
	if !strings.Contains(k.Summary+k.Text, "carries over") || !strings.Contains(k.Summary, "bob") {
		t.Errorf("the check says nothing of who approved:\n%s", k.Summary)
	}
	p.pull.Land(r.author, commit)
	calls := len(r.hub.Requests())
	done := r.takeOff(commit, before, 0)
	r.budget(calls, 25)
	if out := read(t, filepath.Join(done.workspace, "out.txt")); out != "two\n" {
		t.Errorf("the take-off wrote %q", out)
	}
	r.wantTagged("begun done", group)
	r.wantTagged("", p)
	r.carriedEvidence(done, p, carrying)
}

// carriedEvidence demands that the approval of a flight that landed names the plan that
// people approved, and that the flight verifies by itself where approvals may carry over.
func (r *rig) carriedEvidence(done result, p planned, role string) {
	r.t.Helper()
	archive := filepath.Join(done.outputs["flight-path"], "landed", "flight.tar.zst")
	policy := "version: 1\nsigning: {trusted: {keys: [{key: plan.pub}]}}\n" + role
	for _, c := range []struct {
		policy string
		code   int
		says   string
	}{{policy, 0, "1 of 1 answered"}, {strings.Replace(policy, "same-intent", "none", 1), 5, "approval_carried"}} {
		at := filepath.Join(r.keys, "policy.yaml")
		if err := os.WriteFile(at, []byte(c.policy), 0o600); err != nil {
			r.t.Fatal(err)
		}
		if code, out := r.alone("verify", archive, "--policy", at); code != c.code || !strings.Contains(out, c.says) {
			r.t.Errorf("verify: exit %d, want %d and %q\n%s", code, c.code, c.says, out)
		}
	}
	n := 0
	for name, data := range unpacked(r.t, archive) {
		if !strings.HasSuffix(name, ".response.json") {
			continue
		}
		n++
		var bundle struct{ DSSEEnvelope struct{ Payload []byte } }
		if err := json.Unmarshal(data, &bundle); err != nil {
			r.t.Fatal(err)
		}
		for _, want := range []string{p.got.outputs["plan-token"], p.pull.Head(), `"carried_from"`} {
			if !strings.Contains(string(bundle.DSSEEnvelope.Payload), want) {
				r.t.Errorf("the approval does not name %q:\n%s", want, bundle.DSSEEnvelope.Payload)
			}
		}
	}
	if n != 1 {
		r.t.Errorf("there are %d approvals", n)
	}
}

// TestT45CarriedOnlyOverTheSameFiles: the queue put another change before this one, which
// changed what the take-off reads beside its artifacts.
func TestT45CarriedOnlyOverTheSameFiles(t *testing.T) {
	t.Parallel()
	r := notifying(t, carrying, "full")
	p := r.approved("feature", "two\n")
	before := r.commit(map[string]string{"beside.txt": "two\n"})
	group, commit := r.queue(p.pull, 0)
	if k := r.lastCheck(planCheck); k.SHA != commit || k.Conclusion != "action_required" || !strings.Contains(k.Summary, "can read files that are others now") {
		t.Errorf("the check is %+v\n%s", k, group.got.stderr)
	}
	p.pull.Land(r.author, commit)
	got := r.takeOff(commit, before, 4)
	if !strings.Contains(got.stderr, "does not carry over") {
		t.Errorf("it says %s", got.stderr)
	}
	r.wantTagged("", p, group)
}

// TestT05CarriedNothingWithdrawn: an approval that does not stand for the change does not
// stand for its group.
func TestT05CarriedNothingWithdrawn(t *testing.T) {
	t.Parallel()
	for name, undo := range map[string]func(*rig, *githubtest.Pull, *githubtest.Review){
		"changes requested": func(r *rig, p *githubtest.Pull, _ *githubtest.Review) {
			p.Review(r.bob, githubtest.ChangesRequested, "no")
		},
		"dismissed": func(_ *rig, p *githubtest.Pull, review *githubtest.Review) { p.Dismiss(review) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, carrying, nil)
			p := r.plan(r.open("feature", "two\n"), "opened", 0)
			review := p.pull.Review(r.bob, githubtest.Approved, "fine")
			r.hub.Advance(time.Second)
			before := r.repo.Tip("refs/heads/main")
			group, commit := r.queue(p.pull, 0)
			undo(r, p.pull, review)
			r.hub.Advance(time.Second)
			p.pull.Land(r.author, commit)
			r.takeOff(commit, before, 4)
			r.wantTagged("", p, group)
		})
	}
}

// replanning lets take-off plan again where the base moved on, and approvals carry over.
const replanning = carrying + "take_off: {on_stale: replan}\n"

// notifier is an engine whose plan is a notice of app.txt, a loud one where beside.txt says
// so, and state, which beside.txt can change without a word; its take-off tells how much it
// sees of the workspace.
const notifier = `
set -eu
case "$CABINCREW_MODE" in
flight-plan)
  mkdir "$CABINCREW_ARTIFACTS_DIR/notice"
  cat app.txt > "$CABINCREW_ARTIFACTS_DIR/notice/body.data"
  if grep -q loud beside.txt; then echo LOUD >> "$CABINCREW_ARTIFACTS_DIR/notice/body.data"; fi
  printf '{"artifact_type":"notice","action":"create","target":"people","mime":"text/plain","body_file":"body.data"}' > "$CABINCREW_ARTIFACTS_DIR/notice/artifact.json"
  h=$(sha256sum < "$CABINCREW_ARTIFACTS_DIR/notice/body.data" | cut -d' ' -f1)
  mkdir "$CABINCREW_ARTIFACTS_DIR/saved"
  if grep -q quiet beside.txt; then cat beside.txt; else echo nothing; fi > "$CABINCREW_ARTIFACTS_DIR/saved/body.data"
  printf '{"artifact_type":"saved","action":"create","target":"people","mime":"text/plain","body_file":"body.data"}' > "$CABINCREW_ARTIFACTS_DIR/saved/artifact.json"
  s=$(sha256sum < "$CABINCREW_ARTIFACTS_DIR/saved/body.data" | cut -d' ' -f1)
  printf '{"protocol_version":"draft","engine_id":"notifier","mode":"flight-plan","receipt_id":"r1","status":"success","artifacts":[{"name":"notice","role":"evidence","path":"notice","hash":"%s"},{"name":"saved","role":"state","path":"saved","hash":"%s"}]}' "$h" "$s"
  ;;
take-off)
  echo "it sees $(ls | wc -l) files, and says $(cat "$CABINCREW_ARTIFACTS_DIR/notice/body.data")" >&2
  printf '{"protocol_version":"draft","engine_id":"notifier","mode":"take-off","receipt_id":"r2","status":"success"}'
  ;;
esac
`

// notifying makes a rig whose step notifies, and sees so much of the workspace when it
// takes off.
func notifying(t *testing.T, rest, workspace string) *rig {
	t.Helper()
	return newRig(t, "", map[string]string{
		".cabincrew.yaml": "version: 1\nworkflow: deploy\nsteps:\n  - id: notify\n    engine:\n      run:\n        - sh\n        - -c\n        - |\n" +
			"          " + strings.ReplaceAll(strings.TrimSpace(notifier), "\n", "\n          ") + "\n" +
			"    inputs: [app.txt, beside.txt]\n    take_off: {workspace: " + workspace + "}\npolicies: {rego: [pol/]}\nsigning: {key: " + keysDir + "/plan}\n" + rest,
		"beside.txt":   "one\n",
		"pol/rig.rego": "package cabincrew.rig\n\nrequire_approval contains {\"msg\": \"a notice\", \"role\": \"platform\"} if input.artifacts[_].name\n",
	})
}

// TestStateOfAPrivateRepository: state is kept in the clear where the repository is
// private, before a take-off and after it.
func TestStateOfAPrivateRepository(t *testing.T) {
	t.Parallel()
	r := notifying(t, byReview, "full")
	p := r.approved("feature", "two\n")
	done := r.land(p.pull, 0)
	log := unpacked(t, filepath.Join(done.outputs["flight-path"], "landed", "flight.tar.zst"))["steps/notify/takeoff.log"]
	if strings.HasPrefix(string(log), "it sees 0 files") || !strings.HasSuffix(string(log), "and says two\n") {
		t.Errorf("the take-off says %q", log)
	}
	r.wantTagged("begun done", p)
}

// TestReplannedWithTheSameIntent: the base moved on in a file that the step sees and that
// changes nothing of what it wants, and its take-off sees no file. What was approved
// carries over to a new plan, which flies.
func TestReplannedWithTheSameIntent(t *testing.T) {
	t.Parallel()
	r := notifying(t, replanning, "none")
	p := r.approved("feature", "two\n")
	before := r.commit(map[string]string{"beside.txt": "two\n"})
	commit := p.pull.Merge(r.author, "merge")
	done := r.takeOff(commit, before, 0)
	if !strings.Contains(done.stdout+done.stderr, "planning again") {
		t.Errorf("it says\n%s%s", done.stdout, done.stderr)
	}
	if k := r.lastCheck(takeOffCheck); k.Conclusion != "success" || !strings.Contains(k.Summary, "same intent") || k.ExternalID == p.got.outputs["plan-token"] {
		t.Errorf("the check is %+v", k)
	}
	r.wantTagged("begun done", p) // used up
	r.carriedEvidence(done, p, carrying)
	if again := r.takeOff(commit, before, 0); !strings.Contains(again.stdout+again.stderr, "took off before") {
		t.Errorf("a second run says\n%s%s", again.stdout, again.stderr)
	}
	log := unpacked(t, filepath.Join(done.outputs["flight-path"], "landed", "flight.tar.zst"))["steps/notify/takeoff.log"]
	if string(log) != "it sees 0 files, and says two\n" {
		t.Errorf("the take-off says %q", log)
	}
}

// TestT45ReplannedOverOtherFiles: the new plan wants the same, but its take-off can read
// the file that changed.
func TestT45ReplannedOverOtherFiles(t *testing.T) {
	t.Parallel()
	r := notifying(t, replanning, "full")
	p := r.approved("feature", "two\n")
	before := r.commit(map[string]string{"beside.txt": "two\n"})
	got := r.takeOff(p.pull.Merge(r.author, "merge"), before, 6)
	if !strings.Contains(got.stderr, "workspace_differs") {
		t.Errorf("it says %s", got.stderr)
	}
	r.wantTagged("", p)
}

// TestT45ReplannedWithOtherState: planned again, the change shows the same, and what its
// take-off is given was made of the file that changed.
func TestT45ReplannedWithOtherState(t *testing.T) {
	t.Parallel()
	r := notifying(t, replanning, "none")
	p := r.approved("feature", "two\n")
	before := r.commit(map[string]string{"beside.txt": "quiet\n"})
	got := r.takeOff(p.pull.Merge(r.author, "merge"), before, 6)
	if !strings.Contains(got.stderr, "workspace_differs") || !strings.Contains(got.stderr, "state artifact saved") {
		t.Errorf("it says %s", got.stderr)
	}
	r.wantTagged("", p)
}

// TestT18NothingPlannedAgainUnheld: an engine that nothing holds is not run beside what
// signs because a base moved on.
func TestT18NothingPlannedAgainUnheld(t *testing.T) {
	t.Parallel()
	r := notifying(t, replanning, "full}\n    isolation: none\n    limits: {artifacts: 10")
	p := r.approved("feature", "two\n")
	before := r.commit(map[string]string{"beside.txt": "two\n"})
	got := r.takeOff(p.pull.Merge(r.author, "merge"), before, 6)
	if strings.Contains(got.stdout, "planning again") || !strings.Contains(got.stderr, "nothing is planned again beside what signs") {
		t.Errorf("it says %s%s", got.stdout, got.stderr)
	}
	r.wantTagged("", p)
}

// TestT04OneCommitOnce: a commit that the merge queue made took off as the queue's group,
// and a person has it take off as the change itself, or the other way round.
func TestT04OneCommitOnce(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"group", "change"} {
		t.Run(first, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, byReview, allowed)
			p := r.plan(r.open("feature", "two\n"), "opened", 0)
			before := r.repo.Tip("refs/heads/main")
			_, commit := r.queue(p.pull, 0)
			p.pull.Land(r.author, commit)
			byPerson := func(code int) result {
				run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "push", Branch: "main", SHA: commit, Actor: r.author})
				j := r.push(commit, before, strconv.FormatInt(run.ID, 10))
				j.payload["sender"] = r.person(r.author)
				got := r.want(code, "auto", j)
				run.Finish("success")
				return got
			}
			var second result
			if first == "group" {
				r.takeOff(commit, before, 0)
				second = byPerson(5)
			} else {
				byPerson(0)
				second = r.takeOff(commit, before, 5)
			}
			if !strings.Contains(second.stderr, "commit_flown") {
				t.Errorf("it says %s", second.stderr)
			}
		})
	}
}

// TestReplannedWithAnotherIntent: planned again, the change would do something else than
// what people saw.
func TestReplannedWithAnotherIntent(t *testing.T) {
	t.Parallel()
	r := notifying(t, replanning, "none")
	p := r.approved("feature", "two\n")
	before := r.commit(map[string]string{"beside.txt": "loud\n"})
	got := r.takeOff(p.pull.Merge(r.author, "merge"), before, 6)
	if !strings.Contains(got.stderr, "intent_changed") || !strings.Contains(got.stderr, "artifact notice is another") {
		t.Errorf("it says %s", got.stderr)
	}
	r.wantTagged("", p)
}

// TestReplannedWithoutApproval: a new plan needs an approval where none carries over.
func TestReplannedWithoutApproval(t *testing.T) {
	t.Parallel()
	rest := byReview + "take_off: {on_stale: replan}\n"
	r := notifying(t, rest, "none")
	p := r.approved("feature", "two\n")
	before := r.commit(map[string]string{"beside.txt": "two\n"})
	commit := p.pull.Merge(r.author, "merge")
	for time.Now().Before(r.hub.Now().Add(time.Second)) { // the review is older than the new plan
		time.Sleep(50 * time.Millisecond)
	}
	r.takeOff(commit, before, 4)
	r.wantTagged("", p)
}

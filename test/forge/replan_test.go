package forge

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/test/githubtest"
)

const ownApp = 4711

// asApp gives jobs a token of an App of the team's own, which may start runs again.
func (r *rig) asApp() {
	permissions := githubtest.JobPermissions()
	permissions["actions"] = "write"
	r.token = r.hub.Token(githubtest.Token{App: ownApp, User: r.hub.Bot("crew[bot]"), Repo: r.repo, Permissions: permissions})
}

// press is a job that somebody starts by a button of a check.
func (r *rig) press(check int64, identifier string, by *githubtest.User) job {
	r.t.Helper()
	var payload map[string]any
	must(r.t, json.Unmarshal(r.repo.ActionPayload(check, identifier, by), &payload))
	main := r.repo.Tip("refs/heads/main")
	run := r.repo.Start(githubtest.Started{Workflow: baseFile, Event: "check_run", Branch: "main", SHA: main, Actor: by})
	return job{
		event: "check_run", run: number(run), sha: main, ref: "refs/heads/main", payload: payload,
		env: map[string]string{"GITHUB_WORKFLOW_REF": r.repo.FullName() + "/" + baseFile + "@refs/heads/main"},
	}
}

// again plans a run's change in its newest attempt.
func (r *rig) again(p planned) planned {
	r.t.Helper()
	j := r.pullRequest(p.pull, "opened", number(p.run))
	j.env = map[string]string{"GITHUB_RUN_ATTEMPT": "2"}
	out := planned{pull: p.pull, run: p.run, got: r.want(0, "auto", j)}
	out.kept = p.run.UploadZip("cabincrew-judged", zipOf(r.t, filepath.Join(out.got.outputs["flight-path"], "judged")))
	p.run.Finish("success")
	r.later()
	return out
}

// TestReplanButton: a check of an App of the team's own has a button; who may write
// presses it, the newest plan's run begins another attempt, an approval of the equal plan
// stays, and what that attempt planned takes off.
func TestReplanButton(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	r.asApp()
	first := r.plan(r.open("feature", "two\n"), "opened", 0)
	k := r.lastCheck(planCheck)
	if len(k.Actions) != 1 || k.Actions[0]["identifier"] != "replan" || k.Actions[0]["label"] != "Re-plan" {
		t.Fatalf("the buttons are %v", k.Actions)
	}
	for part, most := range map[string]int{"label": 20, "identifier": 20, "description": 40} {
		if n := len(k.Actions[0][part].(string)); n == 0 || n > most {
			t.Errorf("the %s has %d bytes", part, n)
		}
	}
	first.pull.Review(r.bob, githubtest.Approved, "fine")
	calls, checks := len(r.hub.Requests()), len(r.repo.Checks())
	if got := r.want(0, "auto", r.press(k.ID, "replan", r.bob)); !strings.Contains(got.stdout, "plans change pull/1 again, as bob asked") {
		t.Errorf("%s", got.stdout)
	}
	r.budget(calls, 7)
	if n := first.run.Attempt(); n != 2 || len(r.repo.Checks()) != checks {
		t.Fatalf("the run is at attempt %d, and there are %d checks", n, len(r.repo.Checks()))
	}
	r.refused(r.land(first.pull, 7), "flight_missing") // its newest plan is still being made
}

// TestReplanned flies what the attempt planned that the button began.
func TestReplanned(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	r.asApp()
	first := r.plan(r.open("feature", "two\n"), "opened", 0)
	first.pull.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	r.want(0, "auto", r.press(r.lastCheck(planCheck).ID, "replan", r.bob))
	if got := r.want(0, "auto", r.press(r.lastCheck(planCheck).ID, "replan", r.carol)); !strings.Contains(got.stdout, "is planning the change already") || first.run.Attempt() != 2 {
		t.Errorf("%s", got.stdout)
	}
	second := r.again(first)
	if second.got.outputs["plan-token"] != first.got.outputs["plan-token"] {
		t.Errorf("an equal plan has another token: %v and %v", first.got.outputs, second.got.outputs)
	}
	r.hub.Advance(time.Second)
	r.land(first.pull, 0)
	r.wantTagged("begun done", second)
}

// TestNoReplanButton: GitHub starts no workflow for buttons of its own App, whose tokens
// jobs get; there the report leads to the run.
func TestNoReplanButton(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	r.plan(r.open("feature", "two\n"), "opened", 0)
	if k := r.lastCheck(planCheck); len(k.Actions) != 0 || !strings.Contains(k.Summary, "[Plan again](<") {
		t.Errorf("the buttons are %v\n%s", k.Actions, k.Summary)
	}
}

// TestReplanIsRefused: nothing is started again for a check that is not ours, at a commit
// that no open change has, for people who may not write, or by a token that may not.
func TestReplanIsRefused(t *testing.T) {
	t.Parallel()
	with := func(change func(*rig, *githubtest.CheckRun)) func(*rig, planned) job {
		return func(r *rig, _ planned) job {
			k := r.lastCheck(planCheck)
			change(r, &k)
			return r.press(r.repo.Check(k), "replan", r.bob)
		}
	}
	by := func(permission string, bot bool) func(*rig, planned) job {
		return func(r *rig, _ planned) job {
			who := r.hub.User("eve")
			if bot {
				who = r.hub.Bot("robot[bot]")
			}
			r.repo.Allow(who, permission)
			return r.press(r.lastCheck(planCheck).ID, "replan", who)
		}
	}
	pressed := func(then func(*rig, planned)) func(*rig, planned) job {
		return func(r *rig, p planned) job {
			then(r, p)
			return r.press(r.lastCheck(planCheck).ID, "replan", r.bob)
		}
	}
	for name, c := range map[string]struct {
		exit int
		code string
		do   func(*rig, planned) job
	}{
		"another button":               {2, "ci_event", func(r *rig, _ planned) job { return r.press(r.lastCheck(planCheck).ID, "deploy", r.bob) }},
		"T10 a check of another name":  {5, "check_foreign", with(func(_ *rig, k *githubtest.CheckRun) { k.Name = "lint" })},
		"T10 a check of the job's App": {5, "check_foreign", with(func(_ *rig, k *githubtest.CheckRun) { k.App = githubtest.ActionsApp })},
		"T10 a check of another App":   {7, "forge_refused", with(func(_ *rig, k *githubtest.CheckRun) { k.App = 99 })},
		"a check of another commit":    {6, "head_moved", with(func(r *rig, k *githubtest.CheckRun) { k.SHA = r.repo.Tip("refs/heads/main") })},
		"T14 somebody who may read":    {3, "replan_refused", by("read", false)},
		"T14 a bot that may write":     {3, "replan_refused", by("write", true)},
		"a change with a newer commit": {6, "head_moved", pressed(func(r *rig, p planned) { r.pushMore(p.pull, "three\n") })},
		"a change that was closed":     {6, "head_moved", pressed(func(r *rig, p planned) { p.pull.Close() })},
		"two changes of one commit": {5, "change_ambiguous", pressed(func(r *rig, p planned) {
			r.repo.Push("other", p.pull.Head(), r.author)
			r.repo.Open(githubtest.Opened{Title: "other", Author: r.author, Head: "other"})
		})},
		"a run that was deleted":         {7, "flight_missing", pressed(func(_ *rig, p planned) { p.run.Delete() })},
		"a run that waits for newcomers": {3, "replan_refused", pressed(func(_ *rig, p planned) { p.run.Finish("action_required") })},
		"a token that may not": {7, "actions=write", func(r *rig, _ planned) job {
			j := r.press(r.lastCheck(planCheck).ID, "replan", r.bob)
			j.token = r.hub.Token(githubtest.Token{App: ownApp, User: r.hub.Bot("crew[bot]"), Repo: r.repo, Permissions: githubtest.JobPermissions()})
			return j
		}},
		"a check that is gone": {7, "forge_refused", func(r *rig, _ planned) job {
			j := r.press(r.lastCheck(planCheck).ID, "replan", r.bob)
			j.payload["check_run"].(map[string]any)["id"] = 999999
			return j
		}},
		"an event of another commit": {5, "check_foreign", func(r *rig, p planned) job {
			j := r.press(r.lastCheck(planCheck).ID, "replan", r.bob)
			j.payload["check_run"].(map[string]any)["head_sha"] = r.repo.Tip("refs/heads/main")
			return j
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, byReview, nil)
			r.asApp()
			p := r.plan(r.open("feature", "two\n"), "opened", 0)
			runs := len(r.repo.Runs())
			got := r.want(c.exit, "auto", c.do(r, p))
			if !strings.Contains(got.stderr, c.code) {
				t.Errorf("it says\n%s", got.stderr)
			}
			if n := p.run.Attempt(); n != 1 || len(r.repo.Runs()) > runs+1 {
				t.Errorf("the run is at attempt %d", n)
			}
		})
	}
}

// TestT14NothingRunsForAButton: the event has the rights of the base repository, so no
// command runs an engine in it.
func TestT14NothingRunsForAButton(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	r.asApp()
	r.plan(r.open("feature", "two\n"), "opened", 0)
	j := r.press(r.lastCheck(planCheck).ID, "replan", r.bob)
	for _, command := range []string{"plan", "judge", "sign", "flight-plan", "review", "take-off"} {
		if got := r.want(2, command, j); !strings.Contains(got.stderr, "[ci_event]") {
			t.Errorf("%s: %s", command, got.stderr)
		}
	}
}

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

// commands gives the lines that a runner would obey, but for masks.
func (g result) commands() []string {
	var out []string
	for line := range strings.SplitSeq(g.stdout+"\n"+g.stderr, "\n") {
		if s := strings.TrimLeft(line, " \t\r"); (strings.HasPrefix(s, "::") || strings.Contains(s, "##[")) && !strings.HasPrefix(s, "::add-mask::") {
			out = append(out, line)
		}
	}
	return out
}

// TestT36HostileInputs gives the action inputs that lead elsewhere, weaken, or inject.
func TestT36HostileInputs(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	for _, in := range []map[string]string{
		{"working-directory": "../x"}, {"working-directory": "/etc"}, {"config": "../../x.yaml"}, {"config": "a/../../x.yaml"},
		{"working-directory": "a", "config": "../../x.yaml"}, {"fail-on": "never"}, {"fail-on": "deny\n::error::x"}, {"fail-on": "DENY"},
		{"config": "/etc/passwd"}, {"config": "x\n::set-output name=a::b/../../.."},
	} {
		j := r.pullRequest(p, "opened", "77")
		j.inputs = in
		got := r.do("auto", j)
		if got.code != 2 || !strings.Contains(got.stderr, "[ci_input]") {
			t.Errorf("%q: exit %d\n%s", in, got.code, got.stderr)
		}
		if c := got.commands(); len(c) > 0 {
			t.Errorf("%q: the runner is told %q", in, c)
		}
	}
}

// TestT36ConfigurationOfAnotherPath plans with a lax configuration that the base has
// somewhere else: the take-off does not know it.
func TestT36ConfigurationOfAnotherPath(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	r.onMain(map[string]string{"lax.yaml": strings.Replace(r.configuration(""), "pol/", "lax/", 1), "lax/lax.rego": "package cabincrew.lax\n\ndecision := \"allow\"\n"})
	p := r.open("feature", "two\n")
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "pull_request", Branch: "feature", SHA: p.Head(), Actor: r.author})
	j := r.pullRequest(p, "opened", strconv.FormatInt(run.ID, 10))
	j.inputs = map[string]string{"config": "lax.yaml"}
	got := r.want(0, "auto", j)
	run.UploadZip("cabincrew-judged", zipOf(t, filepath.Join(got.outputs["flight-path"], "judged")))
	run.Finish("success")
	r.later()
	r.hub.Advance(time.Second)
	before := r.repo.Tip("refs/heads/main")
	commit := p.Merge(r.author, "merge")
	r.refused(r.want(6, "auto", r.push(commit, before, "79")), "[governance_changed]")
}

// TestT37EventsThatLie gives payloads that do not say what the forge does.
func TestT37EventsThatLie(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p, other := r.open("feature", "two\n"), r.open("other", "three\n")
	body := func(j job) map[string]any { return j.payload["pull_request"].(map[string]any) }
	stranger := map[string]any{"id": 4711, "full_name": "evil/infra", "default_branch": "main", "owner": r.person(r.author)}
	for name, c := range map[string]struct {
		exit int
		code string
		lie  func(j job)
	}{
		"number of another change": {6, "[head_moved]", func(j job) { j.payload["number"], body(j)["number"] = other.Number, other.Number }},
		"two numbers":              {2, "[event_payload]", func(j job) { j.payload["number"] = other.Number }},
		"no such change":           {7, "[forge_refused]", func(j job) { j.payload["number"], body(j)["number"] = 999, 999 }},
		"another repository":       {2, "[event_payload]", func(j job) { j.payload["repository"] = stranger }},
		"head of another repository": {5, "[ci_repository]", func(j job) {
			body(j)["head"] = map[string]any{"ref": "feature", "sha": p.Head(), "repo": stranger}
		}},
		"head of another change": {6, "[head_moved]", func(j job) {
			body(j)["head"] = map[string]any{"ref": "feature", "sha": other.Head(), "repo": r.repository()}
		}},
		"a merge that was none": {0, "", func(j job) {
			j.payload["action"], body(j)["merged"], body(j)["state"], body(j)["merge_commit_sha"] = "closed", true, "closed", p.Head()
		}},
		"no change": {2, "[event_payload]", func(j job) { delete(j.payload, "pull_request") }},
		"huge":      {2, "[ci_event]", func(j job) { j.payload["x"] = strings.Repeat("x", 33<<20) }},
		"no commits": {2, "[event_payload]", func(j job) {
			body(j)["head"] = map[string]any{"ref": "feature", "sha": "$(id)", "repo": r.repository()}
		}},
	} {
		j := r.pullRequest(p, "opened", "77")
		c.lie(j)
		got := r.do("auto", j)
		if got.code != c.exit {
			t.Errorf("%s: exit %d\n%s\n%s", name, got.code, got.stdout, got.stderr)
		}
		r.refused(got, c.code)
	}
}

// TestT14EventsWithRights runs no engine under events that have the rights of the base.
func TestT14EventsWithRights(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	for _, event := range []string{"pull_request_target", "issue_comment", "workflow_run", "pull_request_review"} {
		for _, command := range []string{"auto", "plan", "flight-plan"} {
			if command == "auto" && event != "pull_request_target" && event != "issue_comment" {
				continue
			}
			j := r.pullRequest(p, "opened", "77")
			j.event = event
			j.payload["review"] = map[string]any{"id": 1}
			j.payload["issue"] = map[string]any{"number": p.Number}
			if event == "workflow_run" {
				j.payload["workflow_run"] = map[string]any{
					"id": 1, "workflow_id": 2, "event": "pull_request", "head_sha": p.Head(), "head_repository": r.repository(), "repository": r.repository(),
					"created_at": "2026-01-01T00:00:00Z", "path": workflowFile,
				}
			}
			r.refused(r.want(2, command, j), "ci_event")
		}
	}
}

const withOwner = "approvals: {roles: {platform: {users: [bob]}, policy-owner: {users: [carol]}}}\n"

// TestT13ChangeLetsItselfThrough edits what governs along with what is governed.
func TestT13ChangeLetsItselfThrough(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{"configuration": ".cabincrew.yaml", "policies": "pol/rig.rego", "owners": ".github/CODEOWNERS"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, withOwner, nil)
			content := map[string]string{
				".cabincrew.yaml":    r.configuration("approvals: {self_approval: true, roles: {platform: {users: [alice]}, policy-owner: {users: [alice]}}}\n"),
				"pol/rig.rego":       "package cabincrew.rig\n\ndecision := \"allow\"\n",
				".github/CODEOWNERS": "* @alice\n",
			}[file]
			p := r.openFiles("feature", map[string]string{"app.txt": "two\n", file: content})
			r.plan(p, "opened", 0)
			p.Review(r.author, githubtest.Approved, "fine")
			r.approve(p)
			r.landRefused(p, 4, "policy-owner")
		})
	}
}

// TestT10ForgedChecks has another App, and a status, say that all is well.
func TestT10ForgedChecks(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	forge := func(sha, token string) {
		for _, name := range []string{planCheck, takeOffCheck} {
			r.repo.Check(githubtest.CheckRun{App: 4711, Name: name, SHA: sha, ExternalID: token, Status: "completed", Conclusion: "success", Title: "fine", Summary: "approved by all"})
		}
	}
	got := r.plan(p, "opened", 0)
	forge(p.Head(), got.got.outputs["plan-token"])
	r.hub.Advance(time.Second)
	before := r.repo.Tip("refs/heads/main")
	commit := p.Merge(r.author, "merge")
	forge(commit, got.got.outputs["plan-token"])
	r.refused(r.takeOff(commit, before, 4), "approval_waiting")
	got.kept.Delete()
	r.refused(r.takeOff(commit, before, 7), "flight_missing")
}

// TestT38MarksOfTheForge makes marks in advance, and deletes them afterwards.
func TestT38MarksOfTheForge(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	got := r.plan(p, "opened", 0)
	r.approve(p)
	r.hub.Advance(time.Second)
	before := r.repo.Tip("refs/heads/main")
	commit := p.Merge(r.author, "merge")
	top := "cabincrew/" + strings.TrimPrefix(got.got.outputs["plan-token"], "sha256:")
	r.git(r.origin, "tag", top+"/begun", commit) // of no message
	r.notApplied(r.takeOff(commit, before, 5), "[mark_malformed]")
	r.git(r.origin, "tag", "-d", top+"/begun")
	r.mark(top+"/begun", commit, "free text")
	r.notApplied(r.takeOff(commit, before, 5), "mark_malformed")
	r.git(r.origin, "tag", "-d", top+"/begun")
	r.takeOff(commit, before, 0)
	begun := r.git(r.origin, "cat-file", "-p", "refs/tags/"+top+"/begun")
	if !strings.Contains(begun, `"audit":{`) || !strings.Contains(begun, "/actions/runs/") {
		t.Errorf("the mark does not tell the run and how far the log had come: %s", begun) // T46
	}
	r.git(r.origin, "tag", "-d", top+"/begun", top+"/done")
	r.notApplied(r.takeOff(commit, before, 5), "[token_consumed]")
}

// TestT04TwoRunnersAtOnce takes off twice at the same time, and once more.
func TestT04TwoRunnersAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 0)
	r.approve(p)
	r.hub.Advance(time.Second)
	before := r.repo.Tip("refs/heads/main")
	commit := p.Merge(r.author, "merge")
	ends := make(chan result)
	for i := range 2 {
		go func() { ends <- r.do("auto", r.push(commit, before, strconv.Itoa(900+i))) }()
	}
	applied, others := 0, 0
	for range 2 {
		got := <-ends
		if _, err := os.Stat(filepath.Join(got.workspace, "out.txt")); err == nil {
			applied++
		}
		late := got.code == 0 && strings.Contains(got.stdout, "took off before")
		if !late && !(got.code == 5 && strings.Contains(got.stderr, "[token_consumed]")) {
			others++
		}
	}
	if applied != 1 || others != 1 {
		t.Errorf("it was applied %d times, and %d of two runs were not told that the other flew it", applied, others)
	}
	r.notApplied(r.takeOff(commit, before, 0), "took off before")
}

// TestT20HostileWords has an engine, a title, a label and a branch speak to the runner
// and to reviewers.
func TestT20HostileWords(t *testing.T) {
	t.Parallel()
	const evil = "::error::x ##[error]x @everyone ![x](https://evil.example/x.png) <img src=x> <!-- hidden -->"
	r := newRig(t, byReview, nil)
	r.onMain(map[string]string{".cabincrew.yaml": strings.Replace(r.configuration(byReview), "cp app.txt out.txt",
		`cp app.txt out.txt; printf '%s\n' '::set-output name=decision::allow' '::add-path::/tmp' '##[error]x' '::stop-commands::x' | tee /dev/stderr`, 1)})
	head := r.repo.Commit(githubtest.Commit{
		Author: r.author, Message: evil, Parents: []string{r.repo.Tip("refs/heads/main")}, Files: map[string]string{"app.txt": evil + "\n"},
	})
	r.repo.Push("feature/::error::x-@everyone", head, r.author)
	p := r.repo.Open(githubtest.Opened{Title: evil, Body: evil, Author: r.author, Head: "feature/::error::x-@everyone", Labels: []string{evil[:40]}})
	got := r.plan(p, "opened", 0)
	if c := got.got.commands(); len(c) > 0 {
		t.Errorf("the runner is told %q", c)
	}
	k := r.lastCheck(planCheck)
	for name, text := range map[string]string{"title": k.Title, "summary": k.Summary, "text": k.Text, "job": got.got.summary} {
		for _, bad := range []string{"![x](", "<img", "<!-- hidden"} {
			for line := range strings.SplitSeq(text, "\n") {
				if strings.Contains(line, bad) && !strings.HasPrefix(line, "+") && !strings.HasPrefix(line, "    ") {
					t.Errorf("the %s shows %q", name, line)
				}
			}
		}
	}
}

// TestT22SecretsOnGitHub has a change plan a file that holds a key.
func TestT22SecretsOnGitHub(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	const secret = "AKIAQYLPMN5HFIQR7XYA" // of nobody
	p := r.open("feature", "aws_access_key_id = "+secret+"\n")
	got := r.plan(p, "opened", 3)
	k := r.lastCheck(planCheck)
	for name, text := range map[string]string{"title": k.Title, "summary": k.Summary, "text": k.Text, "job": got.got.summary, "stdout": got.got.stdout, "stderr": got.got.stderr} {
		if strings.Contains(text, secret) {
			t.Errorf("the %s shows it", name)
		}
	}
	if k.Conclusion != "failure" {
		t.Errorf("the check says %s", k.Conclusion)
	}
}

// TestT28GitHubLeavesOut has each question of a take-off go unanswered, and page 2 of
// the reviews.
func TestT28GitHubLeavesOut(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 0)
	r.approve(p)
	for i := range 120 {
		p.Review(r.carol, githubtest.Commented, strconv.Itoa(i))
	}
	p.Review(r.carol, githubtest.ChangesRequested, "no") // on page 2
	r.hub.Advance(time.Second)
	before := r.repo.Tip("refs/heads/main")
	commit := p.Merge(r.author, "merge")
	limited := githubtest.Fault{Status: 403, RetryAfter: time.Hour, Message: "You have exceeded a secondary rate limit."}
	for op, page := range map[string]int{
		"pulls/list-reviews": 2, "actions/list-workflow-runs": 0, "actions/list-workflow-run-artifacts": 0, "repos/list-activities": 0,
		"repos/list-pull-requests-associated-with-commit": 0, "repos/get-branch": 0, "pulls/list-commits": 0, "actions/download-artifact": 0,
	} {
		f := limited
		f.Page = page
		r.hub.Fail(op, 1, f)
		got := r.do("auto", r.push(commit, before, "900"))
		if got.code != 7 {
			t.Errorf("%s: exit %d\n%s", op, got.code, got.stderr)
		}
		r.refused(got, "[forge_rate_limited]")
	}
	r.refused(r.takeOff(commit, before, 4), "asked for changes")
}

// TestT40TargetChangesAfterApproval approves for staging, and has the default branch
// mean production.
func TestT40TargetChangesAfterApproval(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	with := func(target string) map[string]string {
		return map[string]string{".cabincrew.yaml": strings.Replace(r.configuration(byReview), "    inputs:", "    target: "+target+"\n    inputs:", 1)}
	}
	r.onMain(with("staging"))
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 0)
	r.approve(p)
	r.hub.Advance(time.Second)
	r.onMain(with("production"))
	before := r.repo.Tip("refs/heads/main")
	commit := p.Merge(r.author, "merge")
	r.refused(r.want(4, "auto", r.push(commit, before, "900")), "policy-owner for step edit [approval_waiting]")
}

// TestT35SecondAttempt plans something else in a second attempt of the same run.
func TestT35SecondAttempt(t *testing.T) {
	t.Parallel()
	r := newRandomRig(t)
	p := r.open("feature", "two\n")
	first := r.plan(p, "opened", 0)
	first.run.Rerun(r.author)
	j := r.pullRequest(p, "opened", strconv.FormatInt(first.run.ID, 10))
	j.env = maps.Clone(map[string]string{"GITHUB_RUN_ATTEMPT": "2"})
	got := r.want(0, "auto", j)
	r.later()
	first.run.UploadZip("cabincrew-judged", zipOf(t, filepath.Join(got.outputs["flight-path"], "judged")))
	first.run.Finish("success")
	first.kept.Delete()
	r.approve(p)
	r.landRefused(p, 4, "did not name the flight's code")
}

// TestT39LaterAttemptFailed has a later attempt of the same run fail, whose plan is not
// there.
func TestT39LaterAttemptFailed(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	got := r.plan(p, "opened", 0)
	r.approve(p)
	got.run.Rerun(r.author)
	got.run.Finish("failure")
	r.landRefused(p, 7, "flight_missing")
}

// TestT32TakeOffFromAnotherBranch: a workflow on a branch of one's own calls the take-off
// for a change that was merged into the protected one.
func TestT32TakeOffFromAnotherBranch(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 0)
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	before := r.repo.Tip("refs/heads/main")
	commit := p.Merge(r.author, "merge")
	r.repo.Push("evil", commit, r.author)
	j := r.push(commit, before, "77")
	j.ref, j.payload["ref"] = "refs/heads/evil", "refs/heads/evil"
	if got := r.want(5, "auto", j); !strings.Contains(got.stderr, "[governance_branch]") {
		t.Errorf("it says %s", got.stderr)
	}
	if tags := r.repo.Refs("refs/tags/cabincrew/"); len(tags) > 0 {
		t.Errorf("it left tags: %v", tags)
	}
}

package githubtest

import (
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Started is what Repo.Start makes a run of.
type Started struct {
	Workflow   string // the path of its file
	Event      string
	Branch     string // of the head
	SHA        string
	From       *Repo // the repository of the head; nil is the own one
	Actor      *User
	Again      *User // who started this attempt, if somebody else
	Status     string
	Conclusion string
	Calls      []string // reusable workflows, as owner/repo/path@ref
	Pulls      []*Pull  // GitHub leaves those of forks out
	Inputs     map[string]any
}

// Run is a run of a workflow. What a test reads of it does not change.
type Run struct {
	ID     int64
	Repo   *Repo
	Number int

	Started

	workflow  int64
	attempts  []attempt
	approvals []approval
	waiting   []*Environment
	verdicts  []Verdict
}

type attempt struct {
	by                 *User
	status, conclusion string
	at, changed        time.Time
}

type approval struct {
	by             *User
	state, comment string
	environments   []*Environment
}

// Verdict is what a deployment protection rule was told.
type Verdict struct{ Environment, State, Comment string }

// Start starts a run. It is in progress unless the caller says otherwise.
func (r *Repo) Start(o Started) *Run {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.start(o)
}

func (r *Repo) start(o Started) *Run {
	if o.From == nil {
		o.From = r
	}
	if o.Again == nil {
		o.Again = o.Actor
	}
	if o.Status == "" {
		o.Status = "in_progress"
		if o.Conclusion != "" {
			o.Status = "completed"
		}
	}
	n := &Run{ID: r.s.id(), Repo: r, Started: o, workflow: r.workflow(o.Workflow)}
	for _, have := range r.runs {
		if have.workflow == n.workflow {
			n.Number++
		}
	}
	n.Number++
	n.attempts = []attempt{{o.Again, o.Status, o.Conclusion, r.s.now, r.s.now}}
	r.runs = append(r.runs, n)
	return n
}

// workflow gives the number of a workflow by its path.
func (r *Repo) workflow(at string) int64 {
	if r.workflows[at] == 0 {
		r.workflows[at] = r.s.id()
	}
	return r.workflows[at]
}

// Finish ends the newest attempt.
func (n *Run) Finish(conclusion string) {
	n.Repo.s.mu.Lock()
	defer n.Repo.s.mu.Unlock()
	a := &n.attempts[len(n.attempts)-1]
	a.status, a.conclusion, a.changed = "completed", conclusion, n.Repo.s.now
}

// Rerun begins another attempt of the same run.
func (n *Run) Rerun(by *User) {
	n.Repo.s.mu.Lock()
	defer n.Repo.s.mu.Unlock()
	n.attempts = append(n.attempts, attempt{by, "in_progress", "", n.Repo.s.now, n.Repo.s.now})
}

// Attempt is the number of the newest attempt.
func (n *Run) Attempt() int {
	n.Repo.s.mu.Lock()
	defer n.Repo.s.mu.Unlock()
	return len(n.attempts)
}

// Delete removes a run, as whoever may write can; its checks stay.
func (n *Run) Delete() {
	n.Repo.s.mu.Lock()
	defer n.Repo.s.mu.Unlock()
	n.Repo.runs = slices.DeleteFunc(n.Repo.runs, func(have *Run) bool { return have == n })
}

// Runs are all runs of a repository, oldest first, those that were dispatched too.
func (r *Repo) Runs() []*Run {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return slices.Clone(r.runs)
}

func (c *call) runBody(n *Run, number int) obj {
	a := n.attempts[number-1]
	api := c.s.URL() + "/repos/" + n.Repo.FullName()
	at := api + "/actions/runs/" + strconv.FormatInt(n.ID, 10)
	calls, pulls := []any{}, []any{}
	for _, ref := range n.Calls {
		file, name, _ := strings.Cut(ref, "@")
		calls = append(calls, obj{"path": file + "@" + name, "sha": strings.Repeat("c", 40), "ref": name})
	}
	for _, p := range n.Pulls {
		if p.headRepo == n.Repo && c.query("exclude_pull_requests") != "true" {
			pulls = append(pulls, obj{
				"id": p.ID, "number": p.Number, "url": api + "/pulls/" + strconv.Itoa(p.Number), "head": obj{"ref": p.headRef, "sha": p.headSHA, "repo": obj{"id": n.Repo.ID, "url": api, "name": n.Repo.Name}},
				"base": obj{"ref": p.baseRef, "sha": p.baseSHA, "repo": obj{"id": n.Repo.ID, "url": api, "name": n.Repo.Name}},
			})
		}
	}
	body := obj{
		"id": n.ID, "node_id": node("WFR", n.ID), "name": path.Base(n.Workflow), "display_title": n.Event, "path": n.Workflow, "workflow_id": n.workflow, "run_number": n.Number, "run_attempt": number,
		"event": n.Event, "status": a.status, "conclusion": orNull(a.conclusion), "head_branch": orNull(n.Branch), "head_sha": n.SHA, "referenced_workflows": calls, "pull_requests": pulls,
		"actor": c.s.userBody(n.Actor), "triggering_actor": c.s.userBody(a.by), "created_at": stamp(n.attempts[0].at), "run_started_at": stamp(a.at), "updated_at": stamp(a.changed),
		"repository": c.s.repoBody(n.Repo), "head_repository": c.s.repoBody(n.From), "head_commit": nil, "check_suite_id": n.ID, "previous_attempt_url": nil,
		"url": at, "html_url": c.s.WebURL() + "/" + n.Repo.FullName() + "/actions/runs/" + strconv.FormatInt(n.ID, 10), "artifacts_url": at + "/artifacts", "workflow_url": api + "/actions/workflows/" + strconv.FormatInt(n.workflow, 10),
	}
	if of, err := n.From.git.commit(n.SHA); err == nil {
		body["head_commit"] = obj{"id": n.SHA, "tree_id": of.TreeHash.String(), "message": of.Message, "timestamp": stamp(of.Author.When), "author": signature(of.Author), "committer": signature(of.Committer)}
	}
	return body
}

func (c *call) run() *Run {
	for _, n := range c.repo.runs {
		if n.ID == c.number("run_id") {
			return n
		}
	}
	return nil
}

func (c *call) getRun() reply {
	n := c.run()
	if n == nil {
		return notFound()
	}
	return ok(c.runBody(n, len(n.attempts)))
}

func (c *call) getAttempt() reply {
	n := c.run()
	number := int(c.number("attempt_number"))
	if n == nil || number < 1 || number > len(n.attempts) {
		return notFound()
	}
	return ok(c.runBody(n, number))
}

// rerun begins another attempt, by whose token it is.
func (c *call) rerun() reply {
	n := c.run()
	switch {
	case n == nil:
		return notFound()
	case n.attempts[len(n.attempts)-1].status != "completed":
		return refused(http.StatusForbidden, "The workflow run containing this job is already running")
	}
	n.attempts = append(n.attempts, attempt{c.by.user, "queued", "", c.s.now, c.s.now})
	return created(obj{})
}

func (c *call) listRuns() reply { return c.runsOf(func(*Run) bool { return true }) }

// named finds a workflow by its number or by the name of its file.
func (c *call) named() (string, bool) {
	want := c.vars["workflow_id"]
	for at, id := range c.repo.workflows {
		if strconv.FormatInt(id, 10) == want || path.Base(at) == want {
			return at, true
		}
	}
	return "", false
}

func (c *call) listWorkflowRuns() reply {
	at, there := c.named()
	if !there {
		return notFound()
	}
	return c.runsOf(func(n *Run) bool { return n.Workflow == at })
}

func (c *call) runsOf(in func(*Run) bool) reply {
	var out []any
	for _, n := range slices.Backward(c.repo.runs) {
		a := n.attempts[len(n.attempts)-1]
		status := c.query("status")
		if in(n) && c.wants("event", n.Event) && c.wants("head_sha", n.SHA) && c.wants("branch", n.Branch) && (status == "" || status == a.status || status == a.conclusion) &&
			(n.Actor == nil || c.wants("actor", n.Actor.Login)) && within(c.query("created"), n.attempts[0].at) {
			out = append(out, c.runBody(n, len(n.attempts)))
		}
	}
	return c.counted("workflow_runs", out)
}

// within tells whether a time is in a range of GitHub's search: >=time, or a..b.
func within(span string, at time.Time) bool {
	if span == "" {
		return true
	}
	from, to, both := strings.Cut(span, "..")
	if !both {
		from, to = "", ""
		switch {
		case strings.HasPrefix(span, ">"):
			from = strings.TrimLeft(span, ">=")
		case strings.HasPrefix(span, "<"):
			to = strings.TrimLeft(span, "<=")
		}
	}
	parse := func(text string) (time.Time, bool) {
		for _, layout := range []string{time.RFC3339, time.DateOnly} {
			if v, err := time.Parse(layout, text); err == nil {
				return v, true
			}
		}
		return time.Time{}, false
	}
	if v, there := parse(from); there && at.Before(v) {
		return false
	}
	if v, there := parse(to); there && at.After(v) {
		return false
	}
	return true
}

func (c *call) getWorkflow() reply {
	at, there := c.named()
	if !there {
		return notFound()
	}
	id := c.repo.workflows[at]
	return ok(obj{
		"id": id, "node_id": node("W", id), "name": path.Base(at), "path": at, "state": "active", "created_at": stamp(c.s.now), "updated_at": stamp(c.s.now),
		"url": c.s.URL() + c.r.URL.Path, "html_url": c.s.WebURL() + "/" + c.repo.FullName() + "/blob/main/" + at, "badge_url": c.s.WebURL() + "/badge.svg",
	})
}

// dispatch starts a run, as the button on the page does.
func (c *call) dispatch() reply {
	at, there := c.named()
	if !there {
		return notFound()
	}
	of := c.repo.git.resolve(c.text("ref"))
	if of == nil {
		return invalid("No ref found for: " + c.text("ref"))
	}
	inputs, _ := c.body["inputs"].(obj)
	c.repo.start(Started{Workflow: at, Event: "workflow_dispatch", Branch: strings.TrimPrefix(c.text("ref"), "refs/heads/"), SHA: of.Hash.String(), Actor: c.by.user, Status: "queued", Inputs: inputs})
	return none()
}

// AddWorkflow says that a workflow's file is there.
func (r *Repo) AddWorkflow(at string) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.workflow(at)
}

// Actions are a repository's settings for workflows.
type Actions struct {
	Disabled   bool
	Allowed    string // all by default; local_only, selected
	PinBySHA   bool
	Default    string // read by default; write
	MayApprove bool   // workflows may approve pull requests
}

// Actions changes those settings.
func (r *Repo) Actions(a Actions) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.actions = a
}

func (c *call) actionsPermissions() reply {
	a := c.repo.actions
	if a.Disabled {
		return ok(obj{"enabled": false})
	}
	if a.Allowed == "" {
		a.Allowed = "all"
	}
	return ok(obj{"enabled": true, "allowed_actions": a.Allowed, "sha_pinning_required": a.PinBySHA})
}

func (c *call) workflowPermissions() reply {
	a := c.repo.actions
	if a.Default == "" {
		a.Default = "read"
	}
	return ok(obj{"default_workflow_permissions": a.Default, "can_approve_pull_request_reviews": a.MayApprove})
}

// gate takes what a deployment protection rule of an App decides.
func (c *call) gate() reply {
	n := c.run()
	if n == nil {
		return notFound()
	}
	if c.by.App == 0 {
		return refused(http.StatusForbidden, "Resource not accessible by personal access token")
	}
	n.verdicts = append(n.verdicts, Verdict{c.text("environment_name"), c.text("state"), c.text("comment")})
	return none()
}

// Verdicts are what deployment protection rules were told about a run.
func (n *Run) Verdicts() []Verdict {
	n.Repo.s.mu.Lock()
	defer n.Repo.s.mu.Unlock()
	return slices.Clone(n.verdicts)
}

package githubtest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// The limits of a check run that the description does not hold: it counts characters,
// the server bytes.
const (
	mostOutput = 65_535
	mostInt    = 64 << 10
)

// check is a check run.
type check struct {
	id                   int64
	app                  int64
	suite                int64
	name, sha, external  string
	status, conclusion   string
	details              string
	title, summary, text string
	annotations          []any
	actions              []any
	started, completed   time.Time
}

// CheckRun is a check run as a test sees it.
type CheckRun struct {
	ID, App               int64
	Name, SHA, ExternalID string
	Status, Conclusion    string
	Title, Summary, Text  string
	DetailsURL            string
	Annotations           []map[string]any
	Actions               []map[string]any
}

// Checks are the check runs of a repository, oldest first.
func (r *Repo) Checks() []CheckRun {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	var out []CheckRun
	for _, k := range r.checks {
		out = append(out, CheckRun{
			ID: k.id, App: k.app, Name: k.name, SHA: k.sha, ExternalID: k.external, Status: k.status, Conclusion: k.conclusion,
			Title: k.title, Summary: k.summary, Text: k.text, DetailsURL: k.details, Annotations: copies(k.annotations), Actions: copies(k.actions),
		})
	}
	return out
}

func copies(of []any) []map[string]any {
	var out []map[string]any
	for _, v := range of {
		if m, ok := v.(obj); ok {
			out = append(out, maps.Clone(m))
		}
	}
	return out
}

// Check adds a check run of any App, as somebody else would make it.
func (r *Repo) Check(k CheckRun) int64 {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	id := r.s.id()
	if k.Status == "" {
		k.Status = "completed"
	}
	r.checks = append(r.checks, &check{
		id: id, app: k.App, suite: r.s.id(), name: k.Name, sha: k.SHA, external: k.ExternalID, status: k.Status, conclusion: k.Conclusion,
		title: k.Title, summary: k.Summary, text: k.Text, details: k.DetailsURL, started: r.s.now, completed: r.s.now,
	})
	return id
}

// Edit changes a check run, as any token of its App can.
func (r *Repo) Edit(k CheckRun) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	for _, have := range r.checks {
		if have.id == k.ID {
			have.external, have.title, have.summary, have.text = k.ExternalID, k.Title, k.Summary, k.Text
		}
	}
}

func (c *call) checkBody(k *check) obj {
	at := c.s.URL() + "/repos/" + c.repo.FullName() + "/check-runs/" + strconv.FormatInt(k.id, 10)
	page := c.s.WebURL() + "/" + c.repo.FullName() + "/runs/" + strconv.FormatInt(k.id, 10)
	body := obj{
		"id": k.id, "node_id": node("CR", k.id), "name": k.name, "head_sha": k.sha, "external_id": k.external, "url": at, "html_url": page, "details_url": page,
		"status": k.status, "conclusion": orNull(k.conclusion), "started_at": stamp(k.started), "completed_at": nil, "check_suite": obj{"id": k.suite}, "pull_requests": []any{},
		"app": obj{
			"id": k.app, "node_id": node("A", k.app), "slug": c.appSlug(k.app), "name": c.appSlug(k.app), "description": "", "external_url": "https://unset.invalid", "html_url": "https://unset.invalid",
			"owner": c.s.userBody(c.s.users[0]), "created_at": stamp(k.started), "updated_at": stamp(k.started), "permissions": obj{}, "events": []any{},
		},
		"output": obj{"title": orNull(k.title), "summary": orNull(k.summary), "text": orNull(k.text), "annotations_count": len(k.annotations), "annotations_url": at + "/annotations"},
	}
	if k.details != "" {
		body["details_url"] = k.details
	}
	if !k.completed.IsZero() {
		body["completed_at"] = stamp(k.completed)
	}
	return body
}

func (c *call) appSlug(app int64) string {
	if app == ActionsApp {
		return "github-actions"
	}
	return "app-" + strconv.FormatInt(app, 10)
}

// takeCheck takes over what a request says of a check, or says what is wrong.
func (c *call) takeCheck(k *check) string {
	for field, to := range map[string]*string{"name": &k.name, "details_url": &k.details, "external_id": &k.external, "status": &k.status} {
		if c.has(field) {
			*to = c.text(field)
		}
	}
	if actions, ok := c.body["actions"].([]any); ok {
		k.actions = actions
	}
	if wrong := c.takeOutput(k); wrong != "" {
		return wrong
	}
	if c.has("conclusion") || c.has("completed_at") {
		k.status, k.completed = "completed", c.s.now
	}
	if c.has("conclusion") {
		k.conclusion = c.text("conclusion")
	}
	if at, err := time.Parse(time.RFC3339, c.text("completed_at")); err == nil {
		k.completed = at
	}
	if at, err := time.Parse(time.RFC3339, c.text("started_at")); err == nil {
		k.started = at
	}
	if k.status == "completed" && k.conclusion == "" {
		return "Invalid request.\n\nMissing required parameter: conclusion"
	}
	return ""
}

func (c *call) takeOutput(k *check) string {
	output, ok := c.body["output"].(obj)
	if !ok {
		return ""
	}
	for field, to := range map[string]*string{"title": &k.title, "summary": &k.summary, "text": &k.text} {
		v, ok := output[field].(string)
		if ok && field != "title" && len(v) > mostOutput {
			return fmt.Sprintf("Invalid request.\n\n%s exceeds a maximum bytesize of %d.", field, mostOutput)
		}
		if ok {
			*to = v
		}
	}
	all, _ := output["annotations"].([]any)
	for _, a := range all {
		a, _ := a.(obj)
		for _, field := range []string{"message", "raw_details"} {
			if v, _ := a[field].(string); len(v) > mostInt {
				return fmt.Sprintf("Invalid request.\n\n%s exceeds a maximum bytesize of %d.", field, mostInt)
			}
		}
		if v, _ := a["title"].(string); len([]rune(v)) > 255 {
			return "Invalid request.\n\ntitle is too long (maximum is 255 characters)."
		}
	}
	k.annotations = append(k.annotations, all...) // an update adds
	return ""
}

func (c *call) createCheck() reply {
	if c.by.App == 0 {
		return refused(403, "You must authenticate via a GitHub App.")
	}
	sha := c.text("head_sha")
	if c.repo.git.resolve(sha) == nil || len(sha) != 40 {
		return invalid("No commit found for SHA: " + sha)
	}
	k := &check{id: c.s.id(), app: c.by.App, sha: sha, status: "queued", started: c.s.now}
	k.suite = c.s.id()
	if wrong := c.takeCheck(k); wrong != "" {
		return invalid(wrong)
	}
	c.repo.checks = append(c.repo.checks, k)
	return created(c.checkBody(k))
}

func (c *call) check() *check {
	for _, k := range c.repo.checks {
		if k.id == c.number("check_run_id") {
			return k
		}
	}
	return nil
}

func (c *call) getCheck() reply {
	k := c.check()
	if k == nil {
		return notFound()
	}
	return ok(c.checkBody(k))
}

func (c *call) updateCheck() reply {
	k := c.check()
	if k == nil {
		return notFound()
	}
	if k.app != c.by.App {
		return refused(403, "Invalid app_id `"+strconv.FormatInt(c.by.App, 10)+"` - check run can only be modified by the GitHub App that created it.")
	}
	next := *k
	if wrong := c.takeCheck(&next); wrong != "" {
		return invalid(wrong)
	}
	*k = next
	return ok(c.checkBody(k))
}

func (c *call) listAnnotations() reply {
	k := c.check()
	if k == nil {
		return notFound()
	}
	return c.page(k.annotations)
}

// listChecks answers the check runs of a commit, newest first; the latest of each
// name and App unless all are asked for.
func (c *call) listChecks() reply {
	of := c.repo.git.resolve(c.vars["ref"])
	if of == nil {
		return invalid("No commit found for SHA: " + c.vars["ref"])
	}
	sha := of.Hash.String()
	type key struct {
		app  int64
		name string
	}
	seen := map[key]bool{}
	var out []any
	for _, k := range slices.Backward(c.repo.checks) {
		is := key{k.app, k.name}
		if k.sha != sha || c.query("filter") != "all" && seen[is] {
			continue
		}
		seen[is] = true
		if c.wants("check_name", k.name) && c.wants("status", k.status) && c.wants("app_id", strconv.FormatInt(k.app, 10)) {
			out = append(out, c.checkBody(k))
		}
	}
	return c.counted("check_runs", out)
}

// wants tells whether a query leaves a value in.
func (c *call) wants(name, have string) bool {
	want := c.query(name)
	return want == "" || want == have
}

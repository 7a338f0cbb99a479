package githubtest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Environment is an environment of a repository and its protection.
type Environment struct {
	Name              string
	Users             []*User // who may approve
	Teams             []*Team
	PreventSelfReview bool
	AdminsBypass      bool
	Wait              int      // minutes
	Branches          string   // protected, custom, or empty for all
	Patterns          []string // of custom branches

	id int64
	at time.Time
}

// Environment adds an environment, or replaces the one of that name.
func (r *Repo) Environment(e Environment) *Environment {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	e.id, e.at = r.s.id(), r.s.now
	for _, have := range r.environments {
		if have.Name == e.Name {
			e.id = have.id
			*have = e
			return have
		}
	}
	r.environments = append(r.environments, &e)
	return &e
}

func (r *Repo) environment(name string) *Environment {
	for _, e := range r.environments {
		if e.Name == name {
			return e
		}
	}
	return nil
}

func (c *call) environmentName(e *Environment) obj {
	return obj{
		"id": e.id, "node_id": node("EN", e.id), "name": e.Name, "url": c.s.URL() + "/repos/" + c.repo.FullName() + "/environments/" + e.Name,
		"html_url": c.s.WebURL() + "/" + c.repo.FullName() + "/deployments/activity_log?environments_filter=" + e.Name, "created_at": stamp(e.at), "updated_at": stamp(e.at),
	}
}

func (c *call) reviewers(e *Environment) []any {
	out := []any{}
	for _, u := range e.Users {
		out = append(out, obj{"type": "User", "reviewer": c.s.userBody(u)})
	}
	for _, t := range e.Teams {
		out = append(out, obj{"type": "Team", "reviewer": c.s.teamBody(t)})
	}
	return out
}

func (c *call) environmentBody(e *Environment) obj {
	body := c.environmentName(e)
	rules := []any{}
	rule := func(offset int64, kind string) obj {
		return obj{"id": e.id*10 + offset, "node_id": node("GA", e.id*10+offset), "type": kind}
	}
	if e.Wait > 0 {
		r := rule(1, "wait_timer")
		r["wait_timer"] = e.Wait
		rules = append(rules, r)
	}
	if len(e.Users)+len(e.Teams) > 0 {
		r := rule(2, "required_reviewers")
		r["prevent_self_review"], r["reviewers"] = e.PreventSelfReview, c.reviewers(e)
		rules = append(rules, r)
	}
	body["deployment_branch_policy"] = nil
	if e.Branches != "" {
		rules = append(rules, rule(3, "branch_policy"))
		body["deployment_branch_policy"] = obj{"protected_branches": e.Branches == "protected", "custom_branch_policies": e.Branches == "custom"}
	}
	body["protection_rules"], body["can_admins_bypass"] = rules, e.AdminsBypass
	return body
}

func (c *call) listEnvironments() reply {
	var out []any
	for _, e := range c.repo.environments {
		out = append(out, c.environmentBody(e))
	}
	return c.counted("environments", out)
}

func (c *call) getEnvironment() reply {
	e := c.repo.environment(c.vars["environment_name"])
	if e == nil {
		return notFound()
	}
	return ok(c.environmentBody(e))
}

func (c *call) branchPolicies() reply {
	e := c.repo.environment(c.vars["environment_name"])
	if e == nil || e.Branches != "custom" {
		return notFound()
	}
	var out []any
	for i, p := range e.Patterns {
		out = append(out, obj{"id": e.id*100 + int64(i), "node_id": node("DBP", e.id*100+int64(i)), "name": p, "type": "branch"})
	}
	return c.counted("branch_policies", out)
}

// Wait lets a run wait for environments.
func (n *Run) Wait(names ...string) {
	n.Repo.s.mu.Lock()
	defer n.Repo.s.mu.Unlock()
	for _, name := range names {
		if e := n.Repo.environment(name); e != nil {
			n.waiting = append(n.waiting, e)
		}
	}
	n.attempts[len(n.attempts)-1].status = "waiting"
}

// Approve decides about environments of a run, approved or rejected, as the page lets
// people do. It asks nobody whether they may: administrators that bypass the
// protection leave the same entry.
func (n *Run) Approve(by *User, state, comment string, names ...string) {
	n.Repo.s.mu.Lock()
	defer n.Repo.s.mu.Unlock()
	n.decide(by, state, comment, func(e *Environment) bool { return slices.Contains(names, e.Name) })
}

func (n *Run) decide(by *User, state, comment string, of func(*Environment) bool) {
	a := approval{by: by, state: state, comment: comment}
	for _, e := range n.Repo.environments {
		if of(e) {
			a.environments = append(a.environments, e)
		}
	}
	n.approvals = append(n.approvals, a)
	n.waiting = slices.DeleteFunc(slices.Clone(n.waiting), of)
	if last := &n.attempts[len(n.attempts)-1]; len(n.waiting) == 0 && last.status == "waiting" {
		last.status = "in_progress"
	}
}

// listApprovals answers what was decided, newest first, over all attempts and without
// any time.
func (c *call) listApprovals() reply {
	n := c.run()
	if n == nil {
		return notFound()
	}
	out := []any{}
	for _, a := range slices.Backward(n.approvals) {
		environments := []any{}
		for _, e := range a.environments {
			environments = append(environments, c.environmentName(e))
		}
		out = append(out, obj{"state": a.state, "comment": a.comment, "user": c.s.userBody(a.by), "environments": environments})
	}
	return ok(out)
}

// approves tells whether somebody is a reviewer of an environment.
func (e *Environment) approves(u *User, n *Run) bool {
	if e.PreventSelfReview && n.Again == u {
		return false
	}
	return slices.Contains(e.Users, u) || slices.ContainsFunc(e.Teams, func(t *Team) bool {
		return slices.ContainsFunc(t.members, func(m member) bool { return m.user == u && m.state == "active" })
	})
}

func (c *call) pendingDeployments() reply {
	n := c.run()
	if n == nil {
		return notFound()
	}
	out := []any{}
	for _, e := range n.waiting {
		short := obj{"id": e.id, "node_id": node("EN", e.id), "name": e.Name}
		out = append(out, obj{"environment": short, "wait_timer": e.Wait, "wait_timer_started_at": nil, "current_user_can_approve": e.approves(c.by.user, n), "reviewers": c.reviewers(e)})
	}
	return ok(out)
}

func (c *call) reviewDeployments() reply {
	n := c.run()
	if n == nil {
		return notFound()
	}
	ids, _ := c.body["environment_ids"].([]any)
	asked := func(e *Environment) bool {
		return slices.ContainsFunc(ids, func(id any) bool { f, _ := id.(float64); return int64(f) == e.id })
	}
	out := []any{}
	for _, e := range n.waiting {
		if asked(e) && !e.approves(c.by.user, n) {
			return invalid("You are not allowed to review the environment " + e.Name)
		}
		if asked(e) {
			out = append(out, c.deploymentBody(&deployment{id: c.s.id(), sha: n.SHA, ref: n.Branch, environment: e.Name, by: c.by.user, at: c.s.now, task: "deploy"}))
		}
	}
	if len(out) == 0 || len(out) != len(ids) {
		return invalid("No pending deployment requests to approve or reject")
	}
	n.decide(c.by.user, c.text("state"), c.text("comment"), asked)
	return ok(out)
}

type deployment struct {
	id                         int64
	sha, ref, environment      string
	task, description, payload string
	by                         *User
	at                         time.Time
	statuses                   []deploymentStatus
}

type deploymentStatus struct {
	id                                    int64
	state, description, log, target, page string
	by                                    *User
	at                                    time.Time
}

// Deployment is a deployment as a test sees it, with the states that it went through.
type Deployment struct {
	ID                    int64
	SHA, Ref, Environment string
	States                []string
}

// Deployments are the deployments of a repository, oldest first.
func (r *Repo) Deployments() []Deployment {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	var out []Deployment
	for _, d := range r.deployments {
		have := Deployment{ID: d.id, SHA: d.sha, Ref: d.ref, Environment: d.environment}
		for _, t := range d.statuses {
			have.States = append(have.States, t.state)
		}
		out = append(out, have)
	}
	return out
}

func (c *call) deploymentBody(d *deployment) obj {
	api := c.s.URL() + "/repos/" + c.repo.FullName()
	at := api + "/deployments/" + strconv.FormatInt(d.id, 10)
	return obj{
		"id": d.id, "node_id": node("DE", d.id), "sha": d.sha, "ref": d.ref, "task": d.task, "environment": d.environment, "original_environment": d.environment, "description": orNull(d.description),
		"payload": d.payload, "creator": c.s.userBody(d.by), "created_at": stamp(d.at), "updated_at": stamp(d.at), "url": at, "statuses_url": at + "/statuses", "repository_url": api,
	}
}

func (c *call) listDeployments() reply {
	var out []any
	for _, d := range slices.Backward(c.repo.deployments) {
		if c.wants("sha", d.sha) && c.wants("ref", d.ref) && c.wants("environment", d.environment) && c.wants("task", d.task) {
			out = append(out, c.deploymentBody(d))
		}
	}
	return c.page(out)
}

// createDeployment makes a deployment, unless commit statuses or checks that are asked
// for are not green.
func (c *call) createDeployment() reply {
	ref := c.text("ref")
	of := c.repo.git.resolve(ref)
	if of == nil {
		return invalid("No ref found for: " + ref)
	}
	if c.failing(of.Hash.String()) {
		return refused(http.StatusConflict, "Conflict: Commit status checks failed for "+ref+".")
	}
	d := &deployment{id: c.s.id(), sha: of.Hash.String(), ref: ref, environment: c.text("environment"), task: c.text("task"), description: c.text("description"), payload: c.text("payload"), by: c.by.user, at: c.s.now}
	if d.environment == "" {
		d.environment = "production"
	}
	if d.task == "" {
		d.task = "deploy"
	}
	c.repo.deployments = append(c.repo.deployments, d)
	return created(c.deploymentBody(d))
}

// failing tells whether a required context is not green; without a list all are
// required.
func (c *call) failing(sha string) bool {
	states := map[string]bool{}
	for _, t := range c.repo.statuses {
		if t.sha == sha {
			states[t.context] = t.state == "success"
		}
	}
	for _, k := range c.repo.checks {
		if k.sha == sha {
			states[k.name] = k.conclusion == "success" || k.conclusion == "neutral" || k.conclusion == "skipped"
		}
	}
	required, listed := c.body["required_contexts"].([]any)
	if listed {
		return slices.ContainsFunc(required, func(v any) bool { name, _ := v.(string); return !states[name] })
	}
	for _, green := range states {
		if !green {
			return true
		}
	}
	return false
}

func (c *call) deployment() *deployment {
	for _, d := range c.repo.deployments {
		if d.id == c.number("deployment_id") {
			return d
		}
	}
	return nil
}

func (c *call) deploymentStatusBody(d *deployment, t deploymentStatus) obj {
	api := c.s.URL() + "/repos/" + c.repo.FullName()
	at := api + "/deployments/" + strconv.FormatInt(d.id, 10)
	return obj{
		"id": t.id, "node_id": node("DES", t.id), "state": t.state, "description": t.description, "log_url": t.log, "target_url": t.target, "environment_url": t.page, "environment": d.environment,
		"creator": c.s.userBody(t.by), "created_at": stamp(t.at), "updated_at": stamp(t.at), "deployment_url": at, "repository_url": api, "url": at + "/statuses/" + strconv.FormatInt(t.id, 10),
	}
}

func (c *call) listDeploymentStatuses() reply {
	d := c.deployment()
	if d == nil {
		return notFound()
	}
	var out []any
	for _, t := range slices.Backward(d.statuses) {
		out = append(out, c.deploymentStatusBody(d, t))
	}
	return c.page(out)
}

func (c *call) createDeploymentStatus() reply {
	d := c.deployment()
	if d == nil {
		return notFound()
	}
	if len([]rune(c.text("description"))) > 140 {
		return invalid("Validation Failed: description is too long (maximum is 140 characters)")
	}
	t := deploymentStatus{id: c.s.id(), state: c.text("state"), description: c.text("description"), log: c.text("log_url"), target: c.text("target_url"), page: c.text("environment_url"), by: c.by.user, at: c.s.now}
	if t.target == "" {
		t.target = t.log
	}
	if name := c.text("environment"); name != "" && !strings.EqualFold(name, d.environment) {
		d.environment = name
	}
	d.statuses = append(d.statuses, t)
	return created(c.deploymentStatusBody(d, t))
}

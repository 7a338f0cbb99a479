package githubtest

import (
	"slices"
	"time"
)

// status is a commit status.
type status struct {
	id                                      int64
	sha, state, context, description, where string
	by                                      *User
	at                                      time.Time
}

// CommitStatus is a commit status as a test sees it.
type CommitStatus struct{ SHA, State, Context, Description, TargetURL string }

// Statuses are the commit statuses of a repository, oldest first.
func (r *Repo) Statuses() []CommitStatus {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	var out []CommitStatus
	for _, t := range r.statuses {
		out = append(out, CommitStatus{t.sha, t.state, t.context, t.description, t.where})
	}
	return out
}

func (c *call) statusBody(t status) obj {
	return obj{
		"id": t.id, "node_id": node("SC", t.id), "state": t.state, "context": t.context, "description": orNull(t.description), "target_url": orNull(t.where),
		"creator": c.s.userBody(t.by), "created_at": stamp(t.at), "updated_at": stamp(t.at), "avatar_url": nil, "url": c.s.URL() + "/repos/" + c.repo.FullName() + "/statuses/" + t.sha,
	}
}

func (c *call) createStatus() reply {
	sha := c.vars["sha"]
	if c.repo.git.resolve(sha) == nil || len(sha) != 40 {
		return invalid("No commit found for SHA: " + sha)
	}
	if len([]rune(c.text("description"))) > 140 {
		return invalid("Validation Failed: description is too long (maximum is 140 characters)")
	}
	t := status{id: c.s.id(), sha: sha, state: c.text("state"), context: c.text("context"), description: c.text("description"), where: c.text("target_url"), by: c.by.user, at: c.s.now}
	if t.context == "" {
		t.context = "default"
	}
	c.repo.statuses = append(c.repo.statuses, t)
	return created(c.statusBody(t))
}

func (c *call) statusesOf(latest bool) []any {
	of := c.repo.git.resolve(c.vars["ref"])
	out, seen := []any{}, map[string]bool{}
	for _, t := range slices.Backward(c.repo.statuses) {
		if of != nil && t.sha == of.Hash.String() && (!latest || !seen[t.context]) {
			seen[t.context] = true
			out = append(out, c.statusBody(t))
		}
	}
	return out
}

func (c *call) listStatuses() reply { return c.page(c.statusesOf(false)) }

func (c *call) combinedStatus() reply {
	all, state := c.statusesOf(true), "success"
	for _, t := range all {
		switch t.(obj)["state"] {
		case "failure", "error":
			state = "failure"
		case "pending":
			if state == "success" {
				state = "pending"
			}
		}
	}
	if len(all) == 0 {
		state = "pending"
	}
	sha := c.vars["ref"]
	if of := c.repo.git.resolve(sha); of != nil {
		sha = of.Hash.String()
	}
	return ok(obj{"state": state, "sha": sha, "total_count": len(all), "statuses": c.cut(all), "repository": c.s.repoBody(c.repo), "url": c.s.URL() + c.r.URL.Path, "commit_url": c.s.URL() + "/commits/" + sha})
}

package githubtest

import (
	"encoding/json"
	"maps"
)

// Payload is the payload of a pull request's event, such as opened, synchronize or
// closed: what GITHUB_EVENT_PATH names.
func (p *Pull) Payload(action string, by *User) []byte {
	return p.event(by, obj{"action": action, "number": p.Number})
}

// ReviewPayload is the payload of a review's event: submitted, edited or dismissed.
func (p *Pull) ReviewPayload(action string, r *Review) []byte {
	p.Repo.s.mu.Lock()
	body := p.Repo.s.reviewBody(p, r)
	p.Repo.s.mu.Unlock()
	return p.event(r.User, obj{"action": action, "review": body})
}

func (p *Pull) event(by *User, more obj) []byte {
	s := p.Repo.s
	s.mu.Lock()
	defer s.mu.Unlock()
	p.Repo.refresh()
	pull := s.pullBody(p)
	pull["merged"], pull["merged_by"] = p.merged, s.userBody(p.mergedBy)
	more["pull_request"] = pull
	return p.Repo.payload(by, more)
}

// PushPayload is the payload of a push to a branch.
func (r *Repo) PushPayload(branch, before, after string, by *User) []byte {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.payload(by, obj{"ref": "refs/heads/" + branch, "before": before, "after": after, "created": false, "deleted": false, "forced": false, "pusher": obj{"name": by.Login}, "head_commit": obj{"id": after}})
}

// Payload is the payload of a workflow_run event: requested, in_progress or completed.
func (n *Run) Payload(action string) []byte {
	s := n.Repo.s
	s.mu.Lock()
	defer s.mu.Unlock()
	a := n.attempts[len(n.attempts)-1]
	return n.Repo.payload(a.by, obj{"action": action, "workflow_run": obj{
		"id": n.ID, "run_attempt": len(n.attempts), "path": n.Workflow, "event": n.Event, "head_sha": n.SHA, "head_branch": n.Branch, "status": a.status, "conclusion": orNull(a.conclusion),
		"workflow_id": n.workflow, "repository": s.repoBody(n.Repo), "head_repository": s.repoBody(n.From), "actor": s.userBody(n.Actor), "pull_requests": []any{},
	}})
}

// ActionPayload is the payload of a check_run event: somebody pressed a button of a check.
func (r *Repo) ActionPayload(check int64, identifier string, by *User) []byte {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	for _, k := range r.checks {
		if k.id == check {
			return r.payload(by, obj{"action": "requested_action", "requested_action": obj{"identifier": identifier}, "check_run": obj{
				"id": k.id, "name": k.name, "head_sha": k.sha, "external_id": k.external, "status": k.status, "conclusion": orNull(k.conclusion), "app": obj{"id": k.app}, "pull_requests": []any{},
			}})
		}
	}
	r.s.violationf("there is no check %d", check)
	return nil
}

// payload adds what all events have.
func (r *Repo) payload(by *User, body obj) []byte {
	body = maps.Clone(body)
	body["repository"], body["sender"] = r.s.repoBody(r), r.s.userBody(by)
	if r.Owner.Type == "Organization" {
		body["organization"] = r.s.userBody(r.Owner)
	}
	data, err := json.MarshalIndent(body, "", "  ")
	r.s.check(err)
	return data
}

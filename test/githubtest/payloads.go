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

package githubtest

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Review is a review of a pull request. What a test reads of it does not change.
type Review struct {
	ID     int64
	User   *User
	Commit string
	Body   string
	state  string
	at     time.Time

	edited      time.Time
	was         string // before it was dismissed
	dismissedBy *User
	dismissedAt time.Time
}

// The states of reviews.
const (
	Approved         = "APPROVED"
	ChangesRequested = "CHANGES_REQUESTED"
	Commented        = "COMMENTED"
	Dismissed        = "DISMISSED"
	Pending          = "PENDING"
)

// Review submits a review of the head as it is now.
func (p *Pull) Review(by *User, state, text string) *Review {
	s := p.Repo.s
	s.mu.Lock()
	defer s.mu.Unlock()
	p.Repo.refresh()
	return p.review(by, state, text, p.headSHA)
}

// ReviewOf submits a review of some commit, as the API lets reviewers choose.
func (p *Pull) ReviewOf(by *User, state, text, commit string) *Review {
	p.Repo.s.mu.Lock()
	defer p.Repo.s.mu.Unlock()
	return p.review(by, state, text, commit)
}

func (p *Pull) review(by *User, state, text, commit string) *Review {
	r := &Review{ID: p.Repo.s.id(), User: by, Commit: commit, Body: text, state: state, at: p.Repo.s.now, edited: p.Repo.s.now}
	p.reviews = append(p.reviews, r)
	return r
}

// Dismiss has the reviewer take a review's weight away: it keeps its time and commit.
func (p *Pull) Dismiss(r *Review) { p.DismissBy(r, r.User) }

// DismissBy has somebody else dismiss a review, as all may who can write.
func (p *Pull) DismissBy(r *Review, by *User) {
	p.Repo.s.mu.Lock()
	defer p.Repo.s.mu.Unlock()
	r.was, r.state, r.dismissedBy, r.dismissedAt = r.state, Dismissed, by, p.Repo.s.now
	r.edited = p.Repo.s.now
}

// Edit changes the text of a review, which GitHub lets all do who can write, without a
// trace in the time of submission.
func (p *Pull) Edit(r *Review, text string) {
	p.Repo.s.mu.Lock()
	defer p.Repo.s.mu.Unlock()
	r.Body, r.edited = text, p.Repo.s.now
}

// DeleteUser removes an account; what it did stays, by nobody.
func (s *Server) DeleteUser(u *User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.repos {
		for _, p := range r.pulls {
			for _, review := range p.reviews {
				if review.User == u {
					review.User = nil
				}
			}
		}
	}
	for i := range s.users {
		if s.users[i] == u {
			s.users = append(s.users[:i:i], s.users[i+1:]...)
			return
		}
	}
}

func (s *Server) reviewBody(p *Pull, r *Review) obj {
	page := s.WebURL() + "/" + p.Repo.FullName() + "/pull/" + strconv.Itoa(p.Number)
	body := obj{
		"id": r.ID, "node_id": node("PRR", r.ID), "user": s.userBody(r.User), "body": r.Body, "state": r.state, "commit_id": orNull(r.Commit), "author_association": "MEMBER",
		"html_url": page + "#pullrequestreview-" + strconv.FormatInt(r.ID, 10), "pull_request_url": s.URL() + "/repos/" + p.Repo.FullName() + "/pulls/" + strconv.Itoa(p.Number),
	}
	if r.state != Pending {
		body["submitted_at"] = stamp(r.at)
	}
	return body
}

// listReviews answers all reviews, oldest first; drafts only to who writes them.
func (c *call) listReviews() reply {
	p := c.pull()
	if p == nil {
		return notFound()
	}
	var out []any
	for _, r := range p.reviews {
		if r.state != Pending || r.User == c.by.user {
			out = append(out, c.s.reviewBody(p, r))
		}
	}
	return c.page(out)
}

func (c *call) getReview() reply {
	if p := c.pull(); p != nil {
		for _, r := range p.reviews {
			if r.ID == c.number("review_id") {
				return ok(c.s.reviewBody(p, r))
			}
		}
	}
	return notFound()
}

// timeline answers what happened to a change, as far as the fake knows: its reviews, and
// that they were dismissed.
func (c *call) timeline() reply {
	p := c.repo.pull(int(c.number("issue_number")))
	if p == nil {
		return notFound()
	}
	type event struct {
		at   time.Time
		body obj
	}
	var events []event
	for _, r := range p.reviews {
		if r.state == Pending {
			continue
		}
		body := c.s.reviewBody(p, r)
		body["event"], body["state"], body["updated_at"] = "reviewed", strings.ToLower(r.state), stamp(r.edited)
		body["_links"] = obj{"html": obj{"href": body["html_url"]}, "pull_request": obj{"href": body["pull_request_url"]}}
		if r.User == nil {
			body["user"] = c.s.userBody(&User{ID: 10137, Login: "ghost", Type: "User"})
		}
		events = append(events, event{r.at, body})
		if r.was == "" {
			continue
		}
		id := r.ID + 1_000_000_000
		events = append(events, event{r.dismissedAt, obj{
			"id": id, "node_id": node("RDE", id), "url": c.s.URL() + "/repos/" + c.repo.FullName() + "/issues/events/" + strconv.FormatInt(id, 10), "event": "review_dismissed",
			"actor": c.s.userBody(r.dismissedBy), "commit_id": nil, "commit_url": nil, "created_at": stamp(r.dismissedAt), "performed_via_github_app": nil,
			"dismissed_review": obj{"state": strings.ToLower(r.was), "review_id": r.ID, "dismissal_message": "dismissed"},
		}})
	}
	slices.SortStableFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
	out := make([]any, len(events))
	for i := range events {
		out[i] = events[i].body
	}
	return c.page(out)
}

package githubtest

import (
	"strconv"
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
	r := &Review{ID: p.Repo.s.id(), User: by, Commit: commit, Body: text, state: state, at: p.Repo.s.now}
	p.reviews = append(p.reviews, r)
	return r
}

// Dismiss takes a review's weight away: it keeps its time and commit.
func (p *Pull) Dismiss(r *Review) {
	p.Repo.s.mu.Lock()
	defer p.Repo.s.mu.Unlock()
	r.state = Dismissed
}

// Edit changes the text of a review, which GitHub lets its author do without a trace
// in the time.
func (p *Pull) Edit(r *Review, text string) {
	p.Repo.s.mu.Lock()
	defer p.Repo.s.mu.Unlock()
	r.Body = text
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

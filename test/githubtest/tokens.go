package githubtest

import (
	"crypto/rand"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// What GitHub calls its own.
const (
	ActionsApp = 15368    // the App whose tokens GITHUB_TOKEN are
	actionsBot = 41898282 // github-actions[bot]
	webFlow    = 19864447 // who commits what the site merges

	defaultBudget = 1000 // calls an hour of a GITHUB_TOKEN and repository
)

// Token says what a token may do.
type Token struct {
	App         int64             // the App it belongs to; 0 with User for a person's own token
	User        *User             // who acts with it; by default github-actions[bot]
	Repo        *Repo             // the one repository that it is for; nil for all
	Permissions map[string]string // by name, such as checks: write; metadata: read goes without saying
}

// holder is a token at work.
type holder struct {
	Token
	user  *User
	used  int
	reset time.Time
}

// Token makes a token. Without User it acts as an App's bot, of the App ActionsApp
// unless another is named.
func (s *Server) Token(t Token) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.User == nil {
		t.User = s.users[0]
		if t.App == 0 {
			t.App = ActionsApp
		}
	}
	t.Permissions = maps.Clone(t.Permissions)
	value := "ghs_" + rand.Text()
	s.tokens[value] = &holder{Token: t, user: t.User}
	return value
}

// Revoke ends a token.
func (s *Server) Revoke(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, token)
}

// Budget says how many calls an hour each token has.
func (s *Server) Budget(calls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.budget = calls
}

// JobPermissions are those that a workflow's job gets which asks for all that
// CabinCrew's jobs ask for.
func JobPermissions() map[string]string {
	return map[string]string{
		"actions": "read", "checks": "write", "contents": "write", "deployments": "write", "issues": "write", "pull-requests": "write", "statuses": "write",
	}
}

// ForkPermissions are those of a job that a fork's pull request started.
func ForkPermissions() map[string]string {
	return map[string]string{"actions": "read", "checks": "read", "contents": "read", "deployments": "read", "issues": "read", "pull-requests": "read", "statuses": "read"}
}

func (s *Server) holder(r *http.Request) *holder {
	kind, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if kind != "Bearer" && kind != "token" {
		return nil
	}
	return s.tokens[value]
}

// may tells whether a token has a permission.
func (h *holder) may(permission, level string) bool {
	have := h.Permissions[permission]
	return have == "write" || have == "admin" || have == level || permission == "metadata" && level == "read"
}

// sees tells whether a token reaches a repository at all.
func (h *holder) sees(r *Repo) bool {
	return !r.Private || h.Repo == r || h.Repo == nil && (h.App != 0 || r.permission(h.user) != "none")
}

// exhausted tells whether an hour's calls are used up.
func (h *holder) exhausted(s *Server, header http.Header) bool {
	if !s.now.Before(h.reset) {
		h.used, h.reset = 0, s.now.Add(time.Hour)
	}
	if h.used < s.budget {
		return false
	}
	h.tell(s, header)
	return true
}

func (h *holder) spend(s *Server, header http.Header) {
	if !s.now.Before(h.reset) {
		h.used, h.reset = 0, s.now.Add(time.Hour)
	}
	h.used++
	h.tell(s, header)
}

func (h *holder) tell(s *Server, header http.Header) {
	header.Set("X-Ratelimit-Limit", strconv.Itoa(s.budget))
	header.Set("X-Ratelimit-Remaining", strconv.Itoa(max(0, s.budget-h.used)))
	header.Set("X-Ratelimit-Used", strconv.Itoa(h.used))
	header.Set("X-Ratelimit-Reset", strconv.FormatInt(h.reset.Unix(), 10))
	header.Set("X-Ratelimit-Resource", "core")
}

func (c *call) rateLimit() reply {
	if !c.s.now.Before(c.by.reset) {
		c.by.used, c.by.reset = 0, c.s.now.Add(time.Hour)
	}
	core := obj{"limit": c.s.budget, "remaining": max(0, c.s.budget-c.by.used), "reset": c.by.reset.Unix(), "used": c.by.used}
	return ok(obj{"rate": core, "resources": obj{"core": core, "search": core}})
}

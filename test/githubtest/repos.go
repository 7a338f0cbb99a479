package githubtest

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// Repo is a repository. What a test reads of it does not change.
type Repo struct {
	ID      int64
	Owner   *User
	Name    string
	Private bool
	Parent  *Repo // of a fork
	Default string

	s            *Server
	git          *objects
	access       []access
	pushes       []push
	pulls        []*Pull
	checks       []*check
	statuses     []status
	issues       []*issue
	comments     []*comment
	rulesets     []Ruleset
	protected    map[string]*Protection
	runs         []*Run
	workflows    map[string]int64
	artifacts    []*Artifact
	environments []*Environment
	deployments  []*deployment
	actions      Actions
	numbers      int // of issues and pull requests
}

type access struct {
	user *User
	role string
}

type push struct {
	id            int64
	by            *User
	ref           string
	before, after string
	kind          string
	at            time.Time
}

// RepoOption changes what Repo makes.
type RepoOption func(*Repo)

// Private makes a repository that only those with access see.
func Private() RepoOption { return func(r *Repo) { r.Private = true } }

// GitDir takes a repository's objects and refs from a real one, bare or not. What the
// API creates is written into it, and what git pushes into it is seen.
func GitDir(dir string) RepoOption { return func(r *Repo) { r.git = &objects{dir: dir} } }

// Repo makes the repository owner/name. Its owner becomes an organisation if it is
// no account yet. Its default branch is main; it has no commits.
func (s *Server) Repo(name string, options ...RepoOption) *Repo {
	owner, short, _ := strings.Cut(name, "/")
	account := s.Org(owner)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &Repo{ID: s.id(), Owner: account, Name: short, Default: "main", s: s, protected: map[string]*Protection{}, workflows: map[string]int64{}}
	for _, o := range options {
		o(r)
	}
	if r.git == nil {
		r.git = newObjects()
	}
	s.repos = append(s.repos, r)
	return r
}

// Fork makes a fork with all branches of its parent. Both share their objects, as on
// GitHub.
func (s *Server) Fork(parent *Repo, owner *User) *Repo {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &Repo{ID: s.id(), Owner: owner, Name: parent.Name, Private: parent.Private, Parent: parent, Default: parent.Default, s: s, git: parent.git.fork(), protected: map[string]*Protection{}, workflows: map[string]int64{}}
	s.check(parent.git.each(func(ref *plumbing.Reference) error {
		if ref.Name().IsBranch() {
			return r.git.refs().SetReference(ref)
		}
		return nil
	}))
	s.repos = append(s.repos, r)
	return r
}

// check fails the test for what the test itself has got wrong. The caller may be any
// goroutine.
func (s *Server) check(err error) {
	if err != nil {
		s.t.Error("githubtest:", err)
	}
}

// FullName is owner/name.
func (r *Repo) FullName() string { return r.Owner.Login + "/" + r.Name }

// Allow gives somebody a role: read, triage, write, maintain, admin, or none.
func (r *Repo) Allow(u *User, role string) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.access = append(r.access, access{u, role})
}

func (s *Server) repo(name string) *Repo {
	for _, r := range s.repos {
		if strings.EqualFold(r.FullName(), name) {
			return r
		}
	}
	return nil
}

// role is what somebody is in a repository.
func (r *Repo) role(u *User) string {
	role := "none"
	switch {
	case u == r.Owner:
		role = "admin"
	case !r.Private:
		role = "read"
	}
	for _, a := range r.access {
		if a.user == u {
			role = a.role
		}
	}
	return role
}

// permission is the role as older answers have it.
func (r *Repo) permission(u *User) string {
	switch role := r.role(u); role {
	case "triage":
		return "read"
	case "maintain":
		return "write"
	default:
		return role
	}
}

func (s *Server) repoBody(r *Repo) any {
	if r == nil {
		return nil // a fork that was deleted
	}
	api := s.URL() + "/repos/" + r.FullName()
	visibility := "public"
	if r.Private {
		visibility = "private"
	}
	return obj{
		"id": r.ID, "node_id": node("R", r.ID), "name": r.Name, "full_name": r.FullName(), "owner": s.userBody(r.Owner), "private": r.Private, "visibility": visibility,
		"fork": r.Parent != nil, "default_branch": r.Default, "url": api, "html_url": s.WebURL() + "/" + r.FullName(), "clone_url": s.WebURL() + "/" + r.FullName() + ".git",
		"description": nil, "archived": false, "disabled": false, "has_issues": true, "created_at": stamp(s.now), "updated_at": stamp(s.now), "pushed_at": stamp(s.now),
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (c *call) getRepo() reply {
	body, _ := c.s.repoBody(c.repo).(obj)
	if p := c.repo.Parent; p != nil {
		body["parent"], body["source"] = c.s.repoBody(p), c.s.repoBody(p)
	}
	role := c.repo.role(c.by.user)
	body["permissions"] = obj{
		"admin": role == "admin", "maintain": role == "admin" || role == "maintain", "push": c.by.may("contents", "write") || c.repo.permission(c.by.user) == "write",
		"triage": role != "none" && role != "read", "pull": true,
	}
	return ok(body)
}

func (c *call) getPermission() reply {
	u := c.s.user(c.vars["username"])
	if u == nil {
		return notFound()
	}
	role := c.repo.role(u)
	body, _ := c.s.userBody(u).(obj)
	body["role_name"] = role
	body["permissions"] = obj{
		"pull": role != "none", "triage": role != "none" && role != "read", "push": c.repo.permission(u) == "write" || role == "admin",
		"maintain": role == "maintain" || role == "admin", "admin": role == "admin",
	}
	return ok(obj{"permission": c.repo.permission(u), "role_name": role, "user": body})
}

// listActivities answers who pushed what, newest first. Its pages are linked by
// cursors.
func (c *call) listActivities() reply {
	var out []any
	for _, p := range slices.Backward(c.repo.pushes) {
		if want := c.query("ref"); want != "" && want != p.ref && "refs/heads/"+want != p.ref {
			continue
		}
		if want := c.query("actor"); want != "" && !strings.EqualFold(want, p.by.Login) {
			continue
		}
		if want := c.query("activity_type"); want != "" && want != p.kind {
			continue
		}
		out = append(out, obj{
			"id": p.id, "node_id": node("A", p.id), "before": p.before, "after": p.after, "ref": p.ref, "timestamp": stamp(p.at), "activity_type": p.kind, "actor": c.s.userBody(p.by),
		})
	}
	from, err := strconv.Atoi(c.query("after"))
	if err != nil || from < 0 {
		from = 0
	}
	per, err := strconv.Atoi(c.query("per_page"))
	if err != nil {
		per = 30
	}
	per = max(1, min(per, mostPerPage))
	from = min(from, len(out))
	to := min(from+per, len(out))
	if to < len(out) {
		u := *c.r.URL
		q := u.Query()
		q.Set("after", strconv.Itoa(to))
		c.header.Set("Link", "<"+c.s.URL()+u.EscapedPath()+"?"+q.Encode()+`>; rel="next"`)
	}
	return ok(append([]any{}, out[from:to]...))
}

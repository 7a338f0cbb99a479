package githubtest

import (
	"net/http"
	"strconv"
	"strings"
)

// User is an account: a person, a bot, an organisation or a mannequin.
type User struct {
	ID    int64
	Login string
	Type  string // User, Bot, Organization, Mannequin
}

// Email is the address that commits of an account carry; it leads back to the account.
func (u *User) Email() string {
	return strconv.FormatInt(u.ID, 10) + "+" + u.Login + "@users.noreply.github.com"
}

// User gives the person of a login, made if need be.
func (s *Server) User(login string) *User { return s.account(login, "User") }

// Bot gives the bot of a login, such as renovate[bot].
func (s *Server) Bot(login string) *User { return s.account(login, "Bot") }

// Org gives an organisation.
func (s *Server) Org(login string) *User { return s.account(login, "Organization") }

// Account gives an account of any type.
func (s *Server) Account(login, kind string) *User { return s.account(login, kind) }

func (s *Server) account(login, kind string) *User {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.user(login); u != nil {
		return u
	}
	u := &User{ID: s.id(), Login: login, Type: kind}
	s.users = append(s.users, u)
	return u
}

// Rename gives an account another login. The old one is free for whoever takes it.
func (s *Server) Rename(u *User, login string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.Login = login
}

func (s *Server) user(login string) *User {
	for _, u := range s.users {
		if strings.EqualFold(u.Login, login) {
			return u
		}
	}
	return nil
}

// author is the account that a commit's address belongs to.
func (s *Server) author(email string) *User {
	for _, u := range s.users {
		if u.Email() == email || strings.HasPrefix(email, strconv.FormatInt(u.ID, 10)+"+") && strings.HasSuffix(email, "@users.noreply.github.com") {
			return u
		}
	}
	return nil
}

func (s *Server) userBody(u *User) any {
	if u == nil {
		return nil // an account that was deleted
	}
	api := s.URL() + "/users/" + u.Login
	return obj{
		"id": u.ID, "login": u.Login, "type": u.Type, "node_id": node("U", u.ID), "site_admin": false, "user_view_type": "public",
		"avatar_url": s.WebURL() + "/avatars/" + strconv.FormatInt(u.ID, 10), "gravatar_id": "", "url": api, "html_url": s.WebURL() + "/" + u.Login,
	}
}

func node(kind string, id int64) string { return kind + "_" + strconv.FormatInt(id, 10) }

func (c *call) getUser() reply {
	u := c.s.user(c.vars["username"])
	if u == nil {
		return notFound()
	}
	return ok(c.s.userBody(u))
}

// getSelf answers who asks, if that is a person: an App's token is nobody's.
func (c *call) getSelf() reply {
	if c.by.App != 0 {
		return refused(http.StatusForbidden, "Resource not accessible by integration")
	}
	return ok(c.s.userBody(c.by.user))
}

// Team is a team of an organisation.
type Team struct {
	ID      int64
	Org     *User
	Slug    string
	members []member
	s       *Server
}

type member struct {
	user  *User
	role  string // member, maintainer
	state string // active, pending
}

// Team gives the team org/slug with these members added.
func (s *Server) Team(name string, members ...*User) *Team {
	org, slug, _ := strings.Cut(name, "/")
	owner := s.Org(org)
	s.mu.Lock()
	defer s.mu.Unlock()
	team := s.team(org, slug)
	if team == nil {
		team = &Team{ID: s.id(), Org: owner, Slug: slug, s: s}
		s.teams = append(s.teams, team)
	}
	for _, u := range members {
		team.members = append(team.members, member{u, "member", "active"})
	}
	return team
}

// Invite adds somebody who has not accepted yet.
func (t *Team) Invite(u *User) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.members = append(t.members, member{u, "member", "pending"})
}

// Remove takes somebody out of a team.
func (t *Team) Remove(u *User) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	for i := range t.members {
		if t.members[i].user == u {
			t.members = append(t.members[:i:i], t.members[i+1:]...)
			return
		}
	}
}

func (s *Server) team(org, slug string) *Team {
	for _, t := range s.teams {
		if strings.EqualFold(t.Org.Login, org) && strings.EqualFold(t.Slug, slug) {
			return t
		}
	}
	return nil
}

func (c *call) team() *Team { return c.s.team(c.vars["org"], c.vars["team_slug"]) }

func (s *Server) teamBody(t *Team) obj {
	return obj{
		"id": t.ID, "node_id": node("T", t.ID), "name": t.Slug, "slug": t.Slug, "privacy": "closed", "permission": "pull", "description": nil,
		"type": "organization", "organization_id": t.Org.ID,
		"url": s.URL() + "/organizations/" + strconv.FormatInt(t.Org.ID, 10) + "/team/" + strconv.FormatInt(t.ID, 10), "html_url": s.WebURL() + "/orgs/" + t.Org.Login + "/teams/" + t.Slug,
		"members_url": s.URL() + "/members{/member}", "repositories_url": s.URL() + "/repos", "parent": nil,
	}
}

func (c *call) getTeam() reply {
	t := c.team()
	if t == nil {
		return notFound()
	}
	body := c.s.teamBody(t)
	body["members_count"] = len(t.members)
	body["organization"] = obj{"login": t.Org.Login, "id": t.Org.ID, "type": "Organization"}
	return ok(body)
}

func (c *call) listMembers() reply {
	t := c.team()
	if t == nil {
		return notFound()
	}
	role := c.query("role")
	var out []any
	for _, m := range t.members {
		if m.state == "active" && (role == "" || role == "all" || role == m.role) {
			out = append(out, c.s.userBody(m.user))
		}
	}
	return c.page(out)
}

func (c *call) getMembership() reply {
	t := c.team()
	if t == nil {
		return notFound()
	}
	for _, m := range t.members {
		if strings.EqualFold(m.user.Login, c.vars["username"]) {
			return ok(obj{"url": c.s.URL() + c.r.URL.Path, "role": m.role, "state": m.state})
		}
	}
	return refused(http.StatusNotFound, "Not Found")
}

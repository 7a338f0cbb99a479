package github

import (
	"context"
	"net/url"
	"regexp"
	"strings"

	"github.com/cabincrew/action/ci"
)

var (
	slugs  = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,255}$`)
	logins = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}(\[bot\])?$`)
)

var _ ci.Directory = (*Client)(nil)

// Forget lets the next questions about teams and permissions be asked anew. What GitHub
// says is the same as before costs none of its limit.
func (c *Client) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.members)
	clear(c.permissions)
}

// InTeam tells whether somebody is a member of a team, org/slug, or of one below it.
// The members are listed and compared by id: asking for one by login would believe a
// login that somebody else took over, and would answer the same for a person who is
// no member and for a team that the token may not see.
func (c *Client) InTeam(ctx context.Context, team string, p ci.Person) (bool, error) {
	org, slug, _ := strings.Cut(team, "/")
	k := call{
		what: "read the members of team " + clean(team) + " for the roles", need: "members: read of the organisation, which GITHUB_TOKEN never has: an App's token does",
		path: "/orgs/" + url.PathEscape(org) + "/teams/" + url.PathEscape(slug) + "/members",
	}
	if !slugs.MatchString(org) || !slugs.MatchString(slug) || dots(org) || dots(slug) {
		return false, c.odd(k, "%.100q is no team of the form organisation/team", team)
	}
	key := strings.ToLower(team)
	c.mu.Lock()
	members, known := c.members[key]
	c.mu.Unlock()
	if !known {
		users, err := list(ctx, c, listing[user]{call: k, id: func(u user) string { return string(u.ID) }})
		if err != nil {
			return false, err
		}
		members = map[string]bool{}
		for _, u := range users {
			members[string(u.ID)] = true
		}
		c.mu.Lock()
		c.members[key] = members
		c.mu.Unlock()
	}
	return p.ID != "" && members[p.ID], nil
}

// Permission tells what somebody may do in the repository: admin, maintain, write,
// triage, read or none. A role that an organisation made itself is what it is based on.
func (c *Client) Permission(ctx context.Context, p ci.Person) (string, error) {
	k := call{
		what: "read the permission of " + clean(p.Login), need: "metadata: read",
		path: "collaborators/" + url.PathEscape(p.Login) + "/permission",
	}
	if p.ID == "" || !logins.MatchString(p.Login) {
		return "none", nil // nobody whom GitHub knows
	}
	c.mu.Lock()
	permission, known := c.permissions[p.ID]
	c.mu.Unlock()
	if known {
		return permission, nil
	}
	var w struct {
		Permission string `json:"permission"`
		RoleName   string `json:"role_name"`
		User       *user  `json:"user"`
	}
	if _, err := c.do(ctx, k, &w); err != nil {
		return "", err
	}
	if got := w.User.person(); got.ID != p.ID {
		return "", c.odd(k, "it answers for the account %s, not for %s: the login has changed hands", got.ID, p.ID)
	}
	permission, ok := permissionOf(w.Permission, w.RoleName)
	if !ok {
		return "", c.odd(k, "nobody here knows the permission %.30q", w.Permission)
	}
	c.mu.Lock()
	c.permissions[p.ID] = permission
	c.mu.Unlock()
	return permission, nil
}

// permissionOf tells maintain and triage, which the old field calls write and read. A
// name never gives more than that field does: organisations choose names freely.
func permissionOf(old, role string) (string, bool) {
	switch {
	case old == "write" && role == "maintain", old == "read" && role == "triage":
		return role, true
	case old == "admin", old == "write", old == "read", old == "none", old == "maintain", old == "triage":
		return old, true
	}
	return "", false
}

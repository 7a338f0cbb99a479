package config

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/cabincrew/action/internal/limits"
)

// Role says who holds a role on a forge, and how many must approve for it. Approvers
// with keys may hold it too.
type Role struct {
	Where      string // file:line:column, for messages
	Name       string
	Count      int64
	Users      []string // logins, or id:NUMBER
	Teams      []string // ORGANISATION/TEAM
	Permission string   // "", or the least permission on the repository: write, maintain, admin
	CodeOwners bool
}

// RoleBreakGlass is the role whose people break the glass.
const RoleBreakGlass = "break-glass"

// BreakGlass says whether people may let a flight through that was not approved, or
// that policies deny.
type BreakGlass struct {
	Expire Duration // how long that holds; zero: nobody may
}

// On says whether the glass can be broken at all.
func (b BreakGlass) On() bool { return b.Expire.Duration > 0 }

// Whether approvals count for a plan that does the same from another commit.
const (
	CarryNone       = "none"
	CarrySameIntent = "same-intent" // if the intent digests are equal
)

// TakeOff says what a take-off does on a forge.
type TakeOff struct {
	OnStale string
}

// What is done if the base moved on between plan and take-off.
const (
	StaleFail   = "fail"
	StaleReplan = "replan" // plan again; the same intent flies
)

// How many checks a change gets.
const (
	ChecksSingle  = "single"
	ChecksPerStep = "per-step"
)

var (
	forgeUser = lazily(`^(?:id:[0-9]{1,20}|[A-Za-z0-9][A-Za-z0-9_-]{0,99})$`)
	forgeTeam = lazily(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}/[A-Za-z0-9_.-]{1,100}$`)
)

// forge reads what only forges know.
func (r *reader) forge(top *object, c *Config) {
	n, p := top.at("take_off")
	c.TakeOff = TakeOff{OnStale: r.object(n, p, "on_stale").text("on_stale", StaleFail, oneOf(StaleFail, StaleReplan))}
	c.Checks = top.text("checks", ChecksSingle, oneOf(ChecksSingle, ChecksPerStep))
	c.Comment, _ = top.bool("comment")
	n, p = top.at("governance")
	c.GovernanceRefs = r.object(n, p, "refs").texts("refs", 0, true, branch)
}

// roles reads the roles and what else of approvals needs a forge, after the approvers.
func (r *reader) roles(o *object, out *Approvals) {
	out.Distinct, _ = o.bool("distinct")
	out.CarryOver = o.text("carry_over", CarryNone, oneOf(CarryNone, CarrySameIntent))
	out.Environments = o.texts("environments", 0, true, plain)
	out.Roles = []Role{}
	o.entries("roles", plain, func(name, p string, n *yaml.Node) { out.Roles = append(out.Roles, r.role(n, p, name, out.Approvers)) })
	n, p := o.at("break_glass")
	glass := r.object(n, p, "expire")
	glass.require("expire")
	out.BreakGlass.Expire = glass.duration("expire", "", limits.BreakGlassMax)
	if glass != nil && !signs(out.Approvers, RoleBreakGlass) && !slices.ContainsFunc(out.Roles, func(x Role) bool { return x.Name == RoleBreakGlass }) {
		r.failf(n, "config_role", "add it under approvals.roles", "%s needs the role %q, and nobody holds it", p, RoleBreakGlass)
	}
}

func (r *reader) role(n *yaml.Node, p, name string, approvers []Approver) Role {
	before := len(r.problems) + r.dropped
	x := r.object(n, p, "count", "users", "teams", "permission", "codeowners")
	role := Role{
		Where: r.where(n), Name: name, Count: x.int("count", 1, 1, limits.ApprovalCount),
		Users:      x.texts("users", 0, true, user),
		Teams:      x.texts("teams", 0, true, matching(forgeTeam, "a team such as acme/operators")),
		Permission: x.text("permission", "", oneOf("write", "maintain", "admin")),
	}
	role.CodeOwners, _ = x.bool("codeowners")
	held := len(role.Users)+len(role.Teams) > 0 || role.Permission != "" || role.CodeOwners || signs(approvers, name)
	if !held && len(r.problems)+r.dropped == before {
		r.failf(n, "config_role", "name users, teams, a permission, codeowners: true, or an approver with the role", "nobody can hold the role %q", short(name))
	}
	return role
}

// signs says whether an approver with a key holds a role.
func signs(approvers []Approver, role string) bool {
	return slices.ContainsFunc(approvers, func(a Approver) bool { return a.HasRole(role) })
}

// user accepts a login or an id of the forge.
func user(s string) (string, string) {
	if login, ok := strings.CutPrefix(s, "@"); ok && forgeUser().MatchString(login) {
		return fmt.Sprintf("begins with @: %q", short(s)), "write " + login
	}
	return matching(forgeUser, "a login, or id:NUMBER")(s)
}

// branch accepts the name of one branch.
func branch(s string) (string, string) {
	if name, ok := strings.CutPrefix(s, "refs/heads/"); ok {
		return fmt.Sprintf("is a ref: %q", short(s)), "write the branch's name: " + short(name)
	}
	if strings.HasPrefix(s, "refs/") || strings.Contains(s, "..") || strings.Contains(s, "//") || strings.Contains(s, "@{") ||
		strings.HasSuffix(s, "/") || strings.HasSuffix(s, ".") || strings.HasSuffix(s, ".lock") {
		return fmt.Sprintf("is no branch's name: %q", short(s)), "write one branch's name, such as main"
	}
	return matching(gitRef, "a branch's name")(s)
}

func resolvedApprovals(a Approvals, approvers []any) map[string]any {
	roles := make(map[string]any, len(a.Roles))
	for _, r := range a.Roles {
		roles[r.Name] = map[string]any{
			"count": r.Count, "users": texts(r.Users), "teams": texts(r.Teams), "permission": r.Permission, "codeowners": r.CodeOwners,
		}
	}
	return map[string]any{
		"expire": a.Expire.Text, "default_role": a.DefaultRole, "self_approval": a.SelfApproval, "binding": a.Binding, "approvers": approvers,
		"roles": roles, "distinct": a.Distinct, "carry_over": a.CarryOver, "environments": texts(a.Environments),
		"break_glass": map[string]any{"expire": a.BreakGlass.Expire.Text},
	}
}

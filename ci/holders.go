package ci

import (
	"context"
	"slices"
	"strings"

	"github.com/cabincrew/action/protocol"
)

// holders tells who holds a role, and asks the directory each thing once.
type holders struct {
	ctx     context.Context //nolint:containedctx // it lives as long as one Count
	q       *Question
	d       Directory
	lists   [][]string // code owners, each set of them once; no empty ones
	teams   map[[2]string]bool
	allowed map[string]string
}

func newHolders(ctx context.Context, q Question, d Directory) *holders {
	h := &holders{ctx: ctx, q: &q, d: d, teams: map[[2]string]bool{}, allowed: map[string]string{}}
	for _, owners := range q.Owners {
		list := slices.Compact(slices.Sorted(slices.Values(owners)))
		if len(list) > 0 {
			h.lists = append(h.lists, list)
		}
	}
	slices.SortFunc(h.lists, slices.Compare)
	h.lists = slices.CompactFunc(h.lists, slices.Equal)
	return h
}

// holds says whether a person holds a role by any of its ways. What needs no question
// comes first.
func (h *holders) holds(role Role, p Person) (bool, error) {
	if p.ID == "" {
		return false, nil
	}
	if slices.ContainsFunc(role.Users, func(u string) bool { return isUser(u, p) }) {
		return true, nil
	}
	if role.CodeOwners {
		for _, owners := range h.lists {
			if ok, err := h.owns(owners, p); ok || err != nil {
				return ok, err
			}
		}
	}
	for _, team := range role.Teams {
		if ok, err := h.inTeam(team, p); ok || err != nil {
			return ok, err
		}
	}
	least := rank(role.Permission)
	if least == 0 {
		return false, nil
	}
	have, err := h.permission(p)
	return rank(have) >= least, err
}

// lifted says whether a review that asked for changes was dismissed by somebody who may:
// a person who holds the same role and has no part in the change.
func (h *holders) lifted(role Role, a *Act) (bool, error) {
	if a.State != StateDismissed || a.Dismissal == nil {
		return false, nil
	}
	by := a.Dismissal.By
	if by.Bot || by.ID == "" || h.q.hasPart(by) {
		return false, nil
	}
	return h.holds(role, by)
}

// owns says whether a person is one of some code owners. An e-mail address is nobody:
// which account it belongs to, the forge does not tell.
func (h *holders) owns(owners []string, p Person) (bool, error) {
	for _, o := range owners {
		if login, ok := strings.CutPrefix(o, "@"); ok && !strings.Contains(login, "/") && isLogin(login, p) {
			return true, nil
		}
	}
	for _, o := range owners {
		team, ok := strings.CutPrefix(o, "@")
		if !ok || !strings.Contains(team, "/") {
			continue
		}
		if in, err := h.inTeam(team, p); in || err != nil {
			return in, err
		}
	}
	return false, nil
}

func (h *holders) inTeam(team string, p Person) (bool, error) {
	key := [2]string{strings.ToLower(team), p.ID}
	if in, ok := h.teams[key]; ok {
		return in, nil
	}
	if h.d == nil {
		return false, untold(p, nil)
	}
	in, err := h.d.InTeam(h.ctx, team, p)
	if err != nil {
		return false, untold(p, err)
	}
	h.teams[key] = in
	return in, nil
}

func (h *holders) permission(p Person) (string, error) {
	if have, ok := h.allowed[p.ID]; ok {
		return have, nil
	}
	if h.d == nil {
		return "", untold(p, nil)
	}
	have, err := h.d.Permission(h.ctx, p)
	if err != nil {
		return "", untold(p, err)
	}
	h.allowed[p.ID] = have
	return have, nil
}

// untold is the answer to a question that the directory did not answer.
func untold(p Person, err error) error {
	e := protocol.Errorf(protocol.ExitUnreachable, "approval_directory", "which roles %s holds cannot be told", name(p)).
		WithHint("run it again; the token must be allowed to read teams and collaborators")
	e.Err = err
	return e
}

// isUser compares a person with a user of the configuration: a login, or id:123.
func isUser(user string, p Person) bool {
	if id, ok := strings.CutPrefix(user, "id:"); ok {
		return id != "" && id == p.ID
	}
	return isLogin(user, p)
}

func isLogin(login string, p Person) bool { return login != "" && strings.EqualFold(login, p.Login) }

// rank orders permissions; a word that is not known is none.
func rank(permission string) int {
	switch permission {
	case "write":
		return 1
	case "maintain":
		return 2
	case "admin":
		return 3
	}
	return 0
}

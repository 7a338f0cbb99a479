package ci_test

import (
	"testing"

	"github.com/cabincrew/action/ci"
)

func TestOnlyAUsersAccountIsAHumans(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		id, login, kind string
		bot             bool
	}{
		{"7", "ada", "User", false},
		{"7", "", "User", false}, // the id is what counts
		{"7", "renovate[bot]", "Bot", true},
		{"7", "renovate[BOT]", "User", true},
		{"7", "acme", "Organization", true},
		{"7", "old-account", "Mannequin", true},
		{"7", "ada", "", true},
		{"7", "ada", "user", true},
		{"", "ada", "User", true},
		{"0", "ada", "User", true},
	} {
		p := ci.NewPerson(c.id, c.login, c.kind)
		if p.Bot != c.bot || p.ID != c.id || p.Login != c.login {
			t.Errorf("%+v: %+v", c, p)
		}
	}
}

func TestApprovedNeedsSomebody(t *testing.T) {
	t.Parallel()
	one := []ci.Act{{ID: "1"}}
	for name, c := range map[string]struct {
		r    ci.RoleCount
		want bool
	}{
		"enough":       {ci.RoleCount{Need: 1, By: one}, true},
		"too few":      {ci.RoleCount{Need: 2, By: one}, false},
		"nothing":      {ci.RoleCount{}, false},
		"none needed":  {ci.RoleCount{By: one}, false},
		"blocked":      {ci.RoleCount{Need: 1, By: one, Blocked: &ci.Act{}}, false},
		"an open path": {ci.RoleCount{Need: 1, By: one, Uncovered: [][]string{{"@ada"}}}, false},
	} {
		if c.r.Approved() != c.want {
			t.Errorf("%s: %v", name, c.r.Approved())
		}
	}
}

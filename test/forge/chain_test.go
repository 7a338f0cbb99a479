package forge

import (
	"cmp"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/test/githubtest"
)

// TestT33UnendorsedEndorsesNothing: a change of governance is endorsed only if the one
// before it is, or by the keys of the newest that is.
func TestT33UnendorsedEndorsesNothing(t *testing.T) {
	t.Parallel()
	changed := map[string]string{"pol/rig.rego": policy + "# changed\n"}
	for what, c := range map[string]struct {
		first  map[string]string // past the judges; nil: none
		key    string            // of who signs the flight after it
		asks   bool
		remove bool // the configuration, in between
		breaks bool
	}{
		"a key of its own":           {first: map[string]string{".cabincrew.yaml": "{both}"}, key: "next", asks: true},
		"the key before it":          {first: map[string]string{".cabincrew.yaml": "{both}"}, key: "plan"},
		"a key that it does not own": {first: map[string]string{".cabincrew.yaml": "{next}"}, key: "plan", asks: true},
		"removed in between":         {first: map[string]string{".cabincrew.yaml": "{both}"}, key: "next", asks: true, remove: true},
		"removed and the key before": {first: map[string]string{".cabincrew.yaml": "{both}"}, key: "plan", remove: true},
		"broken in between":          {first: map[string]string{".cabincrew.yaml": "{both}"}, key: "next", asks: true, breaks: true},
		"broken and the key before":  {first: map[string]string{".cabincrew.yaml": "{both}"}, key: "plan", breaks: true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, owned, nil)
			r.key("next")
			if c.remove {
				r.repo.Push("main", r.repo.Commit(githubtest.Commit{Author: r.author, Message: "without", Parents: []string{r.repo.Tip("refs/heads/main")}, Remove: []string{".cabincrew.yaml"}}), r.author)
			}
			if c.breaks {
				r.onMain(map[string]string{".cabincrew.yaml": "nothing"})
			}
			for name, content := range c.first {
				content = strings.ReplaceAll(content, "{both}", strings.Replace(r.configuration(owned), "/plan}", "/plan, trusted: {keys: [{key: next.pub}]}}", 1))
				content = strings.ReplaceAll(content, "{next}", strings.Replace(r.configuration(owned), "/plan}", "/next}", 1))
				r.onMain(map[string]string{name: content, "next.pub": read(t, filepath.Join(r.keys, "next.pub"))})
			}
			r.endorseBy(r.onMain(changed), c.key, nil)
			if plan := r.plan(r.open("feature", "two\n"), "opened", 0); plan.asksOwner() != c.asks {
				t.Errorf("the owner is asked: %t\n%s", plan.asksOwner(), plan.got.stdout)
			}
		})
	}
}

// TestT33OwnersOfTheEndorsed: governance that nobody approved does not say alone who
// approves what flies under it.
func TestT33OwnersOfTheEndorsed(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		roles  string
		by     []string
		remove bool
		exit   int
		before string // the roles of the first governance; those of owned by default
	}{
		"its own owner":           {"policy-owner: {users: [bob]}", []string{"bob"}, false, 4, ""},
		"the owner before":        {"policy-owner: {users: [bob]}", []string{"carol"}, false, 4, ""},
		"both":                    {"policy-owner: {users: [bob]}", []string{"bob", "carol"}, false, 0, ""},
		"its own after a removal": {"policy-owner: {users: [bob]}", []string{"bob"}, true, 4, ""},
		"everybody":               {"policy-owner: {permission: write}", []string{"bob"}, false, 4, ""},
		"the same owner":          {"policy-owner: {users: [carol]}", []string{"bob", "carol"}, false, 0, ""},
		"one of two":              {"policy-owner: {users: [bob]}", []string{"bob"}, false, 4, "approvals: {roles: {platform: {users: [bob]}, policy-owner: {users: [bob, carol], count: 2}}}\n"},
		"two":                     {"policy-owner: {users: [bob]}", []string{"bob", "carol"}, false, 0, "approvals: {roles: {platform: {users: [bob]}, policy-owner: {users: [bob, carol], count: 2}}}\n"},
		"nobody then":             {"policy-owner: {users: [bob]}", []string{"bob", "carol"}, false, 4, byReview},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, cmp.Or(c.before, owned), nil)
			if c.remove {
				r.repo.Push("main", r.repo.Commit(githubtest.Commit{Author: r.author, Message: "without", Parents: []string{r.repo.Tip("refs/heads/main")}, Remove: []string{".cabincrew.yaml"}}), r.author)
			}
			r.onMain(map[string]string{".cabincrew.yaml": r.configuration("approvals: {self_approval: true, roles: {platform: {users: [bob, carol]}, " + c.roles + "}}\n")})
			p := r.open("feature", "two\n")
			if plan := r.plan(p, "opened", 0); !plan.asksOwner() {
				t.Fatalf("the owner is not asked:\n%s", plan.got.stdout)
			}
			for _, who := range c.by {
				p.Review(map[string]*githubtest.User{"bob": r.bob, "carol": r.carol}[who], githubtest.Approved, "fine")
			}
			r.hub.Advance(time.Second)
			got := r.land(p, c.exit)
			if c.exit != 0 && !strings.Contains(got.stderr, "role policy-owner") {
				t.Errorf("%s", got.stderr)
			}
		})
	}
}

// TestT33OlderLinks: who signed an older change of governance need not be trusted any
// more, but must have been when it took off.
func TestT33OlderLinks(t *testing.T) {
	t.Parallel()
	for until, asks := range map[string]bool{"2026-02-01T00:00:00Z": false, "2025-02-01T00:00:00Z": true} {
		t.Run(until, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, owned, nil)
			r.key("next")
			window := strings.Replace(r.configuration(owned), "/plan}", "/plan, trusted: {keys: [{key: plan.pub, not_after: \""+until+"\"}]}}", 1)
			r.endorseBy(r.onMain(map[string]string{".cabincrew.yaml": window, "plan.pub": read(t, filepath.Join(r.keys, "plan.pub"))}), "plan", nil)
			r.endorseBy(r.onMain(map[string]string{".cabincrew.yaml": strings.Replace(r.configuration(owned), "/plan}", "/next}", 1)}), "plan", nil)
			r.endorseBy(r.onMain(map[string]string{"pol/rig.rego": policy + "# changed\n"}), "next", nil)
			if plan := r.plan(r.open("feature", "two\n"), "opened", 0); plan.asksOwner() != asks {
				t.Errorf("the owner is asked: %t\n%s", plan.asksOwner(), plan.got.stdout)
			}
		})
	}
}

package forge

import (
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/cabincrew/action/test/githubtest"
)

// gated is byReview with a gate beside it.
const gated = "approvals: {environments: [production], roles: {platform: {users: [bob, carol]}}}\n"

// landIn merges a change and takes off in a run to whose environments something
// happened before.
func (r *rig) landIn(p *githubtest.Pull, code int, before func(*githubtest.Run), env map[string]string) result {
	r.t.Helper()
	was := r.repo.Tip("refs/heads/main")
	commit := p.Merge(r.author, "merge")
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "push", Branch: "main", SHA: commit, Actor: r.author})
	before(run)
	j := r.push(commit, was, strconv.FormatInt(run.ID, 10))
	j.env = maps.Clone(env)
	got := r.want(code, "auto", j)
	run.Finish("success")
	return got
}

// began says whether a plan's fence was touched.
func (r *rig) began(p planned) bool {
	token := strings.TrimPrefix(p.got.outputs["plan-token"], "sha256:")
	return r.repo.Tip("refs/tags/cabincrew/"+token+"/begun") != ""
}

// TestT09EnvironmentGate: an environment's gate counts as open only where the forge
// shows that one of its reviewers, who did not make the change, opened it in this run.
func TestT09EnvironmentGate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		exit   int
		code   string
		env    func(*rig) *githubtest.Environment // nil: bob and carol review, nobody passes by
		happen func(*rig, *githubtest.Run)
		vars   map[string]string
		rest   string
	}{
		"approved":                          {0, "", nil, func(r *rig, n *githubtest.Run) { n.Approve(r.carol, "approved", "", "production") }, nil, gated},
		"nobody: bypassed without an entry": {4, "environment_bypassed", nil, func(*rig, *githubtest.Run) {}, nil, gated},
		"another environment": {4, "environment_bypassed", nil, func(r *rig, n *githubtest.Run) {
			r.repo.Environment(githubtest.Environment{Name: "staging", Users: []*githubtest.User{r.bob}})
			n.Approve(r.bob, "approved", "", "staging")
		}, nil, gated},
		"bypassed by an administrator": {4, "environment_bypassed", func(r *rig) *githubtest.Environment {
			return &githubtest.Environment{Name: "production", Users: []*githubtest.User{r.bob}, AdminsBypass: true}
		}, func(r *rig, n *githubtest.Run) { n.Approve(r.carol, "approved", "", "production") }, nil, gated},
		"a reviewer where administrators may pass by": {0, "", func(r *rig) *githubtest.Environment {
			return &githubtest.Environment{Name: "production", Users: []*githubtest.User{r.bob}, AdminsBypass: true}
		}, func(r *rig, n *githubtest.Run) { n.Approve(r.bob, "approved", "", "production") }, nil, gated},
		"a team that cannot be read": {7, "forge_refused", func(r *rig) *githubtest.Environment {
			return &githubtest.Environment{Name: "production", Teams: []*githubtest.Team{r.hub.Team("acme/ops", r.carol)}, AdminsBypass: true}
		}, func(r *rig, n *githubtest.Run) { n.Approve(r.carol, "approved", "", "production") }, nil, gated},
		"the author": {4, "environment_not_approved", nil, func(r *rig, n *githubtest.Run) { n.Approve(r.author, "approved", "", "production") }, nil, gated},
		"the author who may": {0, "", nil, func(r *rig, n *githubtest.Run) { n.Approve(r.author, "approved", "", "production") }, nil,
			strings.Replace(gated, "{environments", "{self_approval: true, environments", 1)},
		"a bot": {4, "environment_not_approved", nil, func(r *rig, n *githubtest.Run) {
			n.Approve(r.hub.Bot("helper[bot]"), "approved", "", "production")
		}, nil, gated},
		"rejected too": {4, "environment_not_approved", nil, func(r *rig, n *githubtest.Run) {
			n.Approve(r.bob, "approved", "", "production")
			n.Approve(r.hub.User("dave"), "rejected", "", "production")
		}, nil, gated},
		"an environment without reviewers": {4, "environment_unprotected", func(*rig) *githubtest.Environment {
			return &githubtest.Environment{Name: "production"}
		}, func(r *rig, n *githubtest.Run) { n.Approve(r.bob, "approved", "", "production") }, nil, gated},
		"no environment": {4, "environment_unprotected", func(*rig) *githubtest.Environment {
			return &githubtest.Environment{Name: "other"}
		}, func(*rig, *githubtest.Run) {}, nil, gated},
		"an earlier attempt's": {4, "environment_not_approved", nil, func(r *rig, n *githubtest.Run) { n.Approve(r.carol, "approved", "", "production") },
			map[string]string{"GITHUB_RUN_ATTEMPT": "2"}, gated},
		"settings that cannot be read": {7, "forge_refused", nil, func(r *rig, n *githubtest.Run) {
			n.Approve(r.carol, "approved", "", "production")
			r.hub.Fail("repos/get-environment", 100, githubtest.Fault{Status: 403, Message: "Resource not accessible by integration"})
		}, nil, gated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.rest, nil)
			e := githubtest.Environment{Name: "production", Users: []*githubtest.User{r.bob, r.carol}}
			if c.env != nil {
				e = *c.env(r)
			}
			r.repo.Environment(e)
			p := r.open("feature", "two\n")
			got := r.plan(p, "opened", 0)
			p.Review(r.bob, githubtest.Approved, "fine")
			done := r.landIn(p, c.exit, func(n *githubtest.Run) { c.happen(r, n) }, c.vars)
			if c.code != "" && !strings.Contains(done.stderr, c.code) {
				t.Errorf("%s is not said:\n%s", c.code, done.stderr)
			}
			if r.began(got) != (c.exit == 0) {
				t.Errorf("the take-off began: %t", r.began(got))
			}
		})
	}
}

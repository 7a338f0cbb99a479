package forge

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/test/githubtest"
)

func id(n int64) string { return strconv.FormatInt(n, 10) }

const workflow = ".github/workflows/flight-plan.yml"

func (w *world) run(o githubtest.Started) *githubtest.Run {
	w.s.Advance(time.Second)
	o.Workflow, o.Event, o.Branch, o.Actor, o.Conclusion = workflow, "pull_request", "feature/x", w.alice, "success"
	if o.SHA == "" {
		o.SHA = w.change
	}
	o.Pulls = []*githubtest.Pull{w.pull}
	return w.repo.Start(o)
}

// TestT15Artifacts reads runs and what they uploaded, honest and not.
func TestT15Artifacts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	first, other := w.run(githubtest.Started{}), w.run(githubtest.Started{SHA: w.root})
	run := w.run(githubtest.Started{})
	got, err := w.c.Run(ctx, id(run.ID))
	if must(t, err); got.WorkflowPath != workflow || got.HeadSHA != w.change || got.HeadRepositoryID != id(w.repo.ID) || got.TriggeringActor != w.person(w.alice) || !slices.Equal(got.Pulls, []int{w.pull.Number}) {
		t.Errorf("%+v", got)
	}
	runs, err := w.c.Runs(ctx, github.RunFilter{WorkflowFile: "flight-plan.yml", HeadSHA: w.change, Event: "pull_request"})
	if must(t, err); len(runs) != 2 || runs[0].ID != id(run.ID) || runs[1].ID != id(first.ID) {
		t.Errorf("%+v", runs)
	}
	newest, err := w.c.Runs(ctx, github.RunFilter{WorkflowFile: "flight-plan.yml", Most: 1})
	if must(t, err); len(newest) != 1 || newest[0].ID != id(run.ID) {
		t.Errorf("%+v", newest)
	}
	other.Upload("cabincrew-judged", map[string][]byte{"flight.json": []byte("other")})
	judged := run.Upload("cabincrew-judged", map[string][]byte{"flight.json": []byte("{}"), "steps/a/receipt.json": []byte("[]")})
	all, err := w.c.Artifacts(ctx, id(run.ID))
	if must(t, err); len(all) != 1 || all[0].ID != id(judged.ID) || all[0].HeadSHA != w.change || all[0].Digest == "" {
		t.Fatalf("%+v", all)
	}
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "zip"))
	must(t, err)
	defer func() { _ = f.Close() }()
	must(t, w.c.Download(ctx, all[0], f, 1<<20))
	info, err := f.Stat()
	must(t, err)
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer func() { _ = root.Close() }()
	must(t, github.Unzip(f, info.Size(), root, github.ZipLimits{Bytes: 1 << 20}))
	if data, err := root.ReadFile("steps/a/receipt.json"); err != nil || string(data) != "[]" {
		t.Errorf("%q %v", data, err)
	}
	var evil bytes.Buffer
	z := zip.NewWriter(&evil)
	_, err = z.Create("../../evil")
	must(t, err)
	must(t, z.Close())
	judged.Replace(evil.Bytes())
	var out bytes.Buffer
	wants(t, w.c.Download(ctx, all[0], &out, 1<<20), "forge_archive", 5)
	wants(t, github.Unzip(bytes.NewReader(evil.Bytes()), int64(evil.Len()), root, github.ZipLimits{Bytes: 1 << 20}), "forge_archive", 5)
	judged.Expire()
	wants(t, w.c.Download(ctx, all[0], &out, 1<<20), "forge_gone", 7)
	if all, err = w.c.Artifacts(ctx, id(run.ID)); err != nil || !all[0].Expired {
		t.Errorf("%+v %v", all, err)
	}
	wants(t, w.c.Download(ctx, all[0], &out, 1<<20), "forge_gone", 7)
}

func TestT09Environments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	team := w.s.Team("acme/platform")
	env := w.repo.Environment(githubtest.Environment{Name: "prod", Users: []*githubtest.User{w.bob}, Teams: []*githubtest.Team{team}, PreventSelfReview: true, Wait: 5, Branches: "custom", Patterns: []string{"main"}})
	run := w.run(githubtest.Started{})
	run.Wait(env.Name)
	run.Approve(w.carol, "approved", "in a hurry", "prod")
	got, err := w.c.Environment(ctx, "prod")
	must(t, err)
	if !got.Found || got.PreventSelfReview != github.Yes || got.AdminsCanBypass != github.No || got.WaitMinutes != 5 || len(got.Reviewers) != 2 || got.Reviewers[0].ID != id(w.bob.ID) || !slices.Equal(got.Policies, []string{"branch:main"}) {
		t.Errorf("%+v", got)
	}
	if none, err := w.c.Environment(ctx, "none"); err != nil || none.Found {
		t.Errorf("%+v %v", none, err)
	}
	acts, err := w.c.RunApprovals(ctx, id(run.ID))
	want := []ci.Act{{Kind: ci.ActEnvironment, ID: "run/" + id(run.ID) + "/0", Person: w.person(w.carol), State: ci.StateApproved, Text: "in a hurry", Environments: []string{"prod"}}}
	if must(t, err); !reflect.DeepEqual(acts, want) {
		t.Errorf("%+v", acts)
	}
}

func TestGitHubDeploys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	made, err := w.c.Deploy(ctx, github.Deployment{Ref: w.root, Environment: "prod", Task: "deploy", Description: "a flight", Payload: map[string]string{"flight": "x"}, Production: true})
	must(t, err)
	for _, state := range []string{"in_progress", "success"} {
		must(t, w.c.Deployed(ctx, made, github.DeploymentState{State: state, Description: "d"}))
	}
	if all := w.repo.Deployments(); len(all) != 1 || id(all[0].ID) != made || !slices.Equal(all[0].States, []string{"in_progress", "success"}) {
		t.Errorf("%+v", all)
	}
	w.repo.AddWorkflow(workflow)
	permissions := githubtest.JobPermissions()
	permissions["actions"] = "write"
	c := w.client(t, w.s.Token(githubtest.Token{Repo: w.repo, Permissions: permissions}))
	must(t, c.Dispatch(ctx, "flight-plan.yml", "main", nil))
	if all := w.repo.Runs(); len(all) != 1 || all[0].Event != "workflow_dispatch" {
		t.Errorf("%+v", all)
	}
}

func TestT38SettingsAndMarks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.repo.Ruleset(githubtest.Ruleset{Name: "marks", Target: "tag", Include: []string{"refs/tags/cabincrew/**/*"}, Rules: []githubtest.Rule{{Type: "deletion"}, {Type: "update"}}, BypassRoles: []int64{5}})
	w.repo.Ruleset(githubtest.Ruleset{Name: "main", Include: []string{"~DEFAULT_BRANCH"}, Rules: []githubtest.Rule{{Type: "pull_request", Parameters: map[string]any{
		"required_approving_review_count": 1, "dismiss_stale_reviews_on_push": true, "require_code_owner_review": true, "require_last_push_approval": false, "required_review_thread_resolution": false,
	}}}})
	w.repo.Protect("main", &githubtest.Protection{Checks: map[string]int64{"cabincrew / flight-plan": -1}, Reviews: 2, Admins: true})
	w.repo.Actions(githubtest.Actions{Default: "write", MayApprove: true})
	s, err := w.c.Settings(ctx, "main")
	must(t, err)
	if s.RulesKnown != github.Yes || len(s.Rules) != 1 || !s.Rules[0].DismissStale || s.Rules[0].Approvals != 1 || s.Protection.Present != github.Yes || s.Protection.Approvals != 2 || !s.Protection.Admins ||
		len(s.Protection.Checks) != 1 || s.DefaultPermissions != "write" || s.ApprovesChanges != github.Yes || s.PinningRequired != github.No || len(s.Unread) != 0 {
		t.Errorf("%+v", s)
	}
	i := slices.IndexFunc(s.Rulesets, func(r github.Ruleset) bool { return r.Name == "marks" })
	if i < 0 || s.Rulesets[i].Target != "tag" || len(s.Rulesets[i].Rules) != 2 || !slices.Equal(s.Rulesets[i].Include, []string{"refs/tags/cabincrew/**/*"}) {
		t.Errorf("%+v", s.Rulesets)
	}
	if made, err := w.c.Mark(ctx, begun, w.root, "x"); err != nil || !made {
		t.Errorf("%t %v", made, err)
	}
	w.repo.Ruleset(githubtest.Ruleset{Name: "none", Target: "tag", Include: []string{"~ALL"}, Rules: []githubtest.Rule{{Type: "creation"}}})
	made, err := w.c.Mark(ctx, strings.Replace(begun, "/begun", "/done", 1), w.root, "x")
	if err == nil || made {
		t.Errorf("a mark that a ruleset forbids: %t", made)
	}
	wants(t, err, "forge_refused", 7)
	poor := w.client(t, w.s.Token(githubtest.Token{Repo: w.repo, Permissions: map[string]string{"contents": "read"}}))
	s, err = poor.Settings(ctx, "main")
	if must(t, err); s.Protection.Present != github.Unknown || s.ApprovesChanges != github.Unknown || len(s.Unread) == 0 {
		t.Errorf("%+v", s)
	}
}

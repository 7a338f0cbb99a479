package githubtest_test

import (
	"archive/zip"
	"bytes"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-github/v62/github"

	"github.com/cabincrew/action/test/githubtest"
)

const planFile = ".github/workflows/plan.yml"

// get asks for what go-github has no method for.
func get[T any](t *testing.T, w *world, path string) T {
	t.Helper()
	var v T
	r, err := w.client.NewRequest(http.MethodGet, path, nil)
	if err == nil {
		_, err = w.client.Do(w.ctx, r, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestRunsAndArtifacts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, ctx := w.client, w.ctx
	run := w.repo.Start(githubtest.Started{Workflow: planFile, Event: "pull_request", Branch: "feature/x", SHA: w.change, Actor: w.alice, Calls: []string{"cabincrew/action/.github/workflows/flight-plan.yml@v1"}, Pulls: []*githubtest.Pull{w.pull}})
	other := w.repo.Start(githubtest.Started{Workflow: ".github/workflows/other.yml", Event: "push", Branch: "main", SHA: w.root, Actor: w.bob, Conclusion: "success"})
	all := must[*github.WorkflowRuns](t)(c.Actions.ListWorkflowRunsByFileName(ctx, "acme", "infra", "plan.yml", &github.ListWorkflowRunsOptions{HeadSHA: w.change, Event: "pull_request"}))
	if all.GetTotalCount() != 1 || all.WorkflowRuns[0].GetID() != run.ID || all.WorkflowRuns[0].GetHeadRepository().GetID() != w.repo.ID {
		t.Errorf("the runs are %v", all)
	}
	if all := must[*github.WorkflowRuns](t)(c.Actions.ListRepositoryWorkflowRuns(ctx, "acme", "infra", &github.ListWorkflowRunsOptions{Status: "success"})); all.GetTotalCount() != 1 || all.WorkflowRuns[0].GetID() != other.ID {
		t.Errorf("the runs that succeeded are %v", all)
	}
	run.Finish("failure")
	run.Rerun(w.bob)
	if one := must[*github.WorkflowRun](t)(c.Actions.GetWorkflowRunByID(ctx, "acme", "infra", run.ID)); one.GetRunAttempt() != 2 || one.GetTriggeringActor().GetLogin() != "bob" || one.GetStatus() != "in_progress" {
		t.Errorf("the run is %v", one)
	}
	if one := must[*github.WorkflowRun](t)(c.Actions.GetWorkflowRunAttempt(ctx, "acme", "infra", run.ID, 1, nil)); one.GetConclusion() != "failure" {
		t.Errorf("its first attempt is %v", one)
	}
	must[*github.Workflow](t)(c.Actions.GetWorkflowByFileName(ctx, "acme", "infra", "plan.yml"))

	a := run.Upload("cabincrew-judged", map[string][]byte{"flight.json": []byte("{}")})
	list := must[*github.ArtifactList](t)(c.Actions.ListWorkflowRunArtifacts(ctx, "acme", "infra", run.ID, nil))
	if list.GetTotalCount() != 1 || list.Artifacts[0].GetWorkflowRun().GetHeadSHA() != w.change {
		t.Errorf("the artifacts are %v", list)
	}
	must[*github.ArtifactList](t)(c.Actions.ListArtifacts(ctx, "acme", "infra", nil))
	must[*github.Artifact](t)(c.Actions.GetArtifact(ctx, "acme", "infra", a.ID))
	at, _, err := c.Actions.DownloadArtifact(ctx, "acme", "infra", a.ID, 1)
	if err != nil {
		t.Fatal(err)
	}
	if data, status := fetch(t, at.String(), ""); status != http.StatusOK || !holds(t, data, "flight.json") {
		t.Errorf("the artifact is answered with %d", status)
	}
	if _, status := fetch(t, at.String(), "Bearer x"); status != http.StatusBadRequest {
		t.Errorf("a token brought to the store is answered with %d", status)
	}
	w.s.Advance(2 * time.Minute)
	if _, status := fetch(t, at.String(), ""); status != http.StatusForbidden {
		t.Errorf("an old address is answered with %d", status)
	}
	a.Expire()
	if got := must[*github.Artifact](t)(c.Actions.GetArtifact(ctx, "acme", "infra", a.ID)); !got.GetExpired() {
		t.Error("the artifact has not expired")
	}
	if _, r, err := c.Actions.DownloadArtifact(ctx, "acme", "infra", a.ID, 1); err == nil || r.StatusCode != http.StatusGone {
		t.Errorf("an expired artifact: %v", err)
	}
	a.Delete()
	if _, r, err := c.Actions.GetArtifact(ctx, "acme", "infra", a.ID); err == nil || r.StatusCode != http.StatusNotFound {
		t.Errorf("a deleted artifact: %v", err)
	}
}

func fetch(t *testing.T, at, authorization string) (data []byte, status int) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	data, err = io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return data, answer.StatusCode
}

func id(n int64) string { return strconv.FormatInt(n, 10) }

func holds(t *testing.T, data []byte, name string) bool {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	return err == nil && len(z.File) == 1 && z.File[0].Name == name
}

func TestDispatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.repo.AddWorkflow(planFile)
	reader := w.client
	if r, err := reader.Actions.CreateWorkflowDispatchEventByFileName(w.ctx, "acme", "infra", "plan.yml", github.CreateWorkflowDispatchEventRequest{Ref: "main"}); err == nil || r.StatusCode != http.StatusForbidden {
		t.Errorf("a token without actions: write dispatched: %v", err)
	}
	writer := client(t, w.s, w.s.Token(githubtest.Token{Repo: w.repo, Permissions: map[string]string{"actions": "write"}}))
	if _, err := writer.Actions.CreateWorkflowDispatchEventByFileName(w.ctx, "acme", "infra", "plan.yml", github.CreateWorkflowDispatchEventRequest{Ref: "main", Inputs: map[string]any{"change": "1"}}); err != nil {
		t.Fatal(err)
	}
	runs := w.repo.Runs()
	if len(runs) != 1 || runs[0].Event != "workflow_dispatch" || runs[0].SHA != w.root || runs[0].Inputs["change"] != "1" {
		t.Errorf("the runs are %v", runs)
	}
}

func TestEnvironments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, ctx := w.client, w.ctx
	w.repo.Environment(githubtest.Environment{Name: "production", Users: []*githubtest.User{w.bob}, Teams: []*githubtest.Team{w.team}, PreventSelfReview: true, AdminsBypass: true, Wait: 5, Branches: "custom", Patterns: []string{"main"}})
	e := must[*github.Environment](t)(c.Repositories.GetEnvironment(ctx, "acme", "infra", "production"))
	if len(e.ProtectionRules) != 3 || !e.GetCanAdminsBypass() || len(e.ProtectionRules[1].Reviewers) != 2 {
		t.Errorf("the environment is %v", e)
	}
	must[*github.EnvResponse](t)(c.Repositories.ListEnvironments(ctx, "acme", "infra", nil))
	must[*github.DeploymentBranchPolicyResponse](t)(c.Repositories.ListDeploymentBranchPolicies(ctx, "acme", "infra", "production"))

	run := w.repo.Start(githubtest.Started{Workflow: planFile, Event: "push", Branch: "main", SHA: w.root, Actor: w.bob})
	run.Wait("production")
	pending := get[[]map[string]any](t, w, "repos/acme/infra/actions/runs/"+id(run.ID)+"/pending_deployments")
	if len(pending) != 1 || pending[0]["current_user_can_approve"] != false {
		t.Errorf("what is pending: %v", pending)
	}
	ask := &github.PendingDeploymentsRequest{EnvironmentIDs: []int64{e.GetID()}, State: "approved", Comment: "go"}
	for name, by := range map[string]*githubtest.User{"not a reviewer": w.alice, "who started it": w.bob} {
		own := client(t, w.s, w.s.Token(githubtest.Token{User: by, Permissions: map[string]string{"deployments": "write"}}))
		if _, r, err := own.Actions.PendingDeployments(ctx, "acme", "infra", run.ID, ask); err == nil || r.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%s approved: %v", name, err)
		}
	}
	w.repo.Allow(w.carol, "write")
	own := client(t, w.s, w.s.Token(githubtest.Token{User: w.carol, Permissions: map[string]string{"deployments": "write"}}))
	must[[]*github.Deployment](t)(own.Actions.PendingDeployments(ctx, "acme", "infra", run.ID, ask))
	approvals := get[[]map[string]any](t, w, "repos/acme/infra/actions/runs/"+id(run.ID)+"/approvals")
	if len(approvals) != 1 || approvals[0]["comment"] != "go" || approvals[0]["user"].(map[string]any)["login"] != "carol" {
		t.Errorf("the approvals are %v", approvals)
	}
	if left := get[[]map[string]any](t, w, "repos/acme/infra/actions/runs/"+id(run.ID)+"/pending_deployments"); len(left) != 0 {
		t.Errorf("what is still pending: %v", left)
	}
	r, err := c.NewRequest(http.MethodPost, "repos/acme/infra/actions/runs/"+id(run.ID)+"/deployment_protection_rule", map[string]string{"environment_name": "production", "state": "approved", "comment": "ok"})
	if err == nil {
		_, err = c.Do(ctx, r, nil)
	}
	if err != nil || len(run.Verdicts()) != 1 {
		t.Errorf("the gate: %v", err)
	}
}

func TestDeployments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, ctx := w.client, w.ctx
	w.repo.Check(githubtest.CheckRun{App: 1, Name: "red", SHA: w.root, Conclusion: "failure"})
	if _, r, err := c.Repositories.CreateDeployment(ctx, "acme", "infra", &github.DeploymentRequest{Ref: new("main")}); err == nil || r.StatusCode != http.StatusConflict {
		t.Errorf("a red commit was deployed: %v", err)
	}
	d := must[*github.Deployment](t)(c.Repositories.CreateDeployment(ctx, "acme", "infra", &github.DeploymentRequest{Ref: new("main"), RequiredContexts: &[]string{}, Environment: new("production")}))
	must[*github.DeploymentStatus](t)(c.Repositories.CreateDeploymentStatus(ctx, "acme", "infra", d.GetID(), &github.DeploymentStatusRequest{State: new("success"), LogURL: new("https://example.com/log")}))
	must[[]*github.Deployment](t)(c.Repositories.ListDeployments(ctx, "acme", "infra", nil))
	must[[]*github.DeploymentStatus](t)(c.Repositories.ListDeploymentStatuses(ctx, "acme", "infra", d.GetID(), nil))
	if have := w.repo.Deployments(); len(have) != 1 || have[0].SHA != w.root || have[0].States[0] != "success" {
		t.Errorf("the deployments are %v", have)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]githubtest.Option{"github.com": nil, "enterprise": {githubtest.GHES()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options...)
			c, ctx := w.client, w.ctx
			if _, r, err := c.Repositories.GetBranchProtection(ctx, "acme", "infra", "main"); err == nil || r.StatusCode != http.StatusNotFound {
				t.Errorf("a branch without protection: %v", err)
			}
			w.repo.Protect("main", &githubtest.Protection{Checks: map[string]int64{"cabincrew / flight-plan": githubtest.ActionsApp, "x": -1}, Reviews: 2, CodeOwners: true, LastPush: true, Admins: true, Bypass: []*githubtest.User{w.alice}})
			p := must[*github.Protection](t)(c.Repositories.GetBranchProtection(ctx, "acme", "infra", "main"))
			if p.GetRequiredPullRequestReviews().RequiredApprovingReviewCount != 2 || !p.GetEnforceAdmins().Enabled || len(*p.GetRequiredStatusChecks().Checks) != 2 {
				t.Errorf("the protection is %v", p)
			}
			if b := must[*github.Branch](t)(c.Repositories.GetBranch(ctx, "acme", "infra", "main", 0)); !b.GetProtected() || b.GetCommit().GetSHA() != w.root {
				t.Errorf("the branch is %v", b)
			}
			set := w.repo.Ruleset(githubtest.Ruleset{Name: "main", Include: []string{"~DEFAULT_BRANCH"}, Rules: []githubtest.Rule{
				{Type: "deletion"}, {Type: "required_status_checks", Parameters: map[string]any{"strict_required_status_checks_policy": true, "required_status_checks": []any{map[string]any{"context": "x", "integration_id": 15368}}}},
				{Type: "pull_request", Parameters: map[string]any{"dismiss_stale_reviews_on_push": true, "require_code_owner_review": true, "require_last_push_approval": true, "required_approving_review_count": 1, "required_review_thread_resolution": false}},
			}})
			if rules := must[[]*github.RepositoryRule](t)(c.Repositories.GetRulesForBranch(ctx, "acme", "infra", "main")); len(rules) != 3 || rules[0].RulesetID != set {
				t.Errorf("the rules are %v", rules)
			}
			if rules := must[[]*github.RepositoryRule](t)(c.Repositories.GetRulesForBranch(ctx, "acme", "infra", "feature/x")); len(rules) != 0 {
				t.Errorf("the rules of another branch are %v", rules)
			}
			if sets := must[[]*github.Ruleset](t)(c.Repositories.GetAllRulesets(ctx, "acme", "infra", true)); len(sets) != 1 {
				t.Errorf("the rulesets are %v", sets)
			}
			must[*github.Ruleset](t)(c.Repositories.GetRuleset(ctx, "acme", "infra", set, true))
			must[*github.ActionsPermissionsRepository](t)(c.Repositories.GetActionsPermissions(ctx, "acme", "infra"))
			must[*github.DefaultWorkflowPermissionRepository](t)(c.Repositories.GetDefaultWorkflowPermissions(ctx, "acme", "infra"))
			acts := get[[]map[string]any](t, w, "repos/acme/infra/activity?ref=refs/heads/feature/x")
			if len(acts) != 1 || acts[0]["actor"].(map[string]any)["login"] != "alice" || acts[0]["after"] != w.change {
				t.Errorf("the activity is %v", acts)
			}
			cmp := must[*github.CommitsComparison](t)(c.Repositories.CompareCommits(ctx, "acme", "infra", "main", "feature/x", nil))
			if cmp.GetStatus() != "ahead" || cmp.GetAheadBy() != 1 || len(cmp.Files) != 1 {
				t.Errorf("the comparison is %v", cmp)
			}
		})
	}
}

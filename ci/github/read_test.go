package github

import (
	"encoding/base64"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/internal/limits"
)

func onePull() map[string]any {
	repo := func(id int, name string) any { return map[string]any{"id": id, "full_name": name} }
	return map[string]any{
		"number": 7, "state": "closed", "title": "T", "html_url": "https://github.com/acme/shop/pull/7", "merged_at": "2026-05-04T03:02:01Z",
		"merge_commit_sha": commitC, "head": map[string]any{"ref": "topic", "sha": commitA, "repo": repo(99, "eve/shop")},
		"base": map[string]any{"ref": "main", "sha": commitB, "repo": repo(42, "acme/shop")},
		"user": person(5, "eve"), "merged_by": person(6, "bob"), "labels": []any{map[string]any{"name": "x"}}, "commits": 2, "changed_files": 3,
	}
}

func TestChange(t *testing.T) {
	t.Parallel()
	c, _, _ := serve(t, one(200, onePull()))
	got, err := c.Change(t.Context(), 7)
	must(t, err)
	want := Change{
		Number: 7, Merged: true, MergeCommit: commitC, Head: End{RepositoryID: "99", Repository: "eve/shop", Ref: "topic", SHA: commitA}, Base: End{RepositoryID: "42", Repository: "acme/shop", Ref: "main", SHA: commitB},
		Author: ci.Person{ID: "5", Login: "eve"}, MergedBy: ci.Person{ID: "6", Login: "bob"}, Labels: []string{"x"}, Commits: 2, ChangedFiles: 3,
		URL: "https://github.com/acme/shop/pull/7", Title: "T", MergedAt: newClock().at,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	for name, change := range map[string]func(map[string]any){
		"another one":   func(m map[string]any) { m["number"] = 8 },
		"no head":       func(m map[string]any) { m["head"] = map[string]any{} },
		"no base":       func(m map[string]any) { m["base"].(map[string]any)["repo"] = nil },
		"no state":      func(m map[string]any) { delete(m, "state") },
		"a short merge": func(m map[string]any) { m["merge_commit_sha"] = "abc" },
	} {
		p := onePull()
		change(p)
		c, _, _ := serve(t, one(200, p))
		if _, err := c.Change(t.Context(), 7); err == nil {
			t.Error(name)
		} else {
			wants(t, err, "forge_incomplete", 7)
		}
	}
	p := onePull()
	p["head"].(map[string]any)["repo"], p["user"] = nil, nil
	c, _, _ = serve(t, one(200, []any{p}))
	all, err := c.ChangesOf(t.Context(), commitC)
	if must(t, err); len(all) != 1 || all[0].Head.RepositoryID != "" || !all[0].Author.Bot {
		t.Errorf("%+v", all)
	}
	_, err = c.ChangesOf(t.Context(), "main")
	wants(t, err, "forge_incomplete", 7)
}

func TestFilesAndAuthors(t *testing.T) {
	t.Parallel()
	all := []any{
		map[string]any{"filename": "b", "previous_filename": "a", "status": "renamed"},
		map[string]any{"filename": "c", "status": "added"},
	}
	c, _, _ := serve(t, paged(all, ""))
	got, err := c.Files(t.Context(), 7, 2)
	if must(t, err); !slices.Equal(got, []File{{"b", "a", "renamed"}, {"c", "", "added"}}) {
		t.Errorf("%+v", got)
	}
	_, err = c.Files(t.Context(), 7, 3)
	wants(t, err, "forge_incomplete", 7)
	_, err = c.Files(t.Context(), 7, limits.GitHubFiles+1)
	wants(t, err, "forge_incomplete", 7)
	c, _, _ = serve(t, one(200, []any{map[string]any{"filename": "b", "status": "renamed"}}))
	_, err = c.Files(t.Context(), 7, 1)
	wants(t, err, "forge_incomplete", 7)

	commit := func(sha string, verified bool, author, committer any) any {
		return map[string]any{"sha": sha, "commit": map[string]any{"verification": map[string]any{"verified": verified}}, "author": author, "committer": committer}
	}
	c, _, _ = serve(t, one(200, []any{
		commit(commitA, true, person(1, "ann"), person(2, "ben")), commit(commitB, false, person(3, "cat"), nil),
		commit(commitC, true, person(1, "ann"), nil),
	}))
	people, err := c.CommitAuthors(t.Context(), 7, 3)
	if must(t, err); !slices.Equal(people, []ci.Person{{ID: "1", Login: "ann"}, {ID: "2", Login: "ben"}}) {
		t.Errorf("%+v", people)
	}
	_, err = c.CommitAuthors(t.Context(), 7, 4)
	wants(t, err, "forge_incomplete", 7)
	_, err = c.CommitAuthors(t.Context(), 7, limits.GitHubCommits+1)
	wants(t, err, "forge_incomplete", 7)
}

func TestT07PeopleAreTheirIDs(t *testing.T) {
	t.Parallel()
	bob := ci.Person{ID: "2", Login: "bob"}
	c, s, _ := serve(t, paged([]any{person(1, "ann"), person(2, "bob")}, ""))
	for range 2 {
		if in, err := c.InTeam(t.Context(), "acme/ops", bob); err != nil || !in {
			t.Errorf("%t %v", in, err)
		}
	}
	if in, err := c.InTeam(t.Context(), "Acme/OPS", ci.Person{ID: "22", Login: "bob"}); err != nil || in {
		t.Errorf("a taken login is in the team: %v", err)
	}
	if in, err := c.InTeam(t.Context(), "acme/ops", ci.Person{Login: "bob"}); err != nil || in {
		t.Errorf("nobody is in the team: %v", err)
	}
	if got := s.requests(); len(got) != 1 || got[0].path != "/orgs/acme/teams/ops/members" {
		t.Errorf("asked %+v", got)
	}
	for _, team := range []string{"ops", "", "a/b/c", "../x", "acme/..", "acme/a b"} {
		_, err := c.InTeam(t.Context(), team, bob)
		wants(t, err, "forge_incomplete", 7)
	}
	c, _, _ = serve(t, one(404, map[string]string{"message": "Not Found"}))
	_, err := c.InTeam(t.Context(), "acme/ops", bob)
	wants(t, err, "forge_refused", 7)
	_, err = c.Permission(t.Context(), bob)
	wants(t, err, "forge_refused", 7)

	for _, k := range []struct{ old, role, want string }{
		{"admin", "admin", "admin"}, {"write", "maintain", "maintain"}, {"write", "write", "write"}, {"read", "triage", "triage"},
		{"read", "admin", "read"}, {"write", "security-lead", "write"}, {"none", "", "none"}, {"owner", "owner", ""},
	} {
		c, s, _ := serve(t, one(200, map[string]any{"permission": k.old, "role_name": k.role, "user": person(2, "bob")}))
		got, err := c.Permission(t.Context(), bob)
		if k.want == "" {
			wants(t, err, "forge_incomplete", 7)
			continue
		}
		if again, err2 := c.Permission(t.Context(), bob); err != nil || err2 != nil || got != k.want || again != got || len(s.requests()) != 1 {
			t.Errorf("%+v: %q %v", k, got, err)
		}
		_, err = c.Permission(t.Context(), ci.Person{ID: "3", Login: "bob"})
		wants(t, err, "forge_incomplete", 7)
		if got, err := c.Permission(t.Context(), ci.Person{Login: "bob"}); err != nil || got != "none" {
			t.Errorf("nobody has %q: %v", got, err)
		}
	}
}

func oneRun(id int, at, sha string) map[string]any {
	return map[string]any{
		"id": id, "run_attempt": 2, "path": ".github/workflows/p.yml", "workflow_id": 3, "event": "pull_request", "head_sha": sha, "head_branch": "topic",
		"head_repository": map[string]any{"id": 99}, "repository": map[string]any{"id": 42}, "status": "completed", "conclusion": "success",
		"actor": person(1, "ann"), "triggering_actor": person(2, "ben"), "created_at": at, "run_started_at": at, "pull_requests": []any{map[string]any{"number": 7}},
	}
}

func TestT39Runs(t *testing.T) {
	t.Parallel()
	const old, young = "2026-05-04T03:02:01Z", "2026-05-04T03:02:02Z"
	c, s, _ := serve(t, one(200, oneRun(5, old, commitA)))
	got, err := c.Run(t.Context(), "5")
	must(t, err)
	want := Run{
		ID: "5", Attempt: "2", WorkflowPath: ".github/workflows/p.yml", WorkflowID: "3", Event: "pull_request", HeadSHA: commitA, HeadBranch: "topic",
		HeadRepositoryID: "99", RepositoryID: "42", Status: "completed", Conclusion: "success", Actor: ci.Person{ID: "1", Login: "ann"},
		TriggeringActor: ci.Person{ID: "2", Login: "ben"}, CreatedAt: newClock().at, StartedAt: newClock().at, Pulls: []int{7},
	}
	if !reflect.DeepEqual(got, want) || s.requests()[0].path != "/repos/acme/shop/actions/runs/5" {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	for _, id := range []string{"6", "", "5/../6", "-5"} {
		_, err := c.Run(t.Context(), id)
		wants(t, err, "forge_incomplete", 7)
	}
	f := RunFilter{WorkflowFile: "p.yml", HeadSHA: commitA, Event: "pull_request"}
	c, s, _ = serve(t, paged([]any{oneRun(9, young, commitA), oneRun(10, young, commitA), oneRun(8, old, commitA)}, "workflow_runs"))
	runs, err := c.Runs(t.Context(), f)
	if must(t, err); len(runs) != 3 || runs[0].ID != "10" || runs[1].ID != "9" || !strings.Contains(s.requests()[0].query, "head_sha="+commitA) {
		t.Errorf("%+v", runs)
	}
	f.Most = 1
	if runs, err = c.Runs(t.Context(), f); err != nil || len(runs) != 1 {
		t.Errorf("%+v %v", runs, err)
	}
	f.Most = 0
	for name, items := range map[string][]any{
		"not in order":        {oneRun(8, old, commitA), oneRun(9, young, commitA)},
		"of another commit":   {oneRun(8, old, commitB)},
		"without a commit":    {oneRun(8, old, "")},
		"older than all time": {oneRun(8, "0001-01-01T00:00:00Z", commitA)},
	} {
		c, _, _ := serve(t, paged(items, "workflow_runs"))
		if _, err := c.Runs(t.Context(), f); err == nil {
			t.Error(name)
		} else {
			wants(t, err, "forge_incomplete", 7)
		}
	}
	_, err = c.Runs(t.Context(), RunFilter{WorkflowFile: "../x"})
	wants(t, err, "forge_incomplete", 7)
}

func TestT09RunApprovalsAndEnvironment(t *testing.T) {
	t.Parallel()
	env := map[string]any{
		"id": 4, "name": "prod", "can_admins_bypass": true,
		"protection_rules": []any{
			map[string]any{"type": "wait_timer", "wait_timer": 30},
			map[string]any{"type": "required_reviewers", "prevent_self_review": true, "reviewers": []any{
				map[string]any{"type": "User", "reviewer": map[string]any{"id": 2, "login": "ben"}},
				map[string]any{"type": "Team", "reviewer": map[string]any{"id": 8, "slug": "ops"}},
			}},
		},
		"deployment_branch_policy": map[string]any{"protected_branches": false, "custom_branch_policies": true},
	}
	c, _, _ := serve(t, routes(t, map[string]http.HandlerFunc{
		"GET /repos/acme/shop/actions/runs/5/approvals": one(200, []any{map[string]any{
			"state": "approved", "comment": "ok", "user": person(2, "ben"), "environments": []any{map[string]any{"name": "prod"}},
		}}),
		"GET /repos/acme/shop/environments/prod":                            one(200, env),
		"GET /repos/acme/shop/environments/prod/deployment-branch-policies": paged([]any{map[string]any{"id": 1, "name": "main"}, map[string]any{"id": 2, "name": "v*", "type": "tag"}}, "branch_policies"),
		"GET /repos/acme/shop/environments/none":                            one(404, map[string]string{"message": "Not Found"}),
		"GET /repos/acme/shop/actions/runs/6/approvals":                     one(200, []any{map[string]any{"state": "waved through"}}),
	}))
	acts, err := c.RunApprovals(t.Context(), "5")
	want := []ci.Act{{Kind: ci.ActEnvironment, ID: "run/5/0", Person: ci.Person{ID: "2", Login: "ben"}, State: ci.StateApproved, Text: "ok", Environments: []string{"prod"}}}
	if must(t, err); !reflect.DeepEqual(acts, want) {
		t.Errorf("%+v", acts)
	}
	_, err = c.RunApprovals(t.Context(), "6")
	wants(t, err, "forge_incomplete", 7)
	got, err := c.Environment(t.Context(), "prod")
	must(t, err)
	wantEnv := Environment{
		Found: true, ID: "4", Name: "prod", Reviewers: []Reviewer{{"User", "2", "ben"}, {"Team", "8", "ops"}}, PreventSelfReview: Yes, AdminsCanBypass: Yes,
		Policies: []string{"branch:main", "tag:v*"}, WaitMinutes: 30, Rules: []string{"wait_timer", "required_reviewers"},
	}
	if !reflect.DeepEqual(got, wantEnv) {
		t.Errorf("%+v", got)
	}
	if got, err := c.Environment(t.Context(), "none"); err != nil || got.Found {
		t.Errorf("%+v %v", got, err)
	}
}

func TestContent(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", limits.GitHubContents+1)
	at := func(m map[string]any) http.HandlerFunc { return one(200, m) }
	c, s, _ := serve(t, routes(t, map[string]http.HandlerFunc{
		"GET /repos/acme/shop/contents/.github/CODEOWNERS": at(map[string]any{"type": "file", "path": ".github/CODEOWNERS", "encoding": "base64", "size": 8, "content": "KiBAYWNt\nZQo=\n"}),
		"GET /repos/acme/shop/contents/a b#c":              at(map[string]any{"type": "file", "path": "a b#c", "encoding": "base64", "size": 0, "content": ""}),
		"GET /repos/acme/shop/contents/dir":                one(200, []any{map[string]any{"type": "file"}}),
		"GET /repos/acme/shop/contents/link":               at(map[string]any{"type": "symlink", "path": "link", "size": 1}),
		"GET /repos/acme/shop/contents/lies":               at(map[string]any{"type": "file", "path": "lies", "encoding": "base64", "size": 9, "content": base64.StdEncoding.EncodeToString([]byte("8 bytes!"))}),
		"GET /repos/acme/shop/contents/none":               one(404, map[string]string{"message": "Not Found"}),
		"GET /repos/acme/shop/commits/" + commitA:          one(200, map[string]string{"sha": commitA}),
		"GET /repos/acme/shop/commits/gone":                one(422, map[string]string{"message": "No commit found for SHA: gone"}),
		"GET /repos/acme/shop/contents/big": func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.Header.Get("Accept"), "raw") {
				_, _ = w.Write([]byte(big))
				return
			}
			reply(w, 200, map[string]any{"type": "file", "path": "big", "encoding": "none", "size": len(big), "content": ""})
		},
	}))
	for path, want := range map[string]string{".github/CODEOWNERS": "* @acme\n", "a b#c": "", "big": big} {
		if got, found, err := c.Content(t.Context(), path, commitA, 1<<22); err != nil || !found || string(got) != want {
			t.Errorf("%s: %t %v", path, found, err)
		}
	}
	for _, path := range []string{"dir", "link", "lies", "../x", "/etc", "a/../b", "."} {
		_, _, err := c.Content(t.Context(), path, commitA, 1<<20)
		wants(t, err, "forge_incomplete", 7)
	}
	_, _, err := c.Content(t.Context(), "big", commitA, 1<<20)
	wants(t, err, "file_too_large", 5)
	before := len(s.requests())
	for range 3 {
		if _, found, err := c.Content(t.Context(), "none", commitA, 1<<20); err != nil || found {
			t.Errorf("%t %v", found, err)
		}
	}
	if n := len(s.requests()) - before; n != 4 {
		t.Errorf("%d requests", n)
	}
	_, _, err = c.Content(t.Context(), "none", "gone", 1<<20)
	wants(t, err, "forge_refused", 7)
}

func TestBranchesAndCommits(t *testing.T) {
	t.Parallel()
	status := "ahead"
	c, s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "/compare/"):
			reply(w, 200, map[string]string{"status": status})
		case strings.HasSuffix(r.URL.Path, "/activity"):
			reply(w, 200, []any{map[string]any{"before": commitA, "after": commitB, "ref": "refs/heads/main", "activity_type": "push", "timestamp": "2026-05-04T03:02:01Z", "actor": person(1, "ann")}})
		default:
			reply(w, 200, map[string]any{"name": "release/1", "commit": map[string]string{"sha": commitA}, "protected": true})
		}
	})
	b, err := c.Branch(t.Context(), "release/1")
	if must(t, err); b != (Branch{"release/1", commitA, true}) {
		t.Errorf("%+v", b)
	}
	for _, name := range []string{"main", "", "a..b", "/x", "a b"} {
		if _, err := c.Branch(t.Context(), name); err == nil {
			t.Errorf("branch %q", name)
		}
	}
	for word, want := range map[string]bool{"ahead": true, "identical": true, "behind": false, "diverged": false} {
		status = word
		if got, err := c.IsAncestor(t.Context(), commitA, commitB); err != nil || got != want {
			t.Errorf("%s: %t %v", word, got, err)
		}
	}
	status = "?"
	_, err = c.IsAncestor(t.Context(), commitA, commitB)
	wants(t, err, "forge_incomplete", 7)
	before := len(s.requests())
	if got, err := c.IsAncestor(t.Context(), commitA, commitA); err != nil || !got || len(s.requests()) != before {
		t.Errorf("%t %v", got, err)
	}
	pushes, err := c.Activity(t.Context(), "refs/heads/main")
	want := []Push{{ci.Person{ID: "1", Login: "ann"}, commitA, commitB, "push", time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)}}
	if must(t, err); !slices.Equal(pushes, want) {
		t.Errorf("%+v", pushes)
	}
	_, err = c.Activity(t.Context(), "refs/heads/topic")
	wants(t, err, "forge_incomplete", 7)
}

func TestDeployments(t *testing.T) {
	t.Parallel()
	c, s, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, 201, map[string]any{"id": 77}) })
	id, err := c.Deploy(t.Context(), Deployment{Ref: commitA, Environment: "prod", Description: "d", Payload: map[string]string{"flight": "x"}})
	if must(t, err); id != "77" {
		t.Errorf("id %q", id)
	}
	must(t, c.Deployed(t.Context(), id, DeploymentState{State: "success", LogURL: "https://x"}))
	got := s.requests()
	if !strings.Contains(got[0].body, `"auto_merge":false`) || !strings.Contains(got[0].body, `"required_contexts":[]`) || got[1].path != "/repos/acme/shop/deployments/77/statuses" {
		t.Errorf("%+v", got)
	}
	wants(t, c.Deployed(t.Context(), "x", DeploymentState{}), "forge_options", 1)
	wants(t, c.Deployed(t.Context(), "7", DeploymentState{Description: strings.Repeat("x", 141)}), "forge_too_long", 1)
	c, _, _ = serve(t, one(202, map[string]string{"message": "Auto-merged"}))
	_, err = c.Deploy(t.Context(), Deployment{Ref: commitA, Environment: "prod"})
	wants(t, err, "forge_unreachable", 7)
}

func TestSettings(t *testing.T) {
	t.Parallel()
	refused := one(403, map[string]string{"message": "Resource not accessible by integration"})
	all := map[string]http.HandlerFunc{
		"GET /repos/acme/shop/rules/branches/main": paged([]any{map[string]any{"type": "deletion"}, map[string]any{
			"type": "pull_request", "ruleset_id": 3, "ruleset_source": "acme/shop",
			"parameters": map[string]any{"required_approving_review_count": 2, "dismiss_stale_reviews_on_push": true, "require_code_owner_review": true},
		}}, ""),
		"GET /repos/acme/shop/rulesets": paged([]any{map[string]any{"id": 3}}, ""),
		"GET /repos/acme/shop/rulesets/3": one(200, map[string]any{
			"id": 3, "name": "marks", "target": "tag", "enforcement": "active", "source_type": "Repository",
			"conditions":    map[string]any{"ref_name": map[string]any{"include": []string{"refs/tags/cabincrew/**/*"}, "exclude": []string{}}},
			"rules":         []any{map[string]any{"type": "deletion"}, map[string]any{"type": "update"}},
			"bypass_actors": []any{map[string]any{"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}},
		}),
		"GET /repos/acme/shop/branches/main/protection":     one(404, map[string]string{"message": "Branch not protected"}),
		"GET /repos/acme/shop/actions/permissions":          one(200, map[string]any{"enabled": true, "allowed_actions": "selected", "sha_pinning_required": true}),
		"GET /repos/acme/shop/actions/permissions/workflow": one(200, map[string]any{"default_workflow_permissions": "read", "can_approve_pull_request_reviews": false}),
	}
	c, _, _ := serve(t, routes(t, all))
	got, err := c.Settings(t.Context(), "main")
	must(t, err)
	want := Settings{
		Rules:      []Rule{{Type: "deletion"}, {Type: "pull_request", RulesetID: "3", Source: "acme/shop", Approvals: 2, DismissStale: true, CodeOwners: true}},
		RulesKnown: Yes, RulesetsKnown: Yes, Protection: Protection{Present: No}, ActionsEnabled: Yes, AllowedActions: "selected", PinningRequired: Yes,
		DefaultPermissions: "read", ApprovesChanges: No,
		Rulesets: []Ruleset{{
			ID: "3", Name: "marks", Target: "tag", Enforcement: "active", SourceType: "Repository", Include: []string{"refs/tags/cabincrew/**/*"}, Exclude: []string{},
			Rules: []Rule{{Type: "deletion"}, {Type: "update"}}, Bypass: []Bypass{{"RepositoryRole", "5", "always"}}, BypassKnown: Yes,
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	for path := range all {
		all[path] = refused
	}
	got, err = c.Settings(t.Context(), "main")
	if must(t, err); got.RulesKnown != Unknown || got.RulesetsKnown != Unknown || got.Protection.Present != Unknown || got.ApprovesChanges != Unknown ||
		got.PinningRequired != Unknown || got.ActionsEnabled != Unknown || len(got.Unread) != 5 {
		t.Errorf("what may not be seen is known: %+v", got)
	}
	for path := range all {
		all[path] = one(502, map[string]string{})
	}
	_, err = c.Settings(t.Context(), "main")
	wants(t, err, "forge_unreachable", 7)
}

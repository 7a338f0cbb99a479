package forge

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cabincrew/action/test/githubtest"
)

// site is a repository that is set up as it should be, for tests to spoil.
type site struct {
	*rig

	dir        string // the checkout
	branch     githubtest.Ruleset
	tags       githubtest.Ruleset
	made       githubtest.Ruleset // for the creation of tags
	pull       map[string]any     // parameters of the rule pull_request
	checks     []any
	protection *githubtest.Protection
	production githubtest.Environment
	actions    githubtest.Actions
	rights     map[string]string // of the token
	env        map[string]string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{rig: newRig(t, byReview, nil), rights: githubtest.JobPermissions(), env: map[string]string{}}
	s.rights["administration"] = "write"
	s.dir = s.clone(s.hub.WebURL() + "/acme/infra.git")
	if code, out, errs := s.run(s.dir, map[string]string{"GITHUB_TOKEN": s.token}, "init", "--for", "github", "--pin", somePin); code != 0 {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	s.change(".cabincrew.yaml", `"<fill in: true publishes the repository's name and each commit for good; otherwise name your own fulcio_url and timestamp_url and remove this line>"`, "true")
	s.change(".cabincrew.yaml", "approvals:\n", "approvals:\n  environments: [production]\n")
	s.write(".github/CODEOWNERS", "* @acme/everybody\n/.github/ @acme/owners\n")
	s.pull = map[string]any{
		"required_approving_review_count": 1, "dismiss_stale_reviews_on_push": true, "require_last_push_approval": true, "require_code_owner_review": true,
		"required_review_thread_resolution": false,
	}
	s.checks = []any{map[string]any{"context": planCheck, "integration_id": githubtest.ActionsApp}}
	s.branch = githubtest.Ruleset{Name: "main", Include: []string{"~DEFAULT_BRANCH"}, Rules: []githubtest.Rule{{Type: "non_fast_forward"}, {Type: "deletion"}}}
	s.tags = githubtest.Ruleset{Name: "fence", Target: "tag", Include: []string{"refs/tags/cabincrew/**/*"}, Rules: []githubtest.Rule{{Type: "update"}, {Type: "deletion"}}}
	s.made = githubtest.Ruleset{Name: "made", Target: "tag", Include: []string{"refs/tags/cabincrew/**/*"}, Rules: []githubtest.Rule{{Type: "creation"}}, BypassApps: []int64{githubtest.ActionsApp}}
	s.production = githubtest.Environment{Name: "production", Users: []*githubtest.User{s.bob}, PreventSelfReview: true, Branches: "protected"}
	s.actions = githubtest.Actions{PinBySHA: true}
	return s
}

func (s *site) write(name, text string) {
	s.t.Helper()
	at := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) change(name, old, text string) {
	s.t.Helper()
	have := read(s.t, filepath.Join(s.dir, name))
	if !strings.Contains(have, old) {
		s.t.Fatalf("%s does not hold %q", name, old)
	}
	s.write(name, strings.ReplaceAll(have, old, text))
}

// diagnosis is what doctor tells.
type diagnosis struct {
	Repository     string
	Holes, Unknown int
	Findings       []struct {
		ID, State, Severity, Detail, Attack, Remedy, File string
		Threats                                           []string
		Line                                              int
	}
	code           int
	stdout, stderr string
}

// ids are those of the findings of a state.
func (d diagnosis) ids(state string) []string {
	var out []string
	for _, f := range d.Findings {
		if f.State == state {
			out = append(out, f.ID)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ask sets the site up on the forge and asks doctor.
func (s *site) ask(format string) diagnosis {
	s.t.Helper()
	branch := s.branch
	if s.pull != nil {
		branch.Rules = append(slices.Clone(branch.Rules), githubtest.Rule{Type: "pull_request", Parameters: s.pull})
	}
	if s.checks != nil {
		branch.Rules = append(branch.Rules, githubtest.Rule{Type: "required_status_checks", Parameters: map[string]any{"required_status_checks": s.checks, "strict_required_status_checks_policy": false}})
	}
	s.repo.Ruleset(branch)
	s.repo.Ruleset(s.tags)
	s.repo.Ruleset(s.made)
	s.repo.Protect("main", s.protection)
	if s.production.Name != "" {
		s.repo.Environment(s.production)
	}
	s.repo.Actions(s.actions)
	if s.rights != nil {
		s.env["GITHUB_TOKEN"] = s.hub.Token(githubtest.Token{Repo: s.repo, Permissions: s.rights})
	}
	var d diagnosis
	d.code, d.stdout, d.stderr = s.run(s.dir, s.env, "doctor", "--for", "github", "--format", format)
	if format == "json" {
		if err := json.Unmarshal([]byte(d.stdout), &d); err != nil {
			s.t.Fatalf("exit %d, %v\n%s%s", d.code, err, d.stdout, d.stderr)
		}
	}
	return d
}

func TestDoctorFindsNothing(t *testing.T) {
	t.Parallel()
	d := newSite(t).ask("json")
	if d.code != 0 || d.Holes != 0 || d.Unknown != 0 || len(d.Findings) < 20 || d.Repository != "acme/infra" {
		t.Errorf("exit %d\n%s%s", d.code, d.stdout, d.stderr)
	}
}

// baseFlow is a workflow with the rights of the base.
func baseFlow(events, steps string) string {
	return "on: " + events + "\npermissions: {}\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n" + steps
}

const pinnedCheckout = "      - uses: actions/checkout@" + somePin + "\n"

// TestDoctorFindsEachHole spoils one thing at a time: exactly what it opens is told,
// with the threats that come through it.
func TestDoctorFindsEachHole(t *testing.T) {
	t.Parallel()
	planUse := "cabincrew/action/.github/workflows/flight-plan.yml@" + somePin
	for name, c := range map[string]struct {
		spoil  func(*site)
		want   []string // ids of holes
		threat string
		says   string
	}{
		"tags without a ruleset":           {func(s *site) { s.tags.Target = "branch"; s.tags.Include = []string{"refs/heads/x"} }, []string{"fence-tags"}, "T38", "no active ruleset"},
		"tags that may be deleted":         {func(s *site) { s.tags.Rules = s.tags.Rules[:1] }, []string{"fence-tags"}, "T38", "the deletion"},
		"tags that may be moved":           {func(s *site) { s.tags.Rules = s.tags.Rules[1:] }, []string{"fence-tags"}, "T38", "the update"},
		"a ruleset that is only evaluated": {func(s *site) { s.tags.Enforcement = "evaluate" }, []string{"fence-tags"}, "T38", "not active"},
		"tags that are excluded":           {func(s *site) { s.tags.Exclude = []string{"refs/tags/cabincrew/a/*"} }, []string{"fence-tags"}, "T38", "excludes"},
		"a pattern that ends too early":    {func(s *site) { s.tags.Include = []string{"refs/tags/cabincrew/**"} }, []string{"fence-tags"}, "T38", "second slash"},
		"tags with a bypass list":          {func(s *site) { s.tags.BypassRoles = []int64{5} }, []string{"fence-tags"}, "T38", "bypass list"},
		"tags that anybody makes":          {func(s *site) { s.made.Rules = s.made.Rules[:0] }, []string{"fence-creation"}, "T33", "the creation"},
		"tags that people make":            {func(s *site) { s.made.BypassRoles = []int64{5} }, []string{"fence-creation"}, "T38", "bypass list"},
		"tags that nobody makes":           {func(s *site) { s.made.BypassApps = nil }, []string{"fence-creation"}, "T38", "no flight takes off"},
		"no pull request":                  {func(s *site) { s.pull = nil }, []string{"branch-code-owners", "branch-last-push", "branch-review", "branch-stale-approvals"}, "T32", "approval"},
		"no approval":                      {func(s *site) { s.pull["required_approving_review_count"] = 0 }, []string{"branch-review"}, "T13", "approval"},
		"stale approvals":                  {func(s *site) { s.pull["dismiss_stale_reviews_on_push"] = false }, []string{"branch-stale-approvals"}, "T05", "dismissal"},
		"the last pusher approves":         {func(s *site) { s.pull["require_last_push_approval"] = false }, []string{"branch-last-push"}, "T07", "last push"},
		"no code owners":                   {func(s *site) { s.pull["require_code_owner_review"] = false }, []string{"branch-code-owners"}, "T13", "code owners"},
		"no check":                         {func(s *site) { s.checks = nil }, []string{"branch-check"}, "T33", planCheck},
		"another check": {func(s *site) {
			s.checks = []any{map[string]any{"context": "ci", "integration_id": githubtest.ActionsApp}}
		}, []string{"branch-check"}, "T10", planCheck},
		"a check from anybody": {func(s *site) { s.checks = []any{map[string]any{"context": planCheck}} }, []string{"branch-check"}, "T10", "GitHub Actions"},
		"one check of several steps": {func(s *site) {
			s.change(".cabincrew.yaml", "policies:\n", "  - id: more\n    engine: {use: command, with: {run: [true]}}\nchecks: per-step\npolicies:\n")
			s.checks = []any{map[string]any{"context": planCheck + " / hello", "integration_id": githubtest.ActionsApp}}
		}, []string{"branch-check"}, "T33", planCheck + " / more"},
		"force pushes":  {func(s *site) { s.branch.Rules = s.branch.Rules[1:] }, []string{"branch-force-push"}, "T32", "force pushes"},
		"deletion":      {func(s *site) { s.branch.Rules = s.branch.Rules[:1] }, []string{"branch-deletion"}, "T32", "deletion"},
		"a bypass list": {func(s *site) { s.branch.BypassApps = []int64{7} }, []string{"branch-bypass"}, "T33", "an approval"},
		"protection without administrators": {func(s *site) {
			s.branch.Enforcement = "disabled"
			s.protection = &githubtest.Protection{Checks: map[string]int64{planCheck: githubtest.ActionsApp}, Reviews: 1, DismissStale: true, CodeOwners: true, LastPush: true}
		}, []string{"branch-bypass"}, "T09", "some may do without"},
		"protection with people who need no review": {func(s *site) {
			s.branch.Enforcement = "disabled"
			s.protection = &githubtest.Protection{Checks: map[string]int64{planCheck: githubtest.ActionsApp}, Reviews: 1, DismissStale: true, CodeOwners: true, LastPush: true, Admins: true, Bypass: []*githubtest.User{s.bob}}
		}, []string{"branch-bypass"}, "T09", "an approval"},
		"protection with holes": {func(s *site) {
			s.branch.Enforcement = "disabled"
			s.protection = &githubtest.Protection{Checks: map[string]int64{planCheck: -1}, Reviews: 1, DismissStale: true, CodeOwners: true, LastPush: true, Admins: true, ForcePushes: true, Deletions: true}
		}, []string{"branch-check", "branch-deletion", "branch-force-push"}, "T17", "force pushes"},
		"an environment that is not there":  {func(s *site) { s.production.Name = "" }, []string{"environment"}, "T09", "not there"},
		"an environment without reviewers":  {func(s *site) { s.production.Users = nil }, []string{"environment", "environment-self-review"}, "T09", "asks nobody"},
		"an environment with self-review":   {func(s *site) { s.production.PreventSelfReview = false }, []string{"environment-self-review"}, "T09", "may approve it"},
		"an environment for administrators": {func(s *site) { s.production.AdminsBypass = true }, []string{"environment-admins"}, "T09", "pass by"},
		"an environment for all branches":   {func(s *site) { s.production.Branches = "" }, []string{"environment-branches"}, "T32", "every branch"},
		"an environment of a workflow": {func(s *site) {
			s.change(".github/workflows/cabincrew-base.yml", "    # with:\n    #   environment: production\n", "    with:\n      environment: staging\n")
		}, []string{"environment"}, "T09", "staging"},
		"tokens that write":      {func(s *site) { s.actions.Default = "write" }, []string{"workflow-token"}, "T33", "may write"},
		"workflows that approve": {func(s *site) { s.actions.MayApprove = true }, []string{"workflow-approves"}, "T07", "approve"},
		"actions by tags":        {func(s *site) { s.actions.PinBySHA = false }, []string{"actions-pinning"}, "T11", "tags"},
		"no workflow that plans": {func(s *site) {
			s.change(".github/workflows/cabincrew.yml", planUse, "acme/x/.github/workflows/y.yml@"+somePin)
		}, []string{"plan-workflow"}, "T33", "pull_request"},
		"a workflow that plans something else": {func(s *site) { s.change(".github/workflows/cabincrew.yml", "  pull_request:\n", "  push:\n") }, []string{"plan-workflow"}, "T33", "pull_request"},
		"no workflow that takes off": {func(s *site) {
			s.change(".github/workflows/cabincrew-base.yml", "take-off.yml@"+somePin, "review.yml@"+somePin)
		}, []string{"take-off-workflow"}, "T46", "take-off.yml"},
		"our workflow by a tag": {func(s *site) {
			s.change(".github/workflows/cabincrew.yml", planUse, strings.TrimSuffix(planUse, somePin)+"v1")
		}, []string{"own-workflow-pinned", "signing"}, "T36", "@v1"},
		"a copy of our workflow": {func(s *site) {
			s.change(".github/workflows/cabincrew.yml", planUse, "./.github/workflows/flight-plan.yml")
		}, []string{"own-workflow-pinned"}, "T11", "./"},
		"an action by a tag": {func(s *site) {
			s.write(".github/workflows/x.yml", baseFlow("push", "      - uses: actions/checkout@v4\n"))
		}, []string{"uses-pinned"}, "T33", "actions/checkout@v4"},
		"an action by a short commit": {func(s *site) {
			s.write(".github/workflows/x.yaml", baseFlow("push", "      - {'uses': \"actions/checkout@0123456\"}\n"))
		}, []string{"uses-pinned"}, "T33", "@0123456"},
		"an image by a tag": {func(s *site) {
			s.write(".github/workflows/x.yml", baseFlow("push", "      - uses: docker://alpine:3\n"))
		}, []string{"uses-pinned"}, "T33", "alpine:3"},
		"one job": {func(s *site) {
			s.write(".github/workflows/x.yml", baseFlow("pull_request", "      - uses: cabincrew/action@"+somePin+"\n"))
		}, []string{"one-job"}, "T42", "one job"},
		"pull_request_target with the head": {func(s *site) {
			s.write(".github/workflows/x.yml", baseFlow("[pull_request_target]", pinnedCheckout+"        with: {ref: '${{ github.event.pull_request.head.sha }}'}\n"))
		}, []string{"fork-head"}, "T14", "pull_request_target"},
		"pull_request_target with another checkout": {func(s *site) {
			s.write(".github/workflows/x.yml", baseFlow("[push, pull_request_target]", "      - uses: acme/clone@"+somePin+"\n        with: {repository: '${{ github.event.pull_request.head.repo.full_name }}'}\n"))
		}, []string{"fork-head"}, "T14", "acme/clone"},
		"pull_request_target with a fetch": {func(s *site) {
			s.write(".github/workflows/x.yml", baseFlow("{pull_request_target: }", "      - run: git fetch origin refs/pull/$N/head\n"))
		}, []string{"fork-head"}, "T14", "script"},
		"workflow_run with the head": {func(s *site) {
			s.write(".github/workflows/x.yml", baseFlow("{workflow_run: {workflows: [a]}}", pinnedCheckout+"        with: {ref: '${{ github.event.workflow_run.head_sha }}'}\n"))
		}, []string{"fork-head"}, "T14", "workflow_run"},
		"our workflow on pull_request_target": {func(s *site) {
			s.change(".github/workflows/cabincrew.yml", "  workflow_dispatch:\n", "  pull_request_target:\n")
		}, []string{"fork-head"}, "T14", "refuses"},
		"nothing signed": {func(s *site) {
			at := filepath.Join(s.dir, ".cabincrew.yaml")
			text, _, _ := strings.Cut(read(s.t, at), "\nsigning:\n")
			s.write(".cabincrew.yaml", text)
		}, []string{"signing"}, "T10", "nothing is signed"},
		"another commit is trusted":      {func(s *site) { s.change(".cabincrew.yaml", somePin, strings.Repeat("b", 40)) }, []string{"signing"}, "T11", "names no identity"},
		"a planner that signs take-offs": {func(s *site) { s.change(".cabincrew.yaml", "        signs: [plan]\n", "") }, []string{"signing-rights"}, "T11", "take-offs too"},
		"no owners":                      {func(s *site) { must(s.t, os.Remove(filepath.Join(s.dir, ".github/CODEOWNERS"))) }, []string{"owners-cover", "owners-file"}, "T13", "none"},
		"owners that do not parse":       {func(s *site) { s.write(".github/CODEOWNERS", "* @acme/everybody\n!x @a\n") }, []string{"owners-cover", "owners-file"}, "T13", "CODEOWNERS:2"},
		"a configuration without owners": {func(s *site) { s.write(".github/CODEOWNERS", "* @acme/all\n/.cabincrew.yaml\n") }, []string{"owners-cover"}, "T13", ".cabincrew.yaml"},
		"policies without owners":        {func(s *site) { s.write(".github/CODEOWNERS", "* @acme/all\n/policies/\n") }, []string{"owners-cover"}, "T13", "policies/"},
		"workflows without owners":       {func(s *site) { s.write(".github/CODEOWNERS", "* @acme/all\n/.github/workflows/\n") }, []string{"owners-cover"}, "T13", ".github/workflows/"},
		"owners that nobody owns":        {func(s *site) { s.write(".github/CODEOWNERS", "* @acme/all\n/.github/CODEOWNERS\n") }, []string{"owners-cover"}, "T13", "CODEOWNERS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			c.spoil(s)
			d := s.ask("json")
			if got := d.ids("hole"); d.code != 3 || !slices.Equal(got, c.want) || d.Unknown != 0 {
				t.Fatalf("exit %d, holes %q, not %q\n%s%s", d.code, got, c.want, d.stdout, d.stderr)
			}
			said, threat := false, false
			for _, f := range d.Findings {
				if f.State == "hole" {
					said = said || strings.Contains(f.Detail, c.says)
					threat = threat || slices.Contains(f.Threats, c.threat)
				}
				if f.State == "hole" && (f.Attack == "" || f.Remedy == "" || f.Severity == "") {
					t.Errorf("%+v is not whole", f)
				}
			}
			if !said || !threat {
				t.Errorf("%q or %s is missing in\n%s", c.says, c.threat, d.stdout)
			}
		})
	}
}

// TestDoctorKnowsWhatItCannotRead: what the token is not shown is unknown, and never ok.
func TestDoctorKnowsWhatItCannotRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*site)
		code  int
		want  []string
	}{
		"a token that reads the administration": {func(s *site) { s.rights["administration"] = "read" }, 0, []string{"branch-bypass", "fence-creation", "fence-tags"}},
		"a job's token":                         {func(s *site) { delete(s.rights, "administration") }, 0, []string{"actions-pinning", "branch-bypass", "fence-creation", "fence-tags", "workflow-approves", "workflow-token"}},
		"a job's token, and protection": {func(s *site) {
			delete(s.rights, "administration")
			s.branch.Enforcement = "disabled"
			s.protection = &githubtest.Protection{Reviews: 1, Admins: true}
		}, 0, []string{
			"actions-pinning", "branch-bypass", "branch-check", "branch-code-owners", "branch-deletion", "branch-force-push", "branch-last-push", "branch-review", "branch-stale-approvals",
			"fence-creation", "fence-tags", "workflow-approves", "workflow-token",
		}},
		"a token without actions":           {func(s *site) { delete(s.rights, "actions") }, 0, []string{"environment", "environment-admins", "environment-branches", "environment-self-review"}},
		"a configuration that is not valid": {func(s *site) { s.change(".cabincrew.yaml", "public: true", `public: "<fill in: x>"`) }, 0, []string{"signing"}},
		"a workflow that is no YAML":        {func(s *site) { s.write(".github/workflows/x.yml", "a: [") }, 0, []string{"workflow-files"}},
		"a workflow that is a link": {func(s *site) {
			must(s.t, os.Symlink("/etc/passwd", filepath.Join(s.dir, ".github/workflows/x.yml")))
		}, 0, []string{"workflow-files"}},
		"an environment by an expression": {func(s *site) {
			s.change(".github/workflows/cabincrew-base.yml", "    # with:\n    #   environment: production\n", "    with:\n      environment: ${{ vars.WHERE }}\n")
		}, 0, []string{"environment"}},
		"no token":        {func(s *site) { s.rights = nil }, 7, nil},
		"a revoked token": {func(s *site) { s.rights = nil; s.env["GITHUB_TOKEN"] = "ghs_nobody" }, 7, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			c.spoil(s)
			d := s.ask("json")
			if got := d.ids("unknown"); d.code != c.code || c.want != nil && !slices.Equal(got, c.want) || d.Holes != 0 {
				t.Fatalf("exit %d, unknown %q, not %q\n%s%s", d.code, got, c.want, d.stdout, d.stderr)
			}
			if c.code == 7 && (len(d.ids("unknown")) < 16 || !slices.Contains(d.ids("ok"), "owners-file") || d.stderr == "") {
				t.Errorf("%s%s", d.stdout, d.stderr)
			}
		})
	}
}

// TestDoctorFormats: the same findings for people and as SARIF.
func TestDoctorFormats(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.tags.Rules = s.tags.Rules[:1]
	s.write(".github/workflows/x.yml", baseFlow("push", "      - uses: \"acme/\\e[31mevil@v1\"\n"))
	d := s.ask("text")
	for _, want := range []string{"hole     fence-tags: ", "T04, T38: ", "remedy: Make an active ruleset", "(.github/workflows/x.yml:7)", "2 holes, 0 unknown"} {
		if !strings.Contains(d.stdout, want) {
			t.Errorf("%q is missing in\n%s", want, d.stdout)
		}
	}
	if d.code != 3 || strings.ContainsRune(d.stdout, '\x1b') {
		t.Errorf("exit %d\n%q", d.code, d.stdout)
	}
	d.code, d.stdout, d.stderr = s.run(s.dir, s.env, "doctor", "--for", "github", "--format", "sarif")
	var log struct {
		Version string
		Runs    []struct {
			Results []struct {
				RuleID, Level string
				Locations     []struct {
					PhysicalLocation struct{ ArtifactLocation struct{ URI string } }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(d.stdout), &log); err != nil || d.code != 3 || log.Version != "2.1.0" || len(log.Runs) != 1 || len(log.Runs[0].Results) != 2 {
		t.Fatalf("exit %d, %v\n%s%s", d.code, err, d.stdout, d.stderr)
	}
	levels := map[string]string{}
	for _, r := range log.Runs[0].Results {
		levels[r.RuleID+" "+r.Locations[0].PhysicalLocation.ArtifactLocation.URI] = r.Level
	}
	if !maps.Equal(levels, map[string]string{"github/fence-tags .cabincrew.yaml": "error", "github/uses-pinned .github/workflows/x.yml": "error"}) {
		t.Errorf("%v", levels)
	}
	for _, args := range [][]string{{"--for", "gitlab"}, {"--for", "github", "--format", "junit"}, {"--format", "sarif"}, {"--for", "github", "--format", "sarif", "--output", "json"}} {
		if code, _, errs := s.run(s.dir, s.env, append([]string{"doctor"}, args...)...); code != 2 {
			t.Errorf("%q: exit %d\n%s", args, code, errs)
		}
	}
}

// TestDoctorInAJob is `command: doctor` of the action.
func TestDoctorInAJob(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.ask("json")
	run := s.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "push", Branch: "main", SHA: s.repo.Tip("refs/heads/main"), Actor: s.author})
	j := s.push(s.repo.Tip("refs/heads/main"), strings.Repeat("0", 40), strconv.FormatInt(run.ID, 10))
	j.env = map[string]string{"CABINCREW_OUTPUT": "json"}
	var d diagnosis
	if got := s.want(3, "doctor", j); json.Unmarshal([]byte(got.stdout), &d) != nil || d.Holes == 0 {
		t.Errorf("%s\n%s", got.stdout, got.stderr)
	}
	j.env = nil
	got := s.want(3, "doctor", j) // the checkout has no workflows
	if !strings.Contains(got.stdout, "hole     plan-workflow") || !strings.Contains(got.stdout, "unknown  workflow-token") || got.outputs["exit-code"] != "3" {
		t.Errorf("%s\n%s\n%v", got.stdout, got.stderr, got.outputs)
	}
}

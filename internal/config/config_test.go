package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// full names every key that there is but those of judges (see judges in judges_test.go).
const full = `version: 1
workflow: housekeeping
steps:
  - id: format
    engine: {use: command, with: {run: [gofmt, -s, -w, .], ratio: 0.50, depth: 3, deep: {list: [1, true, ~]}}}
    inputs: ["**/*.go"]
    idempotent: false
  - id: docs
    needs: [format]
    engine: {run: [./tools/docs-engine, --quick]}
    config: {title: Handbook}
    inputs: [docs/**, "*.md"]
    env: {DEBUG: "1", REGION: env:AWS_REGION}
    secrets: {DOCS_TOKEN: env:DOCS_TOKEN, CERT: file:certs/x.pem, READ: {from: env:READ_TOKEN, plan: true}}
    timeout: 5m
    target: staging
    idempotent: true
    isolation: required
    limits: {receipt: 1MiB, log: 2097152, artifacts: 7, artifact_bytes: 1GiB}
    hosts: [api.example.com, "*.example.org:8443"]
    model: small-1
    take_off: {workspace: none}
policies: {aggregation: custom, custom_rule: data.cabincrew.join.decision, bundled: [baseline], rego: [policies/], allow_without_policies: true}
approvals:
  expire: 24h
  default_role: owner
  self_approval: true
  binding: code
  approvers:
    - {name: first-maintainer, email: first@example.com, roles: [maintainer, owner], key: keys/first-maintainer.pub, bot: true, not_before: 2026-01-01T00:00:00Z, not_after: 2027-01-01T00:00:00+01:00}
  roles:
    operator: {count: 2, users: [octocat, "id:583231"], teams: [acme/operators], permission: maintain, codeowners: true}
    break-glass: {teams: [acme/wardens]}
  distinct: true
  carry_over: same-intent
  environments: [production]
  break_glass: {expire: 2h}
take_off: {on_stale: replan}
checks: per-step
comment: true
governance: {refs: [main, release/1.x]}
signing: {key: plan.key, keyless: false}
audit: {sign: checkpoint, key: audit.key}
retention: {days: 30, flights: 10}
storage: {flights: "dir:../flights", encrypt_to: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]}
`

func TestParseFull(t *testing.T) {
	t.Parallel()
	got, err := Parse("c.yaml", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Name:     "c.yaml",
		Workflow: "housekeeping",
		Steps: []Step{{
			Where: "c.yaml:4:5", ID: "format", Needs: []string{},
			Engine: Engine{Use: "command", With: map[string]any{
				"run": []any{"gofmt", "-s", "-w", "."}, "ratio": "0.50", "depth": int64(3),
				"deep": map[string]any{"list": []any{int64(1), true, nil}},
			}},
			Config: map[string]any{}, Inputs: []string{"**/*.go"}, Env: map[string]EnvValue{}, Secrets: map[string]Secret{},
			Timeout: Duration{10 * time.Minute, "10m"}, Isolation: IsolationAuto,
			Limits: Limits{4 << 20, 64 << 20, 10_000, 10 << 30}, Hosts: []string{}, Tunnels: []string{}, Tools: []string{}, Model: "none", TakeOffWorkspace: WorkspaceFull,
		}, {
			Where: "c.yaml:8:5", ID: "docs", Needs: []string{"format"},
			Engine: Engine{Run: []string{"./tools/docs-engine", "--quick"}},
			Config: map[string]any{"title": "Handbook"}, Inputs: []string{"docs/**", "*.md"},
			Env:     map[string]EnvValue{"DEBUG": {Literal: "1"}, "REGION": {From: "AWS_REGION"}},
			Secrets: map[string]Secret{"DOCS_TOKEN": {Env: "DOCS_TOKEN"}, "CERT": {File: "certs/x.pem"}, "READ": {Env: "READ_TOKEN", Plan: true}},
			Timeout: Duration{5 * time.Minute, "5m"}, Target: "staging", Idempotent: true, Isolation: IsolationRequired,
			Limits: Limits{1 << 20, 2 << 20, 7, 1 << 30}, Hosts: []string{"api.example.com", "*.example.org:8443"}, Tunnels: []string{}, Tools: []string{}, Model: "small-1", TakeOffWorkspace: WorkspaceNone,
		}},
		Policies: Policies{
			Aggregation: protocol.CustomRule, CustomRule: "data.cabincrew.join.decision",
			Bundled: []string{"baseline"}, Rego: []string{"policies"}, AllowWithoutPolicies: true,
			Sources: []Source{}, Data: map[string]any{}, Timeout: Duration{10 * time.Second, "10s"}, Exemptions: []Exemption{},
			Secrets: SecretScan{Scan: true, Decision: protocol.Deny},
		},
		Rules: []Rule{}, Models: []Model{}, After: After{Bundled: []string{}, Rego: []string{}},
		Approvals: Approvals{
			Expire: Duration{24 * time.Hour, "24h"}, DefaultRole: "owner", SelfApproval: true, Binding: BindingCode,
			Approvers: []Approver{{
				Where: "c.yaml:30:7", Name: "first-maintainer", Email: "first@example.com", Roles: []string{"maintainer", "owner"},
				Key: "keys/first-maintainer.pub", Bot: true,
				NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2026, 12, 31, 23, 0, 0, 0, time.UTC),
			}},
			Roles: []Role{
				{Where: "c.yaml:32:15", Name: "operator", Count: 2, Users: []string{"octocat", "id:583231"}, Teams: []string{"acme/operators"}, Permission: "maintain", CodeOwners: true},
				{Where: "c.yaml:33:18", Name: "break-glass", Count: 1, Users: []string{}, Teams: []string{"acme/wardens"}},
			},
			Distinct: true, CarryOver: CarrySameIntent, Environments: []string{"production"}, BreakGlass: BreakGlass{Duration{2 * time.Hour, "2h"}},
		},
		TakeOff: TakeOff{OnStale: StaleReplan}, Checks: ChecksPerStep, Comment: true, GovernanceRefs: []string{"main", "release/1.x"},
		Signing:   Signing{Key: "plan.key", Trusted: Trusted{Keys: []TrustedKey{}, Identities: []TrustedIdentity{}}},
		Audit:     Audit{Sign: AuditCheckpoint, Key: "audit.key"},
		Retention: Retention{30, 10}, Sandbox: Sandbox{Require: []string{}, Sudo: SudoAuto},
		Storage: Storage{Flights: "dir:../flights", EncryptTo: []string{"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"}},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Step{})); diff != "" {
		t.Error(diff)
	}
}

const minimal = "version: 1\nworkflow: w\nsteps: [{id: a, engine: {use: command}}]\n"

func TestParseDefaults(t *testing.T) {
	t.Parallel()
	c, err := Parse("c.yaml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	if c.Policies.Aggregation != protocol.MostRestrictive || c.Policies.AllowWithoutPolicies || len(c.Policies.Bundled) != 0 {
		t.Errorf("policies: %+v", c.Policies)
	}
	if a := c.Approvals; a.Expire.Duration != 72*time.Hour || a.DefaultRole != "maintainer" || a.SelfApproval || a.Binding != "auto" {
		t.Errorf("approvals: %+v", a)
	}
	if a := c.Approvals; len(a.Roles) != 0 || a.Distinct || a.CarryOver != "none" || len(a.Environments) != 0 || a.BreakGlass.On() {
		t.Errorf("approvals on a forge: %+v", a)
	}
	if c.TakeOff.OnStale != "fail" || c.Checks != "single" || c.Comment || len(c.GovernanceRefs) != 0 {
		t.Errorf("forge: %+v, %s, %v, %q", c.TakeOff, c.Checks, c.Comment, c.GovernanceRefs)
	}
	if c.Signing.On() || len(c.Signing.Trusted.Keys)+len(c.Signing.Trusted.Identities) > 0 || c.Retention != (Retention{90, 100}) {
		t.Errorf("signing %+v, retention %+v", c.Signing, c.Retention)
	}
	if s := c.Steps[0]; s.Timeout.Duration != limits.EngineTimeout || s.Idempotent || len(s.EngineConfig()) != 0 || s.EngineConfig() == nil {
		t.Errorf("step: %+v", s)
	}
}

// step puts keys into the only step of a file, at line 3.
func step(keys string) string {
	return "version: 1\nworkflow: w\nsteps: [{id: a, engine: {run: [x]}, " + keys + "}]\n"
}

type refusal struct {
	name, doc, code, message, hint string
	semantic                       bool // more than the JSON Schema can say
}

func (c refusal) data() []byte { return []byte(c.doc) }

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range refusals() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("c.yaml", c.data())
			list := Problems(err)
			if len(list) != 1 {
				t.Fatalf("want one problem, have %d: %v", len(list), err)
			}
			if p := list[0]; p.Code != c.code || p.Error() != c.message || (c.hint != "" && p.Hint != c.hint) || p.Exit != protocol.ExitUsage {
				t.Errorf("have %s | %s | %s | exit %d\nwant %s | %s | %s", p.Code, p.Error(), p.Hint, p.Exit, c.code, c.message, c.hint)
			}
			if list[0].Hint == "" {
				t.Error("no hint")
			}
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	doc := "version: 1\nworkflw: w\nsteps:\n  - id: A\n    engine: {run: [x]}\n    timeout: soon\n  - id: b\n    engine: {}\nversion: 1\n"
	_, err := Parse("c.yaml", []byte(doc))
	want := `c.yaml:1:1: workflow is missing
c.yaml:2:1: unknown key "workflw"
c.yaml:4:9: steps[0].id is not a step id: "A"
c.yaml:6:14: steps[0].timeout is not a length of time: "soon"
c.yaml:8:13: steps[1].engine says neither use, run, wasm nor oci
c.yaml:9:1: the key "version" is already at line 1`
	if err == nil || err.Error() != want {
		t.Errorf("have\n%v\nwant\n%s", err, want)
	}
	if protocol.ExitCode(err) != protocol.ExitUsage {
		t.Errorf("exit %d", protocol.ExitCode(err))
	}
	if !errors.Is(err, protocol.Code("config_duplicate_key")) {
		t.Error("the codes cannot be found")
	}
	if len(Problems(err)) != 6 {
		t.Errorf("%d problems", len(Problems(err)))
	}
}

func TestAliasBomb(t *testing.T) {
	t.Parallel()
	bomb := "config: {a: &a [1,1,1,1], b: &b [*a,*a,*a,*a], c: &c [*b,*b,*b,*b], <<: *c, d: [*c]}, env: *a, needs: *b"
	_, err := Parse("c.yaml", []byte(step(bomb)))
	for _, p := range Problems(err) {
		if p.Code != "config_alias" {
			t.Errorf("%s: %v", p.Code, p)
		}
	}
	if n := len(Problems(err)); n != 16 { // 3 anchors, 12 aliases, 1 merge key
		t.Errorf("%d problems: %v", n, err)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", limits.ConfigDepth+2) + strings.Repeat("]", limits.ConfigDepth+2)
	for _, c := range []struct{ name, doc, code string }{
		{"bytes", minimal + strings.Repeat("#", limits.ConfigBytes), "config_too_large"},
		{"nodes", step("config: {l: [" + strings.Repeat("1,", limits.ConfigNodes) + "]}"), "config_too_large"},
		{"depth", step("config: {l: " + deep + "}"), "config_depth"},
		{"steps", "version: 1\nworkflow: w\nsteps: [" + strings.Repeat("{},", limits.ConfigSteps+1) + "]", "config_value"},
		{"list", step("hosts: [" + strings.Repeat("h,", limits.ConfigList+1) + "]"), "config_value"},
		{"argument", step(`env: {A: "` + strings.Repeat("x", limits.ConfigArgument+1) + `"}`), "config_value"},
	} {
		_, err := Parse("c.yaml", []byte(c.doc))
		if list := Problems(err); len(list) != 1 || list[0].Code != c.code {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	_, err := Parse("c.yaml", []byte(minimal+strings.Repeat("x: 1\n", 200)))
	list := Problems(err)
	if len(list) != limits.ConfigProblems+1 || list[len(list)-1].Code != "config_problems" {
		t.Errorf("%d problems, last %v", len(list), list[len(list)-1])
	}
	_, err = Parse("c.yaml", []byte(minimal+`"`+strings.Repeat("é", 500)+`": 1`))
	if n := len(err.Error()); n > 200 {
		t.Errorf("a message of %d bytes: %v", n, err)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, data string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	if c, err := Load(write("good.yaml", minimal)); err != nil || c.Workflow != "w" {
		t.Errorf("%v %v", c, err)
	}
	for _, c := range []struct{ path, code string }{
		{filepath.Join(dir, "absent.yaml"), "config_not_found"},
		{dir, "config_unreadable"},
		{write("large.yaml", strings.Repeat("#", limits.ConfigBytes+1)), "config_too_large"},
		{write("empty.yaml", ""), "config_empty"},
	} {
		_, err := Load(c.path)
		if !errors.Is(err, protocol.Code(c.code)) || protocol.ExitCode(err) != protocol.ExitUsage {
			t.Errorf("%s: %v", c.path, err)
		}
	}
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"house-keeping": "house-keeping", "2026": "2026", "true": "true", "1.5": "1.5", "../x y": "main", "": "main"} {
		data := Template(name)
		if !strings.HasPrefix(string(data), "# yaml-language-server: $schema=https://") {
			t.Error("the first line is not for editors")
		}
		c, err := Parse(FileName, data)
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if c.Workflow != want {
			t.Errorf("%q became %q", name, c.Workflow)
		}
		if err := c.Resolve(Builtins{"command": {}}); err != nil {
			t.Error(err)
		}
	}
	// What it says in comments is valid too.
	var open []string
	for line := range strings.SplitSeq(string(Template("w")), "\n") {
		for _, key := range []string{"timeout:", "secrets:", "env:", "rego:", "approvers:", "signing:", "  - name", "    email", "    roles", "    key"} {
			if at := strings.Index(line, "# "+key); at >= 0 {
				line = line[:at] + line[at+2:]
				break
			}
		}
		open = append(open, line)
	}
	c, err := Parse(FileName, []byte(strings.Join(open, "\n")))
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(open, "\n"))
	}
	if len(c.Approvals.Approvers) != 1 || c.Signing.Key == "" || len(c.Steps[0].Secrets) != 1 || len(c.Policies.Rego) != 1 {
		t.Errorf("%+v", c)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(minimal))
	f.Add(Template("w"))
	for _, c := range refusals() {
		f.Add(c.data())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("c.yaml", data)
		if err != nil {
			list := Problems(err)
			if len(list) == 0 || len(list) > limits.ConfigProblems+1 || protocol.ExitCode(err) != protocol.ExitUsage {
				t.Fatalf("%d problems: %v", len(list), err)
			}
			for _, p := range list {
				if p.Code == "" || p.Hint == "" || len(p.Error()) > 2000 {
					t.Fatalf("incomplete or long: %q", p.Error())
				}
			}
			return
		}
		if len(c.PlanOrder()) != len(c.Steps) {
			t.Fatal("the order is incomplete")
		}
		for i := range c.Steps {
			if _, err := protocol.Canonical(c.Resolved(&c.Steps[i])); err != nil {
				t.Fatal(err)
			}
		}
		g, err := c.Governance(func(p string) (string, error) { return p, nil })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := protocol.Canonical(g); err != nil {
			t.Fatal(err)
		}
	})
}

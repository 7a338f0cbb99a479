package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cabincrew/action/protocol"
)

const digest64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// judges names every key of what judges.
const judges = minimal + `policies:
  timeout: 20s
  explain: true
  data: {cabincrew_baseline: {max_changed_lines: 10}}
  sources:
    - {name: acme, bundle: policies/acme.tar.gz, key: keys/acme.pub}
    - {bundle: b.tar.gz, sha256: ` + digest64 + `}
    - {oci: registry.example/p@sha256:` + digest64 + `, oci_layout: images}
    - {git: ., ref: main, path: governance/policies}
    - {git: "https://git.example/p.git", ref: v1.2}
  secrets: {scan: true, decision: require_approval, role: security, baseline: .known.json}
  exemptions:
    - {rule: ci-workflow, paths: [.github/workflows/*.yml], until: 2026-12-31, reason: moving house}
    - {rule: cabincrew.x/deny/y, paths: ["**"], until: "2026-12-31T01:02:03Z", reason: r}
rules:
  - id: prod
    match:
      steps: [a]
      branches: [release/*]
      labels: [urgent]
      artifact_types: [patch]
      actions: [apply]
      targets: ["https://*"]
      paths: [prod/**]
      operations: [delete]
      files: {at_least: 1, at_most: 3}
      lines: {at_most: 0}
      bytes: {at_least: 5}
      artifacts: {at_least: 1}
    except: {labels: [ok]}
    decision: require_approval
    role: owner
    reason: production goes
  - {id: rest, match: {}, decision: allow, reason: ordinary}
models:
  - {name: injection, bundled: instruction-injection}
  - name: risk
    path: ./models/risk.onnx
    sha256: ` + digest64 + `
    input: features
    reads: {types: [patch], roles: [evidence, state], mime: ["text/*"], parts: [metadata]}
    window: 4096
    overlap: 0
    output: scores
    labels: [low, high]
    decisions:
      - {label: high, at_least: 0.5, decision: warn}
      - {label: high, at_least: "0.90", decision: require_approval, role: owner}
    timeout: 5s
    on_error: warn
  - {name: far, oci: registry.example/m@sha256:` + digest64 + `, oci_layout: d, file: m.onnx, sha256: ` + digest64 + `, labels: [x], decisions: [{label: x, at_least: 1, decision: deny}]}
after: {bundled: [baseline], rego: [after/]}
`

func TestParseJudges(t *testing.T) {
	t.Parallel()
	got, err := Parse("c.yaml", []byte(judges))
	if err != nil {
		t.Fatal(err)
	}
	n := func(v int64) *int64 { return &v }
	none := []string{}
	secret := SecretScan{Scan: true, Decision: protocol.RequireApproval, Role: "security", Baseline: ".known.json"}
	wantPolicies := Policies{
		Aggregation: protocol.MostRestrictive, Bundled: none, Rego: none, Timeout: Duration{20 * time.Second, "20s"}, Explain: true,
		Data: map[string]any{"cabincrew_baseline": map[string]any{"max_changed_lines": int64(10)}}, Secrets: secret,
		Sources: []Source{
			{Where: "c.yaml:9:7", Name: "acme", Bundle: "policies/acme.tar.gz", Key: "keys/acme.pub", Dir: "."},
			{Where: "c.yaml:10:7", Bundle: "b.tar.gz", SHA256: digest64, Dir: "."},
			{Where: "c.yaml:11:7", OCI: "registry.example/p@sha256:" + digest64, Layout: "images", Dir: "."},
			{Where: "c.yaml:12:7", Git: ".", Ref: "main", Dir: "governance/policies"},
			{Where: "c.yaml:13:7", Git: "https://git.example/p.git", Ref: "v1.2", Dir: "."},
		},
		Exemptions: []Exemption{
			{"ci-workflow", []string{".github/workflows/*.yml"}, time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC), "moving house"},
			{"cabincrew.x/deny/y", []string{"**"}, time.Date(2026, 12, 31, 1, 2, 3, 0, time.UTC), "r"},
		},
	}
	if diff := cmp.Diff(wantPolicies, got.Policies); diff != "" {
		t.Error(diff)
	}
	except := Match{Steps: none, Branches: none, Labels: []string{"ok"}, ArtifactTypes: none, Actions: none, Targets: none, Paths: none, Operations: none}
	all := except
	all.Labels = none
	wantRules := []Rule{{
		Where: "c.yaml:19:5", ID: "prod", Decision: protocol.RequireApproval, Role: "owner", Reason: "production goes", Except: &except,
		Match: Match{
			Steps: []string{"a"}, Branches: []string{"release/*"}, Labels: []string{"urgent"}, ArtifactTypes: []string{"patch"}, Actions: []string{"apply"},
			Targets: []string{"https://*"}, Paths: []string{"prod/**"}, Operations: []string{"delete"}, Files: Range{n(1), n(3)}, Lines: Range{nil, n(0)},
			Bytes: Range{n(5), nil}, Artifacts: Range{n(1), nil},
		},
	}, {Where: "c.yaml:37:5", ID: "rest", Match: all, Decision: protocol.Allow, Reason: "ordinary"}}
	if diff := cmp.Diff(wantRules, got.Rules); diff != "" {
		t.Error(diff)
	}
	defaults := Model{Input: "string", Types: none, Roles: none, Mime: none, Parts: []string{"added", "body"}, Window: 2048, Overlap: 256, Labels: none, Decisions: []ModelDecision{}, Timeout: Duration{30 * time.Second, "30s"}, OnError: protocol.Deny}
	first, third := defaults, defaults
	first.Where, first.Name, first.Bundled = "c.yaml:39:5", "injection", "instruction-injection"
	third.Where, third.Name, third.OCI, third.Layout, third.File, third.SHA256 = "c.yaml:54:5", "far", "registry.example/m@sha256:"+digest64, "d", "m.onnx", digest64
	third.Labels, third.Decisions = []string{"x"}, []ModelDecision{{"x", "1", protocol.Deny, ""}}
	wantModels := []Model{first, {
		Where: "c.yaml:40:5", Name: "risk", Path: "models/risk.onnx", SHA256: digest64, Input: "features", Types: []string{"patch"}, Roles: []string{"evidence", "state"},
		Mime: []string{"text/*"}, Parts: []string{"metadata"}, Window: 4096, Output: "scores", Labels: []string{"low", "high"},
		Decisions: []ModelDecision{{"high", "0.5", protocol.Warn, ""}, {"high", "0.90", protocol.RequireApproval, "owner"}},
		Timeout:   Duration{5 * time.Second, "5s"}, OnError: protocol.Warn,
	}, third}
	if diff := cmp.Diff(wantModels, got.Models); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(After{Bundled: []string{"baseline"}, Rego: []string{"after"}}, got.After); diff != "" {
		t.Error(diff)
	}
}

// TestJudgesAreGoverned: whatever a line of judges says is in the governance hash.
func TestJudgesAreGoverned(t *testing.T) {
	t.Parallel()
	_, before := forms(t, judges, Builtins{"command": {}})
	for _, change := range [][2]string{
		{"timeout: 20s", "timeout: 21s"}, {"explain: true", "explain: false"}, {"max_changed_lines: 10", "max_changed_lines: 11"},
		{"name: acme", "name: acma"}, {"acme.tar.gz", "b.tar.gz"}, {"keys/acme.pub", "keys/b.pub"}, {"oci_layout: images", "oci_layout: image"},
		{"ref: main", "ref: trunk"}, {"governance/policies", "governance"}, {"git.example", "git.example.org"},
		{"scan: true", "scan: false"}, {"role: security", "role: owner"}, {".known.json", ".k.json"}, {"rule: ci-workflow", "rule: ci"},
		{"workflows/*.yml", "workflows/*"}, {"until: 2026-12-31,", "until: 2026-12-30,"}, {"moving house", "moved"}, {"id: prod", "id: p"},
		{"steps: [a]", "steps: [b]"}, {"release/*", "release"}, {"labels: [urgent]", "labels: [u]"}, {"artifact_types: [patch]", "artifact_types: [p]"},
		{"actions: [apply]", "actions: [a]"}, {`targets: ["https://*"]`, `targets: ["http://*"]`}, {"prod/**", "prod/*"}, {"operations: [delete]", "operations: [add]"},
		{"at_least: 1, at_most: 3", "at_least: 1, at_most: 4"}, {"lines: {at_most: 0}", "lines: {at_most: 1}"}, {"bytes: {at_least: 5}", "bytes: {at_least: 6}"},
		{"artifacts: {at_least: 1}", "artifacts: {at_least: 2}"}, {"except: {labels: [ok]}", "except: {labels: [no]}"}, {"role: owner\n    reason", "role: own\n    reason"},
		{"production goes", "it goes"}, {"decision: allow", "decision: warn"}, {"name: injection", "name: inject"}, {"risk.onnx", "r.onnx"},
		{"input: features", "input: string"}, {"types: [patch],", "types: [note],"}, {"roles: [evidence, state]", "roles: [evidence]"}, {`mime: ["text/*"]`, `mime: ["text/plain"]`},
		{"parts: [metadata]", "parts: [body]"}, {"window: 4096", "window: 4095"}, {"overlap: 0", "overlap: 1"}, {"output: scores", "output: score"},
		{"labels: [low, high]", "labels: [high, low]"}, {"at_least: 0.5", "at_least: 0.6"}, {"timeout: 5s", "timeout: 6s"}, {"on_error: warn", "on_error: deny"},
		{"file: m.onnx", "file: n.onnx"}, {"after: {bundled: [baseline]", "after: {bundled: [agents]"}, {"rego: [after/]", "rego: [behind/]"},
	} {
		if strings.Count(judges, change[0]) < 1 {
			t.Errorf("%q is not there", change[0])
			continue
		}
		if _, after := forms(t, strings.Replace(judges, change[0], change[1], 1), Builtins{"command": {}}); after == before {
			t.Errorf("%q is not governed", change[0])
		}
	}
}

func judgeRefusals() []refusal {
	top := func(keys string) string { return minimal + keys }
	rule := func(keys string) string { return top("rules: [{id: r, match: {}, reason: x, " + keys + "}]\n") }
	match := func(keys string) string {
		return top("rules: [{id: r, reason: x, decision: deny, match: {" + keys + "}}]\n")
	}
	model := func(keys string) string {
		return top("models: [{name: m, path: p, sha256: " + digest64 + ", labels: [x], decisions: [], " + keys + "}]\n")
	}
	row := func(keys string) string {
		return top("models: [{name: m, path: p, sha256: " + digest64 + ", labels: [x], decisions: [{" + keys + "}]}]\n")
	}
	source := func(keys string) string { return top("policies: {sources: [{" + keys + "}]}\n") }
	exemption := func(keys string) string { return top("policies: {exemptions: [{" + keys + "}]}\n") }
	return []refusal{
		{"rule without id", top("rules: [{match: {}, decision: deny, reason: x}]\n"), "config_missing", "c.yaml:4:9: rules[0].id is missing", "", false},
		{"rule's decision", rule("decision: no"), "config_value", `c.yaml:4:49: rules[0].decision is unknown: "no"`, "", false},
		{"role that nobody needs", rule("decision: deny, role: owner"), "config_value", "c.yaml:4:61: rules[0].role is only for the decision require_approval", "", false},
		{"same rule twice", top("rules: [{id: r, match: {}, decision: deny, reason: x}, {id: r, match: {}, decision: deny, reason: x}]\n"), "config_value", `c.yaml:4:56: rules[1] repeats the id "r"`, "", true},
		{"empty list in a match", match("paths: []"), "config_value", "c.yaml:4:59: rules[0].match.paths is empty", "", false},
		{"range without bounds", match("files: {}"), "config_value", "c.yaml:4:59: rules[0].match.files has no bound", "", false},
		{"range that never holds", match("files: {at_least: 2, at_most: 1}"), "config_value", "c.yaml:4:59: rules[0].match.files can never hold: at_least is more than at_most", "", true},
		{"negative bound", match("lines: {at_least: -1}"), "config_value", "c.yaml:4:70: rules[0].match.lines.at_least is out of bounds: -1", "", false},
		{"operation", match("operations: [move]"), "config_value", `c.yaml:4:65: rules[0].match.operations[0] is unknown: "move"`, "", false},
		{"rule's glob outside", match("paths: [../x]"), "config_value", `c.yaml:4:60: rules[0].match.paths[0] leaves the workspace: "../x"`, "", false},
		{"exemption for ever", exemption("rule: r, paths: [x], reason: x"), "config_missing", "c.yaml:4:25: policies.exemptions[0].until is missing", "", false},
		{"exemption without reason", exemption("rule: r, paths: [x], until: 2026-01-01"), "config_missing", "c.yaml:4:25: policies.exemptions[0].reason is missing", "", false},
		{"exemption of everything", exemption("rule: '*', paths: [x], until: 2026-01-01, reason: x"), "config_value", `c.yaml:4:32: policies.exemptions[0].rule is not a rule's id: "*"`, "", false},
		{"exemption's day", exemption("rule: r, paths: [x], until: tomorrow, reason: x"), "config_value", `c.yaml:4:54: policies.exemptions[0].until is not a day: "tomorrow"`, "write it as 2026-12-31", false},
		{"secrets allowed", top("policies: {secrets: {decision: allow}}\n"), "config_value", `c.yaml:4:32: policies.secrets.decision is unknown: "allow"`, "", false},
		{"source of no kind", source("name: a"), "config_value", "c.yaml:4:22: policies.sources[0] has 0 of bundle, oci, git", "", false},
		{"source of two kinds", source("git: ., ref: main, oci: r/p@sha256:" + digest64), "config_value", "c.yaml:4:22: policies.sources[0] has 2 of bundle, oci, git", "", false},
		{"bundle of anybody", source("bundle: b.tar.gz"), "config_value", "c.yaml:4:22: policies.sources[0] needs exactly one of key and sha256", "", false},
		{"image by tag", source("oci: registry.example/p:v1"), "config_value", `c.yaml:4:28: policies.sources[0].oci is not a reference with a digest: "registry.example/p:v1"`, "", false},
		{"git without ref", source("git: ."), "config_missing", "c.yaml:4:22: policies.sources[0].ref is missing", "", false},
		{"git over plain HTTP", source("git: 'http://git.example/p', ref: main"), "config_value", `c.yaml:4:28: policies.sources[0].git has an unknown scheme: "http://git.example/p"`, "", false},
		{"git in the workspace", source("git: vendor/p.git, ref: main"), "config_value", `c.yaml:4:28: policies.sources[0].git lies in the workspace: "vendor/p.git"`, "write . for the workspace's own repository, or the absolute path or URL of another one", false},
		{"git by another dot", source("git: ./., ref: main"), "config_value", `c.yaml:4:28: policies.sources[0].git lies in the workspace: "./."`, "", false},
		{"git with a password", source("git: 'https://a:b@git.example/p', ref: main"), "config_value", "c.yaml:4:28: policies.sources[0].git holds credentials", "", true},
		{"key of a repository", source("git: ., ref: main, key: k.pub"), "config_value", "c.yaml:4:47: policies.sources[0].key belongs to bundle only", "", false},
		{"long policy", top("policies: {timeout: 11m}\n"), "config_value", `c.yaml:4:21: policies.timeout is out of bounds: "11m"`, "", true},
		{"model of no kind", top("models: [{name: m}]\n"), "config_value", "c.yaml:4:10: models[0] has 0 of bundled, path, oci", "", false},
		{"model without digest", top("models: [{name: m, path: p, labels: [x], decisions: []}]\n"), "config_missing", "c.yaml:4:10: models[0].sha256 is missing", "", false},
		{"model's digest", top("models: [{name: m, bundled: b, sha256: abc}]\n"), "config_value", `c.yaml:4:40: models[0].sha256 is not a SHA-256 in hex: "abc"`, "", false},
		{"same model twice", top("models: [{name: m, bundled: b}, {name: m, bundled: b}]\n"), "config_value", `c.yaml:4:33: models[1] repeats the name "m"`, "", true},
		{"model's input", model("input: image"), "config_value", `c.yaml:4:138: models[0].input is unknown: "image"`, "", false},
		{"windows that stand still", model("window: 64, overlap: 64"), "config_value", "c.yaml:4:10: models[0]: overlap is not smaller than window", "", true},
		{"small window", model("window: 1"), "config_value", "c.yaml:4:139: models[0].window is out of bounds: 1", "", false},
		{"model that may fail", model("on_error: allow"), "config_value", `c.yaml:4:141: models[0].on_error is unknown: "allow"`, "", false},
		{"part", model("reads: {parts: [all]}"), "config_value", `c.yaml:4:147: models[0].reads.parts[0] is unknown: "all"`, "", false},
		{"threshold above one", row("label: x, at_least: 1.5, decision: deny"), "config_value", "c.yaml:4:149: models[0].decisions[0].at_least is out of bounds: 1.5", "", false},
		{"threshold as text", row("label: x, at_least: high, decision: deny"), "config_value", "c.yaml:4:149: models[0].decisions[0].at_least is out of bounds: high", "", false},
		{"after outside", top("after: {rego: [/p]}\n"), "config_value", `c.yaml:4:16: after.rego[0] is absolute: "/p"`, "", false},
	}
}

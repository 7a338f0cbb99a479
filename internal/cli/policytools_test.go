package cli

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// toolsPolicy answers with an id, files and texts that would play tricks.
const toolsPolicy = `package cabincrew.desk

# METADATA
# title: Hostile names
# description: A file has a name that nobody wants.
# custom:
#   id: hostile
#   remedy: Choose another name.
require_approval contains {"id": "hostile", "role": "maintainer", "files": [f.path], "msg": sprintf("see %s\n::error::forged", [f.path])} if {
	some a in input.artifacts
	some f in a.patch.files
	f.path != "notes.txt"
}

warn contains "plain" if input.mode == "flight-plan"
`

func TestPolicyEvalTellsEverything(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"policies/desk.rego": toolsPolicy})
	id := d.plan(4)
	out := d.must(4, []string{
		"step edit  decision require_approval", "cabincrew.desk/require_approval/hostile", "files ", "rule      policies/desk.rego:9", "spent ", "warn ", "plain",
	}, "policy", "eval", "--flight", id)
	clean(t, out)
	if strings.Contains(out, "explained") || strings.Contains(out, "\n::") {
		t.Errorf("got\n%s", out)
	}
	d.must(4, []string{"explained cabincrew.desk", "policies/desk.rego:15 warn: held 1 of 1"}, "policy", "eval", "--flight", id, "--explain")

	var doc struct{ Steps []judged }
	d.json(4, &doc, "policy", "eval", "--flight", id, "--explain")
	e := doc.Steps[0].Evaluations[0]
	if e.Policy != "policies/desk.rego:9" || e.SpentUS <= 0 || len(e.Files) != 1 || !strings.HasPrefix(e.Files[0], "evil") || len(doc.Steps[0].Explanations) != 1 {
		t.Errorf("the answer is %+v", doc)
	}
	for _, args := range [][]string{{"--format", "yaml"}, {"--format", "junit", "--output", "json"}, {"--flight", id, "--input", "x"}} {
		d.must(2, nil, append([]string{"policy", "eval", "--flight", id}, args...)...)
	}
}

// TestExplainedReports finds explanations in the report only where they are asked for.
func TestExplainedReports(t *testing.T) {
	t.Parallel()
	for _, explain := range []bool{false, true} {
		d := newDesk(t, nil)
		if explain {
			d.change(d.path(".cabincrew.yaml"), "{rego: [policies/]}", "{rego: [policies/], explain: true}")
		}
		id := d.plan(4)
		raw, err := os.ReadFile(d.flightFile(id, "steps/edit/preflight.json"))
		if err != nil {
			t.Fatal(err)
		}
		var r orchestrator.Report
		if err := json.Unmarshal(raw, &r); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(raw), "explanations"); got != explain || explain && (len(r.Explanations) != 1 || len(r.Explanations[0].Lines) == 0) {
			t.Errorf("explain %v gives\n%s", explain, raw)
		}
		d.must(0, nil, "verify", id)
	}
}

func TestPolicyTestCoverage(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{
		"policies/desk.rego":      deskPolicy + "\nwarn contains \"x\" if {\n\tinput.mode == \"never\"\n\tinput.opaque\n}\n",
		"policies/desk_test.rego": "package cabincrew.desk_test\n\nimport data.cabincrew.desk\n\ntest_asks if count(desk.require_approval) == 1 with input as {\"artifacts\": [1]}\n",
	})
	d.must(0, []string{"1 passed"}, "policy", "test", "--coverage-min", "10")
	d.must(1, []string{"policy_coverage_low", "coverage 40.0 %"}, "policy", "test", "--coverage-min", "99.5")
	d.must(2, []string{"--coverage-min"}, "policy", "test", "--coverage-min", "101")
	out := d.must(1, []string{"policy_coverage_low"}, "policy", "test", "--coverage-min", "99", "--format", "junit")
	if r := readJUnit(t, out); r.Tests != 2 || r.Failures != 1 {
		t.Errorf("got %s", out)
	}

	// What judges take-offs has tests too.
	d.write("after/after.rego", "package cabincrew.after\n\nwarn contains \"x\" if input.mode == \"take-off\"\n")
	d.write("after/after_test.rego", "package cabincrew.after_test\n\ntest_it if count(data.cabincrew.after.warn) == 2 with input as {\"mode\": \"take-off\"}\n")
	d.change(d.path(".cabincrew.yaml"), "retention:", "after: {rego: [after/]}\nretention:")
	d.must(1, []string{"1 passed, 1 failed", "after/after_test.rego:3"}, "policy", "test")
	d.must(1, []string{"::error file=after/after_test.rego,line=3,title=policy-test (cabincrew.after_test.test_it)::"}, "policy", "test", "--format", "github")
	out = d.must(1, nil, "policy", "test", "--format", "junit")
	if r := readJUnit(t, out); r.Tests != 2 || r.Failures != 1 || len(r.Suites) != 2 {
		t.Errorf("got %s", out)
	}
	s := readSARIF(t, d.must(1, nil, "policy", "test", "--format", "sarif"))
	if len(s.Runs[0].Results) != 1 || s.Runs[0].Results[0].Locations[0].Physical.Artifact.URI != "after/after_test.rego" || s.Runs[0].Results[0].Locations[0].Physical.Region.StartLine != 3 {
		t.Errorf("got %+v", s)
	}
}

func TestPolicyExplain(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"policies/desk.rego": toolsPolicy})
	d.change(d.path(".cabincrew.yaml"), "retention:", "rules: [{id: big, match: {files: {at_least: 99}}, decision: deny, reason: split it}]\nretention:")
	id := d.plan(4)
	for _, name := range []string{"hostile", "cabincrew.desk/require_approval/hostile"} {
		out := d.must(0, []string{
			"Hostile names", "A file has a name that nobody wants.", "decision  require_approval", "Choose another name.", "policies/desk.rego:9",
			"some f in a.patch.files", "- rule: hostile", "until: 2", "flight " + id + "  step edit  require_approval",
		}, "policy", "explain", name, "--flight", id)
		clean(t, strings.ReplaceAll(out, "\t", " "))
	}
	d.must(0, []string{"cabincrew.desk/warn", "- rule: cabincrew.desk/warn", "found nothing"}, "policy", "explain", "cabincrew.desk/warn", "--flight", d.other(id))
	d.must(0, []string{"rules/big", "split it", ".cabincrew.yaml:", "deny"}, "policy", "explain", "big")
	d.must(0, []string{"secrets/aws-access-token", "deny", "--write-baseline", "- rule: aws-access-token"}, "policy", "explain", "aws-access-token")
	d.must(0, []string{"secrets/delta-unread", "require_approval"}, "policy", "explain", "secrets/delta-unread")
	d.must(2, []string{"policy_rule_unknown"}, "policy", "explain", "aws-access-token", "--set", "baseline")
	d.must(2, []string{"policy_rule_unknown", "perhaps hostile"}, "policy", "explain", "hostil")
	d.must(2, []string{"policy_rule_unknown"}, "policy", "explain", "ci-workflow")
	d.must(0, []string{"baseline/require_approval.rego:"}, "policy", "explain", "ci-workflow", "--set", "baseline")
	var list []explainedRule
	d.json(0, &list, "policy", "explain", "hostile", "--flight", id)
	if len(list) != 1 || list[0].Rego == "" || len(list[0].Findings) == 0 || list[0].Findings[0].StepID != "edit" {
		t.Errorf("got %+v", list)
	}
	d.change(d.path(".cabincrew.yaml"), "retention:", "models: [{name: injection, bundled: instruction-injection, decisions: [{label: injection, at_least: \"0.75\", decision: warn}]}]\nretention:")
	d.must(0, []string{"onnx/injection", "instruction-injection.md", "warn at 0.75 of injection", ".cabincrew.yaml:"}, "policy", "explain", "injection")
	// Without a configuration the bundled sets are known.
	if err := os.Remove(d.path(".cabincrew.yaml")); err != nil {
		t.Fatal(err)
	}
	d.must(0, []string{"ci-workflow"}, "policy", "explain", "ci-workflow")
	d.must(0, []string{"aws-access-token"}, "policy", "explain", "aws-access-token")
}

// other plans a flight in which no rule fires.
func (d *desk) other(string) string {
	d.t.Helper()
	d.write("policies/desk.rego", strings.Replace(toolsPolicy, `"flight-plan"`, `"never"`, 1))
	return d.plan(4)
}

func TestPolicyReplay(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"stricter/x.rego": "package cabincrew.stricter\n\ndeny contains {\"msg\": \"no notes\", \"file\": \"notes.txt\"}\n"})
	first, second := d.plan(4), d.plan(4)
	d.must(2, []string{"--flights"}, "policy", "replay")

	// The same policies say the same, and know the configuration.
	var r replay
	state := d.path(".cabincrew")
	d.json(0, &r, "policy", "replay", "--flights", state, "--against", d.path(".cabincrew.yaml"), "--exit-code")
	if r.Steps != 2 || r.Changed != 0 || r.Unchanged != 2 || r.Shifted != 0 || !slices.Equal(r.Flights[0].Steps[0].Unknown, []string{"change", "workspace"}) {
		t.Errorf("got %+v", r)
	}
	// Others change the decision.
	args := []string{"policy", "replay", "--flights", state + "/flights", "--against", d.path("stricter")}
	d.must(0, []string{
		"step edit  require_approval by maintainer -> deny", "+ deny", "cabincrew.stricter/deny  no notes (notes.txt)", "- require_approval  cabincrew.desk/require_approval",
		"2 steps of 2 flights: 2 decisions change, 0 stay",
	}, args...)
	d.must(1, []string{"replay_changed"}, append(args, "--exit-code")...)
	out := d.must(0, []string{"::error title=flight " + first + "%2C step edit::"}, append(args, "--format", "github")...)
	clean(t, out)
	if j := readJUnit(t, d.must(0, nil, append(args, "--format", "junit")...)); j.Tests != 2 || j.Failures != 2 {
		t.Errorf("got %+v", j)
	}
	s := readSARIF(t, d.must(0, nil, append(args, "--format", "sarif")...))
	var states []string
	for _, x := range s.Runs[0].Results {
		states = append(states, x.Level+" "+x.Baseline)
	}
	if !slices.Equal(states, []string{"error new", "warning absent", "error new", "warning absent"}) {
		t.Errorf("got %q", states)
	}

	// Neither the configuration nor the workspace need be there, nor be the same.
	d.write("notes.txt", "something else\n")
	d.change(d.path(".cabincrew.yaml"), "workflow: desk", "workflow: other")
	d.change(d.path(".cabincrew.yaml"), "id: edit", "id: changed")
	d.json(0, &r, append(args, "--output", "json")...)
	if r.Changed != 2 || !slices.Equal(r.Flights[1].Steps[0].Unknown, []string{"change", "config", "workspace"}) {
		t.Errorf("got %+v", r)
	}
	if err := os.Remove(d.path(".cabincrew.yaml")); err != nil {
		t.Fatal(err)
	}
	d.must(0, []string{"1 steps of 1 flights"}, "policy", "replay", "--flights", filepath.Join(state, "flights", second), "--against", "baseline")
	d.must(3, []string{"policy_set_missing"}, "policy", "replay", "--flights", state, "--against", d.path("policies/desk.rego/nowhere"), "--config", d.path("x.yaml"))
}

// TestReplayOfHostileFlights leaves out what does not verify and says so.
func TestReplayOfHostileFlights(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	good, bad := d.plan(4), d.plan(4)
	d.must(2, []string{"replay_none"}, "policy", "replay", "--flights", d.path("policies"), "--against", "baseline")
	d.must(2, nil, "policy", "replay", "--flights", d.path("nowhere"), "--against", "baseline")

	args := []string{"policy", "replay", "--flights", d.path(".cabincrew"), "--against", "baseline"}
	d.change(d.flightFile(bad, "steps/edit/artifacts/changes/body.data"), "new", "old")
	d.must(5, []string{"flight " + bad + " is left out", "replay_failed", "1 steps of 1 flights", "1 flights do not verify"}, append(args, "--exit-code")...)
	d.must(5, []string{"::error title=flight " + bad}, append(args, "--format", "github")...)
	if j := readJUnit(t, d.must(5, nil, append(args, "--format", "junit")...)); j.Errors != 1 {
		t.Errorf("got %+v", j)
	}
	// A report that was changed is no recorded decision.
	d.change(d.flightFile(good, "steps/edit/preflight.json"), `"decision":"require_approval"`, `"decision":"allow"`)
	var r replay
	d.json(5, &r, args...)
	if r.Failed != 2 || r.Steps != 0 || r.Flights[0].Error == nil {
		t.Errorf("got %+v", r)
	}
	// A log that is gone does not make a sealed flight one that never began.
	if err := os.Remove(d.flightFile(good, "wal.jsonl")); err != nil {
		t.Fatal(err)
	}
	d.json(5, &r, args...)
	if r.Failed != 2 || r.Skipped != 0 {
		t.Errorf("got %+v", r)
	}
}

func TestComparison(t *testing.T) {
	t.Parallel()
	e := func(id string, d protocol.Decision, files ...any) protocol.PolicyEvaluation {
		return protocol.PolicyEvaluation{PolicyID: id, Decision: d, Evidence: map[string]any{"files": files}}
	}
	got := compared(
		[]protocol.PolicyEvaluation{e("a", protocol.Deny, "x"), e("b", protocol.Warn, "x"), e("c", protocol.Warn), e("c", protocol.Warn), e("d", protocol.Deny), e("n", protocol.Allow)},
		[]protocol.PolicyEvaluation{e("a", protocol.Deny, "y"), e("b", protocol.Deny, "x"), e("c", protocol.Warn), e("d", protocol.Allow), e("m", protocol.Allow)},
	)
	ids := func(list []matched) (out []string) {
		for _, m := range list {
			out = append(out, m.PolicyID+" "+strings.Join(m.Files, ","))
		}
		return out
	}
	if !slices.Equal(ids(got.Added), []string{"a y"}) || !slices.Equal(ids(got.Gone), []string{"a x", "c "}) || !slices.Equal(ids(got.same), []string{"c "}) {
		t.Errorf("got %+v", got)
	}
	if len(got.Altered) != 2 || got.Altered[0].Old != protocol.Warn || got.Altered[1].Decision != protocol.Allow {
		t.Errorf("got %+v", got.Altered)
	}
}

// workflowCommand is what GitHub's runner takes for one.
var workflowCommand = regexp.MustCompile(`(?m)^\s*::|##\[`)

func TestWorkflowCommands(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		r    remark
		want string
	}{
		{
			remark{Rule: "a/b", Decision: protocol.Deny, Message: "100%\r\n::stop-commands::x", Spots: []spot{{"a,b:c.txt", 3}}, Subject: "s"},
			"::error file=a%2Cb%3Ac.txt,line=3,title=a/b (s)::100%25\\r%0A::stop-commands::x\n",
		},
		{remark{Rule: "a", Decision: protocol.Warn, Message: "m"}, "::warning title=a::m\n"},
		{remark{Rule: "a::error::b\n::c", Decision: protocol.RequireApproval, Message: "##[error]x\u2028\u202e"}, ""},
		{remark{Rule: "a", Decision: protocol.Allow, Message: "m"}, ""},
		{remark{Rule: "x%0Ay", Decision: protocol.Deny, Message: "%0A%25"}, "::error title=x%250Ay::%250A%2525\n"},
	} {
		got := githubCommands([]remark{c.r})
		if c.want != "" && got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
		clean(t, got)
		if n := len(workflowCommand.FindAllString(got, -1)); n > 1 || c.r.Decision != protocol.Allow && n != 1 {
			t.Errorf("%d commands in %q", n, got)
		}
	}
	if got := githubData("a\r\nb"); strings.ContainsAny(got, "\r\n") {
		t.Errorf("got %q", got)
	}
}

func FuzzWorkflowCommand(f *testing.F) {
	f.Add("a,b", "t:%", "m\r\n::error::x")
	f.Add("\n::", "##[x]", "\u2028##vso[task")
	f.Fuzz(func(t *testing.T, file, title, message string) {
		got := githubCommand("error", spot{file, 1}, title, message)
		body := strings.TrimSuffix(got, "\n")
		if strings.ContainsAny(body, "\r\n") || len(workflowCommand.FindAllString(got, -1)) != 1 {
			t.Fatalf("%q breaks out", got)
		}
		head, _, _ := strings.Cut(strings.TrimPrefix(body, "::error "), "::")
		if n := strings.Count(head, ","); n > 2 {
			t.Fatalf("%q has %d properties", got, n+1)
		}
	})
}

func readJUnit(t *testing.T, text string) junitReport {
	t.Helper()
	var r junitReport
	if err := xml.Unmarshal([]byte(text), &r); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return r
}

func TestJUnitOfHostileTexts(t *testing.T) {
	t.Parallel()
	list := []judged{{StepID: "s\x00", Decision: protocol.Deny, Evaluations: []evaluation{
		{PolicyEvaluation: protocol.PolicyEvaluation{PolicyID: "a\"<", Decision: protocol.Deny, Reason: "]]></failure>\x1b[2J\xff\ufffe##[error]"}, Files: []string{"&\n"}},
		{PolicyEvaluation: protocol.PolicyEvaluation{PolicyID: "b", Decision: protocol.Warn, Reason: "\u202e"}},
	}}, {StepID: "empty", Decision: protocol.Deny}}
	data, err := judgedJUnit(list).document()
	if err != nil {
		t.Fatal(err)
	}
	clean(t, string(data))
	r := readJUnit(t, string(data))
	if r.Tests != 3 || r.Failures != 2 || len(r.Suites[0].Cases) != 2 || strings.Contains(string(data), "##[") {
		t.Errorf("got %s", data)
	}
}

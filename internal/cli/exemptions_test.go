package cli

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/policies"
)

func TestNeedlessExemptions(t *testing.T) {
	t.Parallel()
	rego := func(text string) policies.Set {
		return policies.Set{Name: "own", Files: []policies.SetFile{{Path: "x.rego", Data: []byte("package cabincrew.x\n\n" + text)}}}
	}
	baseline, err := policies.Bundled("baseline")
	must(t, err)
	annotated := rego("# METADATA\n# custom: {id: house}\ndeny contains {\"msg\": \"no\", \"id\": \"house\"} if input.nothing\n")
	plain := rego("deny contains \"no\" if input.nothing\n")
	written := rego("warn contains {\"msg\": \"no\", \"id\": \"written\"} if input.nothing\n")
	c := &config.Config{Rules: []config.Rule{{ID: "own-rule"}}, Models: []config.Model{{Name: "risk"}}}
	c.Policies.Secrets.Scan = true
	for name, x := range map[string]struct {
		rule string
		sets []policies.Set
		want string // "": nothing is told
	}{
		"bundled":                  {"ci-workflow", []policies.Set{baseline}, ""},
		"bundled, whole":           {"cabincrew.baseline/require_approval/ci-workflow", []policies.Set{baseline}, ""},
		"bundled, another package": {"cabincrew.x/require_approval/ci-workflow", []policies.Set{baseline}, "no judge has the rule"},
		"of a set that is not on":  {"ci-workflow", []policies.Set{annotated}, "no judge has the rule \"ci-workflow\""},
		"mistyped":                 {"ci-workflo", []policies.Set{baseline}, "perhaps ci-workflow"},
		"annotated":                {"house", []policies.Set{annotated}, ""},
		"no id":                    {"cabincrew.x/deny", []policies.Set{plain}, ""},
		"no id, unknown":           {"nonesuch", []policies.Set{plain}, "is known to have the rule \"nonesuch\""},
		"id in the answer":         {"written", []policies.Set{written}, ""},
		"id in the answer, whole":  {"cabincrew.x/warn/written", []policies.Set{written}, ""},
		"id in another's answer":   {"cabincrew.x/deny/written", []policies.Set{written}, "is known to have"},
		"rule":                     {"own-rule", nil, ""},
		"rule, whole":              {"rules/own-rule", nil, ""},
		"model":                    {"risk", nil, ""},
		"model, whole":             {"onnx/risk", nil, ""},
		"secret":                   {"aws-access-token", nil, ""},
		"secret, whole":            {"secrets/aws-access-token", nil, ""},
		"value of a secret":        {"secrets/value", nil, "no judge has"},
		"governance":               {"governance-changed", nil, "no judge has"},
	} {
		one := *c
		one.Policies.Bundled = []string{"baseline"}
		one.Policies.Exemptions = []config.Exemption{{Rule: x.rule}}
		got := needlessExemptions(&one, x.sets)
		if x.want == "" && len(got) > 0 || x.want != "" && (len(got) != 1 || !strings.Contains(got[0], x.want)) {
			t.Errorf("%s: %q", name, got)
		}
	}
	c.Policies.Secrets.Scan = false
	c.Policies.Exemptions = []config.Exemption{{Rule: "aws-access-token"}}
	if got := needlessExemptions(c, nil); len(got) != 1 {
		t.Errorf("nobody looks for secrets: %q", got)
	}
}

// TestNeedlessExemptionIsTold: in the report, where it decides nothing.
func TestNeedlessExemptionIsTold(t *testing.T) {
	t.Parallel()
	exempt := "  exemptions: [{rule: no-such-rule, paths: [\"**\"], until: 2099-01-01, reason: x}]\n"
	for name, c := range map[string]struct {
		policies string
		code     int
	}{
		"beside policies": {"policies:\n  bundled: [baseline]\n" + exempt, 0},
		"alone":           {"policies:\n" + exempt, 3},
	} {
		d := newDesk(t, map[string]string{
			".cabincrew.yaml": "version: 1\nworkflow: w\nsteps: [{id: edit, engine: {use: command, with: {run: [sh, edit.sh]}}}]\n" + c.policies, "edit.sh": "echo new > notes.txt\n",
		})
		id := d.plan(c.code)
		raw, err := os.ReadFile(d.flightFile(id, "steps/edit/preflight.json"))
		must(t, err)
		var r orchestrator.Report
		must(t, json.Unmarshal(raw, &r))
		if len(r.Explanations) != 1 || r.Explanations[0].Policy != "exemptions" || !strings.Contains(r.Explanations[0].Lines[0], `no judge has the rule "no-such-rule"`) {
			t.Errorf("%s: %+v", name, r.Explanations)
		}
		d.must(c.code, []string{"no-such-rule"}, "policy", "eval", "--flight", id)
	}
}

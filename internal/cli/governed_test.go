package cli

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/signing"
)

const governedPolicies = "policies: {rego: [policies/]}\n"

// governedDesk is a workspace on main with a step, a policy that lets it, a policy
// owner and signed plans.
func governedDesk(t *testing.T, judges string) *desk {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("this test makes repositories with git, and here there is none:", err)
	}
	private, public, err := signing.Generate(signing.Ed25519, nil, nil)
	must(t, err)
	d := newDesk(t, map[string]string{
		".cabincrew.yaml": `version: 1
workflow: governed
steps:
  - {id: edit, engine: {use: command, with: {run: [sh, edit.sh]}}}
approvals: {approvers: [{name: boss, roles: [maintainer, policy-owner], key: boss.pub}]}
signing: {key: plan.key}
` + judges,
		"edit.sh": "echo new > notes.txt\n", "policies/desk.rego": "package cabincrew.desk\n\ndeny contains \"no\" if input.mode == \"nonesuch\"\n",
		"plan.key": string(private), "plan.key.pub": string(public), ".gitignore": "plan.key\n.cabincrew/\n",
	})
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-q", "-m", "start"}} {
		d.git(args...)
	}
	return d
}

// inCI gives the same workspace on a CI platform.
func (d *desk) inCI() *desk {
	c := *d
	c.env = append(slices.Clone(d.env), "CI=true", "GITHUB_ACTIONS=true")
	return &c
}

// found gives the rules that found something in the first step, and the roles that
// must approve it.
func found(s orchestrator.Summary) (ids, roles []string) {
	for _, e := range s.Steps[0].Evaluations {
		if e.Severity > 0 {
			ids = append(ids, e.PolicyID)
		}
	}
	for _, a := range s.Approvals {
		roles = append(roles, a.RequiredRole)
	}
	return ids, roles
}

const unendorsed = "governance/governance-unendorsed"

// TestUnendorsedGovernance: on a CI platform the workspace's own governance needs
// the policy owner, flight by flight; on a person's machine it is what governs.
func TestUnendorsedGovernance(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		judges string
		ref    []string
		here   int // exit code on a person's machine
		code   int // and on a CI platform
		want   string
	}{
		"workspace":                 {governedPolicies, nil, 0, 4, unendorsed},
		"ref":                       {governedPolicies, []string{"--governance-ref", "main"}, 0, 0, ""},
		"nobody judges":             {"", nil, 3, 3, ""},
		"nobody has to judge":       {"policies: {allow_without_policies: true}\n", nil, 0, 4, unendorsed},
		"exempt":                    {governedPolicies + "rules: [{id: governance-unendorsed, match: {}, decision: warn, reason: x}]\n", nil, 0, 4, "rules/governance-unendorsed " + unendorsed},
		"outvoted":                  {"policies: {rego: [policies/], bundled: [baseline, agents], aggregation: majority}\n", nil, 0, 4, unendorsed},
		"nobody judges under a ref": {"", []string{"--governance-ref", "main"}, 3, 3, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := governedDesk(t, c.judges)
			var s orchestrator.Summary
			d.json(c.here, &s, append([]string{"flight-plan"}, c.ref...)...)
			if ids, _ := found(s); slices.Contains(ids, unendorsed) {
				t.Errorf("on a person's machine: %q", ids)
			}
			s = orchestrator.Summary{}
			d.inCI().json(c.code, &s, append([]string{"flight-plan"}, c.ref...)...)
			ids, roles := found(s)
			if slices.Sort(ids); strings.Join(ids, " ") != sorted(c.want) || (c.code == 4) != slices.Contains(roles, "policy-owner") {
				t.Fatalf("%q, %q", ids, roles)
			}
			if c.code == 4 && !strings.Contains(s.Approvals[0].Reason, "--governance-ref") {
				t.Errorf("%+v", s.Approvals)
			}
		})
	}
}

func sorted(words string) string {
	list := strings.Fields(words)
	slices.Sort(list)
	return strings.Join(list, " ")
}

// TestTakeOffOfUnendorsedGovernance: the policy owner's word lets it; a plan that was
// made outside of the forge is none of it.
func TestTakeOffOfUnendorsedGovernance(t *testing.T) {
	t.Parallel()
	d := governedDesk(t, governedPolicies)
	elsewhere := d.plan(0)
	d.inCI().must(5, []string{"the plan is of another forge", "plan_foreign"}, "take-off", elsewhere)
	id := d.inCI().plan(4)
	d.inCI().must(4, nil, "take-off", id)
	d.must(0, nil, "approve", id, "--as", "boss", "--key", d.path("../boss"))
	d.inCI().must(0, nil, "take-off", id)
}

// TestTakeOffOffTheRef: in CI what the protected ref does not have does not take off.
func TestTakeOffOffTheRef(t *testing.T) {
	t.Parallel()
	d := governedDesk(t, governedPolicies)
	ref := []string{"--governance-ref", "main"}
	var s orchestrator.Summary
	d.inCI().json(0, &s, append([]string{"flight-plan"}, ref...)...)
	on := s.WorkflowID
	d.git("checkout", "-q", "-b", "change")
	d.git("commit", "-q", "--allow-empty", "-m", "not merged")
	s = orchestrator.Summary{}
	d.inCI().json(0, &s, append([]string{"flight-plan"}, ref...)...)
	d.inCI().must(3, []string{"governance_unprotected", "not part of main"}, append([]string{"take-off", s.WorkflowID}, ref...)...)
	d.inCI().must(3, []string{"governance_unprotected"}, append([]string{"resume", s.WorkflowID}, ref...)...)
	if text, err := os.ReadFile(d.path("notes.txt")); err != nil || string(text) != "old\nline\n" {
		t.Fatalf("%q, %v", text, err)
	}
	d.git("checkout", "-q", "main")
	d.inCI().must(0, nil, append([]string{"take-off", on}, ref...)...)
}

// TestFirstConfiguration: a ref without a configuration judges nothing.
func TestFirstConfiguration(t *testing.T) {
	t.Parallel()
	d := governedDesk(t, governedPolicies)
	d.git("checkout", "-q", "-b", "empty")
	d.git("rm", "-q", "--cached", ".cabincrew.yaml")
	d.git("commit", "-q", "-m", "without")
	d.inCI().must(2, []string{"governance_missing", "nothing judges there"}, "flight-plan", "--governance-ref", "empty")
}

package rules_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rules"
	"github.com/cabincrew/action/protocol"
)

func TestGoverned(t *testing.T) {
	t.Parallel()
	in := policies.Input{
		Governance: policies.Governance{Paths: []string{".cabincrew.yaml", "policies/", "keys/a.pub"}},
		Artifacts:  []policies.Artifact{patch(file("modify", "src/a.go", 1))},
	}
	touching := in
	touching.Artifacts = []policies.Artifact{patch(file("modify", "Policies/x.rego", 1), policies.PatchFile{Op: "rename", Path: "b", OldPath: "keys/a.pub"}, file("add", ".github/CODEOWNERS", 1))}
	for name, c := range map[string]struct {
		g     rules.Governed
		in    policies.Input
		rules string
		says  string
	}{
		"nothing":    {rules.Governed{Commit: "c1"}, in, "", ""},
		"checkout":   {rules.Governed{Commit: "c1", Changed: []string{".cabincrew.yaml"}}, in, "governance-changed", `".cabincrew.yaml". It is judged by the governance of commit c1`},
		"patch":      {rules.Governed{Commit: "c1"}, touching, "governance-planned", `".github/CODEOWNERS", "Policies/x.rego", "keys/a.pub"`},
		"unendorsed": {rules.Governed{Commit: "c1", Unendorsed: "Nobody approved it."}, in, "governance-unendorsed", "Nobody approved it. A policy owner must approve every flight"},
		"all": {rules.Governed{Commit: "c1", Changed: []string{"a", "b", "c", "d", "e", "f\n"}, Unendorsed: "x"}, touching,
			"governance-changed governance-planned governance-unendorsed", "and 1 more"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// An exemption of everything changes nothing of it.
			judge := rules.Exempt(c.g, []rules.Exemption{{Rule: "governance-changed", Paths: []string{"**"}, Until: time.Now().AddDate(10, 0, 0)}})
			got, err := judge.Evaluate(t.Context(), c.in, now)
			if err != nil {
				t.Fatal(err)
			}
			var ids, says []string
			for _, f := range got.Findings {
				ids = append(ids, f.Rule)
				says = append(says, f.Reason)
				if f.Decision != protocol.RequireApproval || f.Role != "policy-owner" {
					t.Errorf("%+v", f)
				}
				if _, err := protocol.Canonical(f.PolicyEvaluation); err != nil {
					t.Error(err)
				}
			}
			if strings.Join(ids, " ") != c.rules || !strings.Contains(strings.Join(says, "\n"), c.says) {
				t.Errorf("%q\n%q", ids, says)
			}
		})
	}
}

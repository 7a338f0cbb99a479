package rules

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// OwnerRole is the role that answers for governance. SPEC: docs/protocol.md 8.
const OwnerRole = "policy-owner"

// Governed judges what a change does to governance itself, where that comes from a
// protected ref. No configuration switches it off and no exemption covers it: it is
// what keeps a change from weakening its own judges.
// SPEC: docs/protocol.md 8.
type Governed struct {
	// Commit is the commit that governance was taken from.
	Commit string
	// Changed are files of the governance in which the checkout differs from it.
	Changed []string
	// Unendorsed says why nobody knows that governance as it is was approved; "":
	// somebody does.
	Unendorsed string
}

var _ policies.Evaluator = Governed{}

// Evaluate asks for the policy owner where governance is touched or not endorsed.
func (g Governed) Evaluate(_ context.Context, in policies.Input, evaluatedAt string) (policies.Result, error) {
	var out policies.Result
	ask := func(rule, reason string, files []string) {
		evidence := map[string]any{"rule": rule, "role": OwnerRole}
		if g.Commit != "" {
			evidence["governance_commit"] = g.Commit
		}
		if len(files) > 0 {
			evidence["files"] = files[:min(len(files), evidenceFiles)]
		}
		out.Findings = append(out.Findings, policies.Finding{
			PolicyEvaluation: protocol.PolicyEvaluation{
				Source: protocol.SourceCustom, PolicyID: "governance/" + rule, Decision: protocol.RequireApproval, Severity: protocol.RequireApproval.Severity(),
				Reason: reason, Evidence: evidence, EvaluatedAt: evaluatedAt,
			},
			Role: OwnerRole, Rule: rule, Files: files, Firm: true,
		})
	}
	if len(g.Changed) > 0 {
		ask("governance-changed", fmt.Sprintf("the change touches what judges it: %s. It is judged by the governance of commit %s, and a policy owner must approve.",
			named(g.Changed), g.Commit), g.Changed)
	}
	if planned := planned(in); len(planned) > 0 {
		ask("governance-planned", fmt.Sprintf("the step would change what judges: %s. A policy owner must approve.", named(planned)), planned)
	}
	if g.Unendorsed != "" {
		ask("governance-unendorsed", g.Unendorsed+" A policy owner must approve every flight under it.", nil)
	}
	return out, nil
}

// named lists the first of some files, quoted: a hostile name shows as what it is.
func named(files []string) string {
	const shown = 5
	var out []string
	for _, f := range files[:min(len(files), shown)] {
		out = append(out, fmt.Sprintf("%q", f))
	}
	if len(files) > shown {
		out = append(out, fmt.Sprintf("and %d more", len(files)-shown))
	}
	return strings.Join(out, ", ")
}

// planned gives the governance files that patches touch. A patch that cannot be
// read is another judge's matter.
func planned(in policies.Input) []string {
	var out []string
	for _, a := range in.Artifacts {
		if a.Patch == nil {
			continue
		}
		for _, f := range a.Patch.Files {
			for _, name := range []string{f.Path, f.OldPath} {
				if name != "" && Governs(in.Governance.Paths, name) {
					out = append(out, name)
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Governs says whether a path is one of, or lies below, the paths of governance,
// whatever the case of its letters; code owners always are.
func Governs(paths []string, name string) bool {
	name = strings.ToLower(name)
	if name == "codeowners" || strings.HasSuffix(name, "/codeowners") {
		return true
	}
	return slices.ContainsFunc(paths, func(p string) bool {
		p = strings.ToLower(p)
		return strings.TrimSuffix(p, "/") == name || strings.HasSuffix(p, "/") && strings.HasPrefix(name, p)
	})
}

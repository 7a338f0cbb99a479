package rego

import (
	"cmp"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Rule is what a policy says of one of its rules in its annotations:
// "title", "description" and, under "custom", "id" and "remedy".
type Rule struct {
	ID          string            `json:"id"`
	Policy      string            `json:"policy"` // cabincrew.baseline
	Decision    protocol.Decision `json:"decision"`
	Title       string            `json:"title"`
	Description string            `json:"description"`
	Remedy      string            `json:"remedy"`
	At          string            `json:"at"` // file:line
}

// Rules gives the annotated rules of policy sets that answer, from the most
// severe decision to the mildest, by policy and id.
func Rules(sets []policies.Set) ([]Rule, error) {
	modules, err := parse(sets, capabilities(), false)
	if err != nil {
		return nil, err
	}
	var out []Rule
	for _, m := range modules {
		for _, r := range m.ast.Rules {
			path, name, ok := promised(m.ast.Package.Path, r)
			if !ok {
				continue
			}
			_, d, ok := answerOf(name, r)
			if !ok {
				continue
			}
			for _, a := range r.Annotations {
				out = append(out, ruleOf(a, packageName(path), d, r))
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Rule) int {
		return cmp.Or(cmp.Compare(b.Decision.Severity(), a.Decision.Severity()), cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

func ruleOf(a *ast.Annotations, policy string, d protocol.Decision, r *ast.Rule) Rule {
	text := func(key string) string {
		s, _ := a.Custom[key].(string) // another kind is as good as none
		return s
	}
	return Rule{
		ID: text("id"), Policy: policy, Decision: d, Title: a.Title, Description: a.Description, Remedy: text("remedy"), At: at(r.Location),
	}
}

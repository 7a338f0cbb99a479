package rego

import (
	"cmp"
	"context"
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
	Name        string            `json:"-"`  // of the rule in its package: deny
	Text        string            `json:"-"`  // in Rego, without annotations
}

// PolicyID gives the policy id of the rule's evaluations.
func (r Rule) PolicyID() string {
	if r.ID == "" {
		return r.Policy + "/" + r.Name
	}
	return r.Policy + "/" + r.Name + "/" + r.ID
}

// Rules gives the annotated rules of policy sets that answer, from the most
// severe decision to the mildest, by policy and id.
func Rules(sets []policies.Set) ([]Rule, error) {
	all, err := AllRules(sets)
	return slices.DeleteFunc(all, func(r Rule) bool { return r.ID == "" && r.Title == "" && r.Description == "" && r.Remedy == "" }), err
}

// AllRules is Rules with those that no annotation describes, which have no id.
func AllRules(sets []policies.Set) ([]Rule, error) {
	// Whoever asks wants to read, and has no flight that could be ended.
	r := newReading(Options{})
	modules, err := readWithin(context.Background(), r, func(context.Context) ([]module, error) { return r.parse(sets, capabilities(), false) })
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
			if len(r.Annotations) == 0 {
				out = append(out, ruleOf(&ast.Annotations{}, packageName(path), name, d, r))
			}
			for _, a := range r.Annotations {
				out = append(out, ruleOf(a, packageName(path), name, d, r))
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Rule) int {
		return cmp.Or(cmp.Compare(b.Decision.Severity(), a.Decision.Severity()), cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

func ruleOf(a *ast.Annotations, policy, name string, d protocol.Decision, r *ast.Rule) Rule {
	text := func(key string) string {
		s, _ := a.Custom[key].(string) // another kind is as good as none
		return s
	}
	return Rule{
		ID: text("id"), Policy: policy, Decision: d, Title: a.Title, Description: a.Description, Remedy: text("remedy"), At: at(r.Location),
		Name: name, Text: clean(string(r.Location.Text)),
	}
}

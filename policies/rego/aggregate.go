package rego

import (
	"context"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cabincrew/action/protocol"
)

// customEntry finds the rule that aggregates.
func customEntry(modules []module, rule string) (*entry, ast.Ref, error) {
	name := rule
	if !strings.HasPrefix(name, "data.") {
		name = "data." + name
	}
	ref, err := ast.ParseRef(name)
	if err != nil || !ref.IsGround() || len(ref) < 3 {
		return nil, nil, policyError("policies.custom_rule", "%q names no rule", clean(rule)).
			WithHint("write it as data.cabincrew.aggregate.decision")
	}
	last, ok := ref[len(ref)-1].Value.(ast.String)
	for _, m := range modules {
		for _, r := range m.ast.Rules {
			if ok && r.Ref().GroundPrefix().Equal(ref) && len(r.Head.Args) == 0 {
				path := ref[:len(ref)-1]
				return &entry{path: path, name: packageName(path), set: m.set, rules: []answer{{name: string(last), at: at(r.Location)}}}, ref, nil
			}
		}
	}
	return nil, nil, policyError("policies.custom_rule", "no policy set has the rule %s", clean(rule)).
		WithHint("write the rule, or choose another aggregation method")
}

// Custom evaluates Options.AggregationRule over {"evaluations": [...]} and gives
// its decision. Anything but one of the four decisions is an error and a deny.
func (e *Evaluator) Custom(ctx context.Context, evals []protocol.PolicyEvaluation) (protocol.Decision, error) {
	if e.custom == nil {
		return protocol.Deny, policyError("policies.custom_rule", "no aggregation rule is named").
			WithHint("name one, or choose another aggregation method")
	}
	rule := e.custom.rules[0]
	id := e.custom.name + "." + rule.name
	doc, err := ast.InterfaceToValue(map[string]any{"evaluations": evals})
	if err != nil {
		return protocol.Deny, policyError(rule.at, "the evaluations cannot be given to the aggregation rule: %w", err)
	}
	lists, err := e.run(ctx, *e.custom, doc, nil)
	if ctx.Err() != nil {
		return protocol.Deny, context.Cause(ctx)
	}
	if err != nil {
		return protocol.Deny, policyError(whereOf(err, rule.at), "the aggregation rule %s could not be evaluated: %s", id, clean(reasonOf(err, e.options)))
	}
	var d protocol.Decision
	if list, ok := lists.Elem(0).Value.(*ast.Array); ok && list.Len() == 1 {
		if s, ok := list.Elem(0).Value.(ast.String); ok {
			d = protocol.Decision(s)
		}
	}
	if !d.Valid() {
		return protocol.Deny, policyError(rule.at, "the aggregation rule %s gave no decision", id).
			WithHint("it must give allow, warn, require_approval or deny for every list of evaluations")
	}
	return d, nil
}

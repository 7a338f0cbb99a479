package cli

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/policies/secrets"
)

// noting is a judge beside which the report tells of exemptions that exempt nothing,
// since no judge has their rule. That decides nothing, so it is no finding: an
// exemption may also be of a rule that only a later version has.
type noting struct {
	judge policies.Evaluator
	lines func() []string
}

var _ policies.Evaluator = noting{}

func (n noting) Evaluate(ctx context.Context, in policies.Input, evaluatedAt string) (policies.Result, error) {
	out, err := n.judge.Evaluate(ctx, in, evaluatedAt)
	if lines := n.lines(); err == nil && len(lines) > 0 {
		// Before all others: what is long is cut at its end.
		out.Explanations = append([]policies.Explanation{{Policy: "exemptions", Lines: lines}}, out.Explanations...)
	}
	return out, err
}

// noted adds to a judge what is to be told of the exemptions of its configuration.
func (a *app) noted(judge policies.Evaluator, c *config.Config, sets []policies.Set) policies.Evaluator {
	if len(c.Policies.Exemptions) == 0 {
		return judge
	}
	return noting{judge, sync.OnceValue(func() []string { return needlessExemptions(c, sets) })}
}

// needlessExemptions tells of the exemptions whose rule no judge has, as far as the
// rules of judges are known.
func needlessExemptions(c *config.Config, sets []policies.Set) []string {
	known, err := knownRules(c, sets)
	if err != nil {
		return []string{"whether there are the rules of all exemptions cannot be told: " + err.Error()}
	}
	var out []string
	for _, x := range c.Policies.Exemptions {
		if known.has(x.Rule) {
			continue
		}
		line := fmt.Sprintf("no judge has the rule %q: the exemption covers nothing", x.Rule)
		if known.open {
			line = fmt.Sprintf("no judge is known to have the rule %q (some policies do not annotate their rules with ids): the exemption may cover nothing", x.Rule)
		}
		if near := nearest(x.Rule, known.list); len(near) > 0 {
			line += "; perhaps " + strings.Join(near, ", ")
		}
		out = append(out, line)
	}
	return out
}

// ruleNames are the names of rules, as exemptions name them.
type ruleNames struct {
	list  []explainedRule
	names map[string]bool
	// open says that there are rules that may answer with any id; texts are the
	// policies in which it would stand.
	open  bool
	texts []string
}

func knownRules(c *config.Config, sets []policies.Set) (*ruleNames, error) {
	k := &ruleNames{names: map[string]bool{}}
	for _, s := range sets {
		all, err := rego.AllRules([]policies.Set{s})
		if err != nil {
			return nil, err
		}
		own := !slices.Contains(c.Policies.Bundled, s.Name) && !slices.Contains(c.After.Bundled, s.Name)
		for _, r := range all {
			k.add(r.ID, r.PolicyID())
			k.names[r.Policy+"/"+r.Name] = true
			k.open = k.open || own && r.ID == ""
		}
	}
	for _, r := range c.Rules {
		k.add(r.ID, "rules/"+r.ID)
	}
	for i := range c.Models {
		k.add(c.Models[i].Name, "onnx/"+c.Models[i].Name)
	}
	if c.Policies.Secrets.Scan {
		ids, err := secrets.RuleIDs()
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			k.add(id, "secrets/"+id)
		}
	}
	for _, s := range sets {
		for _, f := range s.Files {
			if f.Rego() && !f.Test() {
				k.texts = append(k.texts, string(f.Data))
			}
		}
	}
	return k, nil
}

func (k *ruleNames) add(id, policyID string) {
	k.names[policyID] = true
	if id != "" {
		k.names[id] = true
	}
	if !slices.ContainsFunc(k.list, func(r explainedRule) bool { return r.ID == cmp.Or(id, policyID) }) {
		k.list = append(k.list, explainedRule{ID: cmp.Or(id, policyID), PolicyID: policyID})
	}
}

// has says whether there is a rule of that name. What a policy writes out as a text
// may be the id in an answer of it.
func (k *ruleNames) has(name string) bool {
	if k.names[name] {
		return true
	}
	of, id := path.Split(name)
	if of != "" && !k.names[strings.TrimSuffix(of, "/")] {
		return false
	}
	return slices.ContainsFunc(k.texts, func(text string) bool {
		return strings.Contains(text, `"`+id+`"`) || strings.Contains(text, "`"+id+"`")
	})
}

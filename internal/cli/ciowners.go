package cli

import (
	"context"
	"slices"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/policies/rules"
)

// ownersToo counts the owners of policies by the governances that are endorsed too,
// where what judges is not. It changes the answers. SPEC: docs/threats.md T33
func (p *people) ownersToo(ctx context.Context, ask orchestrator.Asked, acts []ci.Act, excluded []ci.Excluded, answers []orchestrator.ForgeAnswer) error {
	if !slices.Contains(ask.Roles, rules.OwnerRole) {
		return nil
	}
	ask.Roles = []string{rules.OwnerRole}
	for _, x := range p.s.owners {
		told := []orchestrator.ForgeAnswer{{Role: rules.OwnerRole, Why: "no governance is known to be endorsed"}}
		where := "so nobody is known to hold the role"
		if x.by != nil {
			where = "under commit " + x.by.commit + ", the newest governance that is endorsed"
			_, got, err := p.count(ctx, ask, acts, excluded, x.by.config.Approvals, x.by)
			if err != nil {
				return err
			}
			if told[0].Why = "nobody holds the role"; len(got) > 0 {
				told = got
			}
		}
		both(answers, told, where)
		for i, a := range answers {
			if a.Role == rules.OwnerRole && a.Approved && !a.Glass() {
				answers[i].By = withActs(a.By, told[0].By)
			}
		}
	}
	return nil
}

// withActs gives the acts of both: each is evidence.
func withActs(a, b []orchestrator.Witness) []orchestrator.Witness {
	out := slices.Clone(a)
	for _, w := range b {
		if !slices.ContainsFunc(out, func(x orchestrator.Witness) bool { return x.Kind == w.Kind && x.ID == w.ID }) {
			out = append(out, w)
		}
	}
	return out
}

package orchestrator

import (
	"cmp"
	"context"
	"slices"

	"github.com/cabincrew/action/protocol"
)

// environments gives the environments whose gates must be open before the first engine
// starts: those of the plan's governance and those of the tip's.
func (s *Setup) environments() []string {
	out := slices.Clone(s.Config.Approvals.Environments)
	if s.Tip != nil {
		out = append(out, s.Tip.Approvals.Environments...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// gated asks, right before the first engine starts, whether people opened the gates of
// the environments that the configuration names, whatever the policies said. Where
// nobody can be asked, they are shut. SPEC: docs/threats.md T09
func (o *Orchestrator) gated(ctx context.Context, f *Flight, s *Setup, v *verified) error {
	names := s.environments()
	if len(names) == 0 {
		return nil
	}
	if o.Gate == nil {
		return protocol.Errorf(protocol.ExitUnreachable, "environment_unknown", "whether people opened the gate of environment %s cannot be asked here", names[0]).
			WithHint("take off in a run of the forge's CI: cabincrew ci take-off")
	}
	t, err := o.asking(ctx, f, s, v)
	if err == nil && t.from == nil && o.InsteadOf != "" && o.Carry != nil {
		// Each plan in place of a stale one has a code of its own: people saw the first one's.
		t, err = o.insteadOf(ctx, s, v)
	}
	if err != nil {
		return err
	}
	return o.Gate(ctx, names, Asked{Head: t.head, Sealed: t.sealed, Coded: t.coded, Code: t.code, CodeNeeded: t.codeNeeded})
}

// insteadOf gives the terms of the plan that the flight stands in for, whose intent it has.
func (o *Orchestrator) insteadOf(ctx context.Context, s *Setup, v *verified) (terms, error) {
	plan, err := o.Carry(ctx)
	if err != nil {
		return terms{}, err
	}
	c, why, err := o.carryFrom(*plan, v, s, o.Now())
	if err := cmp.Or(err, why); err != nil {
		return terms{}, err
	}
	return c.terms(s), nil
}

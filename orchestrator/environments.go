package orchestrator

import (
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
	sealed, err := v.firstSealed(f)
	if err != nil {
		return err
	}
	return o.Gate(ctx, names, Asked{Head: headOf(v.reports), Sealed: sealed, Code: v.code, CodeNeeded: v.codeNeeded(s)})
}

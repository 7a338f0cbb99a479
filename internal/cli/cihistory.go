package cli

import (
	"context"
	"slices"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/orchestrator"
)

// history asks what became of reviews where that decides: of one that was dismissed and
// is somebody's last word, by whom, since who may write can dismiss what a reviewer
// objects to; and of one that must name the code, whether its text was edited later.
// SPEC: docs/threats.md T06, T08
func (p *people) history(ctx context.Context, ask orchestrator.Asked, acts []ci.Act) error {
	codes := ask.CodeNeeded || p.codeNeeded || p.s.setup.Config.Approvals.Binding == config.BindingCode ||
		p.s.setup.Tip != nil && p.s.setup.Tip.Approvals.Binding == config.BindingCode
	named := slices.ContainsFunc(acts, func(a ci.Act) bool {
		return a.Kind == ci.ActReview && a.State == ci.StateApproved && ci.Names(a.Text, ask.Code) && (codes || ci.GlassReason(a.Text) != "")
	})
	if !named && !ci.Unsettled(acts) {
		return nil
	}
	told, err := p.r.forge.History(ctx, p.r.change.Number)
	if err != nil {
		return err
	}
	for i := range acts {
		a := &acts[i]
		if a.Kind != ci.ActReview {
			continue
		}
		a.Edited = told.Edited[a.ID]
		if d, ok := told.Dismissals[a.ID]; ok && a.State == ci.StateDismissed {
			a.Dismissal = &d
		}
	}
	return nil
}

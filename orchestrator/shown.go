package orchestrator

import (
	"context"
	"errors"
	"slices"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Shown gives a result as it may be shown and recorded: without the secrets that
// the judges found and without the values of those that the flight maps.
func (s *Setup) Shown(r policies.Result) policies.Result {
	r = r.Discreet()
	r.Findings = slices.Clone(r.Findings)
	for i := range r.Findings {
		f := &r.Findings[i]
		f.Reason = s.Redactor.String(f.Reason)
		if f.Evidence != nil {
			f.Evidence, _ = s.Redactor.Value(f.Evidence).(map[string]any)
		}
		f.Files = slices.Clone(f.Files)
		for j := range f.Files {
			f.Files[j] = s.Redactor.String(f.Files[j])
		}
	}
	return r
}

// plain refuses secrets in what the logs name before policies see it.
func (p *planner) plain(ctx context.Context, id string, receipt protocol.EngineOutput, artifacts []engines.Artifact) error {
	if p.s.Governance.Plain == nil {
		return nil
	}
	texts := []string{receipt.EngineID, receipt.ReceiptID}
	for _, a := range artifacts {
		texts = append(texts, a.Name, a.Description.ArtifactType, a.Description.BodyFile)
	}
	slices.Sort(texts)
	err := p.s.Governance.Plain(ctx, slices.Compact(texts))
	var known *protocol.Error
	if errors.As(err, &known) {
		return known.At("step " + id)
	}
	return err
}

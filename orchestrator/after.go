package orchestrator

import (
	"context"
	"fmt"
	"slices"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// afterwards asks the policies over take-offs about every step that took off. What
// they deny, or want somebody to approve that cannot be undone any more, fails the
// flight; whatever they find that is not an allow is an alert in the audit log.
// SPEC: docs/protocol.md 9.
func (o *Orchestrator) afterwards(ctx context.Context, f *Flight, s *Setup, v *verified) error {
	if s.Governance.After == nil {
		return nil
	}
	o.progress(Progress{Stage: "take-off", Message: "asking the policies about what was done"})
	var records []Record
	var failed error
	for _, p := range v.plans {
		findings, err := o.judgeTakeOff(ctx, f, s, p)
		if err != nil {
			if ctx.Err() != nil {
				return interrupted(ctx)
			}
			return o.Fail(f, p.id, denial(err, p.id))
		}
		for _, finding := range findings {
			e := finding.PolicyEvaluation
			e.Evidence = tame(e.Evidence)
			e.Reason = s.Redactor.String(e.Reason)
			ev := f.event(protocol.EventPolicyResult, p.id, fmt.Sprintf("after take-off: %s says %s", e.PolicyID, e.Decision))
			ev.Policy = &protocol.AuditPolicy{Decision: e.Decision, PolicyEvaluations: []protocol.PolicyEvaluation{e}, WorkflowState: string(f.Status.State)}
			switch e.Decision {
			case protocol.Allow:
			case protocol.Warn:
				ev.Severity = protocol.SeverityWarning
			default:
				ev.Severity = protocol.SeverityCritical
				if failed == nil {
					failed = protocol.Errorf(protocol.ExitDenied, "takeoff_denied", "after the take-off of step %s, %s says %s: %s", p.id, e.PolicyID, e.Decision, e.Reason).
						WithHint("what the step did is done; look at it, and undo it where that is needed")
				}
			}
			records = append(records, Record{Event: ev})
		}
	}
	if err := o.append(f, records...); err != nil {
		return err
	}
	if failed != nil {
		return o.Fail(f, "", failed)
	}
	return nil
}

func (o *Orchestrator) judgeTakeOff(ctx context.Context, f *Flight, s *Setup, p *stepPlan) ([]policies.Finding, error) {
	token, err := p.preimage.PlanToken(f.Status.SealedAt)
	if err != nil {
		return nil, err
	}
	in, err := f.input(s, p, token)
	if err != nil {
		return nil, err
	}
	in.Mode = protocol.TakeOff
	receipt, err := f.takeOffReceipt(p.id)
	if err != nil {
		return nil, err
	}
	in.TakeOff = &policies.TakeOff{Receipt: receipt}
	changed, known := f.changed[p.id]
	in.TakeOff.Changed, in.TakeOff.ChangedKnown = slices.Clone(changed), known
	result, err := s.Governance.After.Evaluate(ctx, in, stamp(o.Now()))
	return s.Shown(result).Findings, err
}

// tookOff remembers what a take-off changed: the files of its patches, and of a
// step without patches whatever differs from before.
func (f *Flight) tookOff(p *stepPlan, others []string) {
	changed := slices.Clone(others)
	for _, q := range p.patches {
		for _, c := range q.changes {
			changed = append(changed, c.Path())
			if c.OldPath != "" {
				changed = append(changed, c.OldPath)
			}
		}
	}
	slices.Sort(changed)
	if f.changed == nil {
		f.changed = map[string][]string{}
	}
	f.changed[p.id] = slices.Compact(changed)
}

// takeOffReceipt reads the receipt of a take-off, whose digest was verified.
func (f *Flight) takeOffReceipt(step string) (*protocol.EngineOutput, error) {
	at := stepPath(step, takeoffReceipt)
	raw, err := f.ReadFile(at, limits.ReceiptBytesMax)
	if err != nil {
		return nil, integrity("flight_unreadable", "%w", err).At(at)
	}
	if protocol.Digest(raw) != f.Status.Digests[at] {
		return nil, integrity("file_changed", "it is not what the WAL says").At(at)
	}
	receipt, err := engines.ParseReceipt(raw, protocol.TakeOff)
	if err != nil {
		return nil, err
	}
	return &receipt, nil
}

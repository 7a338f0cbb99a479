package orchestrator

import (
	"context"
	"fmt"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Judge asks the judges of a setup about a sealed flight again and records
// nothing: what would these policies say of what was planned? The flight's bytes
// are verified up to its tokens first. The workspace may have changed since;
// then what the judges are told of the workspace as a whole is of the one now.
func (o *Orchestrator) Judge(ctx context.Context, f *Flight, s *Setup) ([]Judgement, error) {
	var judged []Judgement
	err := o.sealedSteps(ctx, f, s, func(p *stepPlan, token protocol.PlanToken) error {
		j, err := o.judgement(ctx, f, s, p, token)
		judged = append(judged, j)
		return err
	})
	return judged, err
}

// StepInput is what the judges are given of one step.
type StepInput struct {
	StepID string
	Input  policies.Input
}

// Inputs gives what the judges of a setup would be asked about a sealed flight, as
// Judge would ask them.
func (o *Orchestrator) Inputs(ctx context.Context, f *Flight, s *Setup) ([]StepInput, error) {
	var list []StepInput
	err := o.sealedSteps(ctx, f, s, func(p *stepPlan, token protocol.PlanToken) error {
		in, err := f.input(s, p, token)
		if err != nil {
			return unreadable(err, p.id)
		}
		list = append(list, StepInput{StepID: p.id, Input: in})
		return nil
	})
	return list, err
}

// sealedSteps verifies a sealed flight up to its tokens and visits its steps.
func (o *Orchestrator) sealedSteps(ctx context.Context, f *Flight, s *Setup, visit func(*stepPlan, protocol.PlanToken) error) error {
	if f.Status.Digests[ManifestFile] == "" {
		return protocol.Errorf(protocol.ExitUsage, "state_wrong", "flight %s is %s and was not sealed: there is nothing to judge", f.ID(), f.Status.State).
			WithHint("cabincrew seal makes tokens and asks the policies")
	}
	if err := f.sameSteps(s.Config); err != nil {
		return err
	}
	v := &verified{}
	if _, err := v.readSteps(ctx, f, s); err != nil {
		return err
	}
	if err := v.manifestOnly(f); err != nil {
		return err
	}
	if _, err := v.readTokens(f); err != nil {
		return err
	}
	if err := o.countFiles(ctx, f, s, v.plans); err != nil {
		return err
	}
	for _, p := range v.plans {
		token, err := f.storedToken(p)
		if err != nil {
			return err
		}
		if err := visit(p, token); err != nil {
			return err
		}
	}
	return nil
}

// storedToken reads the token of a step whose token was verified.
func (f *Flight) storedToken(p *stepPlan) (protocol.PlanToken, error) {
	at := stepPath(p.id, tokenFile)
	var token protocol.PlanToken
	raw, err := f.ReadFile(at, limits.PlanToken)
	if err != nil {
		return token, integrity("flight_unreadable", "%w", err).At(at)
	}
	if err := readOwn(raw, &token); err != nil || token.Token != p.token {
		return token, integrity("token_malformed", "it is not the token that was verified").At(at)
	}
	return token, nil
}

// countFiles counts the files that each step's inputs select. Where the
// workspace cannot be composed any more (the flight has taken off), the count is
// that of the checkout.
func (o *Orchestrator) countFiles(ctx context.Context, f *Flight, s *Setup, plans []*stepPlan) error {
	base, err := s.scan(ctx, allPatches(plans))
	if err != nil {
		return err
	}
	for _, p := range plans {
		step, ok := s.Config.Step(p.id)
		if !ok {
			return fmt.Errorf("the configuration has no step %s", p.id) // sameSteps has looked
		}
		c, _, err := compose(base, step.Inputs, f.patchesNeeded(plans, p.id))
		if err != nil {
			if c, _, err = compose(base, step.Inputs, nil); err != nil {
				return err
			}
		}
		p.files = len(c.files)
		if c.hash != p.preimage.WorkspaceHash {
			o.progress(Progress{Step: p.id, Stage: "judge", Message: "the workspace is not the planned one; input.workspace is of the one now"})
		}
	}
	return nil
}

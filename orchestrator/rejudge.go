package orchestrator

import (
	"context"
	"errors"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

// Rejudged is one step of a recorded flight, as it was judged and as other judges
// would judge it.
type Rejudged struct {
	Old Report
	New Judgement
	// Unknown names the members of the input that the flight does not hold, so
	// that the judges were told nothing of them.
	Unknown []string
}

// Judges is who judges a recorded flight.
type Judges struct {
	Governance
	// Role approves where the aggregation asks for approval and no judge names a role.
	Role string
	// Configs may be those that the flight was planned with. A step's is used if its
	// digest is the recorded one.
	Configs []*config.Config
}

// Rejudge asks other judges about a flight and records nothing. It needs the bytes
// of the flight's directory only, which it verifies up to tokens and decisions:
// neither the configuration nor the workspace of the flight must be there.
func (o *Orchestrator) Rejudge(ctx context.Context, f *Flight, by Judges) ([]Rejudged, error) {
	if !f.Sealed() {
		return nil, protocol.Errorf(protocol.ExitUsage, "state_wrong", "flight %s is %s and was not sealed: there is nothing to judge", f.ID(), f.Status.State)
	}
	v := &verified{}
	if err := v.readRecorded(ctx, f); err != nil {
		return nil, err
	}
	var out []Rejudged
	for i, p := range v.plans {
		p.opaque = v.reports[i].Opaque // found at sealing, and covered by the manifest
		r, err := o.rejudge(ctx, f, by, p, v.reports[i])
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// Sealed says whether tokens and decisions of the flight are fixed.
func (f *Flight) Sealed() bool { return f.Status.Digests[ManifestFile] != "" }

// readRecorded verifies a flight without its configuration: the limits are the
// widest that a configuration may set.
func (v *verified) readRecorded(ctx context.Context, f *Flight) error {
	widest := engines.Limits{
		Receipt: limits.ReceiptBytesMax, Log: limits.LogBytesMax, Artifacts: limits.ArtifactsMax, ArtifactBytes: limits.ArtifactBytesMax,
	}
	for _, id := range f.order() {
		p, err := f.readStep(ctx, id, f.Status.Digests[plannedID+id], widest, nil)
		if err != nil {
			return asIntegrity(err, "")
		}
		v.plans = append(v.plans, p)
	}
	if err := f.conflicts(v.plans); err != nil {
		return asIntegrity(err, "")
	}
	if err := v.manifestOnly(f); err != nil {
		return err
	}
	if _, err := v.readTokens(f); err != nil {
		return err
	}
	_, err := v.readDecisions(f)
	return err
}

func (o *Orchestrator) rejudge(ctx context.Context, f *Flight, by Judges, p *stepPlan, old Report) (Rejudged, error) {
	r := Rejudged{Old: old, Unknown: []string{"change", "workspace"}}
	token, err := f.storedToken(p)
	if err != nil {
		return r, err
	}
	known := around{config: map[string]any{}, governance: policies.Governance{Paths: []string{p.preimage.Context.ConfigPath}}}
	c, resolved := by.planned(p)
	if c == nil {
		r.Unknown = []string{"change", "config", "workspace"}
	} else {
		known.config = resolved
	}
	for _, name := range by.Paths {
		if name != p.preimage.Context.ConfigPath {
			known.governance.Paths = append(known.governance.Paths, name)
		}
	}
	s := &Setup{
		Config: &config.Config{Approvals: config.Approvals{DefaultRole: by.Role}}, Governance: by.Governance,
		Source: Source{AuthorEmail: old.Derived.AuthorEmail, HeadCommit: old.Derived.BaseCommit},
	}
	in, err := f.inputOf(p, token, known)
	if err != nil {
		err = unreadable(err, p.id)
	} else {
		r.New, err = o.ask(ctx, f, s, p, in)
	}
	var denied *protocol.Error
	if errors.As(err, &denied) && denied.Exit == protocol.ExitDenied && ctx.Err() == nil {
		r.New = undecided(r.New, denied, stamp(o.Now()))
		err = nil
	}
	return r, err
}

// planned gives the configuration that a step was planned with, if it is among
// those that are known.
func (by Judges) planned(p *stepPlan) (*config.Config, map[string]any) {
	for _, c := range by.Configs {
		step, ok := c.Step(p.id)
		if !ok {
			continue
		}
		resolved := c.Resolved(step)
		if digest, err := plantoken.ConfigDigest(resolved); err == nil && digest == p.preimage.Context.ConfigDigest {
			return c, resolved
		}
	}
	return nil, nil
}

// undecided is the judgement of a step that the judges could not judge: a denial,
// as it would be in a flight.
func undecided(j Judgement, why *protocol.Error, at string) Judgement {
	found := policies.Finding{Unjudged: true, PolicyEvaluation: protocol.PolicyEvaluation{
		Source: protocol.SourceCustom, PolicyID: "cabincrew/unjudged", Decision: protocol.Deny, Severity: protocol.Deny.Severity(),
		Reason: why.Error(), EvaluatedAt: at,
	}}
	j.Decision = protocol.Deny
	j.Findings = []policies.Finding{found}
	j.Evaluations, j.Violations = []protocol.PolicyEvaluation{found.PolicyEvaluation}, []string{found.Reason}
	j.Requires = []protocol.PreflightRequires{}
	return j
}

package orchestrator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

// EarlierPlan is the signed plan of a flight of the same change, as bytes that nobody
// has verified.
type EarlierPlan struct {
	Bundle   json.RawMessage `json:"bundle"`
	Manifest json.RawMessage `json:"manifest"`
}

// CarriedFrom names, in a signed approval, the plan that people approved where it is not
// the one that the approval serves. SPEC: docs/protocol.md 7.
type CarriedFrom struct {
	FlightToken string
	Token       string // of the step
	HeadCommit  string // that people looked at
	PlanBundle  string // digest of the signed plan
	Intent      string // of the step, equal in both plans
	// Workspace says why what it was planned on may differ: CarriedEqual, it does not, or
	// CarriedHidden, the step's take-off sees nothing of it.
	Workspace string
}

// Why an approval may serve a plan over another workspace.
const (
	CarriedEqual  = "equal"
	CarriedHidden = "hidden"
)

func carriedPath(id string) string { return "approvals/" + id + ".carried.json" }

// carried is an earlier plan whose approvals count for a flight.
type carried struct {
	plan   EarlierPlan
	facts  *PlanFacts
	sealed time.Time // when its token was first sealed
	coded  time.Time // when it was signed, which made its code
	code   string
	by     map[string]CarriedFrom // by step
}

// same says why a flight is not of the same intent as an earlier plan, or may do
// something else although it is; nil where approvals of that plan may serve it.
// SPEC: docs/protocol.md 7, docs/threats.md T45.
func (v *verified) same(facts *PlanFacts, s *Setup) (map[string]CarriedFrom, error) {
	if len(facts.Steps) != len(v.plans) {
		return nil, otherIntent("the earlier plan has %d steps, this one %d", len(facts.Steps), len(v.plans))
	}
	out := map[string]CarriedFrom{}
	for i, p := range v.plans {
		was := facts.Steps[i]
		intent, err := p.intent()
		if err != nil {
			return nil, err
		}
		var then plantoken.Preimage
		if err := json.Unmarshal(was.Preimage, &then); err != nil {
			return nil, integrity("plan_bundle_malformed", "the earlier plan's preimage of step %s cannot be read: %w", was.StepID, err)
		}
		if was.StepID != p.id || was.Intent != intent {
			return nil, otherIntent("step %s does something else than it was planned to: %s", p.id, p.differs(then))
		}
		if err := p.heldAs(was, v.reports[i]); err != nil {
			return nil, err
		}
		from := CarriedFrom{FlightToken: facts.FlightToken, Token: was.Token, HeadCommit: facts.Derived.HeadCommit, Intent: intent, Workspace: CarriedEqual}
		if then.WorkspaceHash != p.preimage.WorkspaceHash {
			from.Workspace = CarriedHidden
			if err := p.givenAs(then); err != nil {
				return nil, err
			}
			// Without the configuration this is the word of who signed the approval.
			if step, known := s.Config.Step(p.id); known && step.TakeOffWorkspace != config.WorkspaceNone {
				return nil, readsOthers(p, then.WorkspaceHash, p.preimage.WorkspaceHash)
			}
		}
		out[p.id] = from
	}
	return out, nil
}

// givenAs refuses other state where the files are others: an engine makes state of what
// it sees while it plans, and that is what its take-off applies.
func (p *stepPlan) givenAs(then plantoken.Preimage) error {
	was := map[string]string{}
	for _, a := range then.Artifacts {
		was[a.Name] = a.Hash
	}
	for i, a := range p.hashes {
		if role := p.artifacts[i].Role; was[a.Name] != a.Hash && role != protocol.RoleLog {
			return protocol.Errorf(protocol.ExitStale, "workspace_differs", "step %s shows the same, but what its take-off is given was made of other files and is other: %s artifact %s", p.id, role, a.Name).
				At("step " + p.id).WithHint("plan the change anew on its base, and have that approved")
		}
		delete(was, a.Name)
	}
	for _, name := range sortedKeys(was) {
		return protocol.Errorf(protocol.ExitStale, "workspace_differs", "step %s has no artifact %s any more, which its take-off was to be given", p.id, name).
			At("step " + p.id).WithHint("plan the change anew on its base, and have that approved")
	}
	return nil
}

// heldAs refuses a plan whose engine was held by less than before, or had other tools.
func (p *stepPlan) heldAs(was PlanFactStep, now Report) error {
	then, err := protocol.Canonical(map[string]any{"tier": was.Isolation["tier"], "tools": was.Isolation["tools"]})
	if err != nil {
		return err
	}
	have := isolationFacts(now)
	is, err := protocol.Canonical(map[string]any{"tier": have["tier"], "tools": have["tools"]})
	if err != nil {
		return err
	}
	if !bytes.Equal(then, is) {
		return otherIntent("step %s was planned by an engine that was held otherwise, or with other tools (%s then, %s now)", p.id, then, is)
	}
	return nil
}

func otherIntent(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitStale, "intent_changed", format, args...).WithHint("plan the change anew on its base, and have that approved")
}

// differs tells people in what a step's intent is another than a preimage's.
func (p *stepPlan) differs(then plantoken.Preimage) string {
	was, now := map[string]string{}, map[string]string{}
	for _, a := range then.Artifacts {
		was[a.Name] = a.Hash
	}
	for i, a := range p.hashes {
		if p.artifacts[i].Role == protocol.RoleEvidence {
			now[a.Name] = a.Hash
		}
	}
	var out []string
	for _, name := range sortedKeys(now) {
		switch hash, there := was[name]; {
		case !there:
			out = append(out, "artifact "+name+" is new")
		case hash != now[name]:
			out = append(out, "artifact "+name+" is another")
		}
	}
	for _, a := range p.hashes {
		delete(was, a.Name)
	}
	for _, name := range sortedKeys(was) {
		out = append(out, "artifact "+name+" is gone")
	}
	c, d := then.Context, p.preimage.Context
	for _, x := range []struct{ what, then, now string }{
		{"governance", then.GovernanceHash, p.preimage.GovernanceHash}, {"policies", then.PolicyDigest, p.preimage.PolicyDigest}, {"engine", then.EngineID, p.preimage.EngineID},
		{"model", then.Model, p.preimage.Model}, {"configuration of the step", c.ConfigDigest, d.ConfigDigest}, {"program", c.EngineDigest, d.EngineDigest},
		{"target", c.Target, d.Target}, {"workflow", c.Workflow, d.Workflow}, {"path of the configuration", c.ConfigPath, d.ConfigPath},
		{"forge", c.Forge, d.Forge}, {"repository", c.Repository, d.Repository},
	} {
		if x.then != x.now {
			out = append(out, "another "+x.what)
		}
	}
	return strings.Join(out, ", ")
}

// intent is what the step wants, whatever it was planned on.
func (p *stepPlan) intent() (string, error) {
	roles := map[string]string{}
	for _, a := range p.artifacts {
		roles[a.Name] = a.Role
	}
	return p.preimage.Intent(roles)
}

// carriesOver says whether the governance lets approvals serve another plan of the same
// intent: that of the plan and that of the protected ref's tip.
func (s *Setup) carriesOver() bool {
	return s.Config.Approvals.CarryOver == config.CarrySameIntent && (s.Tip == nil || s.Tip.Approvals.CarryOver == config.CarrySameIntent)
}

// carry gives the earlier plan whose approvals serve the flight; nil where none does,
// with why.
func (o *Orchestrator) carry(ctx context.Context, v *verified, s *Setup) (c *carried, why, err error) {
	if o.Carry == nil || !s.carriesOver() {
		return nil, nil, nil
	}
	plan, err := o.Carry(ctx)
	if err != nil || plan == nil {
		return nil, nil, err
	}
	return o.carryFrom(*plan, v, s, o.Now())
}

func (o *Orchestrator) carryFrom(plan EarlierPlan, v *verified, s *Setup, now time.Time) (c *carried, why, err error) {
	facts, err := o.Signatures.Plan(plan.Bundle, plan.Manifest)
	if err != nil {
		return nil, nil, err
	}
	late, err := after(now, facts.NotAfter)
	if err != nil {
		return nil, nil, err
	}
	if late {
		return nil, notCounted("approval_carried", "the plan that people approved was valid until %s", facts.NotAfter).WithHint("plan the change anew"), nil
	}
	by, why := v.same(facts, s)
	if why != nil {
		if protocol.ExitCode(why) == protocol.ExitStale {
			return nil, why, nil
		}
		return nil, nil, why
	}
	c = &carried{plan: plan, facts: facts, by: by}
	for id, from := range c.by {
		from.PlanBundle = protocol.Digest(plan.Bundle)
		c.by[id] = from
	}
	first := facts.FirstSealed
	if first == "" {
		first = facts.IssuedAt // the tokens were made a moment before
	}
	if c.sealed, err = time.Parse(time.RFC3339, first); err != nil {
		return nil, nil, integrity("plan_bundle_malformed", "the time %q of the earlier plan cannot be read", first)
	}
	if c.coded, err = time.Parse(time.RFC3339, facts.IssuedAt); err != nil {
		return nil, nil, integrity("plan_bundle_malformed", "the time %q of the earlier plan cannot be read", facts.IssuedAt)
	}
	c.code, err = plantoken.ApprovalCode(facts.FlightToken, facts.ApprovalNonce)
	return c, nil, err
}

// asked says whether the earlier plan asked a role about a step too, and for the same
// reasons. Nobody approved what was not asked, and whoever approved that a change touches
// what judges approved that of this change alone.
func (c *carried) asked(step, role string, now []FactEvaluation) bool {
	var then []FactEvaluation
	for _, x := range c.facts.Steps {
		if x.StepID == step {
			then = x.Evaluations
		}
	}
	reasons := reasonsOf(now)
	if !slices.Equal(reasons, reasonsOf(then)) || slices.ContainsFunc(reasons, func(r string) bool { return strings.HasPrefix(r, governs) }) {
		return false
	}
	return slices.ContainsFunc(c.facts.Steps, func(x PlanFactStep) bool {
		return x.StepID == step && slices.ContainsFunc(x.Approvals, func(a FactApproval) bool { return a.Role == role })
	})
}

// governs begins the reasons to ask that lie in what judges.
const governs = string(protocol.SourceCustom) + " governance/"

// reasonsOf names the judges who ask for approval.
func reasonsOf(all []FactEvaluation) []string {
	var out []string
	for _, e := range all {
		if e.Decision == protocol.RequireApproval {
			out = append(out, e.Source+" "+e.PolicyID)
		}
	}
	slices.Sort(out)
	return out
}

// reasons gives what the judges said of a step.
func (v *verified) reasons(step string) []FactEvaluation {
	var out []FactEvaluation
	for _, r := range v.reports {
		if r.StepID != step {
			continue
		}
		for _, e := range r.Evaluations {
			out = append(out, FactEvaluation{Source: e.Source, PolicyID: e.PolicyID, Decision: e.Decision})
		}
	}
	return out
}

// keep stores the earlier plan beside the approval that it is evidence of.
func (c *carried) keep(f *Flight, id string) error {
	raw, err := protocol.Canonical(c.plan)
	if err != nil {
		return err
	}
	var again EarlierPlan
	if err := readOwn(raw, &again); err != nil || !bytes.Equal(again.Bundle, c.plan.Bundle) || !bytes.Equal(again.Manifest, c.plan.Manifest) {
		return errors.Join(err, integrity("plan_bundle_malformed", "the earlier plan is not in canonical form").At(carriedPath(id)))
	}
	return f.WriteFile(carriedPath(id), raw)
}

// carriedFor verifies what a signed approval says of the plan that it was given for.
func (o *Orchestrator) carriedFor(f *Flight, s *Setup, v *verified, q protocol.ApprovalRequest, st *ApprovalStatement, now time.Time) (*carried, error) {
	if s.Config.Approvals.CarryOver != config.CarrySameIntent {
		return nil, notCounted("approval_carried", "the approval was given for another plan of the same intent, and the governance lets none carry over").
			WithHint("have this plan approved, or set approvals: {carry_over: same-intent}")
	}
	raw, err := f.ReadFile(carriedPath(q.ApprovalID), limits.CarriedPlan)
	if err != nil {
		return nil, integrity("flight_unreadable", "%w", err).At(carriedPath(q.ApprovalID))
	}
	var plan EarlierPlan
	if err := readOwn(raw, &plan); err != nil {
		return nil, integrity("approval_malformed", "%w", err).At(carriedPath(q.ApprovalID))
	}
	c, why, err := o.carryFrom(plan, v, s, now)
	if err == nil {
		err = why
	}
	if err != nil {
		return nil, err
	}
	if from := c.by[q.StepID]; from != *st.CarriedFrom {
		return nil, integrity("approval_mismatch", "the approval says it was given for plan %s, the plan beside it is %s", st.CarriedFrom.FlightToken, from.FlightToken).At(carriedPath(q.ApprovalID))
	}
	if !c.asked(q.StepID, q.RequiredRole, v.reasons(q.StepID)) {
		return nil, notCounted("approval_carried", "the plan that people approved did not ask role %s about step %s for the same reasons", q.RequiredRole, q.StepID)
	}
	return c, nil
}

// SameIntent refuses a flight that was planned in place of another one if it does not
// want the same, or may do something else although it does. SPEC: docs/threats.md T45.
func (o *Orchestrator) SameIntent(ctx context.Context, f *Flight, s *Setup, was EarlierPlan) error {
	v, err := o.verified(ctx, f, s)
	if err != nil {
		return err
	}
	facts, err := o.Signatures.Plan(was.Bundle, was.Manifest)
	if err != nil {
		return err
	}
	_, err = v.same(facts, s)
	return err
}

// MayReplan refuses, before any engine runs, to plan again a flight whose base moved on:
// where more than files changed, where a step's take-off could read them, and where an
// engine would run that nothing holds. SPEC: docs/threats.md T18, T45.
func (o *Orchestrator) MayReplan(ctx context.Context, f *Flight, s *Setup) error {
	v, err := o.verified(ctx, f, s)
	if err != nil {
		return err
	}
	now := make([]*stepPlan, len(v.plans))
	for i, p := range v.plans {
		c := *p
		now[i] = &c
	}
	if err := o.derive(ctx, f, s, now); err != nil {
		return err
	}
	for i, p := range v.plans {
		step, _ := s.Config.Step(p.id)
		is := now[i].preimage
		if step.Isolation == config.IsolationNone {
			return protocol.Errorf(protocol.ExitStale, "workspace_changed", "the plan is stale, and step %s says isolation: none: nothing is planned again beside what signs", p.id).
				At("step " + p.id).WithHint("plan the change anew on its base, and have that approved")
		}
		if is.WorkspaceHash != p.preimage.WorkspaceHash && step.TakeOffWorkspace != config.WorkspaceNone {
			return readsOthers(p, p.preimage.WorkspaceHash, is.WorkspaceHash)
		}
		is.WorkspaceHash = p.preimage.WorkspaceHash
		if err := moved(p.id, p.preimage, is); err != nil {
			return err
		}
	}
	return nil
}

func readsOthers(p *stepPlan, then, now string) error {
	return protocol.Errorf(protocol.ExitStale, "workspace_differs", "the take-off of step %s can read files that are others now (%s then, %s now)", p.id, then, now).
		At("step " + p.id).WithHint("plan the change anew on its base; a step that needs none of the workspace to take off can say take_off: {workspace: none}")
}

// PlanOf gives the signed plan of a flight.
func PlanOf(f *Flight) (EarlierPlan, error) {
	var p EarlierPlan
	var err error
	if p.Bundle, err = f.ReadFile(PlanBundle, limits.Approval); err != nil {
		return p, integrity("plan_unsigned", "%w", err).At(PlanBundle)
	}
	if p.Manifest, err = f.ReadFile(ManifestFile, limits.ManifestFile); err != nil {
		return p, integrity("flight_unreadable", "%w", err).At(ManifestFile)
	}
	return p, nil
}

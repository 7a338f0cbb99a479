package orchestrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

// TakeOffOptions say how a take-off is made.
type TakeOffOptions struct {
	DryRun        bool // every check, nothing applied, nothing recorded
	RequireSigned bool // refuse a plan that is not signed: the rule in CI
}

// TakeOff verifies a flight again from signatures and bytes and, if everything
// still holds, lets the engines apply exactly the plan, once. A flight that was
// completed before is not an error: done says so. SPEC: docs/protocol.md 9.
func (o *Orchestrator) TakeOff(ctx context.Context, f *Flight, s *Setup, opt TakeOffOptions) (done bool, err error) {
	if err := o.once(f); err != nil {
		return false, err
	}
	if state := f.Status.State; !opt.DryRun && (state == protocol.StateAwaitingApproval || state == protocol.StateApproved) {
		// What took off elsewhere needs no approval any more.
		if done, err := o.tookOffElsewhere(ctx, f, s); done || err != nil {
			return done, err
		}
		// Answers may have been given and not settled by a command that was killed.
		if err := o.gate(ctx, f, s); err != nil {
			return false, err
		}
	}
	switch state := f.Status.State; state {
	case protocol.StateReadyForTakeoff:
	case protocol.StateAwaitingApproval:
		return false, o.outcome(ctx, f, s)
	case protocol.StateCompleted:
		// Even an answer that changes nothing is given from verified bytes only.
		return true, o.ended(ctx, f, s, opt)
	case protocol.StateTakeoffRunning, protocol.StateExecutionComplete:
		return false, indeterminate(f)
	case protocol.StateFailed:
		if err := o.ended(ctx, f, s, opt); err != nil {
			return false, err
		}
		return false, o.failedBefore(ctx, f, s)
	default:
		return false, protocol.Errorf(protocol.ExitUsage, "state_wrong", "flight %s is %s: it cannot take off", f.ID(), state).
			WithHint("cabincrew resume goes on with a flight that was interrupted")
	}
	v, err := o.cleared(ctx, f, s, opt)
	if errors.Is(err, errConsumed) {
		return true, nil
	}
	if err != nil {
		return false, o.refused(f, v, err, opt.DryRun)
	}
	if opt.DryRun {
		return false, nil
	}
	if err := o.Signatures.Ready(ctx); err != nil {
		return false, err // its end could not be signed
	}
	if err := o.standing(ctx, f, s, v); err != nil {
		return false, err
	}
	if err := o.gated(ctx, f, s, v); err != nil {
		return false, err
	}
	if err := o.append(f, verifiedRecord(f, v), f.enter(protocol.StateTakeoffRunning, "take-off begins")); err != nil {
		return false, err
	}
	if err := o.begin(f); err != nil {
		return false, err
	}
	if err := o.consume(ctx, f, s, v, false); err != nil {
		return false, o.Fail(f, "", err)
	}
	return false, o.closed(ctx, f, s, v, o.apply(ctx, f, s, v, nil))
}

func indeterminate(f *Flight) error {
	return integrity("takeoff_indeterminate", "a take-off of flight %s began and has no end; it is not run again by itself", f.ID()).
		WithHint("look at the workspace, then: cabincrew resume --retry-take-off")
}

// failedBefore gives a refusal with the exit code of what ended the flight.
func (o *Orchestrator) failedBefore(ctx context.Context, f *Flight, s *Setup) error {
	if v, err := o.verified(ctx, f, s); err != nil {
		return err
	} else if v.reports != nil && worst(v.reports) == protocol.Deny {
		return denied(v.reports)
	}
	cause := "for a reason that was not recorded"
	if f.Status.Failure != nil {
		cause = f.Status.Failure.Error
	}
	for _, got := range f.Status.Received {
		if !got.Approved {
			return protocol.Errorf(protocol.ExitDenied, "approval_rejected", "the flight failed: %s", cause)
		}
	}
	return protocol.Errorf(failureExit(cause), "flight_failed", "the flight failed: %s", cause).WithHint("plan again with cabincrew flight-plan")
}

// cleared does every check before take-off. What it verified is given back also
// beside an error, as far as it came.
func (o *Orchestrator) cleared(ctx context.Context, f *Flight, s *Setup, opt TakeOffOptions) (*verified, error) {
	o.progress(Progress{Stage: "take-off", Message: "verifying the flight"})
	v, err := o.verified(ctx, f, s)
	if err != nil {
		return nil, err
	}
	if err := o.signedPlan(v, opt.RequireSigned); err != nil {
		return v, err
	}
	for _, p := range v.plans {
		if err := ofHere(p.id, p.preimage.Context, s.Source.Run); err != nil {
			return v, err
		}
	}
	if done, err := o.consumed(f, s, v); err != nil || done {
		return v, cmp.Or(err, errConsumed)
	}
	if err := o.fresh(ctx, f, s, v); err != nil {
		return v, err
	}
	if err := o.approvalsHold(f, s, v); err != nil {
		return v, err
	}
	if err := o.current(ctx, f, s, v, nil); err != nil {
		return v, err
	}
	if err := s.provided(f); err != nil {
		return v, err
	}
	if err := o.held(ctx, f, s); err != nil {
		return v, err
	}
	return v, o.judgedAgain(ctx, f, s, v)
}

// signedPlan refuses a plan that is not signed where it must be, and one whose
// signature's time is over.
func (o *Orchestrator) signedPlan(v *verified, require bool) error {
	if v.plan == nil {
		if require {
			return integrity("plan_unsigned", "the plan is not signed; in CI only signed plans take off").
				WithHint("set signing in the configuration")
		}
		return nil
	}
	late, err := after(o.Now(), v.plan.NotAfter)
	if err != nil || late {
		return integrity("plan_expired", "the signed plan was valid until %s", v.plan.NotAfter).WithHint("plan again with cabincrew flight-plan")
	}
	return nil
}

// current derives every token again from the checkout, configuration, policies
// and engines as they are now, and compares. SPEC: docs/protocol.md 4.
func (o *Orchestrator) current(ctx context.Context, f *Flight, s *Setup, v *verified, base tree) error {
	if err := f.sameSteps(s.Config); err != nil {
		return err
	}
	now := make([]*stepPlan, len(v.plans))
	for i, p := range v.plans {
		c := *p
		now[i] = &c
	}
	var err error
	if base == nil {
		err = o.derive(ctx, f, s, now)
	} else {
		err = o.deriveOn(ctx, f, s, now, base, false)
	}
	if err != nil {
		return err
	}
	for i, p := range v.plans {
		if err := moved(p.id, p.preimage, now[i].preimage); err != nil {
			return err
		}
		p.files = now[i].files
	}
	return o.rederive(ctx, f, s, v.plans)
}

// moved names what is another now than it was when the plan was made.
func moved(step string, plan, now plantoken.Preimage) error {
	if err := ofHere(step, plan.Context, Run{Forge: now.Context.Forge, RepositoryID: now.Context.Repository, Change: now.Context.Change}); err != nil {
		return err
	}
	for _, c := range []struct{ code, what, plan, now string }{
		{"config_changed", "the step's configuration", plan.Context.ConfigDigest, now.Context.ConfigDigest},
		{"governance_changed", "the policies", plan.PolicyDigest, now.PolicyDigest},
		{"governance_changed", "the governance (configuration without steps, approvers, policies)", plan.GovernanceHash, now.GovernanceHash},
		{"workspace_changed", "the workspace, as far as the step sees it,", plan.WorkspaceHash, now.WorkspaceHash},
		{"engine_changed", "the engine's program", plan.Context.EngineDigest, now.Context.EngineDigest},
		{"head_changed", "the checked-out commit", plan.Context.HeadCommit, now.Context.HeadCommit},
		{"context_changed", "the configuration's path", plan.Context.ConfigPath, now.Context.ConfigPath},
		{"context_changed", "the step's target", plan.Context.Target, now.Context.Target},
		{"context_changed", "the step's model", plan.Model, now.Model},
		{"context_changed", "the workflow's name", plan.Context.Workflow, now.Context.Workflow},
	} {
		if c.plan != c.now {
			return protocol.Errorf(protocol.ExitStale, c.code, "%s changed since the plan was made (%s then, %s now)", c.what, c.plan, c.now).
				At("step " + step).WithHint("plan again with cabincrew flight-plan; the flight itself is not lost, undoing the change makes it valid again")
		}
	}
	a, errA := plan.Token()
	b, errB := now.Token()
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	if a != b {
		return protocol.Errorf(protocol.ExitStale, "context_changed", "the plan-token would be %s now, it was %s", b, a).At("step " + step)
	}
	return nil
}

// ofHere refuses a plan that was made for another forge, repository or change than
// those of this run.
func ofHere(step string, plan plantoken.Context, run Run) error {
	for _, c := range []struct{ what, plan, now string }{
		{"forge", plan.Forge, run.Forge}, {"repository", plan.Repository, run.RepositoryID}, {"change", plan.Change, run.Change},
	} {
		if c.plan != c.now {
			return integrity("plan_foreign", "the plan is of another %s: %q, this is %q", c.what, c.plan, c.now).At("step " + step).
				WithHint("a plan takes off where it was made for, nowhere else; a run that another event started names the change with --change")
		}
	}
	return nil
}

// judgedAgain asks the judges once more; the stricter word of then and now counts,
// and of the governance of the plan and that of the protected ref's tip.
// SPEC: docs/protocol.md 8.
func (o *Orchestrator) judgedAgain(ctx context.Context, f *Flight, s *Setup, v *verified) error {
	for _, r := range v.reports {
		if r.Derived.GovernanceCommit != s.Source.GovernanceCommit {
			return integrity("governance_source", "step %s was judged under the governance of commit %q, not of %q", r.StepID, r.Derived.GovernanceCommit, s.Source.GovernanceCommit)
		}
	}
	if err := o.judgedBy(ctx, f, s, v); err != nil {
		return err
	}
	for _, owners := range s.Owners {
		if err := o.approvalsHoldFor(f, s.beside(owners), v, owners.Role); err != nil {
			return err
		}
	}
	if s.Tip == nil {
		return nil
	}
	tip := s.beside(*s.Tip)
	if err := o.approvalsHold(f, tip, v); err != nil {
		return err
	}
	return o.judgedBy(ctx, f, tip, v)
}

// beside gives the setup as it is under another governance.
func (s *Setup) beside(t Tip) *Setup {
	out, c := *s, *s.Config
	c.Approvals = t.Approvals
	out.Governance, out.Config = t.Governance, &c
	return &out
}

func (o *Orchestrator) judgedBy(ctx context.Context, f *Flight, s *Setup, v *verified) error {
	for i, p := range v.plans {
		token, err := p.preimage.PlanToken(f.Status.SealedAt)
		if err != nil {
			return err
		}
		r, err := o.judge(ctx, f, s, p, token)
		if err != nil {
			return err
		}
		switch protocol.MostSevere(r.Decision, v.reports[i].Decision) {
		case protocol.Deny:
			return denied([]Report{r, v.reports[i]})
		case protocol.RequireApproval:
			for _, q := range r.Requires {
				if !slices.ContainsFunc(v.requests, func(x protocol.ApprovalRequest) bool { return x.StepID == p.id && x.RequiredRole == q.Role }) {
					return protocol.Errorf(protocol.ExitWaiting, "approval_waiting", "role %s must now approve step %s: %s", q.Role, p.id, q.Reason).
						WithHint("plan again with cabincrew flight-plan")
				}
			}
		}
	}
	return nil
}

// refused records a refusal that means tampering and ends the flight; all others
// leave it as it is. A dry run records nothing.
func (o *Orchestrator) refused(f *Flight, v *verified, err error, dry bool) error {
	if dry || protocol.ExitCode(err) != protocol.ExitIntegrity || v != nil {
		return err
	}
	no := false
	e := f.event(protocol.EventPlanTokenVerified, "", "the flight does not verify: "+err.Error())
	e.Severity = protocol.SeverityCritical
	e.IntegrityCheck = &protocol.AuditIntegrity{ExpectedPlanToken: f.Status.FlightToken, PlanTokenMatch: &no, ArtifactsMatch: &no, Differences: []string{err.Error()}}
	if appendErr := o.append(f, Record{Event: e}); appendErr != nil {
		return fmt.Errorf("%w (and the refusal could not be recorded: %w)", err, appendErr)
	}
	return o.Fail(f, "", err)
}

func verifiedRecord(f *Flight, v *verified) Record {
	yes := true
	e := f.event(protocol.EventPlanTokenVerified, "", "the flight verifies: signatures, tokens, artifacts, decisions, approvals, workspace")
	e.IntegrityCheck = &protocol.AuditIntegrity{
		ExpectedPlanToken: f.Status.FlightToken, ActualPlanToken: v.manifest.FlightToken, PlanTokenMatch: &yes, ArtifactsMatch: &yes,
	}
	return Record{Event: e}
}

// apply takes the steps off that are not yet, in plan order. retry names a step
// whose take-off was interrupted.
func (o *Orchestrator) apply(ctx context.Context, f *Flight, s *Setup, v *verified, retry []string) error {
	for _, p := range v.plans {
		if f.Status.TakenOff[p.id] {
			continue
		}
		o.progress(Progress{Step: p.id, Stage: "take-off", Message: "taking off"})
		err := o.takeOffStep(ctx, f, s, v, p, slices.Contains(retry, p.id))
		o.progress(Progress{Step: p.id, Stage: "take-off", Message: "taken off", Done: true, Err: err})
		if ctx.Err() != nil && err != nil {
			return interrupted(ctx)
		}
		if err != nil {
			if open(err) && !f.Status.Began[p.id] {
				// Nothing of this step was done. Steps before it were: the flight waits
				// in TAKEOFF_RUNNING for a person.
				return err
			}
			return o.Fail(f, p.id, s.redacted(err))
		}
	}
	return o.complete(ctx, f, s, v)
}

// complete asks the policies over take-offs and ends the flight.
func (o *Orchestrator) complete(ctx context.Context, f *Flight, s *Setup, v *verified) error {
	if f.Status.State == protocol.StateTakeoffRunning {
		if err := o.append(f, f.enter(protocol.StateExecutionComplete, "all steps are applied")); err != nil {
			return err
		}
	}
	if err := o.afterwards(ctx, f, s, v); err != nil {
		return err
	}
	names := make([]string, len(f.Status.Artifacts))
	for i, a := range f.Status.Artifacts {
		names[i] = a.ArtifactID
	}
	var records []Record
	e := f.event(protocol.EventWorkflowComplete, "", "the flight is completed")
	e.WorkflowState = string(protocol.StateCompleted)
	if f.Status.State != protocol.StateCompleted {
		records = append(records, f.enter(protocol.StateCompleted, "completed"))
	}
	records = append(records, Record{protocol.WALWorkflowCompleted,
		protocol.WorkflowCompletedData{FinalState: protocol.StateCompleted, Artifacts: slices.Compact(slices.Sorted(slices.Values(names)))}, e})
	if err := o.append(f, records...); err != nil {
		return err
	}
	return o.end(f)
}

// takeOffStep applies one step: the workspace must be what the plan says right
// before, and every patched file what the plan says right after.
func (o *Orchestrator) takeOffStep(ctx context.Context, f *Flight, s *Setup, v *verified, p *stepPlan, retry bool) (err error) {
	step, _ := s.Config.Step(p.id)
	if err := o.rightBefore(ctx, f, s, v, p, step, retry); err != nil {
		return err
	}
	e, err := o.findEngine(ctx, step, p.preimage.Context.EngineDigest, s.Workspace, s.Workspace)
	if err != nil {
		return err
	}
	if e.digest != p.preimage.Context.EngineDigest {
		return protocol.Errorf(protocol.ExitStale, "engine_changed", "the engine's program changed right before take-off").At("step " + p.id)
	}
	tmp, remove, err := o.Temp("takeoff-" + p.id + "-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	spec, err := o.takeOffSpec(ctx, f, s, step, p, e, tmp)
	if err != nil {
		return err
	}
	begin := f.stepEnter(p.id, protocol.StateTakeoffRunning, protocol.EventEngineStart, "take-off: engine starts")
	begin.Event.Workflow.Mode = string(protocol.TakeOff)
	if err := o.append(f, begin); err != nil {
		return err
	}
	before, err := s.whole(ctx, p)
	if err != nil {
		return err
	}
	repositories, err := workspace.Repositories(ctx, s.Workspace)
	if err != nil {
		return err
	}
	if err := o.beginStep(f, p.id, retry); err != nil {
		return err
	}
	result, err := runLogged(ctx, o.Runner, f, s, stepPath(p.id, takeoffLog), spec)
	if records := f.tried(p.id, protocol.TakeOff, s, result); len(records) > 0 {
		err = errors.Join(err, o.append(f, records...))
	}
	if err != nil {
		return err
	}
	receipt, err := engines.ReadReceipt(result, protocol.TakeOff)
	if err != nil {
		return e.failure(err, result)
	}
	if err := s.sameRepositories(ctx, p, repositories); err != nil {
		return err
	}
	changed, err := s.rightAfter(ctx, p, before, retry)
	if err != nil {
		return err
	}
	f.tookOff(p, changed)
	return o.tookOff(f, s, p, result, receipt, changed)
}

// tookOff keeps the receipt and records the end of a step's take-off.
func (o *Orchestrator) tookOff(f *Flight, s *Setup, p *stepPlan, result engines.Result, receipt protocol.EngineOutput, changed []string) error {
	detector := s.Redactor.Detector()
	_, _ = detector.Write(result.Receipt) // a detector never fails
	if found := detector.Found(); found != "" {
		return protocol.Errorf(protocol.ExitDenied, "receipt_secret", "the take-off receipt holds the value of a secret (%s)", found).At("step " + p.id)
	}
	at, log := stepPath(p.id, takeoffReceipt), stepPath(p.id, takeoffLog)
	if err := f.WriteFile(at, result.Receipt); err != nil {
		return err
	}
	file, err := f.Root().Open(log)
	logDigest, err := digestOf(file, err)
	if err != nil {
		return err
	}
	e := f.event(protocol.EventEngineComplete, p.id, "take-off: engine ended well")
	if len(changed) > 0 {
		// Only a step without patches comes here with changes.
		e.Message += fmt.Sprintf("; it changed %d files: %q", len(changed), changed[:min(len(changed), 20)])
		e.Severity = protocol.SeverityWarning
	}
	e.Workflow.Mode = string(protocol.TakeOff)
	e.Engine = &protocol.AuditEngine{EngineID: receipt.EngineID, ReceiptID: receipt.ReceiptID, Status: receipt.Status}
	return o.append(f,
		f.artifactRecord(at, protocol.Digest(result.Receipt), "takeoff-receipt", p.id, protocol.EventArtifactValidated, "take-off receipt kept"),
		f.artifactRecord(log, logDigest, "takeoff-log", p.id, protocol.EventArtifactValidated, "take-off log kept"),
		Record{protocol.WALStepCompleted, protocol.StepCompletedData{StepID: p.id}, e})
}

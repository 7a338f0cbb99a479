package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/protocol"
)

// ResumeOptions say how far a resumed flight may go.
type ResumeOptions struct {
	RetryTakeOff  bool // a person says that an interrupted take-off may run again
	RequireSigned bool // refuse a plan that is not signed: the rule in CI
}

// Mend records what was found broken off when a flight was opened for writing:
// a torn line that was cut, or audit events whose WAL entries were never written.
// A WAL that was cut after its take-off is refused: a flight takes off once.
//
// With ending, the flight is opened to be ended only: then nothing is refused.
func (o *Orchestrator) Mend(f *Flight, ending bool) error {
	var records []Record
	if f.Recovered != "" {
		e := f.event(protocol.EventError, "", f.Recovered)
		e.Severity = protocol.SeverityWarning
		records = append(records, Record{Event: e})
	}
	if ending {
		return nil
	}
	if f.cut() {
		return integrity("wal_cut", "the audit log tells of a take-off that the WAL does not know: the WAL was cut").At("wal.jsonl").
			WithHint("trust nothing in this flight; plan again")
	}
	if err := o.once(f); err != nil {
		return err
	}
	if f.Status.State.Terminal() && (f.Status.Failure == nil || failureExit(f.Status.Failure.Error) != protocol.ExitIntegrity) {
		// A command that was killed right before it made the mark. Of a take-off that was
		// not made here, the logs are nobody's word.
		here, err := o.tookOffHere(f)
		if err == nil && (here || len(f.Status.Began) == 0) {
			err = o.end(f)
		}
		if err != nil {
			return err
		}
	}
	if len(records) == 0 {
		return nil
	}
	return o.append(f, records...)
}

// cut says whether the events beyond the WAL's end are more than one interrupted
// write can leave. What counts is that no engine takes off twice: the begin of a
// take-off is a write of its own, and its end is written when every step has ended.
func (f *Flight) cut() bool {
	holds := func(kinds ...string) bool {
		return slices.ContainsFunc(f.Ahead, func(k string) bool { return slices.Contains(kinds, k) })
	}
	all := !slices.ContainsFunc(f.order(), func(id string) bool { return !f.Status.TakenOff[id] })
	switch {
	case holds(protocol.EventTakeoffComplete, protocol.EventWorkflowComplete):
		return !all
	case holds(protocol.EventTakeoffStart):
		return len(f.Ahead) > 1
	}
	return false
}

// maybeBegan says whether a step's take-off may have begun although the WAL does
// not say so: the audit log tells of an engine that started beyond its end, and
// this is the first step that has not taken off.
func (f *Flight) maybeBegan(id string) bool {
	if !slices.Contains(f.Ahead, protocol.EventEngineStart) {
		return false
	}
	for _, step := range f.order() {
		if !f.Status.TakenOff[step] {
			return step == id
		}
	}
	return false
}

// Resume goes on after the last completed stage, up to the next gate: an
// approval that is missing, or READY_FOR_TAKEOFF. SPEC: docs/protocol.md 5.
func (o *Orchestrator) Resume(ctx context.Context, f *Flight, s *Setup, opt ResumeOptions) error {
	for {
		before := f.Status.State
		if err := o.resumeOnce(ctx, f, s, opt); err != nil {
			return err
		}
		if f.Status.State == before || f.Status.State.Terminal() {
			return o.outcome(ctx, f, s)
		}
	}
}

func (o *Orchestrator) resumeOnce(ctx context.Context, f *Flight, s *Setup, opt ResumeOptions) error {
	switch f.Status.State {
	case protocol.StateInit, protocol.StatePlanRunning:
		return o.Plan(ctx, f, s)
	case protocol.StatePlanGenerated, protocol.StateArtifactsValidated, protocol.StateTokenCreated, protocol.StatePreflightRunning:
		return o.Seal(ctx, f, s)
	case protocol.StatePreflightComplete, protocol.StateAwaitingApproval, protocol.StateApproved:
		return o.gate(ctx, f, s)
	case protocol.StateTakeoffRunning:
		return o.retry(ctx, f, s, opt)
	case protocol.StateExecutionComplete:
		v, err := o.verified(ctx, f, s)
		if err != nil {
			return o.refused(f, nil, err, false)
		}
		return o.closed(ctx, f, s, v, o.complete(ctx, f, s, v))
	case protocol.StateCompleted, protocol.StateFailed:
		return o.ended(ctx, f, s, TakeOffOptions{RequireSigned: opt.RequireSigned})
	}
	return nil
}

// gate finishes what was cut off between the end of preflight and the take-off:
// requests that were not recorded, answers that were given but not counted.
func (o *Orchestrator) gate(ctx context.Context, f *Flight, s *Setup) error {
	reports, requests, err := o.asked(f, s)
	if err != nil {
		return err
	}
	switch worst(reports) {
	case protocol.Deny:
		return o.Fail(f, "", denied(reports))
	case protocol.Allow, protocol.Warn:
		return o.append(f, f.enter(protocol.StateReadyForTakeoff, "ready for take-off"))
	}
	var records []Record
	if f.Status.State == protocol.StatePreflightComplete {
		records = append(records, f.enter(protocol.StateAwaitingApproval, "approval is needed"))
	}
	for _, q := range requests {
		if slices.ContainsFunc(f.Status.Requested, func(r Requested) bool { return r.ApprovalID == q.ApprovalID }) {
			continue
		}
		e := f.event(protocol.EventApprovalRequest, q.StepID, "role "+q.RequiredRole+" must approve: "+q.Reason)
		e.WorkflowState = string(protocol.StateAwaitingApproval)
		records = append(records, Record{protocol.WALApprovalRequested,
			protocol.ApprovalRequestedData{ApprovalID: q.ApprovalID, StepID: q.StepID, RequiredRole: q.RequiredRole}, e})
	}
	if len(records) > 0 {
		if err := o.append(f, records...); err != nil {
			return err
		}
	}
	if f.Status.State == protocol.StateApproved {
		return o.append(f, f.enter(protocol.StateReadyForTakeoff, "ready for take-off"))
	}
	v, err := o.verified(ctx, f, s)
	if err != nil {
		return err
	}
	for _, st := range v.fresh {
		if err := o.counts(f, s, v, st.Request, st); err != nil {
			return err
		}
		if err := o.append(f, f.received(*st)); err != nil {
			return err
		}
	}
	why, err := o.witness(ctx, f, s, v)
	if err != nil {
		return err
	}
	err = o.settle(f, v)
	if len(why) > 0 && errors.Is(err, protocol.Code("approval_waiting")) {
		return protocol.Errorf(protocol.ExitWaiting, "approval_waiting", "approval is still needed: %s", strings.Join(why, "; ")).WithHint("%s", askPeople)
	}
	return err
}

const askPeople = "have the people whom the roles ask for approve the change where it is reviewed"

// asked reads the reports and requests of a flight whose preflight ended, before
// the WAL is known to tell of all of them.
func (o *Orchestrator) asked(f *Flight, s *Setup) ([]Report, []protocol.ApprovalRequest, error) {
	var v verified
	plans, err := f.readAll(context.Background(), s.Config, s.Redactor)
	if err != nil {
		return nil, nil, asIntegrity(err, "")
	}
	v.plans = plans
	if err := v.manifestOnly(f); err != nil {
		return nil, nil, err
	}
	if _, err := v.readTokens(f); err != nil {
		return nil, nil, err
	}
	if v.reports, err = f.readReports(plans); err != nil {
		return nil, nil, err
	}
	known := f.Status.Requested
	f.Status.Requested = nil // an interrupted write may have recorded some of them only
	state := f.Status.State
	f.Status.State = protocol.StatePreflightComplete
	v.requests, err = f.readRequests(v.manifest, v.reports)
	f.Status.Requested, f.Status.State = known, state
	return v.reports, v.requests, err
}

// retry runs an interrupted take-off again, where the step says that it may be
// or a person does; otherwise the flight fails. SPEC: docs/protocol.md 5.
func (o *Orchestrator) retry(ctx context.Context, f *Flight, s *Setup, opt ResumeOptions) error {
	v, err := o.verified(ctx, f, s)
	if err != nil {
		return o.refused(f, nil, err, false)
	}
	var broken, stuck []string
	for _, id := range f.order() {
		marked, err := o.beganBefore(f, id)
		if err != nil {
			return err
		}
		if f.Status.TakenOff[id] || !f.Status.Began[id] && !f.maybeBegan(id) && !marked {
			continue
		}
		broken = append(broken, id)
		if step, ok := s.Config.Step(id); !ok || !step.Idempotent {
			stuck = append(stuck, id)
		}
	}
	if len(stuck) > 0 && !opt.RetryTakeOff {
		err := integrity("takeoff_indeterminate", "step %s may have been applied in part and is not idempotent, so it is not run again", strings.Join(stuck, ", ")).
			WithHint("look at what it did, mend it, and plan again (resume --retry-take-off would have run it again)")
		return o.closed(ctx, f, s, v, o.Fail(f, stuck[0], err))
	}
	base, err := s.scan(ctx, allPatches(v.plans))
	if err != nil {
		return err
	}
	for _, p := range slices.Backward(v.plans) {
		if !f.Status.TakenOff[p.id] && !slices.Contains(broken, p.id) {
			continue
		}
		for _, q := range slices.Backward(p.patches) {
			if err := base.revert(q, slices.Contains(broken, p.id)); err != nil {
				return err
			}
		}
	}
	if err := o.holds(ctx, f, s, v, base, opt.RequireSigned); err != nil {
		return err
	}
	e := f.event(protocol.EventError, "", "an interrupted take-off is run again: "+strings.Join(broken, ", "))
	e.Severity = protocol.SeverityWarning
	if err := o.append(f, Record{Event: e}); err != nil {
		return err
	}
	if err := o.begin(f); err != nil {
		return err
	}
	if err := o.consume(ctx, f, s, v, true); err != nil {
		return o.closed(ctx, f, s, v, o.Fail(f, "", err))
	}
	return o.closed(ctx, f, s, v, o.apply(ctx, f, s, v, broken))
}

// holds makes the checks of a take-off for one that goes on over a given checkout.
func (o *Orchestrator) holds(ctx context.Context, f *Flight, s *Setup, v *verified, base tree, requireSigned bool) error {
	if err := o.signedPlan(v, requireSigned); err != nil {
		return err
	}
	if err := o.fresh(ctx, f, s, v); err != nil {
		return err
	}
	if err := o.approvalsHold(f, s, v); err != nil {
		return err
	}
	if err := o.current(ctx, f, s, v, base); err != nil {
		return err
	}
	return o.judgedAgain(ctx, f, s, v)
}

// outcome gives the error that a flight at rest stands for: none, a denial, or a wait.
func (o *Orchestrator) outcome(ctx context.Context, f *Flight, s *Setup) error {
	switch f.Status.State {
	case protocol.StateAwaitingApproval:
		v, err := o.verified(ctx, f, s)
		if err != nil {
			return err
		}
		if open := v.open(f); len(open) > 0 {
			return v.waiting(open)
		}
		return notCounted("approval_waiting", "all answers are in, but a command was interrupted before they were settled").
			WithHint("cabincrew resume goes on")
	case protocol.StateFailed:
		return o.failedBefore(ctx, f, s)
	}
	return nil
}

// Outcome gives the error that a flight at rest stands for, from verified bytes.
func (o *Orchestrator) Outcome(ctx context.Context, f *Flight, s *Setup) error {
	if err := o.once(f); err != nil {
		return err
	}
	return o.outcome(ctx, f, s)
}

// Ended says whether a flight that its own WAL calls open ended elsewhere.
func (o *Orchestrator) Ended(f *Flight) bool {
	return errors.Is(o.once(f), protocol.Code("flight_ended"))
}

// Cancel ends an open flight.
func (o *Orchestrator) Cancel(ctx context.Context, f *Flight, s *Setup, reason string) error {
	if f.Status.State.Terminal() {
		return protocol.Errorf(protocol.ExitUsage, "state_wrong", "flight %s is %s already", f.ID(), f.Status.State)
	}
	cause := protocol.Errorf(protocol.ExitDenied, "cancelled", "cancelled: %s", reason)
	if f.Status.State == protocol.StateTakeoffRunning {
		// Whoever flew it is gone: this command holds the flight's lock.
		cause.Message += " (its take-off had begun: it may be applied in part)"
	}
	err := o.Fail(f, "", cause)
	switch {
	case !f.Status.State.Terminal():
		return protocol.Errorf(protocol.ExitUnreachable, "cancel_unrecorded", "the flight is still open: %w", err).WithHint("mend what keeps its logs from being written, then cancel it again")
	case protocol.ExitCode(err) != protocol.ExitDenied:
		return err
	}
	if here, err := o.tookOffHere(f); !f.ends() || err != nil || !here {
		return err
	}
	if err := o.ended(ctx, f, s, TakeOffOptions{}); err != nil {
		return fmt.Errorf("the flight is cancelled, but: %w", err)
	}
	return nil
}

func after(now time.Time, limit string) (bool, error) {
	if limit == "" {
		return false, nil
	}
	t, err := time.Parse(time.RFC3339, limit)
	return now.After(t), err
}

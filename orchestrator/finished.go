package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// TakeOffBundle is the signed statement of how a flight ended. No WAL entry tells of
// it: it is about the whole log, with the last entry in it.
const TakeOffBundle = "take-off.sigstore.json"

// Verdicts of TakeOffFacts.
const (
	VerdictCompleted = "completed"
	VerdictFailed    = "failed"
)

// TakeOffFacts is what a take-off statement says beside the manifest. Everything but
// its SignedEnd can be made again from the flight's own bytes.
type TakeOffFacts struct {
	WorkflowID  string        `json:"workflow_id"`
	FlightToken string        `json:"flight_token"`
	Workflow    string        `json:"workflow"`
	Verdict     string        `json:"verdict"`
	Receipts    []FactReceipt `json:"receipts"`
	PlanBundle  string        `json:"plan_bundle"`
	PlannedAt   string        `json:"planned_at"`

	SignedEnd `json:"-"`
}

// SignedEnd are facts that come to be when a take-off statement is signed.
type SignedEnd struct {
	Derived    Derived // of the run that took off
	Audit      AuditHead
	FinishedAt string
	CabinCrew  string
	Commit     string // that was checked out
	InsteadOf  string // flight token of the stale plan that it stood in for
	ConfigPath string // of the configuration, from the top of the repository
}

// FactReceipt is what the take-off of one step left; empty where it did not get so far.
type FactReceipt struct {
	StepID    string `json:"step_id"`
	Target    string `json:"target"`
	Digest    string `json:"digest"`
	LogDigest string `json:"log_digest"`
}

// takeOffFacts makes the facts of a flight that ended.
func (f *Flight) takeOffFacts(plans []*stepPlan) TakeOffFacts {
	facts := TakeOffFacts{
		WorkflowID: f.ID(), FlightToken: f.Status.FlightToken, Workflow: f.Info.Workflow, Verdict: VerdictFailed, Receipts: []FactReceipt{},
		PlanBundle: f.Status.Digests[PlanBundle], PlannedAt: f.Status.SealedAt,
	}
	if f.Status.State == protocol.StateCompleted {
		facts.Verdict = VerdictCompleted
	}
	for _, p := range plans {
		facts.Receipts = append(facts.Receipts, FactReceipt{
			StepID: p.id, Target: p.preimage.Context.Target, Digest: f.Status.Digests[stepPath(p.id, takeoffReceipt)], LogDigest: f.Status.Digests[stepPath(p.id, takeoffLog)],
		})
	}
	return facts
}

// ends says whether a flight is one whose end is signed: its plan is, its take-off
// began, and it is over.
func (f *Flight) ends() bool {
	return f.Status.State.Terminal() && f.Status.Digests[PlanBundle] != "" && len(f.Status.Began) > 0
}

// close signs how a flight ended, unless that was done before. SPEC: docs/protocol.md 9.
func (o *Orchestrator) close(ctx context.Context, f *Flight, s *Setup, v *verified) error {
	if !f.ends() || !o.Signatures.Signs() {
		return nil
	}
	_, err := f.ReadFile(TakeOffBundle, limits.Approval)
	if err == nil {
		_, err = v.readTakeOffBundle(o, f)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	facts := f.takeOffFacts(v.plans)
	if facts.Audit, err = o.auditHead(f); err != nil {
		return err
	}
	facts.Derived, facts.FinishedAt, facts.CabinCrew, facts.Commit, facts.InsteadOf = s.Source.derived(), stamp(o.Now()), o.Version, s.Source.Checkout, o.InsteadOf
	facts.ConfigPath = s.Source.ConfigPath
	bundle, err := o.Signatures.SignTakeOff(ctx, v.raw, facts)
	if err != nil {
		return fmt.Errorf("the flight is %s, but its end could not be signed: %w", f.Status.State, err)
	}
	return f.WriteFile(TakeOffBundle, bundle)
}

// ended verifies a flight that is over, and signs its end where a command was killed
// before it did. Only what this machine's own marks tell is signed afterwards: the
// logs of a flight that ended without a signature are nobody's word.
func (o *Orchestrator) ended(ctx context.Context, f *Flight, s *Setup, opt TakeOffOptions) error {
	v, err := o.verified(ctx, f, s)
	if errors.Is(err, protocol.Code("takeoff_unsigned")) && !opt.DryRun {
		here, markErr := o.tookOffHere(f)
		if markErr != nil || !here {
			return errors.Join(markErr, err)
		}
		if err = o.close(ctx, f, s, v); err == nil {
			v, err = o.verified(ctx, f, s)
		}
	}
	if err != nil {
		return err
	}
	if !opt.DryRun {
		if err := o.endedHere(f); err != nil {
			return err
		}
	}
	if opt.RequireSigned && v.plan == nil {
		return integrity("plan_unsigned", "the plan is not signed; in CI only signed plans take off").WithHint("set signing in the configuration")
	}
	for _, p := range v.plans {
		if err := ofHere(p.id, p.preimage.Context, s.Source.Run); err != nil {
			return err
		}
	}
	return nil
}

// tookOffHere says whether the marks tell of this flight's take-off, in this directory
// and as far as its WAL does.
func (o *Orchestrator) tookOffHere(f *Flight) (bool, error) {
	if o.Fence == nil {
		return false, nil
	}
	content, made, err := o.Fence.Marked(begunMark(f.ID()))
	if err != nil || !made {
		return false, err
	}
	mark, err := readBegun(content)
	if err != nil || mark.Dir != place(f) {
		return false, err
	}
	for _, id := range f.order() {
		if !f.Status.TakenOff[id] && f.Status.State != protocol.StateCompleted {
			continue
		}
		if began, err := o.beganBefore(f, id); err != nil || !began {
			return false, err
		}
	}
	return true, nil
}

// closed signs the end of a flight whose take-off was made, whatever came of it.
func (o *Orchestrator) closed(ctx context.Context, f *Flight, s *Setup, v *verified, err error) error {
	closing := o.close(context.WithoutCancel(ctx), f, s, v)
	if closing == nil {
		closing = o.tokenEnds(f) // with what was just signed
	}
	if closing != nil {
		if err != nil {
			return fmt.Errorf("%w (and: %w)", err, closing)
		}
		return closing
	}
	return err
}

// readTakeOffBundle verifies the statement of how the flight ended.
func (v *verified) readTakeOffBundle(o *Orchestrator, f *Flight) (string, error) {
	if !f.Status.State.Terminal() {
		return "", integrity("takeoff_replayed", "it says how the flight ended, yet here it is %s: its logs were wound back, or the file was put there", f.Status.State).
			At(TakeOffBundle).WithHint("plan again with cabincrew flight-plan")
	}
	raw, err := f.ReadFile(TakeOffBundle, limits.Approval)
	if err != nil {
		return "", integrity("takeoff_unsigned", "the take-off of a signed plan has no signed statement: %w", err).At(TakeOffBundle).
			WithHint("if a command was interrupted, cabincrew resume signs it")
	}
	got, err := o.Signatures.TakeOff(raw, v.raw)
	if err != nil {
		return "", err
	}
	where, x, y, err := firstDifference(*got, f.takeOffFacts(v.plans))
	if err != nil {
		return "", err
	}
	if where != "" {
		return "", integrity("takeoff_bundle_mismatch", "the signed take-off says %s is %s, the flight says %s", where, x, y).At(TakeOffBundle)
	}
	for _, p := range v.plans {
		c := p.preimage.Context
		for _, x := range []struct{ name, says, is string }{
			{"head_commit", got.Derived.HeadCommit, c.HeadCommit}, {"forge", got.Derived.Forge, c.Forge}, {"repository_id", got.Derived.RepositoryID, c.Repository}, {"change", got.Derived.Change, c.Change},
		} {
			if x.says != x.is {
				return "", integrity("takeoff_bundle_mismatch", "the signed take-off says derived.%s is %q, the plan says %q", x.name, x.says, x.is).At(TakeOffBundle)
			}
		}
	}
	if ordered, err := inOrder(f.Status.Updated, got.FinishedAt); err != nil || !ordered {
		return "", integrity("takeoff_bundle_mismatch", "the signed take-off says finished_at is %s, but the flight ended at %s", got.FinishedAt, f.Status.Updated).At(TakeOffBundle)
	}
	if end, err := time.Parse(time.RFC3339, got.FinishedAt); err != nil || end.After(o.Now().Add(clockSlack)) {
		return "", integrity("clock_back", "the signed take-off says finished_at is %s, but the clock says %s", got.FinishedAt, stamp(o.Now())).At(TakeOffBundle).
			WithHint("set the clock right")
	}
	if _, err := o.headHolds(f, got.Audit, "the signed take-off"); err != nil {
		return "", err
	}
	return got.Verdict + ", signed at " + got.FinishedAt, nil
}

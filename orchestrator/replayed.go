package orchestrator

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/protocol"
)

// clockSlack is by how much clocks of machines that one flight passes may differ.
const clockSlack = time.Minute

// fresh refuses a plan that is out of its time, of an old version, or behind another.
func (o *Orchestrator) fresh(ctx context.Context, f *Flight, s *Setup, v *verified) error {
	if err := o.timely(f, v); err != nil {
		return err
	}
	if err := o.supported(s, v); err != nil {
		return err
	}
	return o.newest(ctx, f, s, v)
}

// timely refuses a flight that this machine's clock says is not yet: a clock that was
// set back would make an expired plan valid again.
func (o *Orchestrator) timely(f *Flight, v *verified) error {
	known := map[string]string{"the flight's last entry": f.Status.Updated}
	if v.plan != nil {
		known["the signed plan"] = v.plan.IssuedAt
	}
	for _, what := range sortedKeys(known) {
		if err := o.notBefore(what, known[what]); err != nil {
			return err
		}
	}
	return nil
}

// notBefore refuses a clock that is behind a time that is known.
func (o *Orchestrator) notBefore(what, known string) error {
	at, err := time.Parse(time.RFC3339, known)
	if err != nil {
		return integrity("wal_time", "the time of %s, %q, cannot be read", what, known)
	}
	if o.Now().Add(clockSlack).Before(at) {
		return integrity("clock_back", "%s is of %s, but the clock says %s", what, known, stamp(o.Now())).
			WithHint("set the clock right; a clock that was set back makes what has expired valid again")
	}
	return nil
}

// supported refuses plans that were made or signed by versions which the configuration
// does not accept any more, and this program if it is one.
func (o *Orchestrator) supported(s *Setup, v *verified) error {
	least := s.Config.MinVersion
	if least == "" {
		return nil
	}
	versions := map[string]string{"this program": o.Version}
	if v.plan != nil {
		versions["the program that signed the plan"] = v.plan.CabinCrew
		versions["the program that planned"] = v.plan.Claimed["cabincrew"]
	}
	for _, who := range sortedKeys(versions) {
		if o.AtLeast == nil || !o.AtLeast(versions[who], least) {
			return integrity("version_too_old", "%s is of version %q; min_version is %s", who, versions[who], least).
				WithHint("use cabincrew %s or later for planning and take-off", least)
		}
	}
	return nil
}

// lines names the lines of plans that a flight belongs to, one a target: within a line
// only a plan that is newer than the last one applied takes off.
// SPEC: docs/protocol.md 9.
func lines(workflow string, d Derived, targets []string) ([]string, error) {
	change := d.Change
	if strings.HasPrefix(change, "run/") {
		change = "run" // one line for all that is scheduled or dispatched
	}
	var out []string
	for _, target := range targets {
		raw, err := protocol.Canonical(map[string]any{
			"forge": d.Forge, "repository": d.RepositoryID, "workflow": workflow, "target": target, "change": change,
		})
		if err != nil {
			return nil, err
		}
		const digits = 32
		out = append(out, "line-"+strings.TrimPrefix(protocol.H("line", raw), "sha256:")[:digits])
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func (f *Flight) lines(s *Setup, plans []*stepPlan) ([]string, error) {
	targets := make([]string, len(plans))
	for i, p := range plans {
		targets[i] = p.preimage.Context.Target
	}
	d := s.Source.derived()
	d.Change = cmp.Or(s.Source.Line, d.Change)
	return lines(f.Info.Workflow, d, targets)
}

// newest refuses a plan that is older than, or as old as, one that was applied in its
// line, as far as marks or signed take-offs tell.
func (o *Orchestrator) newest(ctx context.Context, f *Flight, s *Setup, v *verified) error {
	mine, err := f.lines(s, v.plans)
	if err != nil {
		return err
	}
	if err := o.newestByMarks(f, s, mine); err != nil || o.Earlier == nil {
		return err
	}
	earlier, err := o.Earlier(ctx)
	if err != nil {
		return unfenced(err)
	}
	for _, t := range earlier {
		if err := o.newerThan(f, mine, t); err != nil {
			return err
		}
	}
	return nil
}

func (o *Orchestrator) newestByMarks(f *Flight, s *Setup, mine []string) error {
	if o.Fence == nil {
		return nil
	}
	for _, line := range mine {
		marks, err := o.Fence.Marks(line + ".")
		if err != nil {
			return unfenced(err)
		}
		for _, name := range sortedKeys(marks) {
			m := readLineMark(marks[name])
			if err := o.notBefore("the plan of a flight that took off", m.at); err != nil {
				return err
			}
			if m.steps != nil && !f.shares(m.steps) {
				continue
			}
			id, at := strings.TrimPrefix(name, line+"."), m.at
			if m.commit != "" && m.commit == s.Source.Checkout && id != f.ID() {
				return integrity("commit_flown", "flight %s took off at commit %s already, as another plan of the same change with steps of this one", id, m.commit).
					WithHint("what the commit brought was applied: look at that flight; to apply something again, plan a new change")
			}
			if newer, err := later(f.Status.SealedAt, at); id != f.ID() && (err != nil || !newer) {
				return superseded(f, id, at)
			}
		}
	}
	return nil
}

// lineMark is the content of the mark of a line: when the plan was made and, in CI, its
// steps if they are not all, and the commit that took off. A commit takes off once,
// whatever it was planned as.
func (o *Orchestrator) lineMark(f *Flight, s *Setup) string {
	if s.Source.Run.Forge == "" || s.Source.Checkout == "" {
		return f.Status.SealedAt
	}
	steps := AllSteps
	if o.Partly {
		steps = strings.Join(f.order(), ".")
	}
	return f.Status.SealedAt + " " + steps + " " + s.Source.Checkout
}

// AllSteps stands in the mark of a line for the steps of a whole workflow.
const AllSteps = "all."

type lineMark struct {
	at, commit string
	steps      []string // nil: all
}

func readLineMark(content string) lineMark {
	at, rest, _ := strings.Cut(content, " ")
	steps, commit, _ := strings.Cut(rest, " ")
	m := lineMark{at: at, commit: commit}
	if steps != "" && steps != AllSteps {
		m.steps = strings.Split(steps, ".")
	}
	return m
}

// shares says whether the flight has one of some steps.
func (f *Flight) shares(steps []string) bool {
	return slices.ContainsFunc(f.order(), func(id string) bool { return slices.Contains(steps, id) })
}

// newerThan compares a flight with the signed end of one that took off.
func (o *Orchestrator) newerThan(f *Flight, mine []string, t TakeOffFacts) error {
	if t.WorkflowID == f.ID() {
		return integrity("takeoff_replayed", "flight %s took off before: its signed end of %s is here, yet the flight is %s", f.ID(), t.FinishedAt, f.Status.State).
			WithHint("plan again with cabincrew flight-plan")
	}
	if err := o.notBefore("the end of flight "+t.WorkflowID, t.FinishedAt); err != nil {
		return err
	}
	targets, steps := make([]string, len(t.Receipts)), make([]string, len(t.Receipts))
	for i, r := range t.Receipts {
		targets[i], steps[i] = r.Target, r.StepID
	}
	if o.Partly && !f.shares(steps) {
		return nil
	}
	theirs, err := lines(t.Workflow, t.Derived, targets)
	if err != nil {
		return err
	}
	newer, err := later(f.Status.SealedAt, t.PlannedAt)
	if (err != nil || !newer) && slices.ContainsFunc(theirs, func(l string) bool { return slices.Contains(mine, l) }) {
		return superseded(f, t.WorkflowID, t.PlannedAt)
	}
	return nil
}

// later says whether a time of a WAL is later than another one.
func later(a, b string) (bool, error) {
	x, err := time.Parse(time.RFC3339, a)
	if err != nil {
		return false, err
	}
	y, err := time.Parse(time.RFC3339, b)
	return x.After(y), err
}

func superseded(f *Flight, by, at string) error {
	return integrity("plan_superseded", "flight %s, planned at %s, took off already; this plan is of %s, not newer", by, at, f.Status.SealedAt).
		WithHint("plan again with cabincrew flight-plan")
}

// tokenMark is the mark of a flight token. In CI a token takes off once, in whatever
// run: plans of one commit with the same artifacts have the same token.
func tokenMark(token string) string { return "token-" + strings.TrimPrefix(token, "sha256:") }

// errConsumed says that the plan's token took off in another flight, to its end.
var errConsumed = errors.New("the token took off in another flight")

// consumed says whether the flight's token took off already, in another flight or on
// another machine. done: it did, to its end, so that nothing is left to do. SPEC: docs/protocol.md 9.
func (o *Orchestrator) consumed(f *Flight, s *Setup, v *verified) (done bool, err error) {
	if o.Fence == nil || s.Source.Run.Forge == "" || f.Status.FlightToken == "" {
		return false, nil
	}
	by, begun, err := o.Fence.Marked(tokenMark(f.Status.FlightToken))
	if err != nil {
		return false, unfenced(err)
	}
	if !begun {
		if _, done, err := o.Fence.Marked(doneOf(f.Status.FlightToken)); err != nil {
			return false, unfenced(err)
		} else if done {
			return false, unproven("nothing says that it began")
		}
		return false, nil
	}
	// Also by this flight: what has not begun here began on another machine.
	content, done, err := o.Fence.Marked(doneOf(f.Status.FlightToken))
	if err != nil {
		return false, unfenced(err)
	}
	if done {
		return true, o.proven(f, v, by, content)
	}
	return false, integrity("token_consumed", "flight %s began a take-off of the same token and has no end", by).
		WithHint("look at what it did; a person decides how to go on")
}

// tookOffElsewhere is consumed for a flight of which nothing was verified yet.
func (o *Orchestrator) tookOffElsewhere(ctx context.Context, f *Flight, s *Setup) (bool, error) {
	if s.Source.Run.Forge == "" {
		return false, nil
	}
	v, err := o.verified(ctx, f, s)
	if err != nil {
		return false, err
	}
	return o.consumed(f, s, v)
}

// consumeToken marks one token.
func (o *Orchestrator) consumeToken(f *Flight, token string, retry bool) error {
	made, err := o.Fence.Mark(tokenMark(token), f.ID())
	if err != nil {
		return unfenced(err)
	}
	if made {
		return nil
	}
	by, _, err := o.Fence.Marked(tokenMark(token))
	if err != nil {
		return unfenced(err)
	}
	if by != f.ID() || !retry {
		return integrity("token_consumed", "flight %s began a take-off of the same token just now", by).
			WithHint("look at what it did; a person decides how to go on")
	}
	return nil
}

// consume marks token and lines right before the first engine starts.
func (o *Orchestrator) consume(ctx context.Context, f *Flight, s *Setup, v *verified, retry bool) error {
	if o.Fence == nil {
		return nil
	}
	if s.Source.Run.Forge != "" {
		if o.InsteadOf != "" {
			// What a plan holds of state differs each time, and so does its token: of two that
			// stand in for one stale plan, only the first that marks that one flies.
			if err := o.consumeToken(f, o.InsteadOf, retry); err != nil {
				return err
			}
		}
		if err := o.consumeToken(f, f.Status.FlightToken, retry); err != nil {
			return err
		}
	}
	mine, err := f.lines(s, v.plans)
	if err != nil {
		return err
	}
	content := o.lineMark(f, s)
	for _, line := range mine {
		made, err := o.Fence.Mark(line+"."+f.ID(), content)
		if err != nil {
			return unfenced(err)
		}
		if !made && !retry && s.Source.Run.Forge != "" {
			return integrity("token_consumed", "flight %s began a take-off before: the mark of its line is there, the mark of its token was deleted", f.ID()).
				WithHint("look at who deleted it, and at what the flight did; a ruleset forbids to delete such tags")
		}
	}
	// Of two that began at once, each sees the other's mark now.
	return o.newest(ctx, f, s, v)
}

package orchestrator

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

// named is a flight's directory that only has a name.
type named struct {
	anyDir

	id string
}

type anyDir = Dir

func (n named) ID() string { return n.id }

func (named) ReadFile(string, int64) ([]byte, error) { return nil, fs.ErrNotExist }

const (
	planned = "2026-03-01T12:00:00.123456789Z"
	before  = "2026-03-01T12:00:00.123456788Z"
	after1  = "2026-03-01T12:00:00.2Z" // fewer digits: times, not texts, are compared
)

func plannedFlight(id, at string) *Flight {
	return &Flight{
		Dir: named{id: id}, Info: Info{Workflow: "w"},
		Status: Status{SealedAt: at, Updated: at, FlightToken: protocol.Digest([]byte("token")), State: protocol.StateReadyForTakeoff},
	}
}

func aimedAt(targets ...string) *verified {
	v := &verified{}
	for _, target := range targets {
		v.plans = append(v.plans, &stepPlan{preimage: plantoken.Preimage{Context: plantoken.Context{Target: target}}})
	}
	return v
}

func on(run Run) *Setup { return &Setup{Config: &config.Config{}, Source: Source{Run: run}} }

// TestOnlyNewerPlans: within a line (forge, repository, workflow, target, change) only
// a plan that is newer than the last one applied takes off.
func TestOnlyNewerPlans(t *testing.T) {
	t.Parallel()
	pull := Run{Forge: "github", RepositoryID: "1", Change: "pull/7"}
	for name, c := range map[string]struct {
		applied, mine string
		run, other    Run
		at, target    string
		refused       bool
	}{
		"older":              {"a", "b", pull, pull, before, "production", true},
		"as old":             {"a", "b", pull, pull, planned, "production", true},
		"newer":              {"a", "b", pull, pull, after1, "production", false},
		"the same flight":    {"a", "a", pull, pull, planned, "production", false},
		"another target":     {"a", "b", pull, pull, before, "staging", false},
		"another change":     {"a", "b", pull, Run{Forge: "github", RepositoryID: "1", Change: "pull/8"}, before, "production", false},
		"another repository": {"a", "b", pull, Run{Forge: "github", RepositoryID: "2", Change: "pull/7"}, before, "production", false},
		"outside a forge":    {"a", "b", Run{}, Run{}, before, "production", true},
		"scheduled runs":     {"a", "b", Run{Forge: "github", RepositoryID: "1", Change: "run/1"}, Run{Forge: "github", RepositoryID: "1", Change: "run/2"}, before, "production", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fence := marks{}
			o := &Orchestrator{Fence: fence, Now: func() time.Time { return time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC) }}
			if err := o.consume(t.Context(), plannedFlight(c.applied, planned), on(c.run), aimedAt("production", "docs"), false); err != nil {
				t.Fatal(err)
			}
			check := func(how string, o *Orchestrator) {
				err := o.newest(t.Context(), plannedFlight(c.mine, c.at), on(c.other), aimedAt(c.target))
				if how == "statements" && c.applied == c.mine { // it took off before, wherever
					if !errors.Is(err, protocol.Code("takeoff_replayed")) {
						t.Errorf("by %s: %v", how, err)
					}
					return
				}
				if c.refused != errors.Is(err, protocol.Code("plan_superseded")) || !c.refused && err != nil {
					t.Errorf("by %s: %v", how, err)
				}
			}
			check("marks", o)
			check("statements", &Orchestrator{Now: o.Now, Earlier: func(context.Context) ([]TakeOffFacts, error) {
				return []TakeOffFacts{{
					WorkflowID: c.applied, Workflow: "w", PlannedAt: planned, Receipts: []FactReceipt{{Target: "docs"}, {Target: "production"}},
					SignedEnd: SignedEnd{Derived: on(c.run).Source.derived(), FinishedAt: planned},
				}}, nil
			}})
		})
	}
	late := &Orchestrator{Fence: marks{"line-x.a": planned}, Now: func() time.Time { return time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC) }}
	if err := late.newest(t.Context(), plannedFlight("b", before), on(pull), aimedAt("x")); err != nil {
		t.Errorf("marks of other lines: %v", err)
	}
	if err := (&Orchestrator{Fence: late.Fence, Now: time.Now}).consume(t.Context(), plannedFlight("a", planned), on(pull), aimedAt("x"), false); err != nil {
		t.Fatal(err)
	}
	if err := late.newest(t.Context(), plannedFlight("b", after1), on(pull), aimedAt("x")); !errors.Is(err, protocol.Code("clock_back")) {
		t.Errorf("a clock that is behind what took off: %v", err)
	}
	broken := &Orchestrator{Earlier: func(context.Context) ([]TakeOffFacts, error) { return nil, errors.New("no") }}
	if err := broken.newest(t.Context(), plannedFlight("a", planned), on(pull), aimedAt("x")); err == nil {
		t.Error("what cannot be told lets it pass")
	}
}

// TestBothBegan: of two plans of one line that begin at once, the older one is refused
// also where it looked before the newer one made its mark.
func TestBothBegan(t *testing.T) {
	t.Parallel()
	fence := marks{}
	o := &Orchestrator{Fence: fence, Now: func() time.Time { return time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC) }}
	older, newer := plannedFlight("older", before), plannedFlight("newer", planned)
	for _, f := range []*Flight{older, newer} {
		if err := o.newest(t.Context(), f, on(Run{}), aimedAt("")); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.consume(t.Context(), newer, on(Run{}), aimedAt(""), false); err != nil {
		t.Fatal(err)
	}
	if err := o.consume(t.Context(), older, on(Run{}), aimedAt(""), false); !errors.Is(err, protocol.Code("plan_superseded")) {
		t.Errorf("%v", err)
	}
}

// TestTokenOnce: in CI a token takes off once, in whatever flight.
func TestTokenOnce(t *testing.T) {
	t.Parallel()
	ci := on(Run{Forge: "github", RepositoryID: "1"})
	fence := marks{}
	o := &Orchestrator{Fence: fence, Now: func() time.Time { return time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC) }}
	first, second := plannedFlight("first", planned), plannedFlight("second", after1)
	v := &verified{}
	must := func(done bool, code string) {
		t.Helper()
		got, err := o.consumed(second, ci, v)
		if got != done || (code == "") != (err == nil) || code != "" && !errors.Is(err, protocol.Code(code)) {
			t.Errorf("done %v, %v; want %v, %s", got, err, done, code)
		}
	}
	must(false, "")
	if err := o.consume(t.Context(), first, ci, aimedAt(""), false); err != nil {
		t.Fatal(err)
	}
	if done, err := o.consumed(first, ci, v); done || !errors.Is(err, protocol.Code("token_consumed")) {
		t.Errorf("the flight itself on another machine: %v %v", done, err)
	}
	if err := o.consume(t.Context(), first, ci, aimedAt(""), true); err != nil {
		t.Errorf("the flight itself, taken up again where it began: %v", err)
	}
	must(false, "token_consumed")
	if err := o.consume(t.Context(), second, ci, aimedAt(""), false); !errors.Is(err, protocol.Code("token_consumed")) {
		t.Errorf("the slower one: %v", err)
	}
	if done, err := o.consumed(second, on(Run{}), v); done || err != nil {
		t.Errorf("outside of CI: %v %v", done, err)
	}
	first.Status.State = protocol.StateFailed
	if err := o.end(first); err != nil {
		t.Fatal(err)
	}
	must(false, "token_consumed") // it failed: a person decides
	delete(fence, endedMark("first"))
	first.Status.State = protocol.StateCompleted
	if err := o.end(first); err != nil {
		t.Fatal(err)
	}
	must(false, "token_consumed") // its end is signed first
	if err := o.tokenEnds(first); err != nil {
		t.Fatal(err)
	}
	must(true, "") // of a plan that is not signed the mark is all there is
	v.plan = &PlanFacts{}
	must(true, "takeoff_unproven")
}

// TestClockAndVersions: a plan of a time to come, or of a version that is too old.
func TestClockAndVersions(t *testing.T) {
	t.Parallel()
	at, err := time.Parse(time.RFC3339, planned)
	if err != nil {
		t.Fatal(err)
	}
	v := &verified{plan: &PlanFacts{Claimed: map[string]string{"cabincrew": "0.2.0"}, SignedFacts: SignedFacts{IssuedAt: "2026-03-01T12:05:00.000Z", CabinCrew: "0.3.0"}}}
	for offset, refused := range map[time.Duration]bool{-time.Hour: true, 0: true, 3 * time.Minute: true, 4*time.Minute + time.Second: false, 24 * time.Hour: false} {
		o := &Orchestrator{Now: func() time.Time { return at.Add(offset) }}
		if err := o.timely(plannedFlight("a", planned), v); refused != errors.Is(err, protocol.Code("clock_back")) || !refused && err != nil {
			t.Errorf("%s: %v", offset, err)
		}
	}
	atLeast := func(version, least string) bool { return version >= least }
	for least, refused := range map[string]bool{"": false, "0.1.0": false, "0.2.0": false, "0.2.1": true, "0.3.1": true, "9.0.0": true} {
		o := &Orchestrator{Version: "0.4.0", AtLeast: atLeast}
		s := &Setup{Config: &config.Config{MinVersion: least}}
		if err := o.supported(s, v); refused != errors.Is(err, protocol.Code("version_too_old")) || !refused && err != nil {
			t.Errorf("%q: %v", least, err)
		}
	}
	if err := (&Orchestrator{Version: "9"}).supported(&Setup{Config: &config.Config{MinVersion: "1.0.0"}}, v); !errors.Is(err, protocol.Code("version_too_old")) {
		t.Errorf("nobody can compare: %v", err)
	}
}

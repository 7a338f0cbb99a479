package protocol

import (
	"slices"
	"testing"
)

var all = []State{
	StateInit, StatePlanRunning, StatePlanGenerated, StateArtifactsValidated, StateTokenCreated, StatePreflightRunning, StatePreflightComplete,
	StateAwaitingApproval, StateApproved, StateReadyForTakeoff, StateTakeoffRunning, StateExecutionComplete, StateCompleted, StateFailed,
}

// TestStateTransitions lists every allowed transition; each other pair is refused.
func TestStateTransitions(t *testing.T) {
	t.Parallel()
	allowed := map[State][]State{
		StateInit:               {StatePlanRunning, StateFailed},
		StatePlanRunning:        {StatePlanGenerated, StateFailed},
		StatePlanGenerated:      {StateArtifactsValidated, StateFailed},
		StateArtifactsValidated: {StateTokenCreated, StateFailed},
		StateTokenCreated:       {StatePreflightRunning, StateFailed},
		StatePreflightRunning:   {StatePreflightComplete, StateFailed},
		StatePreflightComplete:  {StateAwaitingApproval, StateReadyForTakeoff, StateFailed},
		StateAwaitingApproval:   {StateApproved, StateFailed},
		StateApproved:           {StateReadyForTakeoff, StateFailed},
		StateReadyForTakeoff:    {StateTakeoffRunning, StateFailed},
		StateTakeoffRunning:     {StateExecutionComplete, StateFailed},
		StateExecutionComplete:  {StateCompleted, StateFailed},
		StateCompleted:          nil,
		StateFailed:             nil,
	}
	if len(allowed) != len(all) {
		t.Fatal("the table does not hold every state")
	}
	unknown := []State{"", "LOST", "init", "FAILED "}
	for _, prev := range append(slices.Clone(all), unknown...) {
		for _, next := range append(slices.Clone(all), unknown...) {
			if got, want := next.CanFollow(prev), slices.Contains(allowed[prev], next); got != want {
				t.Errorf("%q after %q: %v, want %v", next, prev, got, want)
			}
		}
	}
	for _, s := range unknown {
		if s.Valid() || s.Terminal() {
			t.Errorf("%q counts as a state", s)
		}
	}
	for s, next := range allowed {
		if !s.Valid() || s.Terminal() != (next == nil) {
			t.Errorf("%s: valid %v, terminal %v", s, s.Valid(), s.Terminal())
		}
	}
}

func TestStateReached(t *testing.T) {
	t.Parallel()
	line := all[:len(all)-1]
	for i, s := range line {
		for j, past := range line {
			if got := s.Reached(past); got != (i >= j) {
				t.Errorf("%s has reached %s: %v", s, past, got)
			}
		}
		if s.Reached(StateFailed) || StateFailed.Reached(s) != (s == StateInit) {
			t.Errorf("%s and FAILED are compared wrongly", s)
		}
		if s.Reached("LOST") || State("LOST").Reached(s) {
			t.Errorf("%s and an unknown state are compared", s)
		}
	}
	if !StateFailed.Reached(StateFailed) {
		t.Error("FAILED has not reached itself")
	}
}

func TestDecisions(t *testing.T) {
	t.Parallel()
	order := []Decision{Allow, Warn, RequireApproval, Deny}
	for i, a := range order {
		if !a.Valid() || a.Severity() != i {
			t.Errorf("%s: valid %v, severity %d, want %d", a, a.Valid(), a.Severity(), i)
		}
		for j, b := range order {
			if got := MostSevere(a, b); got != order[max(i, j)] {
				t.Errorf("of %s and %s %s", a, b, got)
			}
		}
		for _, unknown := range []Decision{"", "ALLOW", "block"} {
			if unknown.Valid() || unknown.Severity() != 3 || MostSevere(a, unknown) != Deny || MostSevere(unknown, a) != Deny {
				t.Errorf("%q lets something through beside %s", unknown, a)
			}
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return string(slices.Repeat([]byte("a"), n)) }
	for name, want := range map[string][3]bool{ // artifact, step, workflow
		"a": {true, true, true}, "A": {true, false, true}, "0": {true, true, true}, "a.b": {true, false, true}, "a_b-c": {true, true, true},
		"workflow": {true, false, true}, "workflows": {true, true, true}, "": {}, ".": {}, "..": {}, ".a": {}, "-a": {}, "_a": {},
		"a/b": {}, `a\b`: {}, "a b": {}, "a\n": {}, "a\x00": {}, "ü": {}, "a:b": {},
		long(63): {true, true, true}, long(64): {true, false, true}, long(128): {true, false, true}, long(129): {},
	} {
		if got := [3]bool{ValidArtifactName(name), ValidStepID(name), ValidWorkflowID(name)}; got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
}

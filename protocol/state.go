package protocol

import "slices"

// State is a state of a flight.
type State string

// The states in the order in which a flight passes them. FAILED may follow any
// other state and is final, as is COMPLETED. SPEC: docs/protocol.md 5.
const (
	StateInit               State = "INIT"
	StatePlanRunning        State = "PLAN_RUNNING"
	StatePlanGenerated      State = "PLAN_GENERATED"
	StateArtifactsValidated State = "ARTIFACTS_VALIDATED"
	StateTokenCreated       State = "TOKEN_CREATED"
	StatePreflightRunning   State = "PRE_FLIGHT_RUNNING"
	StatePreflightComplete  State = "PREFLIGHT_COMPLETE"
	StateAwaitingApproval   State = "AWAITING_APPROVAL"
	StateApproved           State = "APPROVED"
	StateReadyForTakeoff    State = "READY_FOR_TAKEOFF"
	StateTakeoffRunning     State = "TAKEOFF_RUNNING"
	StateExecutionComplete  State = "EXECUTION_COMPLETE"
	StateCompleted          State = "COMPLETED"
	StateFailed             State = "FAILED"
)

var stateOrder = []State{
	StateInit, StatePlanRunning, StatePlanGenerated, StateArtifactsValidated,
	StateTokenCreated, StatePreflightRunning, StatePreflightComplete,
	StateAwaitingApproval, StateApproved, StateReadyForTakeoff,
	StateTakeoffRunning, StateExecutionComplete, StateCompleted,
}

// Valid says whether s is a state of the protocol.
func (s State) Valid() bool { return s == StateFailed || slices.Contains(stateOrder, s) }

// Terminal says whether nothing can follow s.
func (s State) Terminal() bool { return s == StateCompleted || s == StateFailed }

// CanFollow says whether a flight in state prev may enter s.
func (s State) CanFollow(prev State) bool {
	if prev.Terminal() || !prev.Valid() {
		return false
	}
	if s == StateFailed {
		return true
	}
	// SPEC: docs/protocol.md 5: the two approval states may be left out together.
	if prev == StatePreflightComplete && s == StateReadyForTakeoff {
		return true
	}
	i, j := slices.Index(stateOrder, prev), slices.Index(stateOrder, s)
	return j == i+1
}

// Reached says whether a flight in state s has passed or is in state t.
// A failed flight has reached nothing but INIT and FAILED, since the state
// before the failure is not in the name.
func (s State) Reached(t State) bool {
	if s == StateFailed || t == StateFailed {
		return s == t || t == StateInit
	}
	i, j := slices.Index(stateOrder, s), slices.Index(stateOrder, t)
	return i >= 0 && j >= 0 && i >= j
}

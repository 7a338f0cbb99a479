// Package orchestrator is the state machine of a flight, one file a stage:
// plan.go runs the engines, seal.go derives tokens from bytes, preflight.go asks
// the judges, approval.go counts approvals, takeoff.go applies, resume.go goes on
// after an interruption, verify.go checks a flight from its bytes alone.
//
// It is the root of trust and promises: no stage is skipped, an artifact is never
// changed after it was stored, a token is never made again after preflight, and
// whatever cannot be read, judged or verified stops the flight. What it needs of
// the world (storage, signatures, engines, judges, clock) are the small
// interfaces of deps.go. SPEC: docs/protocol.md 1, 4-9.
package orchestrator

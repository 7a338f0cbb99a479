// Package gateways is what the gateways for tool calls and for model calls share: the
// judges of one message and how their decisions are put together, calls that are held
// until a person approves them, and the trail of audit events.
//
// It promises to fail closed: what cannot be judged, held or recorded is denied.
// SPEC: docs/protocol.md 10
package gateways

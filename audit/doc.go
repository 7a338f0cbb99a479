// Package audit writes, verifies and renders the audit log of a flight: one
// canonical JSON line per event, each certifying itself by its event_id and
// chained to the line before it (docs/protocol.md 11).
//
// It promises that Append returns only after its events are on disk; that a log
// which was changed, shortened in its middle, extended or reordered is refused
// with the first bad line and what is wrong with it; that no event is written
// with a text that the redactor knows; and that verifying takes constant memory
// whatever the size of the log. A log cut at a line boundary is whole in
// itself: CrossCheck finds such a cut against the WAL.
package audit

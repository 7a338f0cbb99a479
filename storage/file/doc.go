// Package file keeps flights in directories: <state>/flights/<workflow_id>,
// with a write-ahead log (wal.jsonl) beside the documents of the flight, locks
// in <state>/locks and scratch space in <state>/tmp (docs/protocol.md 5).
//
// It promises that a file is replaced whole and durably or not at all; that
// Commit returns only after its entries are on disk; that a log whose last
// write was interrupted is mended, and one that was changed is refused; that
// one process at a time holds a lock, and none after its death; and that no
// path reaches out of its directory through a link.
package file

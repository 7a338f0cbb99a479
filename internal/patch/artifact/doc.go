// Package artifact is a patch as artifacts of an engine: what the built-in engines
// that plan changes of files share.
//
// In flight-plan it describes the difference of two trees by two artifacts:
// "changes", a patch in git's form with a description of every file, and "summary",
// the same for people. In take-off it applies the planned patch to the workspace,
// all or nothing (docs/protocol.md, 2 and 4).
//
// It promises that both artifacts are a function of the two trees and of what the
// engine adds to the summary, and that take-off changes nothing that the planned
// patch, or the engine, does not allow.
package artifact

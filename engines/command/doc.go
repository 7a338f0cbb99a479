// Package command is the built-in engine that makes an engine of any program.
//
// In flight-plan it runs the program over a private copy of the workspace, and
// what the program changed becomes two artifacts: "changes", a patch in git's
// form with a description of every file, and "summary". In take-off the program
// is not run again: the planned patch is applied to the workspace, all or
// nothing. It speaks the contract of any engine, docs/protocol.md 2.
//
// It promises that the evidence is a function of the two trees and the
// configuration: no time, no path of this machine and nothing random is in it;
// and that flight-plan leaves the workspace alone.
//
// Its configuration is {"run": ["program", "argument", …]} or
// {"shell": "script"}, and beside that "dir" (the directory in the workspace to
// run in) and "message" (the title of the summary).
package command

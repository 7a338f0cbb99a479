// Package cli is the program: one file a command, and wire.go, the only place
// where the orchestrator's interfaces meet their implementations.
//
// It promises that the whole program is a function of its arguments, streams and
// environment (Main), that with --output json stdout carries one document and
// nothing else, on failure too, and that the exit code is a property of the error
// (docs/errors.md).
package cli

// Package engines is the engine contract as the orchestrator sees it: what an
// engine is started with, how its receipt is read, and how its artifacts are
// checked and copied into the flight.
//
// It promises that nothing which an engine wrote is used before it was refused
// or accepted by the rules of docs/protocol.md 2, that artifacts are hashed
// while they stream (memory stays flat), and that every path which comes from an
// engine is opened below an os.Root.
package engines

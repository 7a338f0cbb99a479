// Package check is the kit for authors of engines: it runs an engine as a flight
// would, and in ways in which a flight never should, and says where the engine
// does not keep the contract of docs/protocol.md 2.
//
// It promises that each check of Catalogue is answered with pass, fail or skip and
// a reason; that the engine is held by the same sandbox as in a flight; that it
// works on copies only, never on the workspace that it is given; and that a failed
// determinism check shows the first byte that differs and what was different
// around the two runs.
package check

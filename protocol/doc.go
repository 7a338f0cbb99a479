// Package protocol holds the CabinCrew wire contract in Go: every message of
// docs/protocol.md with its exact field names, the states and decisions with
// their order, strict JSON reading, the canonical form (RFC 8785, restricted to
// what this project writes), digests and domain-separated hashes, and the error
// type that carries an exit code.
//
// It promises to be pure: no file, network, clock or environment is touched,
// and nothing of this module is imported. Field names and types follow
// docs/protocol.md; a change of one is a change of the protocol.
package protocol

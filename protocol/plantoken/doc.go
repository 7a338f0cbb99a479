// Package plantoken computes and checks what binds a plan: artifact hashes,
// workspace hashes, plan-tokens, flight tokens, intents, approval ids and codes,
// and the plan manifest.
//
// It promises to be pure: it opens no file, asks no clock and draws no random
// number, so that the same input gives the same token on every machine. The
// definitions are docs/protocol.md 3; the figures in protocol/testdata were made
// by an implementation that shares nothing with this one.
package plantoken

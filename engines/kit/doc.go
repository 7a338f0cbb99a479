// Package kit is what the built-in engines share: reading the engine contract's
// environment and input, writing artifacts and the receipt, and reading planned
// artifacts back in take-off (docs/protocol.md, 2).
//
// It promises that a receipt is written however the engine ends, that it declares
// exactly the artifacts that were written, and that nothing but what was planned
// is read back.
package kit

// Package jsonrpc reads JSON-RPC messages of the Model Context Protocol strictly and
// without changing a byte of them.
//
// It promises that a message which it accepts means the same to every JSON parser:
// no duplicate keys at any depth (after unescaping), no keys of the envelope in other
// case or with NUL, no byte-order mark, no invalid UTF-8, no lone surrogates, nothing
// after the message, no depth over protocol.MaxDepth, ids that are strings or integers
// only. What it gives are places in the bytes that came in, so that what is judged is
// what is forwarded.
// SPEC: docs/protocol.md 3, 10
package jsonrpc

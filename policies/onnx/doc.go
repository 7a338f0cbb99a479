// Package onnx judges plans with ONNX models. Its part policies/onnx/inside is the only
// package that imports an ONNX runtime; docs/models.md is its page for users.
//
// It promises that a model is read once, is the one that its SHA-256 names, and is
// read by internal/onnxfile before the runtime sees those same bytes; that a model
// sees the text or the numbers that its configuration names and nothing else (no
// file, no network, no clock); that its memory, time and output are bounded; and
// that whatever cannot be judged is a deny that says how to mend it. A finding
// holds a score, a label and where the text stands, never the text. Models are
// loaded and tried once; evaluation is safe for concurrent use, runs as many
// windows at a time as there are processors, and gives the same findings for the
// same models and input on one machine.
//
// The runtime needs cgo and a library that is no part of the program. A program
// that was built without cgo can judge with no model, and New says so.
package onnx

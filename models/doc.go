// Package models carries the models that come with the program. Each has a model
// card beside it, which says what it is for, how it was made and where it fails;
// the texts it was made from are in data, and the program that made it in
// tools/injection.
//
// It promises that the bytes of a model have the SHA-256 that it names. It knows
// nothing of a runtime; policies/onnx runs models.
package models

// Package inside is the part of policies/onnx that runs in the process of a model,
// and what that and the judge say to each other.
//
// It promises to bound what a model may take before it loads one, to run it on what
// the judge sends and on nothing else, and to say why it cannot without the words of
// the runtime, which may hold parts of the text. It takes over a process of the
// program that is to run a model before the rest of the program is initialised.
package inside

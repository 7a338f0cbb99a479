// Package onnxfile writes small ONNX models and reads hostile ones.
//
// It knows the protobuf form of ONNX files and nothing of a runtime. Graph and
// Model write a file; the same calls give the same bytes, so that a model which
// is made from data in a repository can be made again, byte for byte. Read and
// Parse take a file from anybody and say what is in it before a runtime sees it.
//
// Read promises: memory and time are linear in the file's size, which is bounded;
// a file that it accepts means the same to every protobuf reader (no field is
// unknown, of another wire type, or there twice where it may be there once); such
// a file is self-contained (no external data, no functions of its own, no domain
// but those in Domains), ends (no loops), always answers the same (no operator
// draws random numbers), and has no constant or declared shape above the limits.
// What tensors become while it runs is for the runtime to bound.
package onnxfile

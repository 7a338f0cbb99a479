//go:build !cgo

package onnx

// start says that there is no runtime in this program.
func start(Options) (engine, error) { return nil, unsupported{} }

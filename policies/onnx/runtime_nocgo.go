//go:build !cgo

package onnx

// hasRuntime says that this program can run models.
const hasRuntime = false

// start says that there is no runtime in this program.
func start(string) (string, error) { return "", unsupported{} }

// open is there for programs with a runtime.
func open([]byte, ports) (session, error) { return nil, unsupported{} }

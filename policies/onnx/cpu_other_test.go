//go:build cgo && !unix

package onnx

// cpu is not known here.
func cpu() int64 { return 0 }

// Command injection makes models/instruction-injection.onnx from the texts in
// models/data. Run it from tools:
//
//	go run ./injection            # writes the model
//	go run ./injection -check     # says whether the model is the one that it would write
//	go run ./injection -report    # prints how the model does on the texts it was tuned with
//	go run ./injection -test      # the same for the texts that were held out
//	go run ./injection -scan DIR  # counts what it finds in ordinary files
//
// It promises to write the same bytes on every machine: no clock, no random
// source but a fixed seed, no order of maps, no parallelism, no arithmetic that
// differs between processors (see exact.go).
//
// It uses the standard library only, and so writes the ONNX file by itself.
// internal/onnxfile of the main module could do that, but a requirement on the
// main module would tie the versions of the linters to those of the product; a
// test of package models reads the file with it instead.
package main

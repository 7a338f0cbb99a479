package onnx

import (
	"context"
	"os"
	"strings"
	"testing"
)

// TestMain lets the test binary be the program that runs models, or one that plays
// a part instead.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "engine" {
		if part, ok := strings.CutPrefix(os.Args[3], "part:"); ok {
			play(part)
			os.Exit(0)
		}
		os.Exit(Run(context.Background(), os.Args[4:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
	}
	os.Exit(m.Run())
}

// Command cabincrew flies changes from plan to take-off; see package cli.
package main

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/cabincrew/action/internal/cli"
)

// gcPercent is how much a heap may grow between two collections, in percent of what
// is live. Runs are short and hold little: with Go's own 100 a fifth of the time of
// reading policies and workspaces goes into collecting a heap of a few MiB.
const gcPercent = 400

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}

// Command cabincrew flies changes from plan to take-off; see package cli.
package main

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/cabincrew/action/internal/cli"
)

func main() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		// A run is short and holds little: with Go's 100 a fifth of it is collecting.
		debug.SetGCPercent(800)
		debug.SetMemoryLimit(1 << 30)
	}
	os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}

// Command cabincrew flies changes from plan to take-off; see package cli.
package main

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/cabincrew/action/internal/cli"
)

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // a run is short and holds little: Go's 100 costs a fifth of its time
	}
	os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}

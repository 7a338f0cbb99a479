// Command cabincrew flies changes from plan to take-off; see package cli.
package main

import (
	"context"
	"os"

	"github.com/cabincrew/action/internal/cli"
)

func main() {
	cli.TuneMemory()
	os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}

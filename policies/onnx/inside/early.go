package inside

import (
	"context"
	"os"
)

// Name is how the program is called that runs one model: engine run model.
const Name = "model"

// A model's process must not pay for what the rest of the program initialises: that
// takes longer than loading a small model. docs/decisions/0012 says why this is worth
// an exception from "no init", and what decides how early it comes.
func init() { //nolint:gochecknoinits // see above
	if len(os.Args) != 4 || os.Args[1] != "engine" || os.Args[2] != "run" || os.Args[3] != Name {
		return
	}
	// The main goroutine is bound to its thread until everything is initialised.
	ended := make(chan bool)
	go func() { ended <- Run(context.Background(), os.Stdin, os.Stdout) }()
	if !<-ended {
		os.Exit(1)
	}
	os.Exit(0)
}

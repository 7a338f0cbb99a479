package command

import (
	"context"
	"io"

	"github.com/cabincrew/action/engines/kit"
)

// ID is the engine_id of receipts.
const ID = "command"

// Version is part of the engine's digest; it changes when the same program over
// the same workspace would give other evidence. SPEC: docs/protocol.md 3.
const Version = "1"

// Run runs the engine and gives its exit code.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	return kit.Main(ctx, kit.Engine{ID: ID, Plan: plan, TakeOff: takeOff}, args, stdin, stdout, stderr, env)
}

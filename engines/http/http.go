package http

import (
	"context"
	"io"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/protocol"
)

// ID is the engine_id of receipts.
const ID = "http"

// Version is part of the engine's digest; it changes when the same configuration
// over the same workspace would give other evidence. SPEC: docs/protocol.md 3
const Version = "1"

const exitFailure = 1

// Run runs the engine and gives its exit code.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	failed := false
	code := kit.Main(ctx, kit.Engine{ID: ID, Plan: plan, TakeOff: func(ctx context.Context, r *kit.Run) (*protocol.EngineOutput, error) {
		out, err := takeOff(ctx, r)
		// A failure that says what was sent is a receipt of its own, not an error.
		failed = out != nil && out.Status == protocol.StatusFailure
		return out, err
	}}, args, stdin, stdout, stderr, env)
	if failed && code == 0 {
		return exitFailure
	}
	return code
}

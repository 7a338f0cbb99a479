package files

import (
	"context"
	"io"
	"strconv"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/protocol"
)

// ID is the engine_id of receipts.
const ID = "files"

// Version is part of the engine's digest; it changes when the same configuration
// over the same workspace would give other evidence. SPEC: docs/protocol.md 3
const Version = "1"

// Run runs the engine and gives its exit code.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	return kit.Main(ctx, kit.Engine{ID: ID, Plan: plan, TakeOff: takeOff}, args, stdin, stdout, stderr, env)
}

// metrics are the counts of a patch.
func metrics(files, added, deleted int) []protocol.EngineMetric {
	number := func(n int) protocol.Number { return protocol.Number(strconv.Itoa(n)) }
	return []protocol.EngineMetric{
		{Name: "files_changed", Value: number(files)},
		{Name: "lines_added", Value: number(added)},
		{Name: "lines_deleted", Value: number(deleted)},
	}
}

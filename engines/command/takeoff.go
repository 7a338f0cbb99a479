package command

import (
	"context"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/patch/artifact"
	"github.com/cabincrew/action/protocol"
)

// takeOff applies the planned patch.
func takeOff(ctx context.Context, r *kit.Run) (*protocol.EngineOutput, error) {
	if _, err := readSettings(r.Input.Config); err != nil {
		return nil, err
	}
	return output(artifact.Apply(ctx, r, r.Workspace, nil))
}

// output is the receipt of changes that were described or applied.
func output(c *artifact.Changes, err error) (*protocol.EngineOutput, error) {
	if err != nil {
		return nil, err
	}
	return &protocol.EngineOutput{ReceiptID: kit.ReceiptID(ID, c.Digest), Metrics: c.Metrics()}, nil
}

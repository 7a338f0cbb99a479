package command

import (
	"bytes"
	"context"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/protocol"
)

// takeOff applies the planned patch. A workspace where it was applied in part, by
// a run that was killed, is completed.
func takeOff(ctx context.Context, r *kit.Run) (*protocol.EngineOutput, error) {
	if _, err := readSettings(r.Input.Config); err != nil {
		return nil, err
	}
	a, body, err := r.Planned(changesName, limits.PatchBytes)
	if err != nil {
		return nil, err
	}
	if a.ArtifactType != "patch" || a.BodyFile == "" {
		return nil, kit.InvalidPlan("the planned changes are not a patch with a body file")
	}
	files, err := patch.Files(a.Metadata)
	if err != nil {
		return nil, err
	}
	changes, err := patch.Read(bytes.NewReader(body), patch.Limits{})
	if err != nil {
		return nil, err
	}
	if err := patch.Apply(ctx, r.Workspace, changes, files, patch.ApplyOptions{AllowApplied: true}); err != nil {
		return nil, err
	}
	added, deleted := count(files)
	return &protocol.EngineOutput{ReceiptID: kit.ReceiptID(ID, protocol.Digest(body)), Metrics: metrics(len(files), added, deleted)}, nil
}

package files

import (
	"bytes"
	"context"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/protocol"
)

// takeOff applies the planned patch to the declared files. A workspace where it was
// applied in part, by a run that was killed, is completed.
func takeOff(ctx context.Context, r *kit.Run) (*protocol.EngineOutput, error) {
	s, err := readSettings(r.Input.Config)
	if err != nil {
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
	if err := s.covers(files); err != nil {
		return nil, err
	}
	if err := patch.Apply(ctx, r.Workspace, changes, files, patch.ApplyOptions{AllowApplied: true}); err != nil {
		return nil, err
	}
	added, deleted := count(files)
	return &protocol.EngineOutput{ReceiptID: kit.ReceiptID(ID, protocol.Digest(body)), Metrics: metrics(len(files), added, deleted)}, nil
}

// covers refuses a patch of files that are not declared. Apply makes sure that
// the patch is of the files that its description names.
func (s *settings) covers(files []patch.File) error {
	declared := map[string]bool{}
	for i := range s.entries {
		declared[s.entries[i].path] = true
	}
	for i := range files {
		for _, p := range []string{files[i].OldPath, files[i].NewPath} {
			if p != "" && !declared[p] {
				return kit.InvalidPlan("the planned changes touch %q, which the configuration does not declare", p)
			}
		}
	}
	return nil
}

package files

import (
	"context"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/internal/patch/artifact"
	"github.com/cabincrew/action/protocol"
)

// takeOff applies the planned patch to the declared files.
func takeOff(ctx context.Context, r *kit.Run) (*protocol.EngineOutput, error) {
	s, err := readSettings(r.Input.Config)
	if err != nil {
		return nil, err
	}
	return output(artifact.Apply(ctx, r, r.Workspace, s.covers))
}

// output is the receipt of changes that were described or applied.
func output(c *artifact.Changes, err error) (*protocol.EngineOutput, error) {
	if err != nil {
		return nil, err
	}
	return &protocol.EngineOutput{ReceiptID: kit.ReceiptID(ID, c.Digest), Metrics: c.Metrics()}, nil
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

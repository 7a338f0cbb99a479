package orchestrator

import (
	"context"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
)

// rightBefore compares the real workspace, over the step's inputs, with the
// checkout plus the patches of the steps taken off. SPEC: docs/protocol.md 4.
func (o *Orchestrator) rightBefore(ctx context.Context, f *Flight, s *Setup, v *verified, p *stepPlan, step *config.Step, retry bool) error {
	now, err := s.scan(ctx, allPatches(v.plans))
	if err != nil {
		return err
	}
	if retry {
		for _, q := range slices.Backward(p.patches) {
			if err := now.revert(q, true); err != nil {
				return err
			}
		}
	}
	// Take the patches off that this step did not plan upon.
	needs := f.needs(p.id)
	for _, other := range slices.Backward(v.plans) {
		if !f.Status.TakenOff[other.id] || slices.Contains(needs, other.id) {
			continue
		}
		for _, q := range slices.Backward(other.patches) {
			if err := now.revert(q, false); err != nil {
				return err
			}
		}
	}
	files, err := now.files(step.Inputs)
	if err != nil {
		return err
	}
	hash, err := hashFiles(files)
	if err != nil {
		return err
	}
	if hash != p.preimage.WorkspaceHash {
		return protocol.Errorf(protocol.ExitStale, "workspace_changed",
			"right before take-off the workspace is not the planned one (%s, planned %s)", hash, p.preimage.WorkspaceHash).
			At("step " + p.id).WithHint("plan again with cabincrew flight-plan")
	}
	return nil
}

// whole lists everything in the workspace, whatever a step's inputs are.
func (s *Setup) whole(ctx context.Context, p *stepPlan) (tree, error) {
	files, err := workspace.Scan(ctx, s.Workspace, workspace.Options{Exclude: s.Exclude, Extra: sortedKeys(touched(p.patches))})
	return newTree(files), err
}

// rightAfter compares the whole workspace with what it was right before. A step
// with patches may have changed exactly what they say; another one may write, but
// never what decides over flights. What it changed is told.
func (s *Setup) rightAfter(ctx context.Context, p *stepPlan, before tree, retry bool) (changed []string, err error) {
	if retry {
		for _, q := range slices.Backward(p.patches) {
			if err := before.revert(q, true); err != nil {
				return nil, err
			}
		}
	}
	for _, q := range p.patches {
		if err := before.apply(q); err != nil {
			return nil, err
		}
	}
	now, err := s.whole(ctx, p)
	if err != nil {
		return nil, err
	}
	for _, name := range sortedKeys(now) {
		if w, ok := before[name]; !ok || w.Letter != now[name].Letter || w.Digest != now[name].Digest {
			changed = append(changed, name)
		}
	}
	for _, name := range sortedKeys(before) {
		if _, ok := now[name]; !ok {
			changed = append(changed, name)
		}
	}
	for _, name := range changed {
		if len(p.patches) > 0 || s.governs(name) {
			return changed, misapplied(p.id, name, len(changed))
		}
	}
	return changed, nil
}

// sameRepositories refuses what an engine made of git's own files: the next git
// command of a person would execute it.
func (s *Setup) sameRepositories(ctx context.Context, p *stepPlan, before map[string]string) error {
	now, err := workspace.Repositories(ctx, s.Workspace)
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(now) {
		if old, ok := before[name]; !ok || old != now[name] {
			return protocol.Errorf(protocol.ExitFailure, "takeoff_repository", "after take-off %q is there or is changed, which git follows and executes", name).
				At("step " + p.id).WithHint("run no git command there; look at it, remove what the engine left, and restore the workspace from version control")
		}
	}
	return nil
}

// governs says whether a file decides over flights.
func (s *Setup) governs(name string) bool {
	return slices.ContainsFunc(s.Governance.Paths, func(p string) bool {
		return strings.TrimSuffix(p, "/") == name || strings.HasSuffix(p, "/") && strings.HasPrefix(name, p)
	})
}

func misapplied(step, name string, n int) error {
	return protocol.Errorf(protocol.ExitFailure, "takeoff_misapplied",
		"after take-off %d files are not what the plan says, the first is %q", n, name).
		At("step " + step).WithHint("the engine did not apply exactly its plan; look at the workspace and restore it from version control")
}

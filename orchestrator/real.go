package orchestrator

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
)

// marksName is where a state directory keeps which flights took off; marks are
// added at any time, and never changed.
const marksName = "marks"

// stateDirs are the directories that are never part of the workspace: this
// program's own. What else is excluded are files.
func (s *Setup) stateDirs() []string {
	return slices.DeleteFunc(slices.Clone(s.Exclude), func(name string) bool {
		info, err := os.Stat(filepath.Join(s.Workspace, filepath.FromSlash(name)))
		return err != nil || !info.IsDir()
	})
}

// untracked refuses a workspace whose repository has files of a state directory:
// who proposes a change could bring along what this program trusts there.
func (s *Setup) untracked() error {
	tracked, dir, err := workspace.TrackedBelow(s.Workspace, s.stateDirs())
	if err != nil || tracked == "" {
		return err
	}
	return protocol.Errorf(protocol.ExitUsage, "state_dir_tracked", "git has %q, and nothing of the state directory may come with a change", tracked).
		At(dir).WithHint("git rm -r --cached %s, and commit that", dir)
}

// stamps takes what the system says of the real workspace, which an engine that is
// not in tier A has within reach. nil in tier A: there it is not.
func (s *Setup) stamps(ctx context.Context, tier string) (workspace.Stamps, error) {
	if tier == sandbox.TierA {
		return nil, nil
	}
	return workspace.Stamped(ctx, s.Workspace, s.stateDirs(), []string{".gitignore", marksName})
}

// realUnchanged refuses a flight-plan during which the real workspace changed,
// naming the files: an engine that is not in tier A can have done it by paths of
// the machine.
func (p *planner) realUnchanged(ctx context.Context, id, tier string, before workspace.Stamps) error {
	if before == nil {
		return nil
	}
	after, err := p.s.stamps(ctx, tier)
	if err != nil {
		return fmt.Errorf("looking at the workspace after the engine ran: %w", err)
	}
	dirs := p.s.stateDirs()
	changes := slices.DeleteFunc(before.Diff(after), func(c workspace.Change) bool {
		return c.Kind == workspace.Added && slices.Contains(dirs, strings.TrimSuffix(path.Dir(c.Path), "/"+marksName))
	})
	if len(changes) == 0 {
		return nil
	}
	p.look(ctx, changes)
	return protocol.Errorf(protocol.ExitFailure, "workspace_mutated", "the workspace itself changed while the engine planned in tier %s:%s", tier, listed(changes)).
		At("step " + id).WithHint("in flight-plan an engine only reads, also by paths of the machine; restore the files, or, if something else works there, let it end; in tier A an engine cannot reach them")
}

// look tells for files of which only times changed whether their content did.
func (p *planner) look(ctx context.Context, changes []workspace.Change) {
	var names []string
	for _, c := range changes {
		if _, known := p.base[c.Path]; known && c.Kind == workspace.Touched && len(names) < listedChanges {
			names = append(names, c.Path)
		}
	}
	if len(names) == 0 {
		return
	}
	now, err := workspace.Scan(ctx, p.s.Workspace, workspace.Options{Only: names, Extra: names})
	if err != nil {
		return // it was touched, which is said
	}
	is := newTree(now)
	for i, c := range changes {
		if f, ok := is[c.Path]; ok && c.Kind == workspace.Touched && slices.Contains(names, c.Path) && f.Digest != p.base[c.Path].Digest {
			changes[i].Kind = workspace.Changed
		}
	}
}

// unchanged refuses a flight-plan that wrote into its workspace, naming the files.
func (p *planner) unchanged(ctx context.Context, id string, r *room) error {
	if r.view != nil {
		return p.untouched(ctx, id, r)
	}
	after, err := manifestOf(ctx, r.dir)
	if err != nil {
		return fmt.Errorf("looking at the workspace after the engine ran: %w", err)
	}
	changes := workspace.Diff(r.before, after)
	if len(changes) == 0 {
		return nil
	}
	return protocol.Errorf(protocol.ExitFailure, "workspace_mutated", "the engine changed its workspace while planning:%s", listed(changes)).
		At("step " + id).WithHint("in flight-plan an engine only reads; what it wants to change belongs into artifacts")
}

// listedChanges is how many changes a message names.
const listedChanges = 10

// listed names the first changes.
func listed(changes []workspace.Change) string {
	var list strings.Builder
	for i, c := range changes {
		if i == listedChanges {
			_, _ = fmt.Fprintf(&list, " and %d more", len(changes)-i)
			break
		}
		_, _ = fmt.Fprintf(&list, " %q (%s)", c.Path, c.Kind)
	}
	return list.String()
}

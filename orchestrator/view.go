package orchestrator

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
)

// view composes what a step sees of the workspace without copying it: the checkout
// below the files that earlier patches touched, with everything else hidden. It is
// nil where that cannot be done; then the step gets a private copy.
func (p *planner) view(ctx context.Context, step *config.Step, r *room, changed map[string]bool, shadowDir, tmp string) (*sandbox.View, error) {
	found, err := p.o.tier(ctx, p.s, step)
	if err != nil || found.Isolation.Tier != sandbox.TierA || found.Sudo || !found.Overlay {
		return nil, err
	}
	made, err := manifestOf(ctx, shadowDir)
	if err != nil {
		return nil, err
	}
	inShadow := newTree(made)
	keep := append([]workspace.File{}, r.composed.files...)
	for _, f := range keep {
		if !changed[f.Path] {
			continue
		}
		if got, ok := inShadow[f.Path]; !ok || got.Digest != f.Digest || got.Letter != f.Letter {
			return nil, integrity("patch_invalid", "the patches do not give file %q as they name it", f.Path)
		}
	}
	for _, name := range r.engine.files {
		keep = append(keep, workspace.File{Path: name})
	}
	if plain, err := p.ownable(keep); err != nil || !plain {
		return nil, err
	}
	if mounted(p.s.Workspace) {
		return nil, nil // an overlay does not show what is mounted below its layers
	}
	v := &sandbox.View{Lower: []string{p.s.Workspace}}
	if len(made) > 0 {
		if inside(p.s.Workspace, shadowDir) {
			return nil, nil // an overlay refuses layers one of which lies below another
		}
		v.Lower = []string{shadowDir, p.s.Workspace}
	}
	if v.Hide, err = p.hidden(ctx, v.Lower, p.fresh(), keep); err != nil {
		return nil, err
	}
	r.keep = keep
	if r.engine.builtin.Copy {
		v.Upper = filepath.Join(tmp, "upper")
		if err := os.Mkdir(v.Upper, 0o700); err != nil {
			return nil, fmt.Errorf("preparing the plan workspace: %w", err)
		}
	}
	return v, nil
}

// checkout is what a scan saw of the checkout.
type checkout struct {
	files  []workspace.File // sorted
	others []string         // beside them
}

// fresh gives what the scan before all steps saw, as long as no step has ended: it
// need not be looked at again at once. What appears in between is found afterwards.
func (p *planner) fresh() *checkout {
	if p.ended.Load() {
		return nil
	}
	return &p.seen
}

// hidden lists what layers hold beside the files, the last of which is the checkout
// that was scanned, if it was.
func (p *planner) hidden(ctx context.Context, layers []string, scanned *checkout, keep []workspace.File) ([]string, error) {
	var all []string
	if scanned != nil {
		if list, ok := workspace.HiddenIn(scanned.files, scanned.others, keep); ok {
			all, layers = list, layers[:len(layers)-1]
		}
	}
	for _, dir := range layers {
		list, err := workspace.Hidden(ctx, dir, keep)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// mounted says whether something is mounted below a directory. Where that cannot
// be told, it counts as such.
func mounted(dir string) bool {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return true
	}
	dir = resolved(dir)
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			return true
		}
		at := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(fields[4])
		if strings.HasPrefix(at, dir+"/") {
			return true
		}
	}
	return false
}

// stillHidden refuses a flight-plan during which something appeared that the
// engine's view did not hide, and one whose engine changed meanwhile.
func (p *planner) stillHidden(ctx context.Context, id string, r *room, scanned checkout) error {
	now, err := p.hidden(ctx, r.view.Lower, &scanned, r.keep)
	if err != nil {
		return fmt.Errorf("looking at the workspace after the engine ran: %w", err)
	}
	for _, name := range now {
		if _, had := slices.BinarySearch(r.view.Hide, name); !had {
			return protocol.Errorf(protocol.ExitStale, "workspace_changed", "%q appeared in the workspace while it was planned", name).
				At("step " + id).WithHint("wait until nothing else works on the workspace, and plan again")
		}
	}
	step, _ := p.s.Config.Step(id)
	e, err := p.o.findEngine(ctx, step, r.engine.digest, r.dir, filepath.Join(filepath.Dir(r.dir), "shadow"), p.s.Workspace)
	if err != nil {
		return err
	}
	if e.digest != r.engine.digest {
		return protocol.Errorf(protocol.ExitStale, "engine_changed", "the engine's program changed while it planned").
			At("step " + id).WithHint("wait until nothing else works on the workspace, and plan again")
	}
	return nil
}

// inside says whether a path lies below a directory, whatever links lead to both.
func inside(dir, path string) bool {
	rel, err := filepath.Rel(resolved(dir), resolved(path))
	return err != nil || filepath.IsLocal(rel)
}

func resolved(path string) string {
	if to, err := filepath.EvalSymlinks(path); err == nil {
		return to
	}
	return path
}

// ownable says whether all files are this user's own: a view cannot show what
// only another user may read, and cannot take changes of what is not its own.
func (p *planner) ownable(files []workspace.File) (bool, error) {
	return workspace.AllOwn(p.s.Workspace, files)
}

// untouched refuses a flight-plan during which the workspace changed, as far as
// the step saw it, naming the files.
func (p *planner) untouched(ctx context.Context, id string, r *room) error {
	now, err := p.s.checkout(ctx, p.s.Stats)
	if err != nil {
		return fmt.Errorf("looking at the workspace after the engine ran: %w", err)
	}
	if err := p.stillHidden(ctx, id, r, now); err != nil {
		return err
	}
	changes := slices.DeleteFunc(workspace.Diff(p.seen.files, now.files), func(c workspace.Change) bool {
		_, sees := slices.BinarySearchFunc(r.composed.files, c.Path, func(f workspace.File, name string) int { return strings.Compare(f.Path, name) })
		return !sees
	})
	if len(changes) == 0 {
		return nil
	}
	return protocol.Errorf(protocol.ExitStale, "workspace_changed", "the workspace changed while it was planned:%s", listed(changes)).
		At("step " + id).WithHint("the engine cannot have done it, it has no way to write there; wait until nothing else works on it, and plan again")
}

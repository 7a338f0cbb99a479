package orchestrator

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

// patched is one patch artifact of a step: what it says and what its bytes do.
type patched struct {
	step    string
	name    string
	changes []patch.Change
	meta    []patch.File
}

// tree is a workspace as a list of files by path, without their content. Patches
// are applied to it by their digests; that their bytes really give those digests
// is checked in shadow.
type tree map[string]workspace.File

func newTree(files []workspace.File) tree {
	t := make(tree, len(files))
	for _, f := range files {
		t[f.Path] = f
	}
	return t
}

func letterOf(mode string) (byte, error) {
	switch mode {
	case "100644":
		return workspace.Regular, nil
	case "100755":
		return workspace.Executable, nil
	case "120000":
		return workspace.Link, nil
	}
	return 0, fmt.Errorf("unknown file mode %q", mode)
}

// is says whether the file at path has this mode and digest; both empty: is absent.
func (t tree) is(path, mode, digest string) bool {
	f, ok := t[path]
	if mode == "" {
		return !ok
	}
	letter, err := letterOf(mode)
	return ok && err == nil && f.Letter == letter && f.Digest == digest
}

// apply puts a patch onto the tree. Every file must be as the patch found it.
func (t tree) apply(p patched) error { return t.move(p, p.meta, "patch_before_mismatch") }

// revert takes a patch off again, where the tree holds its outcome. With partly,
// files may also be as they were before the patch: an interrupted take-off.
func (t tree) revert(p patched, partly bool) error {
	var back []patch.File
	for _, m := range p.meta {
		r := patch.File{OldPath: m.NewPath, NewPath: m.OldPath, OldMode: m.NewMode, NewMode: m.OldMode, Before: m.After, After: m.Before}
		if partly && !t.done(m) && t.untouched(m) {
			continue
		}
		back = append(back, r)
	}
	return t.move(p, back, "workspace_changed")
}

func (t tree) done(m patch.File) bool {
	if m.NewPath != "" && !t.is(m.NewPath, m.NewMode, m.After) {
		return false
	}
	return m.OldPath == "" || m.OldPath == m.NewPath || t.is(m.OldPath, "", "")
}

func (t tree) untouched(m patch.File) bool {
	if m.OldPath != "" && !t.is(m.OldPath, m.OldMode, m.Before) {
		return false
	}
	return m.NewPath == "" || m.OldPath == m.NewPath || t.is(m.NewPath, "", "")
}

func (t tree) move(p patched, meta []patch.File, code string) error {
	for _, m := range meta {
		if m.OldPath != "" && !t.is(m.OldPath, m.OldMode, m.Before) {
			return protocol.Errorf(protocol.ExitStale, code, "file %q is not as the patch of step %s has it", m.OldPath, p.step).
				WithHint("the workspace changed: plan again with cabincrew flight-plan")
		}
	}
	for _, m := range meta {
		if m.OldPath != "" {
			delete(t, m.OldPath)
		}
	}
	for _, m := range meta {
		if m.NewPath == "" {
			continue
		}
		if _, there := t[m.NewPath]; there {
			return protocol.Errorf(protocol.ExitStale, code, "file %q is there already, the patch of step %s adds it", m.NewPath, p.step).
				WithHint("the workspace changed: plan again with cabincrew flight-plan")
		}
		letter, err := letterOf(m.NewMode)
		if err != nil {
			return integrity("patch_invalid", "file %q: %w", m.NewPath, err).At("step " + p.step)
		}
		t[m.NewPath] = workspace.File{Path: m.NewPath, Letter: letter, Digest: m.After}
	}
	return nil
}

// files gives the files that globs select, sorted by path bytes.
func (t tree) files(inputs []string) ([]workspace.File, error) {
	return workspace.Select(t.sorted(), inputs)
}

func (t tree) sorted() []workspace.File {
	return slices.SortedFunc(maps.Values(t), func(a, b workspace.File) int { return cmp.Compare(a.Path, b.Path) })
}

func hashFiles(files []workspace.File) (string, error) {
	records := make([]protocol.FileRecord, len(files))
	for i, f := range files {
		records[i] = protocol.FileRecord{Letter: f.Letter, Digest: f.Digest, Path: f.Path}
	}
	return plantoken.WorkspaceHash(records)
}

// touched gives every path that patches name.
func touched(list []patched) map[string]bool {
	paths := map[string]bool{}
	for _, p := range list {
		for _, m := range p.meta {
			for _, name := range []string{m.OldPath, m.NewPath} {
				if name != "" {
					paths[name] = true
				}
			}
		}
	}
	return paths
}

// shadow makes, below dst, the files that patches touch, before them and then
// after them: the patches' bytes are really applied, so a patch whose bytes do
// not give the digests that it names is refused here. base is the checkout.
func shadow(ctx context.Context, workspaceDir string, base tree, list []patched, dst string) error {
	var old []workspace.File
	for _, path := range sortedKeys(touched(list)) {
		if f, ok := base[path]; ok {
			old = append(old, f)
		}
	}
	if err := workspace.Copy(ctx, workspaceDir, old, dst); err != nil {
		return err
	}
	for _, p := range list {
		if err := patch.Apply(ctx, dst, p.changes, p.meta, patch.ApplyOptions{}); err != nil {
			return fmt.Errorf("step %s, artifact %s: %w", p.step, p.name, err)
		}
	}
	return nil
}

// composed is a step's plan workspace.
type composed struct {
	files []workspace.File // what the step's inputs select
	hash  string
}

// compose gives what a step sees: the checkout with the patches of the steps
// that it needs, in plan order. SPEC: docs/protocol.md 4.
func compose(base tree, inputs []string, list []patched) (composed, tree, error) {
	t := maps.Clone(base)
	for _, p := range list {
		if err := t.apply(p); err != nil {
			return composed{}, nil, err
		}
	}
	c, err := seen(t.sorted(), inputs)
	return c, t, err
}

// seen gives what inputs select of sorted files.
func seen(all []workspace.File, inputs []string) (composed, error) {
	files, err := workspace.Select(all, inputs)
	if err != nil {
		return composed{}, err
	}
	hash, err := hashFiles(files)
	return composed{files: files, hash: hash}, err
}

// scan reads the checkout as far as the steps can see it. The whole tree is
// hashed where a step has no inputs; else what any step's inputs select and
// what patches touch.
func (s *Setup) scan(ctx context.Context, list []patched) (tree, error) {
	files, err := workspace.Scan(ctx, s.Workspace, s.options(list))
	if err != nil {
		return nil, err
	}
	return newTree(files), nil
}

// checkout is scan without patches, with a stat cache while planning only: sealing
// looks again. It also tells what else is there.
func (s *Setup) checkout(ctx context.Context, cache *workspace.Cache) (c checkout, err error) {
	o := s.options(nil)
	o.Cache, o.Others = cache, &c.others
	c.files, err = workspace.Scan(ctx, s.Workspace, o)
	return c, err
}

func (s *Setup) options(list []patched) workspace.Options {
	o := workspace.Options{Exclude: s.Exclude, Extra: sortedKeys(touched(list))}
	for _, step := range s.Config.Steps {
		if len(step.Inputs) == 0 {
			o.Inputs = nil
			break
		}
		o.Inputs = append(o.Inputs, step.Inputs...)
	}
	return o
}

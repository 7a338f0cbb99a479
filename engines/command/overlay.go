package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch/artifact"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
)

// Variables that the sandbox sets where the workspace is a writable view: Base is
// where it is unchanged, Changes where what was written is kept apart.
const (
	baseVariable    = "CABINCREW_OVERLAY_BASE"
	changesVariable = "CABINCREW_OVERLAY_CHANGES"
)

// overlaid runs the program in the workspace itself, whose changes the sandbox
// keeps apart, and looks only at what changed: nothing is copied.
func (r run) overlaid(ctx context.Context, s *settings, base, changes string) (*protocol.EngineOutput, error) {
	if err := r.runProgram(ctx, s, r.Workspace); err != nil {
		return nil, err
	}
	paths, err := changed(changes)
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return r.writeArtifacts(ctx, s, artifact.Tree{Dir: base}, artifact.Tree{Dir: r.Workspace})
	}
	before, err := workspace.Scan(ctx, base, workspace.Options{NoIgnore: true, Tracked: []string{}, Only: paths, Exclude: []string{stateDir, ".git"}})
	if err != nil {
		return nil, err
	}
	before = withoutGit(before)
	tracked := make([]string, 0, len(before))
	for i := range before {
		tracked = append(tracked, before[i].Path)
	}
	after, err := workspace.Scan(ctx, r.Workspace, workspace.Options{Tracked: tracked, Only: paths, Exclude: []string{stateDir}})
	if err != nil {
		return nil, err
	}
	return r.writeArtifacts(ctx, s, artifact.Tree{Dir: base, Entries: entries(before)}, artifact.Tree{Dir: r.Workspace, Entries: entries(after)})
}

// changed lists the paths that an overlay's upper directory speaks of; a directory
// that it replaces as a whole stands for all below it.
func changed(dir string) ([]string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the changes: %w", err)
	}
	defer func() { _ = root.Close() }() // only read
	var out []string
	var visit func(at string, depth int) error
	visit = func(at string, depth int) error {
		if depth > limits.WorkspaceDepth {
			return protocol.Errorf(protocol.ExitUsage, "workspace_too_large", "the program made more than %d levels of directories", limits.WorkspaceDepth)
		}
		d, err := root.Open(at)
		if err != nil {
			return fmt.Errorf("reading the changes: %w", err)
		}
		defer func() { _ = d.Close() }() // only read
		for {
			list, err := d.ReadDir(1024)
			for _, e := range list {
				p := filepath.ToSlash(filepath.Join(at, e.Name()))
				if len(out) > limits.WorkspaceFiles {
					return protocol.Errorf(protocol.ExitUsage, "workspace_too_large", "the program changed more than %d files", limits.WorkspaceFiles)
				}
				if !e.IsDir() || replaced(filepath.Join(dir, filepath.FromSlash(p))) {
					out = append(out, p)
					continue
				}
				if err := visit(p, depth+1); err != nil {
					return err
				}
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("reading the changes: %w", err)
			}
		}
	}
	err = visit(".", 0)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // the sandbox makes it with the first change
	}
	return out, err
}

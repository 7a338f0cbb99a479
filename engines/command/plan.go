package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/internal/patch/artifact"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
)

// stateDir is never part of a copy; a run by hand may find it in the workspace.
const stateDir = ".cabincrew"

// run is one run of the engine.
type run struct{ *kit.Run }

// plan runs the program over a copy and describes what it changed.
func plan(ctx context.Context, k *kit.Run) (*protocol.EngineOutput, error) {
	r := run{k}
	s, err := readSettings(r.Input.Config)
	if err != nil {
		return nil, err
	}
	if base, changes := r.Env[baseVariable], r.Env[changesVariable]; base != "" && changes != "" {
		return r.overlaid(ctx, s, base, changes)
	}
	from := r.Workspace
	// The workspace holds only what the step's inputs selected, so all of it counts.
	before, err := workspace.Scan(ctx, from, workspace.Options{NoIgnore: true, Tracked: []string{}, Exclude: []string{stateDir, ".git"}})
	if err != nil {
		return nil, err
	}
	before = withoutGit(before)
	copied, err := os.MkdirTemp(r.Temp, "ws-")
	if err != nil {
		return nil, fmt.Errorf("making the private copy: %w", err)
	}
	defer r.removeCopy(copied)
	if err := os.Chmod(copied, 0o755); err != nil { //nolint:gosec // as the directories of a checkout are
		return nil, fmt.Errorf("making the private copy: %w", err)
	}
	if err := workspace.Copy(ctx, from, before, copied); err != nil {
		return nil, err
	}
	if err := r.runProgram(ctx, s, copied); err != nil {
		return nil, err
	}
	tracked := make([]string, 0, len(before))
	for i := range before {
		tracked = append(tracked, before[i].Path)
	}
	after, err := workspace.Scan(ctx, copied, workspace.Options{Tracked: tracked, Exclude: []string{stateDir}})
	if err != nil {
		return nil, err
	}
	return r.writeArtifacts(ctx, s, artifact.Tree{Dir: from, Entries: entries(before)}, artifact.Tree{Dir: copied, Entries: entries(after)})
}

// removeCopy deletes the private copy, also directories that the program locked.
func (r run) removeCopy(dir string) {
	if os.RemoveAll(dir) == nil {
		return
	}
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(p, 0o700) //nolint:gosec // what fails here fails below, and is said there
		}
		return err
	})
	if err := os.RemoveAll(dir); err != nil {
		r.Logf("the private copy cannot be removed: %v", err)
	}
}

// withoutGit leaves out what lies in a .git directory at any depth.
func withoutGit(files []workspace.File) []workspace.File {
	return slices.DeleteFunc(files, func(f workspace.File) bool { return strings.Contains("/"+f.Path+"/", "/.git/") })
}

func entries(files []workspace.File) []patch.Entry {
	out := make([]patch.Entry, 0, len(files))
	for _, f := range files {
		out = append(out, patch.Entry{Path: f.Path, Letter: f.Letter, Digest: f.Digest, Size: f.Size})
	}
	return out
}

// runProgram runs the program in the copy; what it prints is the log.
func (r run) runProgram(ctx context.Context, s *settings, copied string) error {
	dir := filepath.Join(copied, filepath.FromSlash(s.dir))
	if err := realDirectory(copied, s.dir); err != nil {
		return err
	}
	program, err := r.resolve(s.argv[0], copied)
	if err != nil {
		return err
	}
	mark := "CABINCREW_COMMAND_DIR=" + copied // in no process but the program's
	exit, err := sandbox.Run(ctx, sandbox.Command{
		Argv: append([]string{program}, s.argv[1:]...), Dir: dir, Env: append(r.programEnv(copied), mark), Mark: mark,
		Stdout: r.Log, Stderr: r.Log, Grace: limits.EngineGrace,
	})
	switch {
	case errors.Is(err, sandbox.ErrStart):
		return protocol.Errorf(protocol.ExitFailure, "command_start", "%s: %w", s.argv[0], err).
			WithHint("is the file there, executable, and its interpreter installed?")
	case err != nil:
		return protocol.Errorf(protocol.ExitFailure, "command_stopped", "%s: %w", s.argv[0], err)
	case exit.Signal != "":
		return protocol.Errorf(protocol.ExitFailure, "command_failed", "%s was ended by signal %s", s.argv[0], exit.Signal).
			WithHint("the engine's log has what the program printed")
	case exit.Code != 0:
		return protocol.Errorf(protocol.ExitFailure, "command_failed", "%s ended with exit code %d", s.argv[0], exit.Code).
			WithHint("the engine's log has what the program printed")
	}
	return nil
}

// programEnv is the environment of the program: that of the engine, without the
// way to the engine's input, receipt and artifacts, and with the copy for the workspace.
func (r run) programEnv(copied string) []string {
	out := slices.DeleteFunc(slices.Clone(r.Environ), func(e string) bool {
		k, _, _ := strings.Cut(e, "=")
		switch k {
		case "CABINCREW_INPUT_FILE", "CABINCREW_OUTPUT_FILE", "CABINCREW_ARTIFACTS_DIR", "CABINCREW_WORKSPACE", baseVariable, changesVariable, "PWD":
			return true
		}
		return false
	})
	return append(out, "CABINCREW_WORKSPACE="+copied)
}

// realDirectory makes sure that the program's directory is one of the copy's own.
func realDirectory(copied, dir string) error {
	for at := dir; at != "."; at = path.Dir(at) {
		info, err := os.Lstat(filepath.Join(copied, filepath.FromSlash(at)))
		if err != nil || !info.IsDir() {
			return badConfig("dir", "%q is not a directory of the workspace", dir)
		}
	}
	return nil
}

// resolve finds the program: a name with a slash in the copy, another one in PATH.
func (r run) resolve(name, copied string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(copied, filepath.FromSlash(name))
		}
		return name, nil
	}
	for _, dir := range filepath.SplitList(r.Env["PATH"]) {
		if !filepath.IsAbs(dir) {
			continue // a relative entry would take programs from the workspace
		}
		p := filepath.Join(dir, name)
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", protocol.Errorf(protocol.ExitUsage, "command_not_found", "there is no program %q in PATH (%s)", name, r.Env["PATH"]).
		At("config.run[0]").WithHint("install it, or write the path of a file in the workspace, such as ./tools/%s", name)
}

// writeArtifacts writes the patch and the summary and declares them.
func (r run) writeArtifacts(ctx context.Context, s *settings, old, newer artifact.Tree) (*protocol.EngineOutput, error) {
	body := map[string]any{"command": s.argv}
	if s.dir != "." {
		body["dir"] = s.dir
	}
	return output(artifact.Write(ctx, r, old, newer, artifact.Summary{Title: s.message, Body: body}))
}

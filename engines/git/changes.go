package git

import (
	"encoding/json"
	"maps"
	"os"
	"slices"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/protocol"
)

// state is what is at a path: a mode and a digest, both empty for nothing.
type state struct{ mode, digest string }

// planned is what the earlier steps make of one path.
type planned struct {
	path          string
	before, after state
}

// contextStep is what the orchestrator hands on of an earlier step.
type contextStep struct {
	Artifacts []struct {
		Name     string            `json:"name"`
		Role     string            `json:"role"`
		Hash     string            `json:"hash"`
		Size     int64             `json:"size"`
		Artifact protocol.Artifact `json:"artifact"`
		Body     *string           `json:"body,omitempty"`
	} `json:"artifacts"`
}

// plannedChanges reads the patches of the earlier steps, as one change a path.
// SPEC: docs/protocol.md 4.
func plannedChanges(context map[string]any) ([]planned, error) {
	raw, err := json.Marshal(context)
	if err != nil {
		return nil, badContext("it is malformed: %w", err)
	}
	var doc struct {
		Steps map[string]contextStep `json:"steps"`
	}
	if err := protocol.Decode(raw, &doc); err != nil {
		return nil, badContext("it is malformed: %w", err)
	}
	moves := map[string][][2]state{} // path to every before and after
	for _, id := range slices.Sorted(maps.Keys(doc.Steps)) {
		for _, a := range doc.Steps[id].Artifacts {
			if a.Role != protocol.RoleEvidence || a.Artifact.ArtifactType != "patch" {
				continue
			}
			files, err := patch.Files(a.Artifact.Metadata)
			if err != nil {
				return nil, badContext("the patch %s of step %s cannot be read: %w", a.Name, id, err)
			}
			if err := addMoves(moves, files); err != nil {
				return nil, err
			}
		}
	}
	if len(moves) > limits.GitChanges {
		return nil, tooLarge("more than %d files change in one commit", limits.GitChanges)
	}
	out := make([]planned, 0, len(moves))
	for _, path := range slices.Sorted(maps.Keys(moves)) {
		if err := patch.CheckPath(path, nil); err != nil {
			return nil, err
		}
		before, after, ok := joinMoves(moves[path])
		if !ok {
			return nil, badContext("the patches of the earlier steps do not follow each other at %q", path)
		}
		if before != after {
			out = append(out, planned{path, before, after})
		}
	}
	return out, nil
}

// addMoves adds what one patch makes of each path: one move a path, also where a
// file goes and another one comes in its place.
func addMoves(moves map[string][][2]state, files []patch.File) error {
	one := map[string][2]state{}
	for i := range files {
		f := &files[i]
		if f.OldPath != "" {
			m := one[f.OldPath]
			m[0] = state{f.OldMode, f.Before}
			one[f.OldPath] = m
		}
		if f.NewPath != "" {
			m := one[f.NewPath]
			m[1] = state{f.NewMode, f.After}
			one[f.NewPath] = m
		}
	}
	for path, m := range one {
		for _, s := range m {
			if s == (state{}) {
				continue
			}
			if _, err := protocol.ParseDigest(s.digest); err != nil {
				return badContext("a patch has a malformed digest at %q", path)
			}
			if s.mode != patch.ModeFile && s.mode != patch.ModeExecutable && s.mode != patch.ModeLink {
				return badContext("a patch has mode %q at %q", s.mode, path)
			}
		}
		moves[path] = append(moves[path], m)
	}
	return nil
}

// joinMoves gives the two ends of moves that follow each other in some order:
// the state that is left once more than it is reached, and the other way round.
// Where there are no ends, the moves lead back to where they began.
func joinMoves(moves [][2]state) (from, to state, ok bool) {
	balance := map[state]int{}
	for _, m := range moves {
		balance[m[0]]--
		balance[m[1]]++
	}
	starts, ends := 0, 0
	for s, n := range balance {
		switch {
		case n == -1:
			from, starts = s, starts+1
		case n == 1:
			to, ends = s, ends+1
		case n != 0:
			return from, to, false
		}
	}
	return from, to, starts == ends && starts <= 1
}

func badContext(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "git_context", "what the earlier steps planned cannot be used: "+format, args...).
		WithHint("the earlier steps must write their changes as patch artifacts; plan again")
}

// reader of the workspace: contents by digest, through real directories only.
type view struct {
	root *os.Root
	left int64
}

// read gives the content at a path (of a link: its target) where it is in the
// planned state.
func (v *view) read(p *planned) ([]byte, error) {
	for i := range len(p.path) {
		if p.path[i] != '/' {
			continue
		}
		if info, err := v.root.Lstat(p.path[:i]); err != nil || !info.IsDir() {
			return nil, notPlanned(p.path, "its directory is not in the workspace")
		}
	}
	info, err := v.root.Lstat(p.path)
	if err != nil {
		return nil, notPlanned(p.path, "it is not in the workspace")
	}
	var content []byte
	mode := patch.ModeFile
	switch {
	case info.Mode().Type() == os.ModeSymlink:
		target, err := v.root.Readlink(p.path)
		if err != nil {
			return nil, notPlanned(p.path, "its target cannot be read")
		}
		content, mode = []byte(target), patch.ModeLink
	case !info.Mode().IsRegular():
		return nil, notPlanned(p.path, "it is neither a file nor a link")
	default:
		if info.Mode()&0o100 != 0 {
			mode = patch.ModeExecutable
		}
		if content, err = v.readFile(p.path, info); err != nil {
			return nil, err
		}
	}
	if v.left -= int64(len(content)); v.left < 0 {
		return nil, tooLarge("the changed files have more than %d bytes", limits.GitContentBytes)
	}
	if got := (state{mode, protocol.Digest(content)}); got != p.after {
		return nil, notPlanned(p.path, "it has other content, or another mode, than the earlier steps planned")
	}
	return content, nil
}

func (v *view) readFile(path string, info os.FileInfo) ([]byte, error) {
	f, err := v.root.Open(path)
	if err != nil {
		return nil, notPlanned(path, "it cannot be opened")
	}
	defer func() { _ = f.Close() }() // it was only read
	if now, err := f.Stat(); err != nil || !os.SameFile(info, now) {
		return nil, notPlanned(path, "it changed meanwhile")
	}
	content, err := kit.ReadBounded(f, limits.GitObjectBytes)
	if err != nil {
		return nil, tooLarge("%s: %w", path, err)
	}
	return content, nil
}

// absent makes sure that nothing is at a path that is to be deleted.
func (v *view) absent(p *planned) error {
	info, err := v.root.Lstat(p.path)
	if err == nil && !info.IsDir() {
		return notPlanned(p.path, "it is still in the workspace, but the earlier steps delete it")
	}
	return nil
}

func notPlanned(path, why string) *protocol.Error {
	return protocol.Errorf(protocol.ExitStale, "git_workspace_differs", "%s", why).At(path).
		WithHint("the step's inputs must select every file that the earlier steps change; plan again")
}

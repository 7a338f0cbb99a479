package files

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/internal/patch/artifact"
	"github.com/cabincrew/action/protocol"
)

// planner works out what the files become.
type planner struct {
	*kit.Run

	ctx       context.Context
	s         *settings
	workspace *os.Root
	made      *os.Root // what is written
	total     int64
	old, new  []patch.Entry
	same      []string
}

// plan works out what each file becomes and describes it.
func plan(ctx context.Context, r *kit.Run) (*protocol.EngineOutput, error) {
	s, err := readSettings(r.Input.Config)
	if err != nil {
		return nil, err
	}
	p := &planner{Run: r, ctx: ctx, s: s}
	if p.workspace, err = os.OpenRoot(r.Workspace); err != nil {
		return nil, fmt.Errorf("opening the workspace: %w", err)
	}
	defer func() { _ = p.workspace.Close() }() // it was only read
	made, err := os.MkdirTemp(r.Temp, "files-")
	if err != nil {
		return nil, fmt.Errorf("making room for the files: %w", err)
	}
	defer func() {
		if err := os.RemoveAll(made); err != nil {
			r.Logf("the files made cannot be removed: %v", err)
		}
	}()
	if p.made, err = os.OpenRoot(made); err != nil {
		return nil, fmt.Errorf("making room for the files: %w", err)
	}
	defer func() { _ = p.made.Close() }() // files written through it are closed one by one
	for i := range s.entries {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if err := p.plan(&s.entries[i]); err != nil {
			return nil, err
		}
	}
	byPath := func(a, b patch.Entry) int { return cmp.Compare(a.Path, b.Path) }
	slices.SortFunc(p.old, byPath)
	slices.SortFunc(p.new, byPath)
	return p.writeArtifacts(made)
}

// plan works out what one file becomes.
func (p *planner) plan(e *entry) error {
	old, err := p.look(e)
	if err != nil {
		return err
	}
	becomes := patch.Entry{Path: e.path}
	switch {
	case e.action == write:
		body, err := p.content(e)
		if err != nil {
			return err
		}
		if p.total += int64(len(body)); p.total > limits.FilesBytes {
			return tooLarge(e.at(e.source), "all files together have more than %d bytes", limits.FilesBytes)
		}
		becomes.Digest, becomes.Size = protocol.Digest(body), int64(len(body))
		if becomes.Letter = letter(e.mode); old != nil && e.mode == "" {
			becomes.Letter = old.Letter
		}
		if old == nil || old.Digest != becomes.Digest {
			err = p.keep(becomes, body)
		}
		if err != nil {
			return err
		}
	case old == nil && e.missingOK:
	case old == nil:
		return refuse(e.at("path"), "files_missing", "%q is not there, so %s is not possible", e.path, e.action).
			WithHint("a step sees what its inputs select; a file that may be gone already is deleted with missing: ok")
	case e.action == chmod:
		becomes = *old
		becomes.Letter = letter(e.mode)
	}
	if becomes.Letter == 0 && old == nil || old != nil && *old == becomes {
		p.same = append(p.same, e.path)
		return nil
	}
	if old != nil {
		p.old = append(p.old, *old)
	}
	if becomes.Letter != 0 {
		p.new = append(p.new, becomes)
	}
	return nil
}

func letter(mode string) byte {
	if mode == patch.ModeExecutable {
		return 'x'
	}
	return 'f'
}

// look says what is at the path of an entry now; nil if there is nothing.
func (p *planner) look(e *entry) (*patch.Entry, error) {
	info, err := p.lstat(e.at("path"), e.path)
	if err != nil || info == nil {
		return nil, err
	}
	old := &patch.Entry{Path: e.path, Letter: 'f'}
	switch kind := info.Mode().Type(); {
	case kind == fs.ModeSymlink && e.action == remove:
		target, err := p.workspace.Readlink(e.path)
		if err != nil {
			return nil, fmt.Errorf("reading the link %q: %w", e.path, err)
		}
		old.Letter, old.Digest, old.Size = 'l', protocol.Digest([]byte(target)), int64(len(target))
		return old, nil
	case kind == fs.ModeSymlink:
		return nil, refuse(e.at("path"), "files_in_the_way", "%q is a symbolic link", e.path)
	case kind == fs.ModeDir:
		return nil, refuse(e.at("path"), "files_in_the_way", "%q is a directory", e.path)
	case kind != 0:
		return nil, refuse(e.at("path"), "files_in_the_way", "%q is no regular file", e.path)
	case info.Mode()&0o100 != 0:
		old.Letter = 'x'
	}
	body, err := p.read(e.at("path"), e.path, limits.PatchFileBytes)
	if err != nil {
		return nil, err
	}
	old.Digest, old.Size = protocol.Digest(body), int64(len(body))
	return old, nil
}

// lstat looks at a path through real directories only; nil if there is nothing.
func (p *planner) lstat(where, name string) (fs.FileInfo, error) {
	for at, c := range name {
		if c != '/' {
			continue
		}
		info, err := p.workspace.Lstat(name[:at])
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("looking at %q: %w", name, err)
		case info.Mode()&fs.ModeSymlink != 0:
			return nil, refuse(where, "files_in_the_way", "%q lies below %q, which is a symbolic link", name, name[:at])
		case !info.IsDir():
			return nil, refuse(where, "files_in_the_way", "%q lies below %q, which is no directory", name, name[:at])
		}
	}
	info, err := p.workspace.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return info, err
}

// read reads a regular file of the workspace.
func (p *planner) read(where, name string, most int64) ([]byte, error) {
	f, err := p.workspace.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	body, err := kit.ReadBounded(f, most)
	if err != nil {
		return nil, tooLarge(where, "%q cannot be read: %w", name, err)
	}
	return body, nil
}

// content gives what a file is to hold.
func (p *planner) content(e *entry) ([]byte, error) {
	text, place := e.text, e.at(e.source)
	switch e.source {
	case keyContent:
		return []byte(text), nil
	case keyFrom:
		info, err := p.lstat(place, e.text)
		if err != nil {
			return nil, err
		}
		if info == nil || !info.Mode().IsRegular() {
			return nil, refuse(place, "files_missing", "the template %q is not there, or no regular file", e.text).
				WithHint("a step sees what its inputs select")
		}
		body, err := p.read(place, e.text, limits.TemplateBytes)
		if err != nil {
			return nil, err
		}
		text, place = string(body), e.text
	}
	body, fault := kit.Render(p.ctx, text, p.s.values, limits.FilesFileBytes)
	if fault != nil {
		return nil, badTemplate(place, fault)
	}
	return body, nil
}

// keep writes the new content of a file where the patch is made from.
func (p *planner) keep(e patch.Entry, body []byte) error {
	mode := fs.FileMode(0o600)
	if e.Letter == 'x' {
		mode = 0o700
	}
	if err := p.made.MkdirAll(path.Dir(e.Path), 0o700); err != nil {
		return fmt.Errorf("writing %q: %w", e.Path, err)
	}
	if err := p.made.WriteFile(e.Path, body, mode); err != nil {
		return fmt.Errorf("writing %q: %w", e.Path, err)
	}
	return nil
}

// writeArtifacts writes the patch and the summary and declares them.
func (p *planner) writeArtifacts(made string) (*protocol.EngineOutput, error) {
	sum := artifact.Summary{Title: p.s.message, Body: map[string]any{}, File: func(f *patch.File, item map[string]any) {
		if f.Op == patch.Rename {
			item["old_path"] = f.OldPath
		}
		if f.OldMode != f.NewMode && f.NewMode != "" {
			item["mode"] = f.NewMode
		}
	}}
	if len(p.same) > 0 {
		slices.Sort(p.same)
		sum.Body["unchanged"] = p.same
	}
	return output(artifact.Write(p.ctx, p, artifact.Tree{Dir: p.Workspace, Entries: p.old}, artifact.Tree{Dir: made, Entries: p.new}, sum))
}

// refuse says that the workspace is not as the configuration takes it to be.
func refuse(where, code, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, code, format, args...).At(where).
		WithHint("change the path, or what is at it")
}

func tooLarge(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "files_too_large", format, args...).At(where).
		WithHint("split the step, or write less")
}

package git

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/config"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// repository is a git directory that is only read. What git itself would run for
// it (hooks, filters, helpers) is never looked at.
type repository struct {
	dir      string // of this work tree
	common   string // shared by all work trees
	stores   []*filesystem.Storage
	autocrlf string // core.autocrlf
	shallow  bool
	partial  bool
}

// openRepository opens a git directory: bare or not, of a work tree or a
// submodule, with the object directories that it borrows from.
func openRepository(dir string) (*repository, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, protocol.Errorf(protocol.ExitUsage, "git_repository", "%s is %q, and there is no such directory", gitDirVariable, dir).
			WithHint("plan in a checkout of a git repository")
	}
	r := &repository{dir: dir, common: dir}
	text, err := r.small(filepath.Join(dir, "commondir"))
	if err != nil {
		return nil, err
	}
	if text != "" {
		if r.common = text; !filepath.IsAbs(text) {
			r.common = filepath.Join(dir, text)
		}
	}
	if err := r.readConfig(); err != nil {
		return nil, err
	}
	text, err = r.small(filepath.Join(r.common, "shallow"))
	r.shallow = text != "" || err != nil
	dot := dotgit.NewRepositoryFilesystem(osfs.New(r.dir), osfs.New(r.common))
	r.stores = []*filesystem.Storage{filesystem.NewStorage(dot, cache.NewObjectLRU(0))}
	if err := r.borrow(filepath.Join(r.common, "objects"), map[string]bool{}); err != nil {
		return nil, err
	}
	return r, nil
}

// borrow opens the object directories that another one names, and theirs. go-git
// does so too, but not for relative paths and not for theirs.
func (r *repository) borrow(dir string, seen map[string]bool) error {
	text, err := r.small(filepath.Join(dir, "info", "alternates"))
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		if !filepath.IsAbs(line) {
			line = filepath.Join(dir, line)
		}
		if line = filepath.Clean(line); seen[line] || filepath.Base(line) != "objects" {
			continue
		}
		if seen[line] = true; len(seen) > limits.GitAlternates {
			return r.invalid("it borrows objects from more than %d directories", limits.GitAlternates)
		}
		if info, err := os.Stat(line); err != nil || !info.IsDir() {
			continue // what is missing shows when it is needed
		}
		r.stores = append(r.stores, filesystem.NewStorage(osfs.New(filepath.Dir(line)), cache.NewObjectLRU(0)))
		if err := r.borrow(line, seen); err != nil {
			return err
		}
	}
	return nil
}

// readConfig reads what decides how objects are stored.
func (r *repository) readConfig() error {
	for _, name := range []string{filepath.Join(r.common, "config"), filepath.Join(r.dir, "config.worktree")} {
		text, err := r.small(name)
		if err != nil {
			return err
		}
		cfg := config.New()
		if err := config.NewDecoder(bytes.NewReader([]byte(text + "\n"))).Decode(cfg); err != nil {
			return r.invalid("its configuration is malformed: %w", err)
		}
		ext, core := cfg.Section("extensions").Options, cfg.Section("core").Options
		if format := ext.Get("objectformat"); format != "" && !strings.EqualFold(format, "sha1") {
			return r.invalid("it stores objects by %s; this engine knows SHA-1 repositories only", format)
		}
		if refs := ext.Get("refstorage"); refs != "" && !strings.EqualFold(refs, "files") {
			return r.invalid("it stores references as %s; this engine knows files only", refs)
		}
		r.partial = r.partial || ext.Get("partialclone") != ""
		for _, s := range cfg.Section("remote").Subsections {
			r.partial = r.partial || strings.EqualFold(s.Option("promisor"), "true")
		}
		if core.Has("autocrlf") {
			r.autocrlf = strings.ToLower(core.Get("autocrlf"))
		}
	}
	return nil
}

// small reads a small file; what is not there is empty.
func (r *repository) small(name string) (string, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", r.invalid("a file of it cannot be opened: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := kit.ReadBounded(f, limits.GitFileBytes)
	if err != nil {
		return "", r.invalid("%s cannot be read: %w", filepath.Base(name), err)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}

// head gives the commit that HEAD names.
func (r *repository) head() (plumbing.Hash, error) {
	ref, err := storer.ResolveReference(r.stores[0], plumbing.HEAD)
	if err != nil || ref.Hash().IsZero() {
		return plumbing.ZeroHash, protocol.Errorf(protocol.ExitUsage, "git_no_parent", "HEAD of the repository names no commit").
			WithHint("make a first commit, or name the parent with \"base\"")
	}
	return ref.Hash(), nil
}

// get gives an object's content, and makes sure that it is the one of that id.
func (r *repository) get(kind plumbing.ObjectType, id plumbing.Hash) ([]byte, error) {
	for _, s := range r.stores {
		o, err := s.EncodedObject(plumbing.AnyObject, id)
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			continue
		}
		if err != nil {
			return nil, r.invalid("object %s cannot be read: %w", id, err)
		}
		if o.Type() != kind {
			return nil, r.invalid("object %s is a %s, not a %s", id, o.Type(), kind)
		}
		return r.content(o, id)
	}
	why, hint := "", "see whether \"git fsck\" finds the repository whole"
	switch {
	case r.partial:
		why, hint = " (the clone is partial, and this engine fetches nothing)", "clone without --filter; --depth 1 keeps it small too"
	case r.shallow:
		why, hint = " (the clone is shallow)", "fetch the parent commit too"
	}
	return nil, protocol.Errorf(protocol.ExitUsage, "git_object_missing", "the repository has no %s %s%s", kind, id, why).WithHint("%s", hint)
}

func (r *repository) content(o plumbing.EncodedObject, id plumbing.Hash) ([]byte, error) {
	if o.Size() > limits.GitObjectBytes {
		return nil, r.invalid("object %s is larger than %d bytes", id, limits.GitObjectBytes)
	}
	f, err := o.Reader()
	if err != nil {
		return nil, r.invalid("object %s cannot be read: %w", id, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	content, err := kit.ReadBounded(io.Reader(f), limits.GitObjectBytes)
	if err != nil {
		return nil, r.invalid("object %s cannot be read: %w", id, err)
	}
	if plumbing.ComputeHash(o.Type(), content) != id {
		return nil, r.invalid("object %s is damaged", id)
	}
	return content, nil
}

func (r *repository) tree(id plumbing.Hash) ([]byte, error) {
	return r.get(plumbing.TreeObject, id)
}

func (r *repository) invalid(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "git_repository", format, args...).
		WithHint("see whether \"git fsck\" works on the repository that %s names", gitDirVariable)
}

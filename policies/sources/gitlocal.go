package sources

import (
	"bytes"
	"errors"
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

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
)

// local is a repository on this machine, of which only refs and objects are read.
// What git would run for it (hooks, filters, helpers) is never looked at.
type local struct {
	where  string
	dirs   [2]string // its git directory, and what it shares with others
	stores []*filesystem.Storage
}

// openLocal opens a repository: the work tree or bare repository at dir, or the one
// that dir lies in.
func openLocal(dir string, around bool, where string) (*local, error) {
	gitDir, common, err := gitDirs(dir, around)
	if err != nil {
		return nil, err
	}
	if gitDir == "" {
		return nil, protocol.Errorf(protocol.ExitDenied, "policy_set_missing", "there is no git repository").At(where).
			WithHint("name a repository's directory, or check it out first")
	}
	r := &local{where: where, dirs: [2]string{gitDir, common}}
	if err := r.known(gitDir, common); err != nil {
		return nil, err
	}
	dot := dotgit.NewRepositoryFilesystem(osfs.New(gitDir), osfs.New(common))
	r.stores = []*filesystem.Storage{filesystem.NewStorage(dot, cache.NewObjectLRU(cacheSize))}
	if err := r.borrow(filepath.Join(common, "objects"), map[string]bool{}); err != nil {
		return nil, err
	}
	return r, nil
}

// cacheSize is how much of a pack is kept while it is read.
const cacheSize = cache.FileSize(limits.PolicySet)

// gitDirs gives the git directory of a work tree and what it shares with others.
func gitDirs(dir string, around bool) (gitDir, common string, err error) {
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err == nil && !around && isDir(filepath.Join(dir, "objects")) && isDir(filepath.Join(dir, "refs")) {
		return dir, dir, nil // bare
	}
	for {
		gitDir, common, err = workspace.GitDirs(dir)
		if err != nil || gitDir != "" || !around || filepath.Dir(dir) == dir {
			return gitDir, common, err
		}
		dir = filepath.Dir(dir)
	}
}

// known refuses a repository whose objects or refs are stored in another way.
func (r *local) known(gitDir, common string) error {
	for _, name := range []string{filepath.Join(common, "config"), filepath.Join(gitDir, "config.worktree")} {
		text, err := r.small(name)
		if err != nil {
			return err
		}
		cfg := config.New()
		if err := config.NewDecoder(bytes.NewReader([]byte(text + "\n"))).Decode(cfg); err != nil {
			return badRepository(r.where, "its configuration is malformed: %w", err)
		}
		ext := cfg.Section("extensions").Options
		if format := ext.Get("objectformat"); format != "" && !strings.EqualFold(format, "sha1") {
			return badRepository(r.where, "it stores objects by %s, and only SHA-1 is known here", short(format))
		}
		if refs := ext.Get("refstorage"); refs != "" && !strings.EqualFold(refs, "files") {
			return badRepository(r.where, "it stores references as %s, and only files are known here", short(refs))
		}
	}
	return nil
}

// small reads a small file; what is not there is empty.
func (r *local) small(name string) (string, error) {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return "", badRepository(r.where, "%s is no regular file", filepath.Base(name))
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", badRepository(r.where, "%s cannot be read: %w", filepath.Base(name), err)
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := readBounded(f, limits.SourceGitFile)
	if err != nil {
		return "", badRepository(r.where, "%s cannot be read: %w", filepath.Base(name), err)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}

// borrow opens the object directories that another one names, and theirs.
func (r *local) borrow(dir string, seen map[string]bool) error {
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
		if seen[line] = true; len(seen) > limits.SourceGitAlternates {
			return badRepository(r.where, "it borrows objects from more than %d directories", limits.SourceGitAlternates)
		}
		if !isDir(line) {
			continue // what is missing shows when it is needed
		}
		r.stores = append(r.stores, filesystem.NewStorage(osfs.New(filepath.Dir(line)), cache.NewObjectLRU(cacheSize)))
		if err := r.borrow(line, seen); err != nil {
			return err
		}
	}
	return nil
}

func (r *local) resolve(ref string) (plumbing.Hash, error) {
	return choose(ref, r.where, func(name plumbing.ReferenceName) (plumbing.Hash, error) {
		found, err := storer.ResolveReference(r.stores[0], name)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		return found.Hash(), nil
	})
}

func (r *local) get(kind plumbing.ObjectType, id plumbing.Hash, most int64) ([]byte, error) {
	for _, s := range r.stores {
		o, err := s.EncodedObject(plumbing.AnyObject, id)
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			continue
		}
		if err != nil {
			return nil, badRepository(r.where, "object %s cannot be read: %w", id, err)
		}
		if o.Type() != kind {
			return nil, errKind
		}
		if o.Size() > most {
			return nil, errTooLarge
		}
		f, err := o.Reader()
		if err != nil {
			return nil, badRepository(r.where, "object %s cannot be read: %w", id, err)
		}
		content, err := readBounded(f, most)
		_ = f.Close() // it was only read
		if err != nil {
			return nil, badRepository(r.where, "object %s cannot be read: %w", id, err)
		}
		if plumbing.ComputeHash(kind, content) != id {
			return nil, badRepository(r.where, "object %s is damaged", id)
		}
		return content, nil
	}
	return nil, badRepository(r.where, "the repository has no object %s", id)
}

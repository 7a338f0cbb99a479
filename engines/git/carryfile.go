package git

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// fileRemote is a repository on this machine. It is written without the git
// program, so no hook of it runs; references are changed under git's own lock.
type fileRemote struct {
	repo  *repository
	store *filesystem.Storage
	bare  bool
}

func openFileRemote(dir string) (carrier, error) {
	bare := true
	if info, err := os.Stat(filepath.Join(dir, ".git")); err == nil && info.IsDir() {
		dir, bare = filepath.Join(dir, ".git"), false
	}
	if info, err := os.Stat(filepath.Join(dir, "objects")); err != nil || !info.IsDir() {
		return nil, unreachable("there is no repository at %s", dir)
	}
	repo, err := openRepository(dir)
	if err != nil {
		return nil, err
	}
	return &fileRemote{repo: repo, store: filesystem.NewStorage(osfs.New(dir), cache.NewObjectLRU(0)), bare: bare}, nil
}

func (f *fileRemote) look(_ context.Context, ref string) (plumbing.Hash, error) {
	return f.at(ref)
}

// at reads a reference anew.
func (f *fileRemote) at(ref string) (plumbing.Hash, error) {
	r, err := filesystem.NewStorage(osfs.New(f.repo.dir), cache.NewObjectLRU(0)).Reference(plumbing.ReferenceName(ref))
	switch {
	case errors.Is(err, plumbing.ErrReferenceNotFound):
		return plumbing.ZeroHash, nil
	case err != nil:
		return plumbing.ZeroHash, unreachable("the branch cannot be read: %w", err)
	case r.Type() != plumbing.HashReference:
		return plumbing.ZeroHash, refused("the branch is only another name for %s", r.Target())
	}
	return r.Hash(), nil
}

func (f *fileRemote) send(_ context.Context, c command) error {
	if head, err := f.store.Reference(plumbing.HEAD); err == nil && !f.bare && head.Target() == plumbing.ReferenceName(c.ref) {
		return refused("the branch is checked out in the remote's work tree")
	}
	if _, err := f.repo.get(plumbing.CommitObject, c.b.parent); err != nil {
		return refused("the remote does not have the parent commit %s", c.b.parent)
	}
	if err := f.writePack(c.b.pack); err != nil {
		return err
	}
	name := filepath.Join(f.repo.dir, filepath.FromSlash(c.ref))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // as git makes them
		return refused("the branch cannot be written: %w", err)
	}
	lock, err := os.OpenFile(name+".lock", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // as git makes them
	if err != nil {
		return refused("the branch cannot be locked: %w", err)
	}
	_, err = lock.WriteString(c.b.commit.String() + "\n")
	err = errors.Join(err, lock.Sync(), lock.Close())
	at, moved := f.at(c.ref)
	switch {
	case err != nil:
		err = refused("the branch cannot be written: %w", err)
	case moved != nil:
		err = moved
	case at != c.old:
		err = refused("the branch moved to %s meanwhile", at)
	default:
		if err = os.Rename(name+".lock", name); err == nil {
			return nil
		}
		err = refused("the branch cannot be written: %w", err)
	}
	_ = os.Remove(name + ".lock") // the error before counts
	return err
}

func (f *fileRemote) writePack(pack []byte) error {
	w, err := f.store.PackfileWriter()
	if err != nil {
		return refused("the objects cannot be written: %w", err)
	}
	_, err = io.Copy(w, bytes.NewReader(pack))
	if err = errors.Join(err, w.Close()); err != nil {
		return refused("the objects cannot be written: %w", err)
	}
	return nil
}

func (f *fileRemote) close() {}

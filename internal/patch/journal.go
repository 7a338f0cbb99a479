package patch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/cabincrew/action/protocol"
)

type stepKind byte

const (
	stepInstalled stepKind = iota // a file came; saved holds what it replaced, if anything
	stepRemoved                   // a file went to saved
	stepMadeDir
	stepRemovedDir
)

// step is something that was done and can be undone.
type step struct {
	kind  stepKind
	path  string
	saved string
	perm  fs.FileMode
}

// install puts a staged content in its place in one step.
func (a *applier) install(t *target) error {
	if err := a.makeParents(t.path); err != nil {
		return err
	}
	if err := a.unchanged(t); err != nil {
		return err
	}
	s := step{kind: stepInstalled, path: t.path}
	if t.info != nil {
		s.saved = a.savedName()
		if err := a.fail("save " + t.path); err != nil {
			return err
		}
		if err := a.save(t, s.saved); err != nil {
			return err
		}
	}
	if err := a.fail("install " + t.path); err != nil {
		return err
	}
	if err := a.root.Rename(t.staged, t.path); err != nil {
		return ioError(t.path, err)
	}
	a.journal = append(a.journal, s)
	a.touch(t.path)
	return nil
}

func (a *applier) savedName() string { return fmt.Sprintf("%s/old-%d", a.stage, len(a.journal)) }

// save keeps what is at a path: by a second name, so that the path itself is never
// empty, or by a copy where the file system has no hard links.
func (a *applier) save(t *target, saved string) error {
	if a.root.Link(t.path, saved) == nil {
		return nil
	}
	if modeOf(t.info) == ModeLink {
		target, err := a.root.Readlink(t.path)
		if err == nil {
			err = a.root.Symlink(target, saved)
		}
		if err != nil {
			return ioError(t.path, err)
		}
		return nil
	}
	in, err := openPlain(a.root, t.path, t.info)
	if err != nil {
		return ioError(t.path, err)
	}
	defer func() { _ = in.Close() }() // it was only read
	out, err := a.root.OpenFile(saved, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return ioError(t.path, err)
	}
	if _, err = io.Copy(out, in); err == nil {
		err = out.Chmod(t.info.Mode().Perm())
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return ioError(t.path, err)
	}
	return nil
}

// remove takes a file away, and the directories that become empty by it.
func (a *applier) remove(t *target) error {
	if !t.done {
		if err := a.checkParents(t.path, true); err != nil {
			return err
		}
		if err := a.unchanged(t); err != nil {
			return err
		}
		if err := a.fail("remove " + t.path); err != nil {
			return err
		}
		s := step{kind: stepRemoved, path: t.path, saved: a.savedName()}
		if err := a.root.Rename(t.path, s.saved); err != nil {
			return ioError(t.path, err)
		}
		a.journal = append(a.journal, s)
		a.touch(t.path)
	}
	for dir := path.Dir(t.path); dir != "."; dir = path.Dir(dir) {
		info, err := lstatPlain(a.root, dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return ioError(dir, err)
		}
		if !info.IsDir() || !a.empty(dir) {
			return nil
		}
		if err := a.fail("rmdir " + dir); err != nil {
			return err
		}
		if err := a.root.Remove(dir); err != nil {
			return ioError(dir, err)
		}
		a.journal = append(a.journal, step{kind: stepRemovedDir, path: dir, perm: info.Mode().Perm()})
		a.touch(dir)
	}
	return nil
}

// empty says whether a directory can go; one that cannot be read stays.
func (a *applier) empty(dir string) bool {
	f, err := a.root.Open(dir)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // it was only read
	_, err = f.ReadDir(1)
	return errors.Is(err, io.EOF)
}

// makeParents makes the directories of a path.
func (a *applier) makeParents(p string) error {
	for i := range len(p) {
		if p[i] != '/' {
			continue
		}
		dir := p[:i]
		info, err := a.root.Lstat(dir)
		if err == nil && info.IsDir() {
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return a.checkParents(p, true)
		}
		if err := a.fail("mkdir " + dir); err != nil {
			return err
		}
		if err := a.root.Mkdir(dir, 0o777); err != nil { // less the umask, as git does
			return ioError(dir, err)
		}
		a.journal = append(a.journal, step{kind: stepMadeDir, path: dir})
		a.touch(dir)
	}
	return nil
}

// unchanged makes sure that nobody wrote to a path since its state was read.
func (a *applier) unchanged(t *target) error {
	info, err := lstatPlain(a.root, t.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
		if t.info == nil {
			return nil
		}
		return mismatch(t, state{})
	} else if err != nil {
		return ioError(t.path, err)
	}
	if t.info == nil || !os.SameFile(info, t.info) || info.Size() != t.info.Size() ||
		info.Mode() != t.info.Mode() || !info.ModTime().Equal(t.info.ModTime()) {
		return mismatch(t, state{mode: "changed"})
	}
	return nil
}

// undo takes back what was done, the last step first, and gives the reason.
func (a *applier) undo(reason error) error {
	var failed []error
	for len(a.journal) > 0 {
		s := a.journal[len(a.journal)-1]
		a.journal = a.journal[:len(a.journal)-1]
		var err error
		switch {
		case s.kind == stepMadeDir:
			err = a.root.Remove(s.path)
		case s.kind == stepRemovedDir:
			if err = a.root.Mkdir(s.path, s.perm); err == nil {
				err = a.root.Chmod(s.path, s.perm)
			}
		case s.saved == "":
			err = a.root.Remove(s.path)
		default:
			err = a.root.Rename(s.saved, s.path)
		}
		if err != nil {
			failed = append(failed, ioError(s.path, err))
		}
	}
	if len(failed) > 0 {
		return protocol.Errorf(protocol.ExitFailure, "patch_undo_failed",
			"the patch failed (%v) and could not be undone: %w", reason, errors.Join(failed...)).
			WithHint("the original files are in %s of the workspace", a.stage)
	}
	if a.stage != "" {
		if err := a.root.RemoveAll(a.stage); err != nil {
			return errors.Join(reason, ioError(a.stage, err))
		}
	}
	return reason
}

// finish removes the stage and what killed runs left.
func (a *applier) finish() error {
	if a.stage == "" {
		if err := a.findLeftovers(); err != nil {
			return err
		}
	} else {
		a.leftover = append(a.leftover, a.stage)
	}
	for _, dir := range a.leftover {
		if err := a.fail("clean " + dir); err != nil {
			return err
		}
		if err := a.root.RemoveAll(dir); err != nil {
			return ioError(dir, err)
		}
	}
	return a.syncDir(".")
}

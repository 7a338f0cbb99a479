package oci

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
)

// Whiteouts of the OCI image specification.
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
	unionFS  = ".wh..wh." // other names of AUFS, which say nothing about the tree
)

// entry makes what one entry of an archive describes.
func (u *unpacker) entry(h *tar.Header, r *tar.Reader) error {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return errSparse
		}
	}
	path, err := cleanName(h.Name, u.o.Limits)
	if err != nil {
		return err
	}
	if len(path) == 0 {
		if h.Typeflag != tar.TypeDir {
			return errors.New("the root is no directory")
		}
		u.tree.root.mtime = clamped(h.ModTime)
		return nil
	}
	parents, name := path[:len(path)-1], path[len(path)-1]
	for n, p := range path {
		switch {
		case strings.HasPrefix(p, unionFS) && !(n == len(parents) && p == opaque):
			return nil
		case strings.HasPrefix(p, whiteout) && n < len(parents):
			return errors.New("a whiteout is no directory")
		}
	}
	if hidden, ok := strings.CutPrefix(name, whiteout); ok {
		return u.whiteout(parents, hidden, name == opaque)
	}
	dir, err := u.tree.walk(parents, true)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.directory(dir, name, h)
	case tar.TypeReg:
		return u.file(dir, name, h, r)
	case tar.TypeSymlink:
		return u.symlink(dir, name, h.Linkname, clamped(h.ModTime))
	case tar.TypeLink:
		return u.hardLink(dir, name, h.Linkname)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return u.omit(dir, name)
	case tar.TypeGNUSparse:
		return errSparse
	default:
		return fmt.Errorf("it has the unknown type %q", h.Typeflag)
	}
}

var errSparse = errors.New("it is a sparse file")

func (u *unpacker) whiteout(parents []string, name string, all bool) error {
	if name == "" || name == "." || name == ".." {
		return errors.New("a whiteout names no file")
	}
	dir, err := u.tree.walk(parents, false)
	switch {
	case errors.Is(err, errNotFound) || errors.Is(err, errNotDirectory):
		return nil // nothing to hide
	case err != nil:
		return err
	case all:
		return u.tree.prune(dir)
	default:
		return u.tree.hide(dir, name)
	}
}

func (u *unpacker) directory(dir *node, name string, h *tar.Header) error {
	n := dir.children[name]
	if n == nil || n.kind != directory {
		if err := u.tree.clear(dir, name); err != nil {
			return err
		}
		made, err := u.tree.mkdir(dir, name)
		if err != nil {
			return err
		}
		n = made
	}
	n.mode = os.FileMode(h.Mode)&0o755 | 0o700 //nolint:gosec // masked: only permissions are left
	n.mtime = clamped(h.ModTime)
	n.declared = u.tree.layer
	return nil
}

// place makes room for an entry and gives its node, which is not in the tree yet.
func (u *unpacker) place(dir *node, name string, k kind) (*node, *os.Root, error) {
	if err := u.tree.clear(dir, name); err != nil {
		return nil, nil, err
	}
	n, err := u.tree.child(dir, name, k)
	if err != nil {
		return nil, nil, err
	}
	n.declared = u.tree.layer
	in, err := u.tree.open(dir)
	return n, in, err
}

func (u *unpacker) file(dir *node, name string, h *tar.Header, r io.Reader) error {
	n, in, err := u.place(dir, name, file)
	if err != nil {
		return err
	}
	mode := os.FileMode(h.Mode)&0o755 | 0o400 //nolint:gosec // masked: only permissions are left
	f, err := in.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	dir.children[name] = n
	content := &failures{w: f}
	copied, err := io.CopyBuffer(content, struct{ io.Reader }{r}, u.buffer)
	switch {
	case content.err != nil:
		err = content.err
	case err != nil:
		err = contentError{err}
	case copied != h.Size:
		err = contentError{io.ErrUnexpectedEOF}
	default:
		err = f.Chmod(mode) // also what the umask took
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	when := time.Unix(clamped(h.ModTime), 0)
	return in.Chtimes(name, when, when)
}

func (u *unpacker) symlink(dir *node, name, target string, mtime int64) error {
	if target == "" || len(target) > limits.OCILinkBytes || strings.ContainsRune(target, 0) || !utf8.ValidString(target) {
		return errors.New("it is a symbolic link with a target that is empty, too long or not UTF-8")
	}
	n, in, err := u.place(dir, name, symlink)
	if err != nil {
		return err
	}
	n.target, n.mtime = target, mtime
	if err := in.Symlink(target, name); err != nil {
		return err
	}
	dir.children[name] = n
	return nil
}

// hardLink gives a file of the tree another name. A second name of a symbolic
// link is an equal link.
func (u *unpacker) hardLink(dir *node, name, target string) error {
	path, err := cleanName(target, u.o.Limits)
	if err != nil || len(path) == 0 {
		return fmt.Errorf("it is a hard link to a name that is refused: %w", errors.Join(err))
	}
	from, err := u.tree.walk(path[:len(path)-1], false)
	if err != nil {
		return fmt.Errorf("it is a hard link: %w", err)
	}
	old := from.children[path[len(path)-1]]
	switch {
	case old == nil:
		return fmt.Errorf("it is a hard link: %w", errNotFound)
	case old.kind == directory:
		return errors.New("it is a hard link to a directory")
	case old.kind == symlink:
		return u.symlink(dir, name, old.target, old.mtime)
	case old.kind == omitted:
		return u.omit(dir, name)
	case old.below(dir.children[name]):
		return errors.New("it is a hard link to what it replaces")
	}
	n, _, err := u.place(dir, name, file)
	if err != nil {
		return err
	}
	if err := u.tree.disk.Link(old.path(), n.path()); err != nil {
		return err
	}
	dir.children[name] = n
	return nil
}

// below says whether a node is another one or lies below it.
func (n *node) below(other *node) bool {
	for ; n != nil; n = n.parent {
		if n == other {
			return true
		}
	}
	return false
}

func (u *unpacker) omit(dir *node, name string) error {
	n, _, err := u.place(dir, name, omitted)
	if err != nil {
		return err
	}
	dir.children[name] = n
	return nil
}

// clamped is a time that every file system can hold: whole seconds, from 1970 to 2038.
func clamped(t time.Time) int64 {
	return min(max(t.Unix(), 0), math.MaxInt32)
}

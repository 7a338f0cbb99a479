package bundle

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// entry is one file or directory of a flight.
type entry struct {
	path string
	dir  bool
	mode int64 // 0644 or 0755
	size int64
	from string   // the file in the flight that it is read from, or
	data []byte   // its bytes, or
	file *os.File // an open file: what is encrypted
}

const (
	plainMode = 0o644
	execMode  = 0o755
)

// list gives what belongs to a flight, in the order of an archive. Hidden names at
// the top (files that are being written) stay where they are.
func list(root *os.Root) ([]entry, error) {
	l := lister{root: root}
	if err := l.walk("."); err != nil {
		return nil, err
	}
	return l.entries, nil
}

type lister struct {
	root    *os.Root
	entries []entry
}

func (l *lister) walk(dir string) error {
	d, err := l.root.Open(dir)
	if err != nil {
		return unreadable(dir, err)
	}
	names, err := d.Readdirnames(limits.StorageEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return errors.Join(unreadable(dir, err), d.Close())
	}
	if err := d.Close(); err != nil {
		return unreadable(dir, err)
	}
	slices.Sort(names)
	for _, name := range names {
		if dir == "." && name[0] == '.' {
			continue
		}
		if err := l.add(path.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) add(p string) error {
	if err := checkPath(p); err != nil {
		return protocol.Errorf(protocol.ExitIntegrity, "path_unsafe", "the path %w", err).At(quoted(p))
	}
	if len(l.entries) >= limits.StorageEntries {
		return tooLarge(".", "the flight has more than %d files and directories", limits.StorageEntries)
	}
	info, err := l.root.Lstat(p)
	switch {
	case err != nil:
		return unreadable(p, err)
	case info.IsDir():
		l.entries = append(l.entries, entry{path: p, dir: true, mode: execMode})
		return l.walk(p)
	case !info.Mode().IsRegular():
		return protocol.Errorf(protocol.ExitIntegrity, "path_unsafe", "it is a link, device or socket; a flight has only files and directories").At(p)
	case info.Size() > limits.StorageFile:
		return tooLarge(p, "the file has more than %d bytes", limits.StorageFile)
	}
	e := entry{path: p, mode: plainMode, size: info.Size(), from: p}
	if info.Mode()&0o100 != 0 {
		e.mode = execMode
	}
	l.entries = append(l.entries, e)
	return nil
}

// openFile opens a regular file and follows, and waits for, nothing else.
func openFile(root *os.Root, p string) (*os.File, fs.FileInfo, error) {
	old, err := root.Lstat(p)
	if err != nil {
		return nil, nil, err
	}
	if !old.Mode().IsRegular() {
		return nil, nil, errors.New("it is not a regular file")
	}
	f, err := root.OpenFile(p, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(old, info) {
		err = errors.New("it was replaced while it was opened")
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// readSmall reads a whole file of bounded size. One that is absent gives an error
// that matches fs.ErrNotExist.
func readSmall(root *os.Root, p string, most int64) ([]byte, error) {
	f, _, err := openFile(root, p)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = tooLarge(p, "the file has more than %d bytes", most)
	}
	return data, err
}

func unreadable(where string, err error) error {
	return protocol.Errorf(protocol.ExitIntegrity, "flight_unreadable", "a file of the flight cannot be read: %w", err).At(where)
}

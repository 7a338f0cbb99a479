package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// tempPrefix begins the names of files that are being written; they stand in
// the flight's own directory, never below it, so no listing of steps or
// approvals ever meets one.
const tempPrefix = ".tmp-"

// A Flight is the directory of one flight. Paths are slash paths inside it.
type Flight struct {
	id    string
	dir   string
	root  *os.Root
	temps atomic.Int64
}

// OpenDir opens the directory of a flight that may come from anywhere. Its id
// is what flight.json says, or else the directory's name; neither is verified.
func OpenDir(dir string) (*Flight, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return nil, protocol.Errorf(protocol.ExitUsage, "flight_unknown", "there is no flight directory").At(dir).
			WithHint("name a flight's id or its directory")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, unusable(dir, err)
	}
	f := &Flight{dir: dir, root: root}
	if data, err := f.ReadFile("flight.json", limits.FlightFile); err == nil {
		_ = protocol.ScanCanonical(data, func(m protocol.Member) error { // a bad document has no id to give
			if string(m.Key) == "workflow_id" {
				if id, err := protocol.Unquote(m.Value); err == nil && protocol.ValidWorkflowID(id) {
					f.id = id
				}
			}
			return nil
		})
	}
	if base := filepath.Base(dir); f.id == "" && protocol.ValidWorkflowID(base) {
		f.id = base
	}
	return f, nil
}

// ID gives the workflow_id; it is empty only for a foreign directory that names none.
func (f *Flight) ID() string { return f.id }

// Dir gives the absolute path of the directory.
func (f *Flight) Dir() string { return f.dir }

// Root gives the directory for access that cannot leave it. Its owner is the Flight.
func (f *Flight) Root() *os.Root { return f.root }

// Close gives up the directory.
func (f *Flight) Close() error { return f.root.Close() }

// clean checks a slash path and every directory on the way to its last element.
func (f *Flight) clean(p string) (string, error) {
	if !fs.ValidPath(p) || len(p) > limits.FlightPath || strings.ContainsAny(p, "\x00\\") || !utf8.ValidString(p) {
		return "", unsafePath(fmt.Sprintf("%q", p), "is not a path inside a flight")
	}
	for i := range len(p) {
		if p[i] != '/' {
			continue
		}
		if err := realDir(f.root.Lstat, p[:i]); err != nil {
			return "", err
		}
	}
	return p, nil
}

// ReadFile reads a regular file whose size in bytes is at most the limit most.
// Links are not followed.
func (f *Flight) ReadFile(p string, most int64) ([]byte, error) {
	file, info, err := f.openRegular(p, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	data, err := readAll(io.LimitReader(file, most+1), min(info.Size(), most))
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, protocol.Errorf(protocol.ExitUnreachable, "file_unreadable", "the file cannot be read: %w", err).At(f.path(p))
	}
	if int64(len(data)) > most {
		return nil, protocol.Errorf(protocol.ExitIntegrity, "file_too_large", "the file has %d bytes, more than the %d allowed", max(info.Size(), most+1), most).At(f.path(p))
	}
	return data, nil
}

// readAll is io.ReadAll of what seems to have so many bytes.
func readAll(in io.Reader, size int64) ([]byte, error) {
	// One byte more, and the end is seen without growing.
	data := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	_, err := data.ReadFrom(in)
	return data.Bytes(), err
}

// openRegular opens an existing regular file. An absent one is an error that
// matches fs.ErrNotExist.
func (f *Flight) openRegular(p string, flags int) (*os.File, fs.FileInfo, error) {
	name, err := f.clean(p)
	if err != nil {
		return nil, nil, f.absent(p, err)
	}
	before, err := f.root.Lstat(name)
	if err != nil {
		return nil, nil, f.absent(p, err)
	}
	if !before.Mode().IsRegular() {
		return nil, nil, unsafePath(f.path(p), "is not a regular file")
	}
	file, err := f.root.OpenFile(name, flags|nonblock, 0)
	if err != nil {
		return nil, nil, f.absent(p, err)
	}
	after, err := file.Stat()
	if err == nil && !os.SameFile(before, after) {
		err = unsafePath(f.path(p), "was replaced while it was opened")
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, after, nil
}

func (f *Flight) path(p string) string { return filepath.Join(f.dir, filepath.FromSlash(p)) }

func (f *Flight) absent(p string, err error) error {
	var own *protocol.Error
	if errors.As(err, &own) {
		return err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return protocol.Errorf(protocol.ExitIntegrity, "file_missing", "the flight has no such file: %w", fs.ErrNotExist).At(f.path(p))
	}
	return protocol.Errorf(protocol.ExitUnreachable, "file_unreadable", "the file cannot be read: %w", err).At(f.path(p))
}

// WriteFile replaces a file whole and durably: after a crash there is the old
// one or the new one. Its directory must exist.
func (f *Flight) WriteFile(p string, data []byte) error {
	name, err := f.clean(p)
	if err != nil {
		return err
	}
	if info, err := f.root.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return unsafePath(f.path(p), "is not a regular file")
	}
	temp := tempPrefix + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(f.temps.Add(1), 10)
	if err := f.root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) { // of an earlier process with this pid
		return unwritable(f.path(p), err)
	}
	err = f.writeTemp(temp, data)
	if err == nil {
		err = f.root.Rename(temp, name)
	}
	if err == nil {
		err = syncDir(f.root, path.Dir(name))
	}
	if err != nil {
		_ = f.root.Remove(temp) // it may be gone; the error above is what counts
		return unwritable(f.path(p), err)
	}
	return nil
}

func (f *Flight) writeTemp(temp string, data []byte) error {
	file, err := f.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// MkdirAll makes a directory and those above it, durably.
func (f *Flight) MkdirAll(p string) error {
	if !fs.ValidPath(p) || len(p) > limits.FlightPath {
		return unsafePath(fmt.Sprintf("%q", p), "is not a path inside a flight")
	}
	made := ""
	for name := range strings.SplitSeq(p, "/") {
		parent := made
		made = path.Join(made, name)
		err := f.root.Mkdir(made, dirMode)
		if err == nil {
			err = syncDir(f.root, path.Join(parent, "."))
		} else if errors.Is(err, fs.ErrExist) {
			err = realDir(f.root.Lstat, made)
		}
		if err != nil {
			var own *protocol.Error
			if errors.As(err, &own) {
				return err
			}
			return unwritable(f.path(p), err)
		}
	}
	return nil
}

func unwritable(where string, err error) error {
	return protocol.Errorf(protocol.ExitUnreachable, "file_unwritable", "the file cannot be written: %w", err).At(where).
		WithHint("free space or mend the file system, then run the command again")
}

// cleanTemps removes what interrupted writes of dead processes left. Only the
// flight's one writer may call it.
func (f *Flight) cleanTemps() error {
	d, err := f.root.Open(".")
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(limits.FlightFiles)
	if err := errors.Join(ignoreEOF(err), d.Close()); err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, tempPrefix) {
			if err := f.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

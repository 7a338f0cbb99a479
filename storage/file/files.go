package file

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Info describes one file of a flight.
type Info struct {
	Path string
	Size int64
	Mode fs.FileMode // permission bits
}

// Files lists the files under a directory of the flight ("." for all), sorted
// by the bytes of their paths. Anything that is not a file or directory, and
// any name that is not UTF-8, is refused: such a flight is not ours. A missing
// directory has no files. Files that are being written are not listed.
func (f *Flight) Files(prefix string) ([]Info, error) {
	name, err := f.clean(prefix)
	if err == nil {
		err = realDir(f.root.Lstat, name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return []Info{}, nil
	}
	if err != nil {
		return nil, err
	}
	w := walk{flight: f, files: []Info{}}
	if err := w.dir(name, 0); err != nil {
		return nil, err
	}
	slices.SortFunc(w.files, func(x, y Info) int { return cmp.Compare(x.Path, y.Path) })
	return w.files, nil
}

type walk struct {
	flight *Flight
	files  []Info
	seen   int
}

func (w *walk) dir(p string, depth int) error {
	f := w.flight
	if depth > limits.FlightDepth {
		return protocol.Errorf(protocol.ExitIntegrity, "flight_too_large", "directories are nested deeper than %d", limits.FlightDepth).At(f.path(p))
	}
	d, err := f.root.Open(p)
	if err != nil {
		return f.absent(p, err)
	}
	entries, err := d.ReadDir(limits.FlightFiles + 1)
	if err = errors.Join(ignoreEOF(err), d.Close()); err != nil {
		return f.absent(p, err)
	}
	if w.seen += len(entries); w.seen > limits.FlightFiles {
		return protocol.Errorf(protocol.ExitIntegrity, "flight_too_large", "the flight has more than %d files", limits.FlightFiles).At(f.dir)
	}
	for _, e := range entries {
		if p == "." && strings.HasPrefix(e.Name(), tempPrefix) {
			continue
		}
		if err := w.entry(path.Join(p, e.Name()), depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) entry(p string, depth int) error {
	f := w.flight
	if !utf8.ValidString(p) || strings.Contains(p, "\\") || len(p) > limits.FlightPath {
		return unsafePath(fmt.Sprintf("%q", p), "is not a path that a flight can have")
	}
	info, err := f.root.Lstat(p)
	switch {
	case err != nil:
		return f.absent(p, err)
	case info.IsDir():
		return w.dir(p, depth+1)
	case !info.Mode().IsRegular():
		return unsafePath(f.path(p), "is a link, device or socket; a flight has only files and directories")
	}
	w.files = append(w.files, Info{Path: p, Size: info.Size(), Mode: info.Mode().Perm()})
	return nil
}

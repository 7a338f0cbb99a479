package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

const (
	flightsDir = "flights"
	locksDir   = "locks"
	tmpDir     = "tmp"

	dirMode  fs.FileMode = 0o700
	fileMode fs.FileMode = 0o644 // inside a directory that only its owner may enter
)

// A Store is a state directory. Its methods may be called from several
// goroutines and processes.
type Store struct {
	dir   string
	root  *os.Root
	temps atomic.Int64 // counts files written aside
}

// Open opens a state directory and makes what is missing of it. The directory
// and what is in it must not be links, since a change under review could bring
// such a link along.
func Open(stateDir string) (*Store, error) {
	dir, err := filepath.Abs(stateDir)
	if err != nil {
		return nil, unusable(stateDir, err)
	}
	if err := realDir(os.Lstat, dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, unusable(dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, unusable(dir, err)
	}
	s := &Store{dir: dir, root: root}
	if err := s.layout(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return s, nil
}

// OpenExisting opens a state directory for those who only read: nothing is made.
// Where there is none the error is fs.ErrNotExist.
func OpenExisting(stateDir string) (*Store, error) {
	dir, err := filepath.Abs(stateDir)
	if err != nil {
		return nil, unusable(stateDir, err)
	}
	if err := realDir(os.Lstat, dir); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, unusable(dir, err)
	}
	for _, name := range []string{flightsDir, marksDir} {
		if err := realDir(root.Lstat, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(err, root.Close())
		}
	}
	return &Store{dir: dir, root: root}, nil
}

func (s *Store) layout() error {
	for _, name := range []string{flightsDir, locksDir, marksDir, tmpDir} {
		if err := s.root.Mkdir(name, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return unusable(filepath.Join(s.dir, name), err)
		}
		if err := realDir(s.root.Lstat, name); err != nil {
			return err
		}
	}
	const ignore = ".gitignore"
	info, err := s.root.Lstat(ignore)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := s.root.WriteFile(ignore, []byte("*\n"), fileMode); err != nil {
			return unusable(filepath.Join(s.dir, ignore), err)
		}
	case err != nil:
		return unusable(s.dir, err)
	case !info.Mode().IsRegular():
		return unsafePath(filepath.Join(s.dir, ignore), "is not a regular file")
	}
	return nil
}

// realDir checks that a path is a directory and not a link to one.
func realDir(lstat func(string) (fs.FileInfo, error), path string) error {
	info, err := lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return unsafePath(path, "is not a directory, or is a link to one")
	}
	return nil
}

// Dir gives the absolute path of the state directory.
func (s *Store) Dir() string { return s.dir }

// Close gives up the state directory. Flights that were opened stay usable.
func (s *Store) Close() error { return s.root.Close() }

// Create makes the directory of a new flight.
func (s *Store) Create(id string) (*Flight, error) {
	if !protocol.ValidWorkflowID(id) {
		return nil, badID(id)
	}
	path := filepath.Join(flightsDir, id)
	if err := s.root.Mkdir(path, dirMode); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, flightExists(id, filepath.Join(s.dir, path))
		}
		return nil, unusable(filepath.Join(s.dir, path), err)
	}
	if err := syncDir(s.root, flightsDir); err != nil {
		return nil, unusable(s.dir, err)
	}
	return s.Flight(id)
}

// Flight opens an existing flight.
func (s *Store) Flight(id string) (*Flight, error) {
	if !protocol.ValidWorkflowID(id) {
		return nil, badID(id)
	}
	path := filepath.Join(flightsDir, id)
	if err := realDir(s.root.Lstat, path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, protocol.Errorf(protocol.ExitUsage, "flight_unknown", "there is no flight %s", id).At(filepath.Join(s.dir, path)).
				WithHint("`cabincrew list` shows the flights there are")
		}
		return nil, err
	}
	root, err := s.root.OpenRoot(path)
	if err != nil {
		return nil, unusable(filepath.Join(s.dir, path), err)
	}
	return &Flight{id: id, dir: filepath.Join(s.dir, path), root: root}, nil
}

// List gives the ids of all flights, sorted.
func (s *Store) List() ([]string, error) {
	d, err := s.root.Open(flightsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return []string{}, nil // OpenExisting makes none
	}
	if err != nil {
		return nil, unusable(s.dir, err)
	}
	entries, err := d.ReadDir(limits.Flights + 1)
	err = errors.Join(ignoreEOF(err), d.Close())
	if err != nil {
		return nil, unusable(s.dir, err)
	}
	if len(entries) > limits.Flights {
		return nil, protocol.Errorf(protocol.ExitUsage, "too_many_flights", "there are more than %d flights", limits.Flights).At(s.dir).
			WithHint("remove old ones by hand from %s", filepath.Join(s.dir, flightsDir))
	}
	ids := []string{}
	for _, e := range entries {
		if e.IsDir() && protocol.ValidWorkflowID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Install makes a directory, which Temp made or which lies in one of those, a flight.
// Nothing is replaced; the caller holds the flight's lock.
func (s *Store) Install(dir, id string) error {
	if !protocol.ValidWorkflowID(id) {
		return badID(id)
	}
	from, err := filepath.Rel(s.dir, dir)
	if err != nil || !filepath.IsLocal(from) {
		return unsafePath(dir, "is not in the state directory")
	}
	to := filepath.Join(flightsDir, id)
	if _, err := s.root.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return flightExists(id, filepath.Join(s.dir, to))
	}
	err = s.root.Rename(from, to)
	if err == nil {
		err = syncDir(s.root, flightsDir)
	}
	if err != nil {
		return unusable(filepath.Join(s.dir, to), err)
	}
	return nil
}

// Replace gives a directory of this state directory the place of a flight at once,
// and the flight that of the directory: at every moment one of both is the flight.
func (s *Store) Replace(dir, id string) error {
	if !protocol.ValidWorkflowID(id) {
		return badID(id)
	}
	from, err := filepath.Rel(s.dir, dir)
	if err != nil || !filepath.IsLocal(from) {
		return unsafePath(dir, "is not in the state directory")
	}
	to := filepath.Join(flightsDir, id)
	for _, p := range []string{from, to} {
		if err := realDir(s.root.Lstat, p); err != nil {
			return err
		}
	}
	err = exchange(s.dir, from, to)
	if err == nil {
		err = syncDir(s.root, flightsDir)
	}
	if err != nil {
		return unusable(filepath.Join(s.dir, to), err)
	}
	return nil
}

func flightExists(id, where string) error {
	return protocol.Errorf(protocol.ExitUsage, "flight_exists", "there is already a flight %s", id).At(where).
		WithHint("plan again without naming the id, or remove the old flight with `cabincrew prune`")
}

// Remove removes a flight. It is out of sight at once, so that an interrupted
// removal leaves no half of a flight behind.
func (s *Store) Remove(id string) error {
	if !protocol.ValidWorkflowID(id) {
		return badID(id)
	}
	from := filepath.Join(flightsDir, id)
	if err := realDir(s.root.Lstat, from); err != nil {
		return err
	}
	dir, cleanup, err := s.Temp("removed-*")
	if err != nil {
		return err
	}
	err = s.root.Rename(from, filepath.Join(tmpDir, filepath.Base(dir), id))
	if err == nil {
		err = syncDir(s.root, flightsDir)
	}
	if err = errors.Join(err, cleanup()); err != nil {
		return unusable(filepath.Join(s.dir, from), err)
	}
	return nil
}

func badID(id string) error {
	return protocol.Errorf(protocol.ExitUsage, "flight_id", "%q is not a flight id", id).
		WithHint("an id has letters, digits, '.', '_' and '-' and begins with a letter or digit")
}

func unusable(path string, err error) error {
	return protocol.Errorf(protocol.ExitUnreachable, "state_dir_unusable", "the state directory cannot be used: %w", err).At(path).
		WithHint("check that it is writable and has space, or name another one with --state-dir")
}

func unsafePath(path, what string) *protocol.Error {
	return protocol.Errorf(protocol.ExitIntegrity, "path_unsafe", "%s", what).At(path).
		WithHint("CabinCrew follows no links here; remove it")
}

func syncDir(root *os.Root, path string) error {
	d, err := root.Open(path)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

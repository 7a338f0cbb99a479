//go:build unix

package file

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cabincrew/action/protocol"
)

// nonblock keeps opening a fifo that was put in place of a file from waiting.
const nonblock = unix.O_NONBLOCK

// A Lock is held until it is released or its process ends, however it ends.
type Lock struct{ file *os.File }

// Lock takes a lock of the state directory without waiting. If another process
// holds it, the error has the code "locked" and names that process.
func (s *Store) Lock(name string) (*Lock, error) {
	if !protocol.ValidWorkflowID(name) {
		return nil, protocol.Errorf(protocol.ExitUsage, "lock_name", "%q is not a lock's name", name)
	}
	p := filepath.Join(locksDir, name+".lock")
	if info, err := s.root.Lstat(p); err == nil && !info.Mode().IsRegular() {
		return nil, unsafePath(filepath.Join(s.dir, p), "is not a regular file")
	}
	f, err := s.root.OpenFile(p, os.O_RDWR|os.O_CREATE|nonblock, 0o600)
	if err != nil {
		return nil, unusable(filepath.Join(s.dir, p), err)
	}
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = locked(name, holder(f)).At(filepath.Join(s.dir, p))
		} else {
			err = unusable(filepath.Join(s.dir, p), err)
		}
		return nil, errors.Join(err, f.Close())
	}
	// The pid is for people; the lock itself is the kernel's.
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		if err != nil {
			return nil, errors.Join(unusable(filepath.Join(s.dir, p), err), f.Close())
		}
	}
	return &Lock{f}, nil
}

// Release gives the lock up. The file stays: removing it would let two
// processes hold locks on two files of one name.
func (l *Lock) Release() error {
	return errors.Join(l.file.Truncate(0), release(l.file))
}

func holder(f *os.File) string {
	var b [32]byte
	n, _ := f.ReadAt(b[:], 0) // short is what is expected
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil || pid <= 0 {
		return "another process"
	}
	return fmt.Sprintf("process %d", pid)
}

func locked(name, who string) *protocol.Error {
	return protocol.Errorf(protocol.ExitUnreachable, "locked", "%s holds the lock %q", who, name).
		WithHint("wait until it has ended, or end it; the lock goes with it")
}

// release gives a lock up and closes its file. Closing alone is not enough: a child
// that is just being made has the file too, until it executes its program.
func release(f *os.File) error {
	return errors.Join(flock(f, unix.LOCK_UN), f.Close())
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how) //nolint:gosec // a file descriptor fits
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Temp makes an empty directory under the state directory's tmp; pattern is as
// for os.MkdirTemp. cleanup removes it with all that is in it, also what is
// read-only. What a killed process left is removed by SweepTemp.
func (s *Store) Temp(pattern string) (dir string, cleanup func() error, err error) {
	guard, err := s.tempGuard()
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, release(guard)) }()
	dir, err = os.MkdirTemp(filepath.Join(s.dir, tmpDir), pattern)
	if err != nil {
		return "", nil, unusable(s.dir, err)
	}
	held, err := os.Open(dir)
	if err == nil {
		err = flock(held, unix.LOCK_SH|unix.LOCK_NB)
	}
	if err != nil {
		return "", nil, errors.Join(unusable(dir, err), os.Remove(dir))
	}
	return dir, func() error { return errors.Join(removeAll(dir), release(held)) }, nil
}

// SweepTemp removes the temporary directories whose processes have ended.
func (s *Store) SweepTemp() error {
	guard, err := s.tempGuard()
	if err != nil {
		return err
	}
	base := filepath.Join(s.dir, tmpDir)
	entries, err := os.ReadDir(base)
	for _, e := range entries {
		err = errors.Join(err, sweep(filepath.Join(base, e.Name())))
	}
	return errors.Join(err, release(guard))
}

func sweep(dir string) error {
	held, err := os.OpenFile(dir, os.O_RDONLY|unix.O_NOFOLLOW|nonblock, 0)
	if err != nil {
		return nil //nolint:nilerr // a link or gone already: nothing of ours
	}
	if flock(held, unix.LOCK_EX|unix.LOCK_NB) == nil {
		err = removeAll(dir)
	}
	return errors.Join(err, release(held))
}

// tempGuard keeps a sweep from meeting a directory that is made but not yet held.
func (s *Store) tempGuard() (*os.File, error) {
	f, err := s.root.OpenFile(filepath.Join(locksDir, ".tmp.lock"), os.O_RDWR|os.O_CREATE|nonblock, 0o600)
	if err != nil {
		return nil, unusable(s.dir, err)
	}
	if err := flock(f, unix.LOCK_EX); err != nil {
		return nil, errors.Join(unusable(s.dir, err), f.Close())
	}
	return f, nil
}

// removeAll removes a directory that an engine has filled: read-only directories in
// it, and any number of levels. Each directory is first moved to the top, so that
// no path gets long and nothing is walked twice.
func removeAll(dir string) error {
	todo := []string{dir}
	moved := 0
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if err := os.Chmod(at, dirMode); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			return err
		}
		below, err := emptied(dir, at, &moved)
		if err != nil {
			return err
		}
		todo = append(todo, below...)
		if at != dir {
			if err := os.Remove(at); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(dir)
}

// emptied takes everything out of a directory: files are removed, directories moved
// to the top, where they have short names that nothing else has.
func emptied(top, at string, moved *int) (dirs []string, err error) {
	d, err := os.Open(at) //nolint:gosec // below the state directory's tmp
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	for {
		entries, err := d.ReadDir(1024)
		for _, e := range entries {
			name := filepath.Join(at, e.Name())
			switch {
			case !e.IsDir():
				err = errors.Join(err, os.Remove(name))
			case at == top:
				dirs = append(dirs, name)
			default:
				*moved++
				to := filepath.Join(top, fmt.Sprintf(".removed-%d-%d", os.Getpid(), *moved))
				err = errors.Join(err, os.Chmod(name, dirMode), os.Rename(name, to))
				dirs = append(dirs, to)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return dirs, nil
		case err != nil:
			return dirs, err
		}
	}
}

//go:build unix

package workspace

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// openFlags let an open never wait for the other end of a pipe.
const openFlags = os.O_RDONLY | syscall.O_NONBLOCK

// isNotDir says that a directory of a path is no directory.
func isNotDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

// listed gives what the system said of an entry when its directory was listed: of
// one that belongs to a root, package os asks at once.
func listed(_ *os.Root, e fs.DirEntry) (fs.FileInfo, error) { return e.Info() }

// unrooted gives the directory again for listing names and types only. Of entries of
// a root, package os asks the system one by one, for the case that somebody wants
// to know more. Info of these entries must not be called: it would follow a path.
func unrooted(dir *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(dir.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), dir.Name()), nil //nolint:gosec // a descriptor is no negative number
}

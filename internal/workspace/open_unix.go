//go:build unix

package workspace

import (
	"errors"
	"os"
	"syscall"
)

// openFlags let an open never wait for the other end of a pipe.
const openFlags = os.O_RDONLY | syscall.O_NONBLOCK

// isNotDir says that a directory of a path is no directory.
func isNotDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

//go:build unix

package patch

import (
	"os"
	"syscall"
)

// openFlags let an open never wait for the other end of a pipe.
const openFlags = os.O_RDONLY | syscall.O_NONBLOCK

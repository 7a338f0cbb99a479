//go:build unix

package bundle

import "golang.org/x/sys/unix"

// nonblock keeps an open from waiting for the other end of a FIFO.
const nonblock = unix.O_NONBLOCK

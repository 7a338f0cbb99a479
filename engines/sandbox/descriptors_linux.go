package sandbox

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cabincrew/action/engines/sandbox/inside"
)

// socketpair makes a connected pair of stream sockets, the second for a child.
func socketpair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "control")
	f := os.NewFile(uintptr(fds[0]), "control")
	conn, err := net.FileConn(f)
	_ = f.Close() // FileConn has its own
	if err != nil {
		_ = theirs.Close() // the error above is the one that counts
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}

// receiveFD takes a descriptor from the other side.
func receiveFD(conn *net.UnixConn) (*os.File, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 1), oob) //nolint:dogsled // only the descriptor counts
	if err != nil {
		return nil, err
	}
	fd, err := inside.Rights(oob[:n])
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "passed"), nil
}

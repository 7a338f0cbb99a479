package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// helperName is argv[0] of the program when it runs as a helper.
const helperName = "cabincrew-sandbox"

// The helper's further descriptors.
const (
	fdControl = 3 // a stream socket: spec and orders in, report out
	fdPass    = 4 // a stream socket: descriptors, to the parent
)

// spec is what the parent asks of the helper.
type spec struct {
	Role    string   `json:"role"` // "monitor", "restrict" or "probe"
	Argv    []string `json:"argv"`
	Dir     string   `json:"dir"`
	Env     []string `json:"env"`
	Confine *Confine `json:"confine,omitempty"`
}

// order is what the parent tells a running helper.
type order struct {
	Signal int  `json:"signal,omitempty"` // for the child's group
	Kill   bool `json:"kill,omitempty"`   // everything, now
}

// report is what the helper says: first that the child runs, then how it ended, or
// at any time why it could not.
type report struct {
	Started   bool       `json:"started,omitempty"`
	Listening bool       `json:"listening,omitempty"` // a listener was passed
	Isolation *Isolation `json:"isolation,omitempty"`
	Ended     bool       `json:"ended,omitempty"`
	Status    uint32     `json:"status,omitempty"` // wait status
	Survivors int        `json:"survivors,omitempty"`
	Left      bool       `json:"left,omitempty"` // not all of them could be ended
	Attempts  []Attempt  `json:"attempts,omitempty"`
	Over      string     `json:"over,omitempty"`
	Acts      []act      `json:"acts,omitempty"`
	// Error says what failed; Layer names the layer, "" where it was the start of the child.
	Error string `json:"error,omitempty"`
	Layer string `json:"layer,omitempty"`
}

// act is a forbidden act that a probe tried.
type act struct {
	Name   string `json:"name"`
	Layer  string `json:"layer"`
	Passed bool   `json:"passed"` // it was not stopped
	Result string `json:"result"`
}

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

// sendFD passes a descriptor.
func sendFD(to, fd int) error {
	return unix.Sendmsg(to, []byte{'f'}, unix.UnixRights(fd), nil, 0)
}

// receiveFD takes a descriptor from the other side.
func receiveFD(conn *net.UnixConn) (*os.File, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 1), oob) //nolint:dogsled // only the descriptor counts
	if err != nil {
		return nil, err
	}
	fd, err := rights(oob[:n])
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "passed"), nil
}

// rights takes the one descriptor out of a control message.
func rights(oob []byte) (int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		return -1, errors.Join(errors.New("no descriptor came"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, errors.Join(errors.New("no descriptor came"), err)
	}
	return fds[0], nil
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil { // our own types of plain values
		return []byte(`{"error":` + fmt.Sprintf("%q", strings.ToValidUTF8(err.Error(), "?")) + `}`)
	}
	return append(data, '\n')
}

package inside

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Name is argv[0] of the program when it runs as a helper.
const Name = "cabincrew-sandbox"

// The helper's further descriptors.
const (
	FDControl = 3 // a stream socket: spec and orders in, report out
	FDPass    = 4 // a stream socket: descriptors, to the parent
)

// Spec is what the parent asks of the helper.
type Spec struct {
	Role    string   `json:"role"` // "monitor", "restrict" or "probe"
	Argv    []string `json:"argv"`
	Dir     string   `json:"dir"`
	Env     []string `json:"env"`
	Confine *Confine `json:"confine,omitempty"`
}

// Order is what the parent tells a running helper.
type Order struct {
	Signal int  `json:"signal,omitempty"` // for the child's group
	Kill   bool `json:"kill,omitempty"`   // everything, now
}

// Report is what the helper says: first that the child runs, then how it ended, or
// at any time why it could not.
type Report struct {
	Started   bool       `json:"started,omitempty"`
	Listening bool       `json:"listening,omitempty"` // a listener was passed
	Isolation *Isolation `json:"isolation,omitempty"`
	Ended     bool       `json:"ended,omitempty"`
	Status    uint32     `json:"status,omitempty"` // wait status
	Survivors int        `json:"survivors,omitempty"`
	Left      bool       `json:"left,omitempty"` // not all of them could be ended
	Attempts  []Attempt  `json:"attempts,omitempty"`
	Over      string     `json:"over,omitempty"`
	Acts      []Act      `json:"acts,omitempty"`
	// Error says what failed; Layer names the layer, "" where it was the start of the child.
	Error string `json:"error,omitempty"`
	Layer string `json:"layer,omitempty"`
}

// SendFD passes a descriptor.
func SendFD(to, fd int) error {
	return unix.Sendmsg(to, []byte{'f'}, unix.UnixRights(fd), nil, 0)
}

// Rights takes the one descriptor out of a control message.
func Rights(oob []byte) (int, error) {
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

// Encode gives what one half says to the other.
func Encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil { // our own types of plain values
		return []byte(`{"error":` + fmt.Sprintf("%q", strings.ToValidUTF8(err.Error(), "?")) + `}`)
	}
	return append(data, '\n')
}

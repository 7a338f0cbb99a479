package sandbox

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/cabincrew/action/engines/sandbox/inside"
)

// Command is one child process.
type Command struct {
	Argv    []string // Argv[0] is an absolute path, in tier A one that the child sees
	Dir     string   // as the child sees it
	Env     []string // the whole environment; nothing is inherited
	Mark    string   // an entry of Env that no other process has; survivors are found by it
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Timeout time.Duration // 0 means none
	Grace   time.Duration // from SIGTERM to SIGKILL
	Confine *Confine      // nil: tier C
	// Accept gets the listener of Confine.Listen. It must return at once; the
	// listener is closed when the child has ended.
	Accept func(net.Listener)
}

// Exit is how a child ended.
type Exit struct {
	Code      int    // exit code, -1 if a signal ended it
	Signal    string // name of the signal that ended it, or ""
	TimedOut  bool
	Survivors int // processes of the child that had to be killed after its end
	Isolation Isolation
	Attempts  []Attempt // forbidden system calls that the filter stopped, by name
	Over      string    // "memory" or "processes": the limit that ended it
}

// ErrStart wraps the reason why a child could not be started at all.
var ErrStart = errors.New("the program could not be started")

// ErrIsolation wraps the reason why a child could not be isolated as asked. The
// child did not run.
var ErrIsolation = errors.New("the isolation cannot be had")

// Run starts the child, waits for it and kills whatever it left. When ctx ends,
// the child's group gets SIGTERM, after Grace SIGKILL. An exit code is no error.
func Run(ctx context.Context, c Command) (Exit, error) {
	if len(c.Argv) == 0 {
		return Exit{Code: -1, Isolation: None()}, errors.Join(ErrStart, errors.New("no argument vector"))
	}
	return run(ctx, c)
}

// None is the isolation of tier C.
func None() Isolation { return inside.None() }

// Environ gives an environment as "NAME=value" entries from pairs.
func Environ(pairs ...[2]string) []string {
	env := make([]string, 0, len(pairs))
	for _, p := range pairs {
		env = append(env, p[0]+"="+p[1])
	}
	return env
}

// Self gives the absolute path of the running program, for engines that it holds itself.
func Self() (string, error) { return os.Executable() }

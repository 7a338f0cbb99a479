//go:build unix

package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Stage changes the surroundings of this process as its first argument says and
// executes the engine that the others name, inside the sandbox that holds this
// process already. It only comes back where that cannot be done.
func Stage(_ context.Context, args []string, _ io.Reader, _, stderr io.Writer, env []string) int {
	err := enter(args, env)
	_, _ = fmt.Fprintf(stderr, stagePrefix+"%v\n", err) // there is nobody else to tell
	return exitStage
}

func enter(args, env []string) error {
	runtime.LockOSThread() // which processors there are is a matter of the thread that executes
	defer runtime.UnlockOSThread()
	s, argv, err := readStage(args)
	if err != nil {
		return err
	}
	temp := lookup(env, "CABINCREW_TEMP_DIR")
	if temp == "" {
		return errors.New("CABINCREW_TEMP_DIR is not set")
	}
	if s.Home {
		if err := os.Mkdir(filepath.Join(temp, elsewhere), 0o700); err != nil {
			return err
		}
	}
	if err := s.exchangeInput(temp, lookup(env, "CABINCREW_INPUT_FILE")); err != nil {
		return err
	}
	if s.Umask != nil {
		unix.Umask(*s.Umask)
	}
	if s.OneCPU {
		if err := oneProcessor(); err != nil {
			return fmt.Errorf("using one processor only: %w", err)
		}
	}
	for range busyTries {
		if err = unix.Exec(argv[0], argv, s.environment(env)); !errors.Is(err, unix.ETXTBSY) {
			break
		}
		time.Sleep(busyPause)
	}
	return fmt.Errorf("executing %s: %w", argv[0], err)
}

// exchangeInput puts another input into the file and on stdin.
func (s stage) exchangeInput(temp, file string) error {
	from := os.DevNull
	switch s.Input {
	case "":
		return nil
	case noInput:
		if err := os.Remove(file); err != nil {
			return err
		}
	case givenInput:
		if err := os.Rename(filepath.Join(temp, stageInput), file); err != nil {
			return err
		}
		from = file
	default:
		return fmt.Errorf("there is no input %q", s.Input)
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read; stdin is a descriptor of its own
	return unix.Dup2(int(f.Fd()), unix.Stdin)
}

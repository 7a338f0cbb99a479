//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// inside says that this process is the one in the network namespace.
const inside = "CABINCREW_E2E_INSIDE"

// TestMain runs the tests in a network namespace of their own and starts the servers
// that they share: two of them open their metrics on every address of a machine, which
// is loopback alone there. It also proves that no judge asks the network for anything.
func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv(inside) == "" {
		code, err := again()
		if err == nil {
			return code
		}
		fmt.Fprintln(os.Stderr, "e2e: no network namespace here, so metrics of the servers are reachable from elsewhere while the tests run:", err)
	}
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer house.end()
	return m.Run()
}

// again runs this process once more in a network namespace. It gives an error only
// where nothing was run.
func again() (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := unshare(cmd); err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// start starts what all tests share.
func start() error {
	if os.Getenv(inside) != "" {
		if err := loopback(); err != nil {
			return fmt.Errorf("loopback stays down: %w", err)
		}
	}
	repository, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	house = &rig{repository: repository, program: filepath.Join(repository, "bin", "cabincrew")}
	for _, name := range []string{house.program, house.tool("cosign"), house.tool("fulcio"), house.tool("timestamp-server"), house.tool("npm/node_modules/sigstore"), house.tool("act"), house.tool("actionlint"), house.tool("npm-actions/installed.json")} {
		if _, err := os.Stat(name); err != nil {
			return fmt.Errorf("make e2e puts it there: %w", err)
		}
	}
	if err := house.serve(); err != nil {
		house.end()
		return err
	}
	return nil
}

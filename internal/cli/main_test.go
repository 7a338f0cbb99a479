package cli

import (
	"context"
	"os"
	"strconv"
	"syscall"
	"testing"
)

// TestMain lets the test binary be the program: built-in engines re-execute it,
// gateways start scripted servers as children,
// and with CABINCREW_TEST_KILL=N a child of a test is killed at its N-th durable write.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == scriptedServer {
		serveScripted(os.Args[2], os.Stdin, os.Stdout)
		os.Exit(0)
	}
	kill, asked := os.LookupEnv("CABINCREW_TEST_KILL")
	if asked || len(os.Args) > 1 && os.Args[1] == "engine" {
		a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: environ(os.Environ())}
		if n, err := strconv.Atoi(kill); err == nil && n > 0 {
			a.failpoint = func(string) {
				if n--; n == 0 {
					_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // nothing runs after it
				}
			}
		}
		os.Exit(execute(context.Background(), os.Args[1:], a))
	}
	os.Exit(m.Run())
}

package mcp

import (
	"context"
	"fmt"
	"net"
	"os"
	"testing"

	"github.com/cabincrew/action/internal/cli"
)

// role says what a process of the test binary is, if not the tests.
const role = "CABINCREW_MCP_ROLE"

// TestMain lets the test binary be the program, the server behind it and the proxy that
// it is compared with, each in a process of its own.
func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "echo":
		os.Exit(exit(echoServer()))
	case "raw":
		os.Exit(exit(rawProxy(os.Args[1], os.Args[2])))
	case "program":
		cli.TuneMemory()
		os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
	}
	if len(os.Args) == 2 && os.Args[1] == childRole { // of a gateway that gives it no environment
		os.Exit(exit(childServer(os.Stdin, os.Stdout)))
	}
	if len(os.Args) > 1 && (os.Args[1] == "engine" || os.Args[1] == "gateway") {
		os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
	}
	os.Exit(m.Run())
}

func exit(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// loopback listens on a free port and says where on standard output.
func loopback() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, err = fmt.Printf("http://%s/mcp\n", l.Addr())
	return l, err
}

package config

import (
	"path/filepath"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// SingleServer gives the configuration of a gateway for one server that the command
// line names, as a file without anything else would: with the bundled policies for tools.
func SingleServer(command, roots []string, sandbox string) (*Gateway, error) {
	g, err := ParseGateway("the command line", []byte("version: 1\nservers: {server: {command: [x]}}\npolicies: {bundled: [mcp]}\n"))
	if err != nil {
		return nil, err
	}
	if wrong, hint := oneOf(IsolationAuto, IsolationRequired, IsolationNone)(sandbox); wrong != "" {
		return nil, protocol.Errorf(protocol.ExitUsage, "usage", "--sandbox %s", wrong).WithHint("%s", hint)
	}
	if len(command) > limits.ConfigList {
		return nil, protocol.Errorf(protocol.ExitUsage, "usage", "the command has %d arguments", len(command)).WithHint("at most %d", limits.ConfigList)
	}
	for _, arg := range command {
		if wrong, hint := argument(arg); wrong != "" {
			return nil, protocol.Errorf(protocol.ExitUsage, "usage", "an argument of the command %s", wrong).WithHint("%s", hint)
		}
	}
	s := &g.Servers[0]
	s.Name, s.Command, s.Sandbox = serverName(command[0]), command, sandbox
	g.Roots = append(g.Roots, roots...)
	return g, nil
}

// serverName names a server by its program.
func serverName(program string) string {
	name := gatewayName(strings.TrimSuffix(filepath.Base(program), filepath.Ext(program)))
	if name == "" {
		return "server"
	}
	return name
}

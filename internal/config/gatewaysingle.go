package config

import (
	"path/filepath"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// SingleServer gives the configuration of a gateway for one server that the command
// line names, as a file without anything else would: with the bundled policies for tools.
// env are variables of its environment: NAME=VALUE, or NAME for that of the gateway.
func SingleServer(command, roots, env []string, sandbox string) (*Gateway, error) {
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
	if err := s.variables(env); err != nil {
		return nil, err
	}
	g.Roots = append(g.Roots, roots...)
	return g, nil
}

// variables adds variables that the command line names. The value of one that has a
// secret's name is redacted where it is passed on.
func (s *GatewayServer) variables(env []string) error {
	if len(env) > limits.ConfigList {
		return protocol.Errorf(protocol.ExitUsage, "usage", "--env is given %d times", len(env)).WithHint("at most %d", limits.ConfigList)
	}
	s.Env, s.Secrets = map[string]EnvValue{}, map[string]Secret{}
	for _, one := range env {
		name, value, set := strings.Cut(one, "=")
		wrong, hint := engineVariable(name)
		if wrong == "" && set {
			wrong, hint = argument(value)
		}
		if wrong != "" { // the value is not repeated
			return protocol.Errorf(protocol.ExitUsage, "usage", "--env %s", wrong).WithHint("%s", hint)
		}
		delete(s.Env, name)
		delete(s.Secrets, name)
		switch {
		case set:
			s.Env[name] = EnvValue{Literal: value}
		case namesSecret(name):
			s.Secrets[name] = Secret{Env: name}
		default:
			s.Env[name] = EnvValue{From: name}
		}
	}
	return nil
}

// serverName names a server by its program.
func serverName(program string) string {
	name := gatewayName(strings.TrimSuffix(filepath.Base(program), filepath.Ext(program)))
	if name == "" {
		return "server"
	}
	return name
}

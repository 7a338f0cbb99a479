package mcp

import (
	"maps"
	"slices"

	"github.com/cabincrew/action/gateways/mcp/paths"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

const methodRoots = "roots/list"

// namedFiles tells policies of files, and says no to those that lie outside.
func (m *matter) namedFiles(prefix string, found []paths.Finding) []protocol.PolicyEvaluation {
	e := m.e
	var out []protocol.PolicyEvaluation
	for _, f := range found {
		e.files = append(e.files, map[string]any{
			"at": prefix + f.At, "value": f.Value, "path": f.Path, "root": f.Root,
			"inside": f.Inside, "protected": f.Protected, "why": f.Why,
		})
		if f.Inside && !f.Protected || len(out) >= limits.MCPGuardNamed {
			continue
		}
		ev := evaluation(m, policyPaths, protocol.Deny, "argument "+f.At+": "+or(f.Why, "outside of the roots"))
		ev.Evidence = map[string]any{"at": prefix + f.At, "protected": f.Protected, "inside": f.Inside}
		out = append(out, ev)
	}
	return out
}

// checkRoots looks at the directories that a client lets a server work in: servers use
// them in the place of those that they were started with.
func (s *session) checkRoots(m *matter, prefix string, answer any) []protocol.PolicyEvaluation {
	of, _ := answer.(map[string]any)
	if of["roots"] == nil || s.g.o.Paths == nil {
		return nil
	}
	tool := paths.Tool{
		Name: methodRoots, Pointers: []string{"/roots/*/uri"}, Never: []string{"/roots/*/name", "/roots/*/_meta"},
	}
	return m.namedFiles(prefix, s.g.o.Paths.Check(tool, map[string]any{"roots": of["roots"]}))
}

// checkReply is what the guard itself says of the client's answer to a request of the
// server.
func (s *session) checkReply(m *matter) []protocol.PolicyEvaluation {
	m.e.files = nil
	if m.e.method != methodRoots {
		return nil
	}
	return s.checkRoots(m, "/result", m.tree)
}

// checkNotification is what the guard itself says of a notification of the client.
func (s *session) checkNotification(m *matter) []protocol.PolicyEvaluation {
	m.e.files = nil
	return s.checkOther(m)
}

// checkOther looks at what a request holds beside the arguments of its method: answers
// to what the server asked before (revision 2026-07-28), and all that there is where
// nobody knows the method.
func (s *session) checkOther(m *matter) []protocol.PolicyEvaluation {
	params, _ := m.tree.(map[string]any)
	if s.g.o.Paths == nil || params == nil {
		return nil
	}
	var out []protocol.PolicyEvaluation
	if answers, _ := params["inputResponses"].(map[string]any); answers != nil {
		for _, key := range slices.Sorted(maps.Keys(answers)) { // so that two looks can be compared
			out = append(out, s.checkRoots(m, "/params/inputResponses/"+pointerStep(key), answers[key])...)
		}
	}
	if !known(m.e.method, m.e.from, m.phase, m.e.revision) {
		rest := maps.Clone(params)
		delete(rest, "_meta")
		out = append(out, m.namedFiles("/params", s.g.o.Paths.Check(paths.Tool{Name: m.e.method}, rest))...)
	}
	return out
}

package mcp

import (
	"context"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/protocol"
)

// What servers ask of clients.
const (
	methodElicit = "elicitation/create"
	methodSample = "sampling/createMessage"
)

// given judges what a request answers to what a result of the server asked for (revision
// 2026-07-28): each as the client's answer that it stands for, beside the request that
// it is a part of.
func (s *session) given(ctx context.Context, m *matter, r ruling) ruling {
	list, ok := jsonrpc.Lookup(r.message.Params, "inputResponses")
	if !ok || string(list) == "null" || !r.passes() && r.Decision != protocol.RequireApproval {
		return r
	}
	err := jsonrpc.Members(list, func(key string, _ int, value []byte) bool {
		for _, method := range answersTo(value) {
			if r = r.with(s.givenOne(ctx, m, r, method, key, value)); r.Decision == protocol.Deny {
				return false
			}
		}
		return true
	})
	if err != nil {
		return s.ruled(m, policyMessage, "inputResponses of a request are no object", codeUnjudged)
	}
	return r
}

// answersTo says which requests of a server an answer may be to, by its members: it does
// not say so itself. One that is none by them may be any.
func answersTo(answer []byte) (methods []string) {
	for _, kind := range []struct {
		method string
		has    []string
	}{{methodElicit, []string{"action"}}, {methodSample, []string{"role", "model"}}, {methodRoots, []string{"roots"}}} {
		for _, key := range kind.has {
			if _, ok := jsonrpc.Lookup(answer, key); ok {
				methods = append(methods, kind.method)
				break
			}
		}
	}
	if len(methods) == 0 {
		return []string{methodElicit, methodSample, methodRoots}
	}
	return methods
}

func (s *session) givenOne(ctx context.Context, m *matter, r ruling, method, key string, value []byte) ruling {
	one := &matter{
		s: s, phase: gateways.PhaseResponse, from: fromClient, msg: r.message, at: m.at, client: m.client,
		part: value, within: "/params/inputResponses/" + pointerStep(key),
		e: &exchange{
			id: m.e.id, request: m.e.request, from: fromServer, method: method, revision: m.e.revision, header: m.e.header,
		},
	}
	out := s.judgeOnce(ctx, one)
	m.conceal(one)
	if len(out.Changes) > 0 || out.changed {
		// The request as a whole was already rewritten; what is left cannot be forwarded.
		return s.ruled(m, policyMessage, "what a request answers to the server cannot be rewritten by itself", codeUnjudged)
	}
	return out
}

package mcp

import (
	"context"
	"slices"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

// unasked begins the matter of what a server sends that is no answer.
func (s *session) unasked(msg jsonrpc.Message, on *exchange, phase gateways.Phase) *matter {
	e := &exchange{id: msg.ID, request: s.g.o.NewID(), from: fromServer, method: msg.Method}
	if on != nil {
		e.revision, e.header = on.revision, on.header
	}
	m := &matter{
		s: s, e: e, phase: phase, from: fromServer, msg: msg, at: s.g.o.Now(), came: protocol.Digest(msg.Raw),
	}
	e.digest = m.came
	var revision string
	revision, m.client = s.revisionOf(e.header, nil)
	e.revision = or(e.revision, revision)
	return m
}

// serverAsks judges a request of the server: sampling, elicitation, roots, or whatever
// else. One that is denied never reaches the client; the guard answers it.
func (s *session) serverAsks(ctx context.Context, msg jsonrpc.Message, on *exchange) outgoing {
	m := s.unasked(msg, on, gateways.PhaseRequest)
	e := m.e
	if why := s.serve(e); why != "" {
		// No answer: it would be taken for that of the request which has the id.
		_ = s.record(ctx, m, s.often(m, policySession, why, codeLimit)) // dropped, recorded or not
		return outgoing{}
	}
	r := s.recorded(ctx, m, s.judgeUnasked(ctx, m))
	switch {
	case r.passes():
		s.sends(e)
		return outgoing{data: r.message.Raw}
	case r.Decision == protocol.RequireApproval:
		w, why := s.wait(ctx, m, r)
		if w != nil {
			w.then = func(ctx context.Context, w *waiting) (*link.Answer, []byte) {
				if refused := s.outcome(ctx, w); refused != nil {
					s.refuseAsked(e, *refused)
					return nil, nil
				}
				s.sends(e)
				return nil, r.message.Raw
			}
			return outgoing{hold: w}
		}
		_ = s.unheld(ctx, m, why) // refused, recorded or not
		r = s.ruled(m, policyMessage, why, codeUnjudged)
	}
	s.refuseAsked(e, r)
	return outgoing{}
}

// refuseAsked answers a request of the server that the client does not see.
func (s *session) refuseAsked(e *exchange, r ruling) {
	if s.unserve(e) && s.over.Err() == nil {
		s.refuseServer(e, r)
	}
}

// serverTells judges a notification of the server. One that is denied is dropped.
func (s *session) serverTells(ctx context.Context, msg jsonrpc.Message, on *exchange) outgoing {
	m := s.unasked(msg, on, gateways.PhaseNotification)
	// What changed is forgotten whether the client hears of it or not.
	switch msg.Method {
	case "notifications/tools/list_changed":
		s.forget(kindTool)
	case "notifications/prompts/list_changed":
		s.forget(kindPrompt)
	case "notifications/resources/list_changed":
		s.forget(kindTemplate)
	}
	r := s.recorded(ctx, m, s.judgeUnasked(ctx, m))
	if msg.Method == methodCancelled {
		s.cancelServed(cancelledID(msg))
	}
	switch {
	case r.passes():
		return outgoing{data: r.message.Raw}
	case r.Decision == protocol.RequireApproval:
		w, why := s.wait(ctx, m, r)
		if w == nil {
			_ = s.unheld(ctx, m, why) // dropped, recorded or not
			return outgoing{}
		}
		w.then = func(ctx context.Context, w *waiting) (*link.Answer, []byte) {
			if s.outcome(ctx, w) != nil {
				return nil, nil
			}
			return nil, r.message.Raw
		}
		return outgoing{hold: w}
	}
	return outgoing{}
}

// cancelServed forgets a request that the server does not want answered any more. It
// stays until the client answers or the place is needed: the two may cross.
func (s *session) cancelServed(id jsonrpc.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.served[id]; e != nil {
		e.unwanted = true
		if e.cancel != nil {
			e.withdrawn = true
			e.cancel()
		}
	}
}

// abandoned records that nobody waits any more for what was held.
func (s *session) abandoned(w *waiting) {
	refused := s.outcome(context.WithoutCancel(w.ctx), w)
	e := w.m.e
	if e.from == fromServer && w.m.phase == gateways.PhaseRequest && refused != nil {
		s.refuseAsked(e, *refused)
		return
	}
	s.finish(e)
}

// wanted judges what a result asks the client for (revision 2026-07-28): each as the
// request of the server that it stands for.
func (s *session) wanted(ctx context.Context, m *matter, r ruling) ruling {
	list, ok := jsonrpc.Lookup(r.message.Result, "inputRequests")
	if !ok || !r.passes() && r.Decision != protocol.RequireApproval {
		return r
	}
	err := jsonrpc.Members(list, func(key string, _ int, value []byte) bool {
		r = r.with(s.wantedOne(ctx, m, r, key, value))
		return r.Decision != protocol.Deny
	})
	if err != nil {
		return s.ruled(m, policyMessage, "inputRequests of a result are no object", codeUnjudged)
	}
	return r
}

// with adds what was said of a part of the message.
func (r ruling) with(one ruling) ruling {
	r.Decision = protocol.MostSevere(r.Decision, one.Decision)
	r.Evaluations = append(slices.Clip(r.Evaluations), one.Evaluations...)
	r.Violations = append(slices.Clip(r.Violations), one.Violations...)
	r.Warnings = append(slices.Clip(r.Warnings), one.Warnings...)
	r.Requires = append(slices.Clip(r.Requires), one.Requires...)
	r.code = or(r.code, one.code)
	return r
}

func (s *session) wantedOne(ctx context.Context, m *matter, r ruling, key string, value []byte) ruling {
	raw, _ := jsonrpc.Lookup(value, "method")
	method, ok := jsonrpc.Text(raw)
	if !ok {
		return s.ruled(m, policyMessage, "a result asks for something without a method", codeUnjudged)
	}
	params, _ := jsonrpc.Lookup(value, "params")
	e := &exchange{
		id: m.e.id, request: m.e.request, from: fromServer, method: method, revision: m.e.revision, header: m.e.header,
	}
	one := &matter{
		s: s, e: e, phase: gateways.PhaseRequest, from: fromServer, msg: r.message, at: m.at, client: m.client,
		part: params, within: "/result/inputRequests/" + pointerStep(key) + "/params",
	}
	if params == nil {
		one.part = []byte("null")
	}
	out := s.judgeOnce(ctx, one)
	m.conceal(one)
	if len(out.Changes) > 0 || out.changed {
		// The result as a whole was already rewritten; what is left cannot be forwarded.
		return s.ruled(m, policyMessage, "what a result asks for cannot be rewritten by itself", codeUnjudged)
	}
	return out
}

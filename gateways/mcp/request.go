package mcp

import (
	"context"
	"errors"
	"net/http"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Methods that the guard does more with than judge them.
const (
	methodInitialize = "initialize"
	methodDiscover   = "server/discover"
	methodListen     = "subscriptions/listen"
	methodCall       = "tools/call"
	methodPrompt     = "prompts/get"
	methodRead       = "resources/read"
	methodCancelled  = "notifications/cancelled"
)

const whyLarge = "the message is too large"

// open begins the matter of a message of the client.
func (s *session) open(c link.Call, phase gateways.Phase) *matter {
	e := &exchange{
		id: c.Message.ID, request: s.g.o.NewID(), from: fromClient, method: c.Message.Method, header: c.Header,
	}
	return &matter{
		s: s, e: e, phase: phase, from: fromClient, msg: c.Message, at: s.g.o.Now(),
		came: protocol.Digest(c.Message.Raw),
	}
}

// ask is the way of a request of the client.
func (s *session) ask(ctx context.Context, c link.Call) *link.Answer {
	m := s.open(c, gateways.PhaseRequest)
	r, ok := s.admit(m)
	if ok {
		r = s.judgeRequest(ctx, m)
	}
	r = s.recorded(ctx, m, r)
	switch {
	case r.passes():
		c.Message, c.Header = r.message, m.e.header
		return s.forward(ctx, m.e, c)
	case r.Decision == protocol.RequireApproval:
		c.Message, c.Header = r.message, m.e.header
		return s.holdRequest(ctx, m, c, r)
	}
	s.finish(m.e)
	a := s.refuse(m.e, r)
	if r.twice && c.Header == nil {
		// On a transport where answers are told apart by their ids alone, an answer
		// with this id would be taken for that of the request which has it.
		a.Body = s.refusal(m.e, r, "null")
	}
	return a
}

// admit says whether a request may be judged at all; if so it waits for its answer from
// now on.
func (s *session) admit(m *matter) (ruling, bool) {
	e := m.e
	if len(m.msg.Raw) > s.g.o.MaxBytes {
		return s.often(m, policyLimits, whyLarge, codeLimit), false
	}
	open := e.method != methodListen
	if why := s.g.rates.take(s.who.Principal, open, m.at); why != "" {
		return s.often(m, policyLimits, why, codeLimit), false
	}
	e.counted = open
	if err := m.read(); err != nil {
		return s.unjudged(m, err), false
	}
	s.introduce(m)
	if why := s.disagrees(m); why != "" {
		return s.ruled(m, policySession, why, jsonrpc.CodeInvalidParams), false
	}
	if why := s.begin(e); why != "" {
		s.finish(e)
		r := s.ruled(m, policySession, why, jsonrpc.CodeInvalidRequest)
		r.twice = why == whyTwice
		return r, false
	}
	return ruling{}, true
}

// introduce fills in what a request says of itself and of the client.
func (s *session) introduce(m *matter) {
	e := m.e
	if e.method == methodInitialize {
		s.greet(m.tree)
	}
	e.revision, m.client = s.revisionOf(e.header, m.tree)
	params, _ := m.tree.(map[string]any)
	switch e.method {
	case methodCall, methodPrompt:
		e.name, _ = params["name"].(string)
	case methodRead:
		e.name, _ = params["uri"].(string)
	}
	e.token, _ = jsonrpc.Lookup(m.msg.Params, "_meta", "progressToken")
}

// disagrees compares the headers that repeat what the message says with the message.
func (s *session) disagrees(m *matter) string {
	if v := m.e.header.Get("Mcp-Method"); v != "" && v != m.e.method {
		return "the header Mcp-Method is not the method of the message"
	}
	v := m.e.header.Get("Mcp-Name")
	if v == "" || m.e.name == "" || len(v) > 2 && v[:2] == "=?" {
		return "" // an encoded one is the door's matter
	}
	if v != m.e.name {
		return "the header Mcp-Name is not the name in the message"
	}
	return ""
}

// judgeRequest judges a request with what is known of what it calls.
func (s *session) judgeRequest(ctx context.Context, m *matter) ruling {
	s.acquaint(ctx, m)
	s.acquaintTemplates(ctx, m)
	m.check = s.checkRequest
	came := m.msg
	r := s.judge(ctx, m)
	if m.unknown != "" && r.code == 0 {
		r.code = codeUnjudged
	}
	if r.changed && r.Decision != protocol.Deny {
		header, err := realigned(m.e.header, came, r.message)
		if err != nil {
			return s.ruled(m, policyMessage, "the message was rewritten, and "+err.Error(), codeDenied)
		}
		m.e.header = header
	}
	return s.given(ctx, m, r)
}

// forward sends a request on and judges its answer.
func (s *session) forward(ctx context.Context, e *exchange, c link.Call) *link.Answer {
	s.sends(e)
	a, err := s.next.Send(ctx, c)
	if err != nil {
		return s.unreachable(ctx, e, err)
	}
	return s.answer(ctx, e, a)
}

// unreachable answers a request that the server gave no answer to.
func (s *session) unreachable(ctx context.Context, e *exchange, err error) *link.Answer {
	s.finish(e)
	return answerOf(s.failed(ctx, e, err))
}

// failed is the failure that tells the client of a request that there is no answer.
func (s *session) failed(ctx context.Context, e *exchange, err error) []byte {
	s.heed(err)
	s.g.o.Log.Warn("no answer of the server", "method", brief(e.method), "request", e.request, "error", err)
	why := "the server gave no answer"
	if down := (*link.Down)(nil); errors.As(err, &down) {
		why = down.Error()
	} else if ctx.Err() != nil {
		why = "the client does not wait any more"
	}
	m := &matter{s: s, e: e, phase: gateways.PhaseResponse, from: fromServer, at: s.g.o.Now()}
	r := s.ruled(m, policyMessage, brief(why), codeUnreachable)
	r = s.recorded(ctx, m, r)
	return s.refusal(e, r, e.id)
}

// tell is the way of a notification of the client. What is denied is dropped: a
// notification has no answer.
func (s *session) tell(ctx context.Context, c link.Call) (*link.Answer, error) {
	m := s.open(c, gateways.PhaseNotification)
	r := s.judgeNotification(ctx, m)
	r = s.recorded(ctx, m, r)
	if s.withdrawn(m) {
		return taken(), nil
	}
	c.Message = r.message
	switch {
	case r.passes():
		return s.next.Send(ctx, c)
	case r.Decision == protocol.RequireApproval:
		s.holdAside(m, c, r, nil)
	}
	return taken(), nil
}

// withdrawn says whether a notification withdrew a request that was held: the server
// never saw either.
func (s *session) withdrawn(m *matter) bool {
	if m.e.method != methodCancelled {
		return false
	}
	return s.withdraw(cancelledID(m.msg))
}

// cancelledID gives the id that a cancellation names, in the one way in which ids are
// written.
func cancelledID(m jsonrpc.Message) jsonrpc.ID {
	if m.Params == nil {
		return ""
	}
	raw, _ := jsonrpc.Lookup(m.Params, "requestId")
	return jsonrpc.IDOf(raw)
}

func (s *session) judgeNotification(ctx context.Context, m *matter) ruling {
	if len(m.msg.Raw) > s.g.o.MaxBytes {
		return s.often(m, policyLimits, whyLarge, codeLimit)
	}
	// To say that something is not wanted any more is never too much.
	if m.e.method != methodCancelled {
		if why := s.g.rates.take(s.who.Principal, false, m.at); why != "" {
			return s.often(m, policyLimits, why, codeLimit)
		}
	}
	if err := m.read(); err != nil {
		return s.unjudged(m, err)
	}
	m.e.revision, m.client = s.revisionOf(m.e.header, m.tree)
	if why := s.disagrees(m); why != "" {
		return s.ruled(m, policySession, why, jsonrpc.CodeInvalidParams)
	}
	m.check = s.checkNotification
	return s.judge(ctx, m)
}

// reply is the way of the client's answer to a request of the server.
func (s *session) reply(ctx context.Context, c link.Call) (*link.Answer, error) {
	m := s.open(c, gateways.PhaseResponse)
	asked := s.answered(c.Message.ID)
	if asked == nil {
		r := s.unrelated(m)
		_ = s.record(ctx, m, r) // it is refused, recorded or not
		if c.Header == nil {
			return taken(), nil // nobody waits for a word on an answer
		}
		a := answerOf(s.refusal(m.e, r, "null"))
		a.Status = http.StatusBadRequest
		return a, nil
	}
	m.e = asked
	r := s.judgeReply(ctx, m)
	c.Message = r.message
	r = s.recorded(ctx, m, r)
	switch {
	case r.passes():
		return s.next.Send(ctx, c)
	case r.Decision == protocol.RequireApproval:
		s.holdAside(m, c, r, asked)
	default:
		s.refuseServer(asked, r)
	}
	return taken(), nil
}

func (s *session) unrelated(m *matter) ruling {
	return s.often(m, policySession, "it answers no request of the server", jsonrpc.CodeInvalidRequest)
}

func (s *session) judgeReply(ctx context.Context, m *matter) ruling {
	if len(m.msg.Raw) > s.g.o.MaxBytes {
		return s.often(m, policyLimits, whyLarge, codeLimit)
	}
	if err := m.read(); err != nil {
		return s.unjudged(m, err)
	}
	_, m.client = s.revisionOf(nil, nil)
	m.check = s.checkReply
	return s.judge(ctx, m)
}

// refuseServer answers a request of the server in the client's place.
func (s *session) refuseServer(e *exchange, r ruling) {
	raw := s.refusal(e, r, e.id)
	msg, err := jsonrpc.Scan(raw, jsonrpc.Options{})
	if err != nil {
		return
	}
	// The client's own waiting has nothing to do with it, the session's end has.
	ctx, cancel := context.WithTimeout(s.over, limits.MCPGuardOwn)
	defer cancel()
	if _, err := s.next.Send(ctx, link.Call{Message: msg, Header: s.ownHeader(e)}); err != nil {
		s.g.o.Log.Warn("the server cannot be answered", "method", brief(e.method), "error", err)
	}
}

// ownHeader gives the headers of the gateway's own messages: the revision, where the
// transport has headers.
func (s *session) ownHeader(e *exchange) http.Header {
	revision, _ := s.revisionOf(e.header, nil)
	if revision == "" {
		return nil
	}
	return http.Header{"Mcp-Protocol-Version": {revision}}
}

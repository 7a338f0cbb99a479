package mcp

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// answer judges what the server answered to a request.
func (s *session) answer(ctx context.Context, e *exchange, a *link.Answer) *link.Answer {
	defer a.Judged()
	switch {
	case a.Stream != nil:
		return &link.Answer{Status: a.Status, Header: a.Header, Stream: s.stream(a.Stream, e)}
	case len(bytes.TrimSpace(a.Body)) == 0:
		if a.Status >= http.StatusBadRequest {
			return s.judgedText(ctx, e, a)
		}
		return a // it was taken; the answer comes on another stream
	}
	msg, err := jsonrpc.Scan(a.Body, s.scanOptions())
	if err != nil {
		if a.Status >= http.StatusBadRequest && !looksLikeMessage(a.Body) {
			return s.judgedText(ctx, e, a)
		}
		return s.unreachable(ctx, e, unreadable(s, err))
	}
	if s.refersElsewhere(msg, e, a.Status) {
		return s.unreachable(ctx, e, unreadable(s, errors.New("it answers another request")))
	}
	out := s.response(ctx, msg, e)
	if out.hold != nil {
		return streamed(s.waitingStream(e, out.hold))
	}
	s.finish(e)
	if bytes.Equal(out.data, a.Body) {
		return a
	}
	return &link.Answer{Status: statusFor(a.Status, out), Header: a.Header, Body: out.data}
}

// statusFor keeps the server's status unless what it said was replaced.
func statusFor(status int, out outgoing) int {
	if out.refused {
		return http.StatusOK
	}
	return status
}

// refersElsewhere says whether a message is not the answer to the request. With a status
// that is an error, servers also answer with ids of their own.
func (s *session) refersElsewhere(msg jsonrpc.Message, e *exchange, status int) bool {
	switch {
	case msg.Kind == jsonrpc.Response:
		return msg.ID != e.id
	case msg.Kind != jsonrpc.Failure:
		return true
	case msg.ID == e.id, msg.ID == "null", msg.ID == "":
		return false
	}
	return status < http.StatusBadRequest || s.find(msg.ID) != nil
}

// looksLikeMessage says whether a text that does not scan would be read as a message by
// somebody less strict.
func looksLikeMessage(body []byte) bool {
	body = bytes.TrimLeft(body, "\xef\xbb\xbf \t\r\n\x00")
	return len(body) > 0 && (body[0] == '{' || body[0] == '[')
}

// judgedText judges an answer that is no message but a status and some text.
func (s *session) judgedText(ctx context.Context, e *exchange, a *link.Answer) *link.Answer {
	defer s.finish(e)
	text := a.Body
	if len(text) > limits.MCPGuardForeignBytes {
		text = text[:limits.MCPGuardForeignBytes]
	}
	if text == nil {
		text = []byte{}
	}
	m := &matter{s: s, e: e, phase: gateways.PhaseResponse, from: fromServer, at: s.g.o.Now(), foreign: text}
	r := ruling{Verdict: gateways.Verdict{Decision: protocol.Allow}}
	if len(text) > 0 { // a status alone says nothing that could be judged
		r = s.judge(ctx, m)
	}
	r = s.recorded(ctx, m, r)
	if e.id == "" { // to a request to listen: there is no message to answer with
		if !r.passes() {
			return &link.Answer{Status: a.Status}
		}
		return &link.Answer{Status: a.Status, Header: a.Header, Body: []byte(s.clean(string(text)))}
	}
	switch {
	case !r.passes():
		if r.Decision == protocol.RequireApproval {
			r = s.ruled(m, policyMessage, "an answer that is no message cannot wait for a person", codeUnjudged)
		}
		return answerOf(s.refusal(e, r, or(e.id, "null")))
	case e.header == nil: // on this transport, all there can be is messages
		why := "server " + s.g.o.Server + " refused with status " + http.StatusText(a.Status)
		if len(text) > 0 {
			why += ": " + brief(s.clean(string(text)))
		}
		return answerOf(jsonrpc.NewFailure(e.id, codeUnreachable, brief(why), nil))
	}
	if len(bytes.TrimSpace(text)) == 0 { // a client would be told nothing at all
		refused := answerOf(jsonrpc.NewFailure(e.id, codeUnreachable, "server "+s.g.o.Server+" refused with status "+http.StatusText(a.Status)+" and said nothing", nil))
		refused.Status = a.Status
		return refused
	}
	if s.g.o.Redact != nil {
		text = []byte(s.clean(string(text)))
	}
	return &link.Answer{Status: a.Status, Header: a.Header, Body: text}
}

// outgoing is what becomes of one message of the server.
type outgoing struct {
	data     []byte   // for the client; nil: it was dropped
	hold     *waiting // it waits for a person
	refused  bool     // data is a refusal in its place
	answered bool     // the request of the stream has its answer
}

// fromServer judges a message of a stream.
func (s *session) fromServer(ctx context.Context, msg jsonrpc.Message, on *stream) outgoing {
	e := on.e // nil where the stream answers no request, or many
	switch msg.Kind {
	case jsonrpc.Response, jsonrpc.Failure:
		return s.streamedResponse(ctx, msg, on)
	case jsonrpc.Request:
		return s.serverAsks(ctx, msg, e)
	case jsonrpc.Notification:
		return s.serverTells(ctx, msg, e)
	case jsonrpc.Batch:
	}
	return outgoing{}
}

func (s *session) streamedResponse(ctx context.Context, msg jsonrpc.Message, on *stream) outgoing {
	e := on.e
	of := e
	if e == nil || msg.ID != e.id {
		of = nil
		if !s.who.Stateless {
			of = s.find(msg.ID)
		}
	}
	if of == nil {
		if msg.Kind == jsonrpc.Failure && (msg.ID == "null" || msg.ID == "") {
			of = &exchange{id: msg.ID, request: s.g.o.NewID(), from: fromClient}
		} else {
			s.drop(ctx, msg, e, "it answers no request of the client")
			return outgoing{}
		}
	} else if !s.firstAnswer(of, on, protocol.Digest(msg.Raw)) {
		s.drop(ctx, msg, e, "the request has its answer")
		return outgoing{}
	}
	out := s.response(ctx, msg, of)
	out.answered = of == e
	if out.hold == nil {
		s.finish(of)
	}
	return out
}

// drop records a message of the server that nobody gets.
func (s *session) drop(ctx context.Context, msg jsonrpc.Message, e *exchange, why string) {
	phase := gateways.PhaseNotification
	if msg.Kind == jsonrpc.Response || msg.Kind == jsonrpc.Failure {
		phase = gateways.PhaseResponse
	}
	of := &exchange{id: msg.ID, request: s.g.o.NewID(), from: fromServer, method: msg.Method}
	if e != nil {
		of.revision = e.revision
	}
	m := &matter{s: s, e: of, phase: phase, from: fromServer, msg: msg, at: s.g.o.Now(), came: protocol.Digest(msg.Raw)}
	level := slog.LevelWarn
	if s.dropped.Add(1) > limits.MCPGuardTold {
		level = slog.LevelDebug // the record counts them
	}
	s.g.o.Log.Log(ctx, level, "a message of the server is dropped", "why", why, "request", of.request)
	_ = s.record(ctx, m, s.often(m, policySession, why, codeDenied)) // dropped, recorded or not
}

// response judges the answer to a request of the client.
func (s *session) response(ctx context.Context, msg jsonrpc.Message, e *exchange) outgoing {
	m := &matter{
		s: s, e: e, phase: gateways.PhaseResponse, from: fromServer, msg: msg, at: s.g.o.Now(),
		came: protocol.Digest(msg.Raw),
	}
	_, m.client = s.revisionOf(e.header, e.params)
	r := s.judgeResponse(ctx, m)
	r = s.recorded(ctx, m, r)
	switch {
	case r.passes():
		s.learn(m, r)
		return outgoing{data: r.message.Raw}
	case r.Decision == protocol.RequireApproval:
		return s.holdResponse(ctx, m, r)
	}
	return s.refusedAnswer(m, r)
}

func (s *session) refusedAnswer(m *matter, r ruling) outgoing {
	return outgoing{data: s.refusal(m.e, r, or(m.e.id, "null")), refused: true}
}

// holdResponse holds an answer of the server.
func (s *session) holdResponse(ctx context.Context, m *matter, r ruling) outgoing {
	w, why := s.wait(ctx, m, r)
	if w == nil {
		no := s.ruled(m, policyMessage, why, codeUnjudged)
		if s.unheld(ctx, m, why) != nil {
			no = s.unrecorded(m)
		} else if m.list != nil && len(m.list.ask) > 0 {
			return s.withoutUnapproved(ctx, m)
		}
		return s.refusedAnswer(m, no)
	}
	w.then = func(ctx context.Context, w *waiting) (*link.Answer, []byte) {
		defer s.finish(m.e)
		if refused := s.outcome(ctx, w); refused != nil {
			if s.isWithdrawn(m.e) {
				return nil, nil
			}
			if m.list != nil && len(m.list.ask) > 0 && refused.code == codeRejected {
				return nil, s.withoutUnapproved(ctx, m).data
			}
			return nil, s.refusal(m.e, *refused, or(m.e.id, "null"))
		}
		if !s.goes(m.e) {
			return nil, nil
		}
		s.approve(m)
		s.learn(m, r)
		return nil, r.message.Raw
	}
	return outgoing{hold: w}
}

// approve notes that a person approved what a list has.
func (s *session) approve(m *matter) {
	if m.list == nil {
		return
	}
	for _, e := range m.list.ask {
		e.approved = true
	}
}

// learn notes what an answer that goes to the client says of server and session.
func (s *session) learn(m *matter, r ruling) {
	s.learnList(m)
	s.learnResources(m)
	if m.e.method == methodInitialize && r.message.Kind == jsonrpc.Response {
		s.agreed(m.tree)
		s.lost.Store(false)
	}
}

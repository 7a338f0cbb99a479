package cli

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/telemetry"
)

// timed measures requests from their arrival to their answer.
type timed struct {
	next   link.Opener
	server string
	calls  *telemetry.Calls
	now    func() time.Time
}

func (t timed) Open(ctx context.Context, s link.Session) (link.Server, error) {
	next, err := t.next.Open(ctx, s)
	if err != nil {
		return nil, err
	}
	return &timedServer{next, t, s.Ref()}, nil
}

type timedServer struct {
	link.Server

	t       timed
	session string
}

// Send measures a request; nothing else has an answer.
func (s *timedServer) Send(ctx context.Context, c link.Call) (*link.Answer, error) {
	if c.Message.Kind != jsonrpc.Request {
		return s.Server.Send(ctx, c)
	}
	call := telemetry.Call{Server: s.t.server, Method: c.Message.Method, Tool: toolOf(c.Message), Session: s.session, Start: s.t.now()}
	done := func(outcome string) {
		call.Outcome, call.End = outcome, s.t.now()
		s.t.calls.Done(call)
	}
	answer, err := s.Server.Send(ctx, c)
	switch {
	case err != nil:
		done(outcomeOf(err))
	case answer.Stream != nil:
		answer.Stream = &timedStream{Stream: answer.Stream, id: c.Message.ID, done: done}
	case answer.Status >= http.StatusBadRequest:
		done("error")
	default:
		done(outcomeOfMessage(answer.Body))
	}
	return answer, err
}

func outcomeOf(err error) string {
	var down *link.Down
	if errors.As(err, &down) {
		return "down"
	}
	return "error"
}

// codeDown is the code of the failure that says that a server cannot be asked.
const codeDown = "-32053"

func outcomeOfMessage(raw []byte) string {
	failure, ok := jsonrpc.Lookup(raw, "error", "code")
	switch {
	case !ok:
		if flag, _ := jsonrpc.Lookup(raw, "result", "isError"); string(flag) == "true" {
			return "error"
		}
		return "ok"
	case string(failure) == codeDown:
		return "down"
	case len(failure) == 6 && string(failure[:5]) == "-3205":
		return "refused"
	}
	return "error"
}

// toolOf gives what a request calls by name.
func toolOf(m jsonrpc.Message) string {
	if m.Method != "tools/call" && m.Method != "prompts/get" {
		return ""
	}
	raw, _ := jsonrpc.Lookup(m.Params, "name")
	name, _ := jsonrpc.Text(raw)
	return name
}

// timedStream waits for the answer in a stream.
type timedStream struct {
	link.Stream

	id   jsonrpc.ID
	done func(outcome string)
}

func (s *timedStream) Next(ctx context.Context) (link.Event, error) {
	e, err := s.Stream.Next(ctx)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		s.end(outcomeOf(err))
	case err == nil && len(e.Data) > 0:
		if id, ok := jsonrpc.Lookup(e.Data, "id"); ok && jsonrpc.ID(id) == s.id {
			if _, asks := jsonrpc.Lookup(e.Data, "method"); !asks {
				s.end(outcomeOfMessage(e.Data))
			}
		}
	}
	return e, err
}

func (s *timedStream) Close() error {
	s.end("error") // nobody waits for the answer any more
	return s.Stream.Close()
}

func (s *timedStream) end(outcome string) {
	if s.done != nil {
		s.done(outcome)
		s.done = nil
	}
}

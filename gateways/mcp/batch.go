package mcp

import (
	"bytes"
	"context"
	"errors"
	"net/http"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

// parcel is a batch on its way: what goes on, what is refused, what waits.
type parcel struct {
	rest    []jsonrpc.Message
	sent    []*exchange // requests in rest
	refused [][]byte
	holds   []*waiting
}

// batch judges each part of a batch by itself. What is refused is answered in the
// answer's batch; the others go on as a batch of the rest, each as the same bytes.
func (s *session) batch(ctx context.Context, c link.Call) (*link.Answer, error) {
	var p parcel
	for _, part := range c.Message.Parts {
		one := link.Call{Message: part, Header: c.Header}
		switch part.Kind {
		case jsonrpc.Request:
			s.batchAsk(ctx, &p, one)
		case jsonrpc.Notification:
			s.batchTell(ctx, &p, one)
		case jsonrpc.Response, jsonrpc.Failure:
			s.batchReply(ctx, &p, one)
		case jsonrpc.Batch:
		}
	}
	a, err := s.sendRest(ctx, &p, c)
	if err != nil {
		if len(p.sent) == 0 && len(p.refused) == 0 && len(p.holds) == 0 {
			return nil, err
		}
		for _, e := range p.sent {
			s.finish(e)
			p.refused = append(p.refused, s.failed(ctx, e, err))
		}
		a = nil
	}
	return s.gather(ctx, &p, a), nil
}

func (s *session) batchAsk(ctx context.Context, p *parcel, c link.Call) {
	m := s.open(c, gateways.PhaseRequest)
	r, ok := s.admit(m)
	if ok {
		r = s.judgeRequest(ctx, m)
	}
	r = s.recorded(ctx, m, r)
	switch {
	case r.passes():
		p.rest = append(p.rest, r.message)
		p.sent = append(p.sent, m.e)
		s.sends(m.e)
		return
	case r.Decision == protocol.RequireApproval:
		c.Message, c.Header = r.message, m.e.header
		a := s.holdRequest(ctx, m, c, r)
		if st, ok := a.Stream.(*stream); ok {
			p.holds = append(p.holds, st.holds...)
			return
		}
		p.refused = append(p.refused, a.Body)
		return
	}
	s.finish(m.e)
	id := m.e.id
	if r.twice {
		id = "null"
	}
	p.refused = append(p.refused, s.refusal(m.e, r, id))
}

func (s *session) batchTell(ctx context.Context, p *parcel, c link.Call) {
	m := s.open(c, gateways.PhaseNotification)
	r := s.judgeNotification(ctx, m)
	r = s.recorded(ctx, m, r)
	if s.withdrawn(m) {
		return
	}
	c.Message = r.message
	switch {
	case r.passes():
		p.rest = append(p.rest, r.message)
	case r.Decision == protocol.RequireApproval:
		s.holdAside(m, c, r, nil)
	}
}

func (s *session) batchReply(ctx context.Context, p *parcel, c link.Call) {
	m := s.open(c, gateways.PhaseResponse)
	asked := s.answered(c.Message.ID)
	if asked == nil {
		_ = s.record(ctx, m, s.unrelated(m)) // refused, recorded or not
		return
	}
	m.e = asked
	r := s.judgeReply(ctx, m)
	c.Message = r.message
	r = s.recorded(ctx, m, r)
	switch {
	case r.passes():
		p.rest = append(p.rest, r.message)
	case r.Decision == protocol.RequireApproval:
		s.holdAside(m, c, r, asked)
	default:
		s.refuseServer(asked, r)
	}
}

// sendRest sends what may go on.
func (s *session) sendRest(ctx context.Context, p *parcel, c link.Call) (*link.Answer, error) {
	if len(p.rest) == 0 {
		return nil, nil
	}
	raw := []byte{'['}
	for i, m := range p.rest {
		if i > 0 {
			raw = append(raw, ',')
		}
		raw = append(raw, m.Raw...)
	}
	msg, err := jsonrpc.Scan(append(raw, ']'), jsonrpc.Options{Batch: true, MaxBytes: s.g.o.MaxBytes})
	if err != nil {
		return nil, err
	}
	if len(p.rest) == len(c.Message.Parts) && sameParts(p.rest, c.Message.Parts) {
		msg = c.Message // all of it, with the space between its parts
	}
	return s.next.Send(ctx, link.Call{Message: msg, Header: c.Header, Sent: c.Sent})
}

func sameParts(a, b []jsonrpc.Message) bool {
	for i := range a {
		if !bytes.Equal(a[i].Raw, b[i].Raw) {
			return false
		}
	}
	return true
}

// gather makes one answer of all.
func (s *session) gather(ctx context.Context, p *parcel, a *link.Answer) *link.Answer {
	if a != nil {
		defer a.Judged()
	}
	out := &stream{s: s, holds: p.holds, many: p.sent}
	bodies := p.refused
	switch {
	case a == nil:
	case a.Stream != nil:
		out.inner = a.Stream
	case len(a.Body) > 0:
		bodies = append(bodies, s.batchBody(ctx, p, a, out)...)
		out.many = nil
	case a.Status >= http.StatusBadRequest:
		for _, e := range p.sent {
			s.finish(e)
			bodies = append(bodies, s.failed(ctx, e, &link.Down{Server: s.g.o.Server, Why: "it refused the batch: " + http.StatusText(a.Status)}))
		}
		out.many = nil
	}
	if out.inner == nil && len(out.holds) == 0 {
		if len(bodies) == 0 {
			return taken()
		}
		return answerOf(append(append([]byte{'['}, bytes.Join(bodies, []byte{','})...), ']'))
	}
	for _, b := range bodies {
		out.queue = append(out.queue, link.Event{Data: b})
	}
	return streamed(out)
}

// batchBody judges an answer that is a batch; each request is answered once.
func (s *session) batchBody(ctx context.Context, p *parcel, a *link.Answer, out *stream) (bodies [][]byte) {
	waits := map[jsonrpc.ID]*exchange{}
	for _, e := range p.sent {
		waits[e.id] = e
	}
	msg, err := jsonrpc.Scan(a.Body, jsonrpc.Options{Batch: true, MaxBytes: s.g.o.MaxBytes})
	parts := msg.Parts
	if msg.Kind != jsonrpc.Batch {
		parts = []jsonrpc.Message{msg}
	}
	if err != nil {
		parts, err = nil, unreadable(s, err)
	} else {
		err = unreadable(s, errors.New("it holds no answer to this request"))
	}
	for _, part := range parts {
		e := waits[part.ID]
		if e == nil || part.Kind != jsonrpc.Response && part.Kind != jsonrpc.Failure {
			s.drop(ctx, part, nil, "it answers no request of this batch")
			continue
		}
		delete(waits, part.ID)
		o := s.response(ctx, part, e)
		if o.hold != nil {
			out.holds = append(out.holds, o.hold)
			continue
		}
		s.finish(e)
		bodies = append(bodies, o.data)
	}
	for _, e := range p.sent {
		if waits[e.id] == e {
			s.finish(e)
			bodies = append(bodies, s.failed(ctx, e, err))
		}
	}
	return bodies
}

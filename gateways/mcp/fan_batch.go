package mcp

import (
	"context"
	"io"
	"slices"
	"sync"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// batch sends each message of a batch to its own server and puts the answers together.
func (v *fanServer) batch(ctx context.Context, c link.Call) (*link.Answer, error) {
	parts := c.Message.Parts
	answers := make([]*link.Answer, len(parts))
	header := c.Header.Clone()
	header.Del("Mcp-Name")
	settle := fanSettle(c, len(parts))
	var all sync.WaitGroup
	for i, p := range parts {
		sent := settle()
		one := func() {
			defer sent()
			a, err := v.Send(ctx, link.Call{Message: p, Header: header, Sent: sent})
			if err != nil {
				a = &link.Answer{Status: 202}
				if p.Kind == jsonrpc.Request {
					a = fanAnswer(jsonrpc.NewFailure(p.ID, fanDown, "the server cannot be asked: "+fanWhy(err), nil))
				}
			}
			answers[i] = a
		}
		if p.Kind == jsonrpc.Request {
			all.Go(one)
			continue
		}
		one() // in their order
	}
	all.Wait()
	return v.together(ctx, parts, answers), nil
}

// fanDown is the gateway's code for a server that cannot be reached.
const fanDown = -32053

// together makes one answer of those to the messages of a batch.
func (v *fanServer) together(ctx context.Context, parts []jsonrpc.Message, answers []*link.Answer) *link.Answer {
	s := v.newStream(ctx, "batch", nil)
	var bodies [][]byte
	for i, a := range answers {
		switch {
		case parts[i].Kind != jsonrpc.Request: // its answer has no message
		case a.Stream != nil:
			s.add(&fanBranch{}, &fanUnmarked{a.Stream}, nil)
		case len(a.Body) > 0:
			bodies = append(bodies, a.Body)
		}
	}
	if s.sources > 0 {
		for _, body := range bodies {
			s.add(&fanBranch{}, &fanOne{body}, nil)
		}
		s.start()
		return fanStreaming(s)
	}
	_ = s.Close()
	if len(bodies) == 0 {
		return &link.Answer{Status: 202}
	}
	out := []byte{'['}
	for i, body := range bodies {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, body...)
	}
	return fanAnswer(append(out, ']'))
}

// fanUnmarked is a stream without event ids: the answer to a batch is not resumed.
type fanUnmarked struct{ link.Stream }

func (u *fanUnmarked) Next(ctx context.Context) (link.Event, error) {
	e, err := u.Stream.Next(ctx)
	e.ID = ""
	return e, err
}

// subscribe opens a subscription with all servers. Each gets only the resources that
// are its own.
func (v *fanServer) subscribe(ctx context.Context, c link.Call) (*link.Answer, error) {
	m := c.Message
	own, why := v.subscriptions(m)
	if why != "" {
		return v.refuse(ctx, c, jsonrpc.CodeInvalidParams, why)
	}
	branches := v.live()
	if len(branches) == 0 {
		return v.say(ctx, c, nil, fanNobody())
	}
	answers := make([]*link.Answer, len(branches))
	settle := fanSettle(c, len(branches))
	var all sync.WaitGroup
	for i, b := range branches {
		all.Go(func() {
			sent := settle()
			defer sent()
			to := &fanTo{branch: b, edits: own(b)}
			a, err := v.pass(ctx, link.Call{Message: m, Header: c.Header, Sent: sent}, to)
			if err != nil {
				v.Log.Warn("mcp server takes no subscription", "server", b.name, "why", fanWhy(err))
				return
			}
			answers[i] = a
		})
	}
	all.Wait()
	s := &fanSubscription{fanStream: v.newStream(ctx, "subscription", nil), id: m.ID, asked: m.Params, said: map[*fanBranch]bool{}}
	var body *link.Answer
	for i, a := range answers {
		switch {
		case a == nil:
		case a.Stream != nil:
			s.add(branches[i], &fanUnmarked{a.Stream}, nil)
		case body == nil || a.Status < body.Status:
			body = a
		}
	}
	if s.sources == 0 {
		_ = s.Close()
		if body != nil {
			return body, nil
		}
		return nil, &link.Down{Server: "cabincrew", Why: "no server takes the subscription"}
	}
	s.start()
	return fanStreaming(s), nil
}

// subscriptions gives each server the resources of the subscription that are its own.
func (v *fanServer) subscriptions(m jsonrpc.Message) (own func(*fanBranch) []jsonrpc.Edit, why string) {
	list, ok := jsonrpc.Lookup(m.Params, "notifications", "resourceSubscriptions")
	if !ok || list[0] != '[' {
		return func(*fanBranch) []jsonrpc.Edit { return nil }, ""
	}
	of := map[*fanBranch][]byte{}
	_ = jsonrpc.Elements(list, func(_ int, value []byte) bool {
		uri, _ := jsonrpc.Text(value)
		var b *fanBranch
		if b, why = v.owner(uri); b == nil {
			return false
		}
		of[b] = append(append(of[b], ','), value...)
		return true
	})
	at := jsonrpc.Offset(m.Raw, list)
	return func(b *fanBranch) []jsonrpc.Edit {
		uris := []byte{'['}
		if len(of[b]) > 0 {
			uris = append(uris, of[b][1:]...)
		}
		return []jsonrpc.Edit{{From: at, To: at + len(list), New: append(uris, ']')}}
	}, why
}

// fanSubscription is one subscription with several servers. Its first event says what
// all of them acknowledged, and its last is the answer.
type fanSubscription struct {
	*fanStream

	id     jsonrpc.ID
	asked  []byte // the params of the client
	said   map[*fanBranch]bool
	acks   []any
	early  []link.Event // what came before all had acknowledged
	open   bool
	answer []byte
	over   bool
}

func (s *fanSubscription) Next(ctx context.Context) (link.Event, error) {
	if !s.open {
		if err := s.acknowledge(ctx); err != nil {
			return link.Event{}, err
		}
	}
	if len(s.early) > 0 {
		e := s.early[0]
		s.early = s.early[1:]
		return e, nil
	}
	for !s.over {
		e, b, err := s.next(ctx)
		switch {
		case err == io.EOF: //nolint:errorlint // its own
			s.over = true
			if s.answer != nil {
				return link.Event{Data: s.answer}, nil
			}
		case err != nil:
			return link.Event{}, err
		case !s.takes(b, e):
			return e, nil
		}
	}
	return link.Event{}, io.EOF
}

// next gives the next event and whose it is.
func (s *fanSubscription) next(ctx context.Context) (link.Event, *fanBranch, error) {
	select {
	case <-ctx.Done():
		return link.Event{}, nil, ctx.Err()
	case <-s.ctx.Done():
		return link.Event{}, nil, io.EOF
	case e := <-s.events:
		return e.event, e.branch, nil
	case <-s.ended:
		return link.Event{}, nil, io.EOF
	}
}

// takes keeps what is not passed on at once: acknowledgements and answers.
func (s *fanSubscription) takes(b *fanBranch, e link.Event) bool {
	if len(e.Data) == 0 {
		return true
	}
	m, err := jsonrpc.Scan(e.Data, jsonrpc.Options{MaxBytes: len(e.Data)})
	switch {
	case err != nil:
		return false
	case m.Method == "notifications/subscriptions/acknowledged":
		if value, ok := jsonrpc.Lookup(m.Params, "notifications"); ok && !s.said[b] {
			if tree, err := jsonrpc.Tree(value); err == nil {
				s.acks = append(s.acks, tree)
			}
		}
		s.said[b] = true
		return true
	case m.Kind == jsonrpc.Response, m.Kind == jsonrpc.Failure:
		s.said[b] = true
		if s.answer == nil || m.Kind == jsonrpc.Response {
			s.answer = m.Raw
		}
		return true
	}
	return false
}

// acknowledge waits until all servers have acknowledged or time is over, and puts one
// acknowledgement of all before everything else.
func (s *fanSubscription) acknowledge(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, limits.MCPFanAcknowledge)
	defer cancel()
	for len(s.said) < s.sources && len(s.early) < limits.MCPFanLoose {
		e, b, err := s.next(wait)
		if err == io.EOF || err != nil && ctx.Err() == nil { //nolint:errorlint // its own
			break
		}
		if err != nil {
			return err
		}
		if !s.takes(b, e) {
			s.early = append(s.early, e)
		}
	}
	s.open = true
	if len(s.acks) == 0 {
		return nil
	}
	params := append([]byte(`{"_meta":{"`+jsonrpc.MetaSubscription+`":`), s.id...)
	params = append(append(params, `},"notifications":`...), s.union()...)
	s.early = slices.Insert(s.early, 0, link.Event{Data: jsonrpc.NewNotification("notifications/subscriptions/acknowledged", append(params, '}'))})
	return nil
}

package mcp

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// Listen opens the streams of all servers as one, or goes on with one: an event id says
// where each server was.
func (v *fanServer) Listen(ctx context.Context, header http.Header) (*link.Answer, error) {
	last := header.Get("Last-Event-ID")
	if last == "" {
		return v.listen(ctx, header, nil)
	}
	if at, ok := v.marked("event", last); ok && len(at) == 1 {
		for name, id := range at {
			return v.resume(ctx, header, v.branch(name), id)
		}
	}
	if at, ok := v.marked("events", last); ok {
		return v.listen(ctx, header, at)
	}
	a := fanAnswer(jsonrpc.NewFailure("", jsonrpc.CodeInvalidRequest, "the Last-Event-ID is none that this session was given", nil))
	a.Status = 400
	return a, nil
}

// fanListen gives the headers to listen to one server from an event on.
func fanListen(header http.Header, b *fanBranch, last string) http.Header {
	h := fanHeader(header, &fanTo{branch: b}).Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Del("Last-Event-ID")
	if last != "" {
		h.Set("Last-Event-ID", last)
	}
	return h
}

// resume goes on with the stream of one server.
func (v *fanServer) resume(ctx context.Context, header http.Header, b *fanBranch, last string) (*link.Answer, error) {
	if b == nil || b.gone() != "" {
		return nil, &link.Down{Server: "cabincrew", Why: "the server of the stream is left out"}
	}
	if b.link != nil {
		if _, lost := b.link.current(); lost { // with it its events are lost
			return nil, &link.Down{Server: b.name, Why: "the session with it is over"}
		}
	}
	a, err := b.server.Listen(ctx, fanListen(header, b, last))
	if err != nil || a.Stream == nil {
		return a, err
	}
	out := *a
	out.Stream = &fanRelay{v: v, b: b, in: a.Stream, single: true}
	return &out, nil
}

// listen opens the streams of all servers that have one.
func (v *fanServer) listen(ctx context.Context, header http.Header, at map[string]string) (*link.Answer, error) {
	live := v.live()
	answers := make([]*link.Answer, len(live))
	errs := make([]error, len(live))
	var all sync.WaitGroup
	for i, b := range live {
		all.Go(func() { answers[i], errs[i] = b.server.Listen(ctx, fanListen(header, b, at[b.name])) })
	}
	all.Wait()
	s := v.newStream(ctx, "events", at)
	s.loose = v.loose
	var first *link.Answer
	for i, b := range live {
		switch a := answers[i]; {
		case errs[i] != nil:
			v.Log.Warn("mcp server cannot be listened to", "server", b.name, "why", fanWhy(errs[i]))
		case a.Stream != nil:
			again := func(ctx context.Context, last string) (link.Stream, error) {
				a, err := b.server.Listen(ctx, fanListen(header, b, last))
				if err != nil || a.Stream == nil {
					return nil, errors.Join(err, io.EOF)
				}
				return &fanRelay{v: v, b: b, in: a.Stream}, nil
			}
			s.add(b, &fanRelay{v: v, b: b, in: a.Stream}, again)
		case first == nil:
			first = a
		}
	}
	if s.sources == 0 {
		_ = s.Close()
		if first != nil {
			return first, nil
		}
		return nil, errors.Join(errs...)
	}
	s.start()
	return fanStreaming(s), nil
}

func fanStreaming(s link.Stream) *link.Answer {
	return &link.Answer{Status: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Stream: s}
}

// fanStream is the streams of several servers as one. Each is read by a goroutine of
// its own, which waits until the client has taken what it read: a slow client slows
// the servers down, and nothing piles up. Close ends them all before it returns.
type fanStream struct {
	v       *fanServer
	use     string
	ctx     context.Context
	stop    context.CancelFunc
	readers sync.WaitGroup
	sources int
	begin   []func()
	events  chan fanEvent
	ended   chan struct{}
	loose   chan link.Event
	at      map[string]string
}

type fanEvent struct {
	branch *fanBranch
	event  link.Event
}

func (v *fanServer) newStream(ctx context.Context, use string, at map[string]string) *fanStream {
	s := &fanStream{v: v, use: use, events: make(chan fanEvent), ended: make(chan struct{}), at: map[string]string{}}
	maps.Copy(s.at, at)
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx)) // it lives until it is closed
	return s
}

// add adds the stream of one server; again opens it another time when it broke, nil if
// it is not to be.
func (s *fanStream) add(b *fanBranch, in link.Stream, again func(context.Context, string) (link.Stream, error)) {
	s.sources++
	last := s.at[b.name]
	s.begin = append(s.begin, func() { s.read(b, in, last, again) })
}

func (s *fanStream) start() {
	for _, read := range s.begin {
		s.readers.Go(read)
	}
	go func() { // ends with the last reader, which Close waits for
		s.readers.Wait()
		close(s.ended)
	}()
}

func (s *fanStream) read(b *fanBranch, in link.Stream, last string, again func(context.Context, string) (link.Stream, error)) {
	pause, tries := limits.MCPFanAgain, 0
	for {
		for {
			e, err := in.Next(s.ctx)
			if err != nil {
				break
			}
			if e.ID != "" {
				last = e.ID
			}
			if e.Retry > 0 {
				pause = min(max(pause, time.Duration(e.Retry)*time.Millisecond), time.Minute)
			}
			if len(e.Data) > 0 {
				tries = 0
			}
			select {
			case s.events <- fanEvent{b, e}:
			case <-s.ctx.Done():
			}
		}
		_ = in.Close()
		for in = nil; in == nil; {
			if tries++; again == nil || tries > limits.MCPFanTries || s.v.Wait(s.ctx, pause) != nil {
				return
			}
			pause = min(2*pause, time.Minute)
			in, _ = again(s.ctx, last)
			if in != nil && s.ctx.Err() != nil {
				_ = in.Close()
				return
			}
		}
	}
}

// Next gives the next event of any server.
func (s *fanStream) Next(ctx context.Context) (link.Event, error) {
	select {
	case <-ctx.Done():
		return link.Event{}, ctx.Err()
	case <-s.ctx.Done():
		return link.Event{}, io.EOF
	case e := <-s.loose:
		return e, nil
	case e := <-s.events:
		return s.mark(e), nil
	case <-s.ended:
		return link.Event{}, io.EOF
	}
}

func (s *fanStream) mark(e fanEvent) link.Event {
	if e.event.ID != "" {
		s.at[e.branch.name] = e.event.ID
		e.event.ID = s.v.mark(s.use, s.at)
	}
	return e.event
}

// Close ends all streams.
func (s *fanStream) Close() error {
	s.stop()
	s.readers.Wait()
	return nil
}

// fanOne is an answer of one message as a stream.
type fanOne struct{ data []byte }

func (o *fanOne) Next(context.Context) (link.Event, error) {
	if o.data == nil {
		return link.Event{}, io.EOF
	}
	e := link.Event{Data: o.data}
	o.data = nil
	return e, nil
}

func (o *fanOne) Close() error { return nil }

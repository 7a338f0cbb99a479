package mcp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// fanLink is the session of one client with one of several servers. Where the server
// loses it (its process ended, it forgot the session), the client's session with the
// others goes on: what waited for that server fails, and the next request to it begins
// another session there, with what the client said when it initialized.
type fanLink struct {
	v    *fanServer
	b    *fanBranch
	open link.Opener
	turn chan struct{} // held by who begins another session

	mu       sync.Mutex
	server   link.Server
	lost     bool
	ended    bool
	back     chan struct{} // closed when there is another session
	hello    link.Call     // by which the client initialized; no message: it did not
	ready    link.Call     // by which it said that it is ready
	revision string        // as agreed
}

func newFanLink(v *fanServer, b *fanBranch, open link.Opener, server link.Server) *fanLink {
	return &fanLink{v: v, b: b, open: open, server: server, turn: make(chan struct{}, 1), back: make(chan struct{})}
}

// current gives the session that messages go to, and whether it is lost.
func (l *fanLink) current() (server link.Server, lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.server, l.lost
}

// lose notes that a session is lost.
func (l *fanLink) lose(server link.Server) {
	l.mu.Lock()
	first := l.server == server && !l.lost && !l.ended
	l.lost = l.lost || first
	l.mu.Unlock()
	if first {
		l.v.Log.Warn("mcp server lost its session; the next request to it begins another", "server", l.b.name, "session", l.v.session.Ref())
	}
}

// over makes of an error that ends the session with this server one that does not end
// the client's.
func (l *fanLink) over(server link.Server, err error) error {
	if !errors.Is(err, link.ErrOver) {
		return err
	}
	l.lose(server)
	return &link.Down{Server: l.b.name, Why: fanWhy(err)}
}

// Send implements link.Server.
func (l *fanLink) Send(ctx context.Context, c link.Call) (*link.Answer, error) {
	server, lost := l.current()
	if lost {
		return nil, &link.Down{Server: l.b.name, Why: "the session with it is over"}
	}
	a, err := server.Send(ctx, c)
	if err != nil {
		return nil, l.over(server, err)
	}
	if a.Over {
		l.lose(server)
	}
	if a.Status == http.StatusNotFound && c.Message.Method != methodInitialize {
		// SPEC: MCP 2025-06-18 basic/transports, session management: it forgot the session.
		// To the client that would be the end of its own.
		l.lose(server)
		if a.Stream != nil {
			_ = a.Stream.Close() // it is no answer
		}
		return nil, &link.Down{Server: l.b.name, Why: "it does not know the session any more"}
	}
	out := *a
	out.Over = false
	if a.Stream != nil {
		out.Stream = &fanEnding{l: l, server: server, in: a.Stream}
	}
	return &out, nil
}

// Listen implements link.Server. What listens goes on with the next session.
func (l *fanLink) Listen(ctx context.Context, header http.Header) (*link.Answer, error) {
	waiting := &fanListening{l: l, header: header}
	server, lost := l.current()
	if lost {
		return fanStreaming(waiting), nil
	}
	a, err := server.Listen(ctx, header)
	switch {
	case errors.Is(err, link.ErrOver):
		l.lose(server)
		return fanStreaming(waiting), nil
	case err != nil || a.Stream == nil:
		return a, err
	}
	waiting.server, waiting.in = server, a.Stream
	out := *a
	out.Stream = waiting
	return &out, nil
}

// End implements link.Server.
func (l *fanLink) End(ctx context.Context) error {
	l.mu.Lock()
	l.ended = true
	server := l.server
	l.mu.Unlock()
	return server.End(ctx)
}

// greeted keeps what the client initialized with, to say it again in its place.
func (l *fanLink) greeted(hello link.Call, revision string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hello, l.revision = link.Call{Message: hello.Message, Header: hello.Header}, revision
}

// told keeps the notification by which the client is ready.
func (l *fanLink) told(c link.Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready = link.Call{Message: c.Message, Header: fanHeader(c.Header, &fanTo{branch: l.b})}
}

// again begins another session if the one before is lost. Many may ask for it at a time;
// one does it.
func (l *fanLink) again(ctx context.Context) error {
	if _, lost := l.current(); !lost {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limits.MCPFanGreet)
	defer cancel()
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return &link.Down{Server: l.b.name, Why: "the session with it is over, and no other began in time"}
	}
	old, lost := l.current()
	if !lost {
		return nil // another did it
	}
	fresh, err := l.open.Open(ctx, l.v.session)
	if err != nil {
		return &link.Down{Server: l.b.name, Why: fanWhy(err)}
	}
	if err := l.greet(ctx, fresh); err != nil {
		l.endOf(ctx, fresh)
		return err
	}
	l.mu.Lock()
	ended := l.ended
	if !ended {
		l.server, l.lost = fresh, false
		close(l.back)
		l.back = make(chan struct{})
	}
	l.mu.Unlock()
	if ended {
		l.endOf(ctx, fresh)
		return &link.Down{Server: l.b.name, Why: "the session is over"}
	}
	l.endOf(ctx, old)
	l.v.Log.Info("mcp server has another session", "server", l.b.name, "session", l.v.session.Ref())
	return nil
}

// endOf ends what is not used any more, also where who asked is gone.
func (l *fanLink) endOf(ctx context.Context, server link.Server) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limits.MCPFrontEnd)
	defer cancel()
	if err := server.End(ctx); err != nil {
		l.v.Log.Debug("mcp session did not end well", "server", l.b.name, "error", err)
	}
}

// greet says to a server what the client said to the one before. It must agree to the
// same revision: the client knows of no other.
func (l *fanLink) greet(ctx context.Context, fresh link.Server) error {
	l.mu.Lock()
	hello, ready, revision := l.hello, l.ready, l.revision
	l.mu.Unlock()
	if hello.Message.Kind != jsonrpc.Request {
		return nil // the client has not initialized yet, and will
	}
	a, err := fresh.Send(ctx, hello)
	if err != nil {
		return &link.Down{Server: l.b.name, Why: fanWhy(err)}
	}
	m, err := l.v.await(ctx, l.b, a, hello.Message.ID)
	got := fanGot{branch: l.b, answer: m, err: err}
	if why := got.why(); why != "" {
		return &link.Down{Server: l.b.name, Why: "it was started again, and " + why}
	}
	if text, _ := fanText(m.Result, "protocolVersion"); text != revision {
		return &link.Down{Server: l.b.name, Why: "it was started again, and speaks the revision " + fanShow(text) + " now"}
	}
	if ready.Message.Kind != jsonrpc.Notification {
		return nil
	}
	a, err = fresh.Send(ctx, ready)
	if err != nil {
		return &link.Down{Server: l.b.name, Why: fanWhy(err)}
	}
	if a.Stream != nil {
		_ = a.Stream.Close() // a notification has no answer
	}
	return nil
}

// fanEnding is the answer of a server whose session may end with it.
type fanEnding struct {
	l      *fanLink
	server link.Server
	in     link.Stream
}

func (e *fanEnding) Next(ctx context.Context) (link.Event, error) {
	ev, err := e.in.Next(ctx)
	if errors.Is(err, link.ErrOver) {
		e.l.lose(e.server)
		err = io.EOF // what there was to say of it came before
	}
	return ev, err
}

func (e *fanEnding) Close() error { return e.in.Close() }

// fanListening is what a server says unasked, in one session and then in the next.
type fanListening struct {
	l      *fanLink
	header http.Header
	server link.Server
	in     link.Stream // nil: until there is another session
}

func (f *fanListening) Next(ctx context.Context) (link.Event, error) {
	for {
		if f.in == nil {
			if err := f.attach(ctx); err != nil {
				return link.Event{}, err
			}
		}
		ev, err := f.in.Next(ctx)
		if !errors.Is(err, link.ErrOver) {
			return ev, err
		}
		f.l.lose(f.server)
		_ = f.in.Close() // it is over
		f.in = nil
	}
}

// attach waits for a session, and listens to it from its beginning.
func (f *fanListening) attach(ctx context.Context) error {
	for {
		f.l.mu.Lock()
		server, lost, back := f.l.server, f.l.lost, f.l.back
		f.l.mu.Unlock()
		if lost {
			select {
			case <-back:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		a, err := server.Listen(ctx, fanListen(f.header, f.l.b, ""))
		switch {
		case errors.Is(err, link.ErrOver):
			f.l.lose(server)
			continue
		case err != nil:
			return err
		case a.Stream == nil:
			return io.EOF
		}
		f.server, f.in = server, a.Stream
		return nil
	}
}

func (f *fanListening) Close() error {
	if f.in == nil {
		return nil
	}
	return f.in.Close()
}

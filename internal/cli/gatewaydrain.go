package cli

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// drained gives a context that ends some time after ctx, when the gateway may let go of
// its clients: what waits for a person is denied first, and the clients are told so, and
// calls that are under way have a moment for their answers.
func (r *gatewayRun) drained(ctx context.Context) (context.Context, func()) {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan struct{})
	over := make(chan struct{})
	go func() {
		defer close(over)
		defer stop()
		select {
		case <-ctx.Done():
			r.drain(served)
		case <-served:
		}
	}()
	return serving, func() { close(served); <-over }
}

// drain denies what is held, and waits for what is under way, or until nobody is served.
func (r *gatewayRun) drain(served <-chan struct{}) {
	if r.endHolds != nil {
		if err := r.endHolds(); err != nil {
			r.log.Warn("held calls could not be let go in order", "error", err.Error())
		}
	}
	late := time.NewTimer(limits.GatewayDrain)
	defer late.Stop()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for r.under.Load() > 0 {
		select {
		case <-poll.C:
		case <-served:
			return
		case <-late.C:
			return
		}
	}
}

// counted counts the requests of clients that have no answer yet.
type counted struct {
	next  link.Opener
	under *atomic.Int64
}

func (c counted) Open(ctx context.Context, s link.Session) (link.Server, error) {
	next, err := c.next.Open(ctx, s)
	if err != nil {
		return nil, err
	}
	return &countedServer{next, c.under}, nil
}

type countedServer struct {
	link.Server

	under *atomic.Int64
}

// Send counts what has an answer until its stream is closed: by then it was passed on.
func (s *countedServer) Send(ctx context.Context, c link.Call) (*link.Answer, error) {
	if c.Message.Kind != jsonrpc.Request && c.Message.Kind != jsonrpc.Batch {
		return s.Server.Send(ctx, c)
	}
	s.under.Add(1)
	answer, err := s.Server.Send(ctx, c)
	if err != nil || answer.Stream == nil {
		s.under.Add(-1)
		return answer, err
	}
	answer.Stream = &countedStream{Stream: answer.Stream, under: s.under}
	return answer, nil
}

type countedStream struct {
	link.Stream

	under *atomic.Int64
	once  sync.Once
}

func (s *countedStream) Close() error {
	s.once.Do(func() { s.under.Add(-1) })
	return s.Stream.Close()
}

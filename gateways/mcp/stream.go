package mcp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
)

// stream gives the client what a server sends, each message judged, and lets it wait
// where a message waits for a person.
type stream struct {
	s     *session
	e     *exchange   // the request that it answers; nil where it answers none or many
	many  []*exchange // the requests of a batch that it answers
	inner link.Stream // nil: nothing more comes
	queue []link.Event
	holds []*waiting // in the order in which they go on
	words int        // of progress that were said
	ended bool       // the request was answered, or nothing more is told
	quiet bool       // the client cancelled what it waits for: no answer comes
}

func (s *session) stream(inner link.Stream, e *exchange) *stream {
	return &stream{s: s, e: e, inner: inner}
}

func (s *session) waitingStream(e *exchange, holds ...*waiting) *stream {
	return &stream{s: s, e: e, holds: holds}
}

func streamed(st link.Stream) *link.Answer {
	return &link.Answer{
		Status: http.StatusOK, Stream: st,
		Header: http.Header{"Content-Type": {"text/event-stream"}},
	}
}

// Next gives the next event that the client may see.
func (st *stream) Next(ctx context.Context) (link.Event, error) {
	for {
		if len(st.queue) > 0 {
			ev := st.queue[0]
			st.queue = st.queue[1:]
			return ev, nil
		}
		if len(st.holds) > 0 {
			if ev, ok, err := st.await(ctx); ok || err != nil {
				return ev, err
			}
			continue
		}
		if st.inner == nil && st.s.lost.Load() {
			return link.Event{}, &link.Down{Server: st.s.g.o.Server, Why: "the session is over", Err: link.ErrOver}
		}
		if st.inner == nil {
			return link.Event{}, st.end(io.EOF)
		}
		ev, err := st.inner.Next(ctx)
		if err != nil {
			ev, err = st.over(ctx, err)
			return ev, st.end(err)
		}
		free := ev
		ev.Free = nil
		st.take(ctx, ev)
		free.Judged()
	}
}

// end says how the stream ends where it ends well.
func (st *stream) end(err error) error {
	if st.quiet && errors.Is(err, io.EOF) {
		return link.ErrWithdrawn
	}
	return err
}

// over ends the stream: a request whose answer did not come gets a clear failure, unless
// its answer can still come on a stream that resumes this one.
func (st *stream) over(ctx context.Context, err error) (link.Event, error) {
	if ctx.Err() != nil {
		return link.Event{}, err // the client stopped waiting; the stream is closed next
	}
	st.stop()
	st.s.heed(err)
	if len(st.many) > 0 {
		return st.overMany(ctx, err)
	}
	e := st.e
	if e == nil || st.ended {
		return link.Event{}, err
	}
	late := errors.Is(err, context.DeadlineExceeded) // there is nothing to come back for
	if e.resumable && !st.s.who.Stateless && !late {
		st.s.breaks(e)
		return link.Event{}, err
	}
	st.ended = true
	st.s.finish(e)
	return link.Event{Data: st.s.failed(ctx, e, ended(st.s, err))}, nil
}

// overMany gives the requests of a batch that were not answered their failures.
func (st *stream) overMany(ctx context.Context, err error) (link.Event, error) {
	for _, e := range st.many {
		switch {
		case !st.s.waits(e):
		case e.resumable && !errors.Is(err, context.DeadlineExceeded):
			st.s.breaks(e)
		default:
			st.s.finish(e)
			st.queue = append(st.queue, link.Event{Data: st.s.failed(ctx, e, ended(st.s, err))})
		}
	}
	st.many = nil
	if len(st.queue) == 0 {
		return link.Event{}, err
	}
	ev := st.queue[0]
	st.queue = st.queue[1:]
	return ev, nil
}

// ended says that a server's answer ended too early.
func ended(s *session, err error) error {
	if errors.Is(err, io.EOF) {
		return &link.Down{Server: s.g.o.Server, Why: "it ended its answer before it gave one", Err: err}
	}
	return err
}

// stop closes what the server sends.
func (st *stream) stop() {
	if st.inner != nil {
		_ = st.inner.Close() // nothing more is wanted of it
		st.inner = nil
	}
}

// Close ends the stream; what waits for a person is withdrawn.
func (st *stream) Close() error {
	for _, w := range st.holds {
		w.cancel()
		<-w.done
		st.s.abandoned(w)
	}
	st.holds, st.queue = nil, nil
	if st.e != nil && !st.ended {
		st.s.breaks(st.e)
	}
	for _, e := range st.many {
		if st.s.waits(e) {
			st.s.breaks(e)
		}
	}
	if st.inner == nil {
		return nil
	}
	err := st.inner.Close()
	st.inner = nil
	return err
}

// await waits for a person, and says so to the client from time to time.
func (st *stream) await(ctx context.Context) (link.Event, bool, error) {
	w := st.holds[0]
	var tick <-chan time.Time
	if token := st.token(w); token != nil {
		t := time.NewTimer(st.s.g.o.Progress)
		defer t.Stop()
		tick = t.C
	}
	select {
	case <-w.done:
	case <-tick:
		st.words++
		return link.Event{Data: progress(st.token(w), st.words)}, true, nil
	case <-ctx.Done():
		return link.Event{}, false, ctx.Err()
	}
	st.holds = st.holds[1:]
	defer w.cancel()
	a, data := w.then(ctx, w)
	if a == nil && data == nil && w.m.e.from == fromClient && st.s.isWithdrawn(w.m.e) {
		st.quiet = true
	}
	if data != nil {
		st.queue = append(st.queue, link.Event{Data: data})
	}
	st.follow(a)
	if w.m.e == st.e && st.inner == nil && len(st.holds) == 0 {
		st.ended = true // whatever the request is answered with, it is in the queue
	}
	return link.Event{}, false, nil
}

func (st *stream) token(w *waiting) []byte {
	if st.e != nil {
		return st.e.token
	}
	return w.m.e.token
}

// follow goes on with the answer to a request that was held.
func (st *stream) follow(a *link.Answer) {
	switch {
	case a == nil:
	case a.Stream != nil:
		// It judges by itself what it gives.
		st.inner, st.ended = judged{a.Stream}, true
	case a.Body != nil:
		st.queue = append(st.queue, link.Event{Data: a.Body})
	}
}

// judged marks a stream that gives only what was judged.
type judged struct{ link.Stream }

// take judges one event of the server.
func (st *stream) take(ctx context.Context, ev link.Event) {
	if ev.ID != "" {
		st.resumable()
	}
	if _, done := st.inner.(judged); done || len(ev.Data) == 0 {
		st.queue = append(st.queue, ev)
		return
	}
	if ev.Type != "" && ev.Type != "message" {
		st.hostile(ctx, errors.New("an event of the type "+brief(ev.Type)))
		return
	}
	o := st.s.scanOptions()
	o.Batch = st.s.hasBatch()
	msg, err := jsonrpc.Scan(ev.Data, o)
	if err != nil {
		st.hostile(ctx, err)
		return
	}
	if msg.Kind != jsonrpc.Batch {
		st.takeOne(ctx, ev, msg)
		return
	}
	for i, part := range msg.Parts { // each goes on as an event of its own
		one := link.Event{Data: part.Raw}
		if i == len(msg.Parts)-1 {
			one.ID, one.Retry = ev.ID, ev.Retry
		}
		st.takeOne(ctx, one, part)
	}
}

func (st *stream) takeOne(ctx context.Context, ev link.Event, msg jsonrpc.Message) {
	out := st.s.fromServer(ctx, msg, st)
	if out.answered {
		st.ended = true
	}
	if out.hold != nil {
		st.holds = append(st.holds, out.hold)
		out.data = nil
	}
	ev.Data = out.data // where it does not go on now, the place to resume at is still told
	if out.data != nil || ev.ID != "" {
		st.queue = append(st.queue, ev)
	}
}

// resumable notes that events of this stream can be told again.
func (st *stream) resumable() {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	if st.e != nil {
		st.e.resumable = true
	}
	for _, e := range st.many {
		e.resumable = true
	}
}

// hostile ends a stream with what is no message: the client gets one clear failure.
func (st *stream) hostile(ctx context.Context, err error) {
	st.stop()
	s, e := st.s, st.e
	if e == nil {
		s.g.o.Log.Error("the server sends what is no message", "error", err)
		e = &exchange{request: s.g.o.NewID(), from: fromServer}
		_ = s.failed(ctx, e, err) // recorded; there is no request that it could answer
		return
	}
	if st.ended {
		return
	}
	st.ended = true
	s.finish(e)
	st.queue = append(st.queue, link.Event{Data: s.failed(ctx, e, unreadable(s, err))})
}

func unreadable(s *session, err error) error {
	return &link.Down{Server: s.g.o.Server, Why: "its answer cannot be read: " + brief(err.Error()), Err: err}
}

package back

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// queue holds messages of a child until somebody takes them. It implements link.Stream.
// The child's reader waits while it is full, but not for ever: who takes nothing gets an
// error.
type queue struct {
	server  string
	onClose func() // once, when whoever took from it has closed it

	mu     sync.Mutex
	events []link.Event
	bytes  int
	end    error // after the events that are there; nil: more may come
	closed bool
	ready  chan struct{} // holds one token if there may be something new
	room   chan struct{} // holds one token if something may have been taken
}

func newQueue(server string, onClose func()) *queue {
	return &queue{server: server, onClose: onClose, ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// add adds a message and, in the same moment, how the queue ends after it: whoever takes
// the message is to know whether it is the last. False says that nobody takes them any
// more.
func (q *queue) add(data []byte, end error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.end != nil || q.closed {
		return false
	}
	q.events = append(q.events, link.Event{Data: data})
	q.bytes += len(data)
	q.end = end
	q.tell()
	return true
}

// finish says how the queue ends, if that was not said before.
func (q *queue) finish(end error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.end == nil {
		q.end = end
	}
	q.tell()
	put1(q.room)
}

func (q *queue) tell() { put1(q.ready) }

// put1 puts a token where it is not yet.
func put1(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// full says whether no more is to be put in for now, and how much there is.
func (q *queue) full() (full bool, n, size int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	full = len(q.events) >= limits.MCPBackQueueEvents || q.bytes >= limits.MCPBackQueueBytes
	return full && q.end == nil && !q.closed, len(q.events), q.bytes
}

// drain waits until there is room. Where nothing is taken for too long, the queue ends:
// others wait for what the child says, too.
func (q *queue) drain(ctx context.Context, patience time.Duration) {
	t := time.NewTimer(patience)
	defer t.Stop()
	for {
		full, n, size := q.full()
		if !full {
			return
		}
		select {
		case <-q.room:
			t.Reset(patience)
		case <-ctx.Done():
			return
		case <-t.C:
			q.finish(&link.Down{Server: q.server, Why: fmt.Sprintf("sent more than the client took: %d messages of %d bytes wait", n, size)})
			return
		}
	}
}

// take gives the next message if there is one; last says that it ends the queue well.
func (q *queue) take() (ev link.Event, ok, last bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return ev, false, false, io.ErrClosedPipe
	case len(q.events) > 0:
		ev = q.events[0]
		q.events[0] = link.Event{}
		q.events = q.events[1:]
		q.bytes -= len(ev.Data)
		put1(q.room)
		return ev, true, len(q.events) == 0 && q.end == io.EOF, nil //nolint:errorlint // set as such
	default:
		return ev, false, false, q.end
	}
}

// first waits for the first message, and says whether it is all that comes.
func (q *queue) first(ctx context.Context) (ev link.Event, last bool, err error) {
	for {
		ev, ok, last, err := q.take()
		if ok || err != nil {
			return ev, last, err
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
			return ev, false, context.Cause(ctx)
		}
	}
}

// Next waits for the next message.
func (q *queue) Next(ctx context.Context) (link.Event, error) {
	ev, _, err := q.first(ctx)
	return ev, err
}

// Close says that nobody takes more.
func (q *queue) Close() error {
	q.mu.Lock()
	before := q.closed
	q.closed, q.events, q.bytes = true, nil, 0
	q.mu.Unlock()
	put1(q.room)
	if !before && q.onClose != nil {
		q.onClose()
	}
	return nil
}

// after is a stream with one message before the others.
type after struct {
	*queue

	head  link.Event
	given bool
	leave func() // before the stream is closed
}

// Close says that nobody takes more.
func (a *after) Close() error {
	a.leave()
	return a.queue.Close()
}

// Next gives the first message, and then waits for the others.
func (a *after) Next(ctx context.Context) (link.Event, error) {
	if !a.given {
		a.given = true
		return a.head, nil
	}
	return a.queue.Next(ctx)
}

package back

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// largeRoom is the memory that large messages of one server may take until they are judged.
// Without it a server that sends on all streams at once would have the gateway hold, and
// judge, one message for each.
type largeRoom struct {
	server string
	free   *semaphore.Weighted
	each   int64 // what a large message takes, whatever size it will have
	time   time.Duration
}

func newLargeRoom(server string, message int) *largeRoom {
	return &largeRoom{
		server: server,
		free:   semaphore.NewWeighted(limits.MCPBackRoom),
		each:   min(int64(message), limits.MCPBackRoom),
		time:   limits.MCPBackLargeTime + time.Duration(message/limits.MCPBackLargeRate)*time.Second,
	}
}

// lease is the room of one message. It ends by itself: nobody can keep it for ever.
type lease struct {
	r     *largeRoom
	end   func()
	timer *time.Timer
}

// take waits for room. A message that is not whole in time is ended with late.
func (r *largeRoom) take(ctx context.Context, late func(error)) (*lease, error) {
	if err := r.free.Acquire(ctx, r.each); err != nil {
		return nil, context.Cause(ctx)
	}
	l := &lease{r: r, end: sync.OnceFunc(func() { r.free.Release(r.each) })}
	l.timer = time.AfterFunc(r.time, func() {
		late(&link.Down{Server: r.server, Why: fmt.Sprintf("did not end a large message within %s", r.time), Err: context.DeadlineExceeded})
		l.end()
	})
	return l, nil
}

// whole says that the message is whole, and gives what is to be called when it was judged.
func (l *lease) whole() func() {
	if l == nil {
		return nil
	}
	if l.timer.Stop() {
		l.timer = time.AfterFunc(limits.MCPBackLargeTime, l.end)
	}
	return l.give
}

// give gives the room back. A lease of nothing has none.
func (l *lease) give() {
	if l != nil {
		l.timer.Stop()
		l.end()
	}
}

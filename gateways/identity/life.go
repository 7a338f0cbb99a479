package identity

import (
	"context"
	"sync"
)

// life is how long a gate asks issuers for keys: what it started ends with it, and not
// with the request that it was started for.
type life struct {
	ctx context.Context //nolint:containedctx // of the gate
	end context.CancelFunc

	mu    sync.Mutex
	over  bool
	tasks sync.WaitGroup
}

func newLife() *life {
	l := &life{}
	l.ctx, l.end = context.WithCancel(context.Background())
	return l
}

// start runs a task beside what asked for it, unless the gate is closed.
func (l *life) start(task func(ctx context.Context)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false
	}
	l.tasks.Go(func() { task(l.ctx) })
	return true
}

// close breaks off what runs, and waits until it ended.
func (l *life) close() {
	l.mu.Lock()
	l.over = true
	l.mu.Unlock()
	l.end()
	l.tasks.Wait()
}

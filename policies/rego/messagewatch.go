package rego

import (
	"context"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/cabincrew/action/internal/limits"
)

// watcher ends evaluations that reach a limit. It has one goroutine while there is
// something to watch, and for a while after.
type watcher struct {
	bound bound

	mutex  sync.Mutex
	open   map[*evaluation]struct{}
	awake  bool
	closed bool
	stop   chan struct{}
	done   sync.WaitGroup
}

// evaluation is one that is under way.
type evaluation struct {
	ctx    context.Context //nolint:containedctx // of the call that it is for
	cancel topdown.Cancel
	began  time.Time
	heap   uint64 // when it was looked at first; 0 before
	cause  error  // why it was ended
}

func (w *watcher) begin(ctx context.Context) *evaluation {
	e := &evaluation{ctx: ctx, cancel: topdown.NewCancel(), began: time.Now()}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	switch {
	case w.closed:
		e.cause = errEnded
		e.cancel.Cancel()
		return e
	case w.open == nil:
		w.open, w.stop = map[*evaluation]struct{}{}, make(chan struct{})
	}
	w.open[e] = struct{}{}
	if !w.awake {
		w.awake = true
		w.done.Go(w.loop)
	}
	return e
}

// end gives the reason why an evaluation does not count, if there is one.
func (w *watcher) end(e *evaluation) error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	delete(w.open, e)
	if e.cause == nil && time.Since(e.began) > w.bound.time {
		e.cause = errTime
	}
	return e.cause
}

func (w *watcher) close() {
	w.mutex.Lock()
	if w.stop != nil && !w.closed {
		close(w.stop)
	}
	w.closed = true
	for e := range w.open {
		e.cause = errEnded
		e.cancel.Cancel()
	}
	w.mutex.Unlock()
	w.done.Wait()
}

func (w *watcher) loop() {
	tick := time.NewTicker(limits.GatewayPolicyTick)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	for idle := 0; idle < limits.GatewayPolicyIdle || !w.rest(); {
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
		if w.look(sample) {
			idle = 0
		} else {
			idle++
		}
	}
}

// rest says whether the watch may end, and notes that it does.
func (w *watcher) rest() bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.awake = len(w.open) > 0
	return !w.awake
}

// look ends what has reached a limit and says whether there was anything to look at.
// The heap is that of the whole process, since Go counts no goroutine's memory: beside
// other work it stops too early rather than too late.
func (w *watcher) look(sample []metrics.Sample) bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if len(w.open) == 0 {
		return false
	}
	metrics.Read(sample)
	var heap uint64
	if sample[0].Value.Kind() == metrics.KindUint64 {
		heap = sample[0].Value.Uint64()
	}
	now := time.Now()
	for e := range w.open {
		// What is collected meanwhile was garbage from before, and hides no growth.
		if e.heap == 0 || heap < e.heap {
			e.heap = heap
		}
		switch {
		case e.cause != nil:
			continue
		case now.Sub(e.began) > w.bound.time:
			e.cause = errTime
		case heap-e.heap > w.bound.memory:
			e.cause = errMemory
		case e.ctx.Err() != nil:
			e.cause = context.Cause(e.ctx)
		default:
			continue
		}
		e.cancel.Cancel()
	}
	return true
}

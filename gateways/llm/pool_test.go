package llm

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestPoolIsBoundedAndEnds(t *testing.T) {
	t.Parallel()
	p := newPool()
	var now, most atomic.Int64
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			_ = p.do(func() { // it does not break
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				time.Sleep(time.Millisecond)
				now.Add(-1)
			})
		})
	}
	all.Wait()
	if n := most.Load(); n > int64(cap(p.slots)) || n < 2 {
		t.Errorf("%d at once, of %d", n, cap(p.slots))
	}
	for end := time.Now().Add(5 * time.Second); len(p.slots) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("workers without work do not end")
		}
	}
}

func TestPoolTellsOfWhatBroke(t *testing.T) {
	t.Parallel()
	p := newPool()
	if p.do(func() { panic("broken") }) == nil {
		t.Error("nobody heard of it")
	}
	ran := false
	if err := p.do(func() { ran = true }); err != nil || !ran {
		t.Error("the pool is broken", err)
	}
}

package llm

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/protocol"
)

// poolIdle is how long a worker waits for work before it ends.
const poolIdle = 20 * time.Millisecond

// pool runs judgements in a few goroutines. Policies need deep stacks, and each goroutine
// keeps its own: without it, every call under way would keep one for as long as it lasts.
type pool struct {
	jobs  chan func()
	slots chan struct{}
}

func newPool() *pool {
	return &pool{jobs: make(chan func()), slots: make(chan struct{}, max(8, 4*runtime.GOMAXPROCS(0)))}
}

// do runs f and waits for it. The error is that f broke.
func (p *pool) do(f func()) error {
	done := make(chan struct{})
	var broke any
	job := func() {
		defer close(done)
		defer func() { broke = recover() }()
		f()
	}
	select {
	case p.jobs <- job: // somebody waits for work
	default:
		select {
		case p.jobs <- job:
		case p.slots <- struct{}{}:
			go p.work(job)
		}
	}
	if <-done; broke != nil {
		return fmt.Errorf("a judge broke: %v", broke)
	}
	return nil
}

func (p *pool) work(job func()) {
	defer func() { <-p.slots }()
	idle := time.NewTimer(poolIdle)
	defer idle.Stop()
	for {
		job()
		idle.Reset(poolIdle)
		select {
		case job = <-p.jobs:
		case <-idle.C:
			return
		}
	}
}

// pooled is a judge whose judgements run in a pool.
type pooled struct {
	judge gateways.Judge
	in    *pool
}

func (p pooled) Judge(ctx context.Context, d gateways.Document, at time.Time) (v gateways.Verdict, err error) {
	if broke := p.in.do(func() { v, err = p.judge.Judge(ctx, d, at) }); broke != nil {
		return gateways.Verdict{Decision: protocol.Deny}, broke
	}
	return v, err
}

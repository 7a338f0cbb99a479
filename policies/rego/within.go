package rego

import (
	"context"
	"errors"
	"fmt"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// What may end OPA's work early.
var (
	errTime   = errors.New("time limit")
	errMemory = errors.New("memory limit")
)

// bound is what some work of OPA may take.
type bound struct {
	time   time.Duration
	memory uint64 // by how many bytes the heap may grow
}

// within gives what work gives, or the limit or the end of ctx that came before. It
// returns even if OPA does not: what cannot be stopped is left behind, and its
// result never read.
func within[T any](parent context.Context, b bound, work func(context.Context) (T, error)) (T, error) {
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	ctx, cancel := context.WithTimeoutCause(ctx, b.time, errTime)
	defer cancel()
	go watch(ctx, b.memory, stop)

	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			if r := recover(); r != nil {
				o = outcome{err: fmt.Errorf("the policy engine broke: %v", r)}
			}
			done <- o
		}()
		o.value, o.err = work(ctx)
	}()
	var o, none outcome
	select {
	case o = <-done:
	case <-ctx.Done():
		select {
		case o = <-done:
		case <-time.After(limits.PolicyGrace):
			return none.value, context.Cause(ctx)
		}
	}
	// A limit that was reached is the reason, whatever OPA calls it; and an answer
	// that came after it does not count.
	if cause := context.Cause(ctx); cause != nil {
		return none.value, cause
	}
	return o.value, o.err
}

// watch ends work during which the heap of the process grows too much.
// It looks at the whole process, since Go counts no goroutine's memory: beside
// other work it stops too early rather than too late.
func watch(ctx context.Context, bound uint64, stop context.CancelCauseFunc) {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return // a Go without this figure: the time limit still holds
	}
	start := sample[0].Value.Uint64()
	tick := time.NewTicker(limits.PolicyMemoryTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(sample)
		now := sample[0].Value.Uint64()
		// What is collected meanwhile was garbage from before, and hides no growth.
		if start = min(start, now); now-start > bound {
			stop(errMemory)
			return
		}
	}
}

// reading is the reading, compiling and preparing of policies, of which no part can
// be told to stop: the type checker takes exponential time for some policies. It
// knows what is in work, so that a limit can name it.
type reading struct {
	bound bound
	mutex sync.Mutex
	open  []string
}

func newReading(o Options) *reading {
	r := &reading{bound: bound{limits.PolicyCompileTime, limits.PolicyCompileMemory}}
	if o.CompileTime > 0 {
		r.bound.time = o.CompileTime
	}
	if o.CompileMemory > 0 {
		r.bound.memory = o.CompileMemory
	}
	return r
}

// begin notes that something is in work, until the function that it gives is called.
func (r *reading) begin(what string) (end func()) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.open = append(r.open, what)
	return func() {
		r.mutex.Lock()
		defer r.mutex.Unlock()
		if i := slices.Index(r.open, what); i >= 0 {
			r.open = slices.Delete(r.open, i, i+1)
		}
	}
}

// where names what is in work.
func (r *reading) where() string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if len(r.open) == 0 {
		return "policies"
	}
	open := slices.Clone(r.open)
	slices.Sort(open)
	return clean(strings.Join(slices.Compact(open), ", "))
}

// readWithin does what reads policies within the limits for it.
func readWithin[T any](ctx context.Context, r *reading, work func(context.Context) (T, error)) (T, error) {
	v, err := within(ctx, r.bound, work)
	switch {
	case errors.Is(err, errTime):
		err = tooCostly(r.where(), "reading and compiling the policies took longer than %s", r.bound.time)
	case errors.Is(err, errMemory):
		err = tooCostly(r.where(), "reading and compiling the policies took more than %d MiB of memory", r.bound.memory>>20)
	}
	return v, err
}

// tooCostly is the error of policies that cannot be compiled within limits.
func tooCostly(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitDenied, "policy_compile_limit", format, args...).At(where).
		WithHint("put tables into data.json, split long rules, and do not build values out of values that are built so themselves (docs/policies.md)")
}

package rego

import (
	"context"
	"errors"
	"fmt"
	"runtime/metrics"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/cabincrew/action/internal/limits"
)

// What may end an evaluation early.
var (
	errTime   = errors.New("time limit")
	errMemory = errors.New("memory limit")
)

// run evaluates a policy's query within the limits of time and memory and gives
// the list with one list for each rule. It returns even if OPA does not: a
// built-in function that cannot be stopped is left behind, and its result never read.
func (e *Evaluator) run(parent context.Context, p prepared, input ast.Value, t *tracer) (*ast.Array, error) {
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	ctx, cancel := context.WithTimeoutCause(ctx, e.options.Time, errTime)
	defer cancel()
	go watch(ctx, e.options.Memory, stop)

	type outcome struct {
		lists *ast.Array
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
		o.lists, o.err = eval(ctx, p, input, t)
	}()
	var o outcome
	select {
	case o = <-done:
	case <-ctx.Done():
		select {
		case o = <-done:
		case <-time.After(limits.PolicyGrace):
			return nil, context.Cause(ctx)
		}
	}
	// A limit that was reached is the reason, whatever OPA calls it; and an answer
	// that came after it does not count.
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	return o.lists, o.err
}

func eval(ctx context.Context, p prepared, input ast.Value, told *tracer) (*ast.Array, error) {
	// SPEC: docs/protocol.md 6: the input is parsed; bytes or text would make it a
	// string on which rules silently do not fire.
	options := []rego.EvalOption{rego.EvalParsedInput(input)}
	if told != nil {
		options = append(options, rego.EvalQueryTracer(told))
	}
	rs, err := p.query.Eval(ctx, options...)
	if err != nil {
		return nil, err
	}
	if len(rs) != 1 {
		return nil, fmt.Errorf("the policy engine gave %d answers, not one", len(rs))
	}
	t, ok := rs[0].Bindings["result"].(*ast.Term)
	if !ok {
		return nil, errors.New("the policy engine gave an answer of another form")
	}
	lists, ok := t.Value.(*ast.Array)
	if !ok || lists.Len() != len(p.rules) {
		return nil, errors.New("the policy engine gave an answer of another form")
	}
	return lists, nil
}

// watch ends an evaluation during which the heap of the process grows too much.
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
		if now := sample[0].Value.Uint64(); now > start && now-start > bound {
			stop(errMemory)
			return
		}
	}
}

// reasonOf says why a policy could not be judged.
func reasonOf(err error, o Options) string {
	var te *topdown.Error
	switch {
	case errors.Is(err, errTime):
		return fmt.Sprintf("it took longer than %s", o.Time)
	case errors.Is(err, errMemory):
		return fmt.Sprintf("it took more than %d MiB of memory", o.Memory>>20)
	case errors.As(err, &te):
		return te.Code + ": " + te.Message
	}
	return err.Error()
}

// whereOf gives file:line of an error, or fallback if it has no place.
func whereOf(err error, fallback string) string {
	var te *topdown.Error
	if errors.As(err, &te) && te.Location != nil && te.Location.File != "" {
		return at(te.Location)
	}
	return fallback
}

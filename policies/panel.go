package policies

import (
	"context"
	"errors"
	"sync"
)

// Panel asks several judges about the same input, all at once, and gives what they
// find in the order of the panel. It implements Evaluator. An error of one is an
// error of the panel: what one judge would have said nobody knows.
type Panel []Evaluator

var _ Evaluator = Panel(nil)

// Evaluate asks every judge and waits for all of them.
func (p Panel) Evaluate(ctx context.Context, in Input, evaluatedAt string) (Result, error) {
	results := make([]Result, len(p))
	errs := make([]error, len(p))
	var wait sync.WaitGroup
	for i, e := range p {
		wait.Go(func() { results[i], errs[i] = e.Evaluate(ctx, in, evaluatedAt) })
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		return Result{}, err
	}
	var out Result
	for _, r := range results {
		out.Findings = append(out.Findings, r.Findings...)
		out.Hidden.Join(r.Hidden)
		out.Explanations = append(out.Explanations, r.Explanations...)
	}
	return out, nil
}

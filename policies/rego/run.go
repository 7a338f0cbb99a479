package rego

import (
	"context"
	"errors"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// run evaluates a policy's query within the limits of time and memory and gives
// the list with one list for each rule.
func (e *Evaluator) run(ctx context.Context, p prepared, input ast.Value, t *tracer) (*ast.Array, error) {
	return within(ctx, bound{e.options.Time, e.options.Memory}, func(ctx context.Context) (*ast.Array, error) {
		return eval(ctx, p, input, t)
	})
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
	return listsOf(rs, len(p.rules))
}

// listsOf gives the one list that a query has for its rules.
func listsOf(rs rego.ResultSet, rules int) (*ast.Array, error) {
	if len(rs) != 1 {
		return nil, fmt.Errorf("the policy engine gave %d answers, not one", len(rs))
	}
	t, ok := rs[0].Bindings["result"].(*ast.Term)
	if !ok {
		return nil, errors.New("the policy engine gave an answer of another form")
	}
	lists, ok := t.Value.(*ast.Array)
	if !ok || lists.Len() != rules {
		return nil, errors.New("the policy engine gave an answer of another form")
	}
	return lists, nil
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

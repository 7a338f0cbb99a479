package rego

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
)

// tracer counts what each rule's bodies came to. It keeps no event, so that a
// policy that loops costs time and no memory.
type tracer struct {
	policy string
	rules  map[string]*visit
	open   map[uint64]*visit // by query
}

// visit is what became of one rule body.
type visit struct {
	name, where string
	row         int
	tried, held int
	file        string
	stopped     int // line where the last try that did not hold ended, 0 if it is not known
}

var _ topdown.QueryTracer = (*tracer)(nil)

func newTracer(policy string) *tracer {
	return &tracer{policy: policy, rules: map[string]*visit{}, open: map[uint64]*visit{}}
}

// Enabled implements topdown.QueryTracer.
func (*tracer) Enabled() bool { return true }

// Config implements topdown.QueryTracer.
func (*tracer) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

// TraceEvent implements topdown.QueryTracer.
func (t *tracer) TraceEvent(e topdown.Event) {
	rule, isRule := e.Node.(*ast.Rule)
	switch {
	case e.Op == topdown.EnterOp && isRule:
		v := t.visit(rule)
		if v == nil {
			return
		}
		v.tried++
		t.open[e.QueryID] = v
	case e.Op == topdown.ExitOp && isRule:
		if v := t.open[e.QueryID]; v != nil {
			v.held++
		}
	case e.Op == topdown.FailOp && !isRule:
		if v := t.open[e.QueryID]; v != nil && e.Location != nil && e.Location.Row > 0 && e.Location.File == v.file {
			v.stopped = e.Location.Row
		}
	}
	if len(t.open) > limits.PolicyTraceOpen {
		clear(t.open) // only where evaluation stopped is lost
	}
}

func (t *tracer) visit(r *ast.Rule) *visit {
	where := at(r.Location)
	if v := t.rules[where]; v != nil {
		return v
	}
	if len(t.rules) >= limits.PolicyTraceRules || r.Location == nil {
		return nil
	}
	v := &visit{name: r.Head.Ref().String(), where: where, row: r.Location.Row, file: r.Location.File}
	t.rules[where] = v
	return v
}

// explanation gives what the policy's rules came to, by place.
func (t *tracer) explanation() policies.Explanation {
	all := make([]*visit, 0, len(t.rules))
	for _, v := range t.rules {
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b *visit) int { return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.row, b.row)) })
	out := policies.Explanation{Policy: t.policy}
	for _, v := range all {
		line := fmt.Sprintf("%s %s: held %d of %d times", v.where, clean(v.name), min(v.held, v.tried), v.tried)
		if v.held == 0 {
			line = fmt.Sprintf("%s %s: did not hold", v.where, clean(v.name))
			if v.stopped > 0 {
				line += fmt.Sprintf(", stopped at line %d", v.stopped)
			}
		}
		out.Lines = append(out.Lines, line)
	}
	return out
}

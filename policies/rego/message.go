package rego

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Messages judges messages of a gateway with compiled policies: many, small ones, one
// after another. It is safe for concurrent use.
//
// It differs from an Evaluator in what a judgement costs and not in what it says: all
// packages are asked by one query, in the caller's goroutine, and one watch for all
// evaluations under way looks at their limits of time and memory. A single built-in
// function that is called is not interrupted; what such a call may give is bounded.
// The canary is asked once, before the first message.
type Messages struct {
	role   string
	limits bound
	asks   []asked
	birds  []asked // a canary for each of asks
	places []spot
	txn    storage.Transaction
	store  storage.Store
	watch  watcher
	keys   map[string]*ast.Term // of the messages' known members
}

// asked is one query: that of all packages that were compiled together.
type asked struct {
	query   rego.PreparedEvalQuery
	entries []int // in Messages.places
	rules   int
	first   string // file:line, where an error has no place of its own
	names   string
}

// spot is one package with its answers beside those of flights.
type spot struct {
	entry
	extra []answer // rewrite and hide
}

// What packages of a gateway answer beside what those of flights do.
const (
	answerRewrite = "rewrite"
	answerHide    = "hide"
)

// NewMessages compiles policy sets for messages as New does for flights. Options.Time
// and Memory are for all packages together; limits.GatewayPolicyTime and
// limits.GatewayPolicyMemory if they are zero.
func NewMessages(ctx context.Context, sets []policies.Set, o Options) (*Messages, error) {
	if o.Time <= 0 {
		o.Time = limits.GatewayPolicyTime
	}
	if o.Memory == 0 {
		o.Memory = limits.GatewayPolicyMemory
	}
	if o.Role == "" {
		o.Role = policies.DefaultRole
	}
	for _, s := range sets {
		if own, err := policies.AnyBundled(s.Name); err == nil && builtIn(s) {
			if _, err := policies.GatewayBundled(own.Name); err != nil {
				return nil, err
			}
		}
	}
	r := newReading(o)
	m, err := readWithin(ctx, r, func(ctx context.Context) (*Messages, error) {
		p, err := r.compile(ctx, sets, o, false)
		if err != nil {
			return nil, err
		}
		return p.messages(ctx, o)
	})
	if err != nil {
		return nil, err
	}
	if err := m.canary(ctx); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// messages prepares one query for each group of packages.
func (p *program) messages(ctx context.Context, o Options) (*Messages, error) {
	m := &Messages{role: o.Role, limits: bound{o.Time, o.Memory}, store: p.store, keys: knownKeys()}
	m.watch.bound = m.limits
	for _, e := range p.entries {
		m.places = append(m.places, spot{entry: e, extra: p.extras(e)})
	}
	for _, g := range p.groups {
		a := asked{}
		var parts, names []string
		for i, e := range m.places {
			if !g.sets[e.set] {
				continue
			}
			a.entries = append(a.entries, i)
			for _, r := range slices.Concat(e.rules, e.extra) {
				parts = append(parts, fmt.Sprintf("[x | x = %s]", append(e.path.Copy(), ast.StringTerm(r.name))))
			}
			if a.first == "" {
				a.first = e.rules[0].at
			}
			names = append(names, e.name)
		}
		a.rules, a.names = len(parts), strings.Join(names, ", ")
		var err error
		if a.query, err = p.oneQuery(ctx, g, parts); err != nil {
			return nil, astError(a.names, err)
		}
		m.asks = append(m.asks, a)
		bird := asked{rules: 1}
		if bird.query, err = p.oneQuery(ctx, g, []string{"[x | x = data.cabincrew_internal.canary.deny]"}); err != nil {
			return nil, canaryError(err.Error())
		}
		m.birds = append(m.birds, bird)
	}
	var err error
	if m.txn, err = p.store.NewTransaction(ctx, storage.TransactionParams{}); err != nil {
		return nil, policyError("policies", "the policies' data cannot be read: %w", err)
	}
	return m, nil
}

// oneQuery prepares the query for a list of answers.
func (p *program) oneQuery(ctx context.Context, g *group, parts []string) (rego.PreparedEvalQuery, error) {
	return rego.New(
		rego.Query("result = ["+strings.Join(parts, ", ")+"]"), rego.Compiler(g.compiler), rego.Store(p.store), rego.StrictBuiltinErrors(true),
		rego.GenerateJSON(func(t *ast.Term, _ *rego.EvalContext) (any, error) { return t, nil }),
	).PrepareForEval(ctx)
}

// extras gives the answers of a package that only gateways ask for.
func (p *program) extras(e entry) []answer {
	var out []answer
	compiler := p.apart[e.set]
	for _, name := range []string{answerRewrite, answerHide} {
		rules := compiler.GetRulesExact(e.path.Append(ast.StringTerm(name)))
		if len(rules) > 0 && rules[0].Head.RuleKind() == ast.MultiValue {
			out = append(out, answer{name: name, at: at(rules[0].Location)})
		}
	}
	return out
}

// Close ends the watch. Nothing may be judged afterwards.
func (m *Messages) Close() error {
	m.watch.close()
	m.store.Abort(context.Background(), m.txn)
	return nil
}

// Judge judges one message. Whatever goes wrong with policies is a finding; an error
// is the end of ctx, or a message that is no tree of JSON.
func (m *Messages) Judge(ctx context.Context, message map[string]any) (policies.Opinion, error) {
	input, err := m.value(message, 0)
	if err != nil {
		return policies.Opinion{}, protocol.Errorf(protocol.ExitDenied, "policy_input", "the message cannot be judged: %w", err)
	}
	began := time.Now()
	opinions := make([]judgement, len(m.places))
	var out policies.Opinion
	for i := range m.asks {
		if err := m.group(ctx, &m.asks[i], input, opinions, &out); err != nil {
			return policies.Opinion{}, err
		}
	}
	spent := time.Since(began)
	for i := range opinions {
		for k := range opinions[i].findings {
			opinions[i].findings[k].Spent = spent
		}
		out.Findings = append(out.Findings, opinions[i].findings...)
	}
	return out, nil
}

func (m *Messages) group(ctx context.Context, a *asked, input ast.Value, opinions []judgement, out *policies.Opinion) error {
	lists, err := m.run(ctx, a, input)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	at := 0
	for n, i := range a.entries {
		p, j := &m.places[i], &opinions[i]
		j.entry, j.role = p.entry, m.role
		if err != nil {
			if n == 0 { // it is one query for all of them
				j.unjudged(a.names, whereOf(err, a.first), reasonOf(err, Options{Time: m.limits.time, Memory: m.limits.memory}))
			}
			continue
		}
		for _, r := range p.rules {
			j.rule(r, lists.Elem(at))
			at++
		}
		for _, r := range p.extra {
			j.extra(r, lists.Elem(at), out)
			at++
		}
		if len(j.findings) == 0 {
			j.add(protocol.Allow, p.name, p.rules[0].at, fields{msg: "evaluated; nothing found"})
		}
	}
	return nil
}

// run evaluates one query in this goroutine.
func (m *Messages) run(ctx context.Context, a *asked, input ast.Value) (lists *ast.Array, err error) {
	w := m.watch.begin(ctx)
	defer func() {
		if r := recover(); r != nil {
			lists, err = nil, fmt.Errorf("the policy engine broke: %v", r)
		}
		// A limit that was reached is the reason, whatever OPA calls it; and an answer
		// that came after it does not count.
		if cause := m.watch.end(w); cause != nil {
			lists, err = nil, cause
		}
	}()
	// OPA has a goroutine watch ctx unless it is given another way to end.
	rs, err := a.query.Eval(context.WithoutCancel(ctx), rego.EvalParsedInput(input), rego.EvalTransaction(m.txn),
		rego.EvalExternalCancel(w.cancel), rego.EvalMetrics(metrics.NoOp()))
	if err != nil {
		return nil, err
	}
	return listsOf(rs, a.rules)
}

// canary proves on the way that messages take that rules fire, and only where they
// should. SPEC: docs/protocol.md 6.
func (m *Messages) canary(ctx context.Context) error {
	for _, kind := range []string{"cabincrew-canary", "patch"} {
		message := map[string]any{"artifacts": []any{map[string]any{"name": "canary", "artifact_type": kind, "size": jsonNumber("9007199254740991")}}}
		input, err := m.value(message, 0)
		if err != nil {
			return canaryError(err.Error())
		}
		for i := range m.birds {
			lists, err := m.run(ctx, &m.birds[i], input)
			if err != nil {
				return canaryError(err.Error())
			}
			j := judgement{entry: canaryEntry("")}
			j.rule(j.entry.rules[0], lists.Elem(0))
			sings := len(j.findings) == 1 && !j.findings[0].Unjudged && j.findings[0].Artifact == "canary"
			if sings != (kind == "cabincrew-canary") || !sings && len(j.findings) > 0 {
				return canaryError("it did not judge as it must")
			}
		}
	}
	return nil
}

// extra reads what a package wants rewritten or hidden.
func (j *judgement) extra(r answer, wrapped *ast.Term, out *policies.Opinion) {
	id := j.entry.name + "/" + r.name
	list, ok := wrapped.Value.(*ast.Array)
	if !ok || list.Len() != 1 {
		j.unjudged(id, r.at, "it is undefined where an answer was promised")
		return
	}
	set, ok := list.Elem(0).Value.(ast.Set)
	if !ok {
		j.unjudged(id, r.at, fmt.Sprintf("it is %s and not a set", typeName(list.Elem(0).Value)))
		return
	}
	for _, t := range set.Slice() {
		if len(out.Changes)+len(out.Hide) >= limits.GatewayChanges {
			j.unjudged(id, r.at, fmt.Sprintf("there are more than %d changes", limits.GatewayChanges))
			return
		}
		why := ""
		if r.name == answerHide {
			s, ok := t.Value.(ast.String)
			if !ok {
				why = fmt.Sprintf("a member is %s and not the name of a tool", typeName(t.Value))
			}
			out.Hide = append(out.Hide, string(s))
		} else {
			var c policies.Rewrite
			c, why = changeOf(t.Value)
			out.Changes = append(out.Changes, c)
		}
		if why != "" {
			j.unjudged(id, r.at, why)
			return
		}
	}
}

// changeOf reads one member of rewrite: {"at": pointer, "value": any}; without a value
// it removes.
func changeOf(v ast.Value) (policies.Rewrite, string) {
	o, ok := v.(ast.Object)
	if !ok {
		return policies.Rewrite{}, fmt.Sprintf("a member is %s and no object with at and value", typeName(v))
	}
	var c policies.Rewrite
	for _, key := range o.Keys() {
		name, _ := key.Value.(ast.String) // another type is an unknown member
		value := o.Get(key).Value
		switch name {
		case "at":
			s, ok := value.(ast.String)
			if !ok || !strings.HasPrefix(string(s), "/") {
				return c, "the at of a member is no pointer such as /params/arguments/path"
			}
			c.At = string(s)
		case "value":
			var err error
			if c.Value, err = ast.JSON(value); err != nil {
				return c, "the value of a member cannot be written as JSON"
			}
		default:
			return c, fmt.Sprintf("a member has the unknown member %s", typeOrText(key.Value))
		}
	}
	if c.At == "" {
		return c, "a member has no at"
	}
	return c, ""
}

var errEnded = errors.New("the gateway ended")

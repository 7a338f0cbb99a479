package rego

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Options tunes an Evaluator. The zero value is what a flight uses.
type Options struct {
	// Time is how long one policy may take; zero means limits.PolicyTime.
	Time time.Duration
	// Memory is by how many bytes the heap may grow during one policy; zero
	// means limits.PolicyMemory.
	Memory uint64
	// CompileTime is how long reading and compiling all sets may take; zero means
	// limits.PolicyCompileTime.
	CompileTime time.Duration
	// CompileMemory is by how many bytes the heap may grow then; zero means
	// limits.PolicyCompileMemory.
	CompileMemory uint64
	// Role approves where a policy names none; empty means policies.DefaultRole.
	Role string
	// Data replaces values of the sets' data files; a value that no file has is refused.
	Data map[string]any
	// Explain makes results tell what each rule came to. Judging takes longer then.
	Explain bool
	// AggregationRule is the rule that Custom evaluates, such as
	// "data.cabincrew.aggregate.decision"; empty if the aggregation is another.
	AggregationRule string
}

// Evaluator judges with compiled policies. It implements policies.Evaluator.
type Evaluator struct {
	options  Options
	policies []prepared
	canaries []prepared // one beside each part of the policies that was compiled apart
	custom   *prepared
}

var _ policies.Evaluator = (*Evaluator)(nil)

// prepared is one policy with the query that gives all its answers at once.
type prepared struct {
	entry
	query rego.PreparedEvalQuery
}

// New compiles policy sets. What does not compile, or what two sets would do to
// each other, is an error with code policy_error, exit 3 and file:line; what nobody
// would ask has the code policy_unasked, what takes too much policy_compile_limit.
func New(ctx context.Context, sets []policies.Set, o Options) (*Evaluator, error) {
	if o.Time <= 0 {
		o.Time = limits.PolicyTime
	}
	if o.Memory == 0 {
		o.Memory = limits.PolicyMemory
	}
	if o.Role == "" {
		o.Role = policies.DefaultRole
	}
	r := newReading(o)
	e, err := readWithin(ctx, r, func(ctx context.Context) (*Evaluator, error) {
		p, err := r.compile(ctx, sets, o, false)
		if err != nil {
			return nil, err
		}
		return p.evaluator(ctx, o)
	})
	if err != nil {
		return nil, err
	}
	if err := e.checkCanary(ctx); err != nil {
		return nil, err
	}
	return e, nil
}

// program is what compiling gives.
type program struct {
	reading  *reading
	compiler *ast.Compiler            // for tests: of all modules together
	groups   []*group                 // else what was compiled apart,
	apart    map[string]*ast.Compiler // and by which compiler each set was
	store    storage.Store
	modules  map[string]*ast.Module // for tests: all of them
	entries  []entry
	custom   *entry
}

// evaluator prepares the queries of all policies, side by side.
func (p *program) evaluator(ctx context.Context, o Options) (*Evaluator, error) {
	all := slices.Clone(p.entries)
	if p.custom != nil {
		all = append(all, *p.custom)
	}
	for _, g := range p.groups {
		all = append(all, canaryEntry(g.name()))
	}
	ready, errs := make([]prepared, len(all)), make([]error, len(all))
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	var wait sync.WaitGroup
	for i, en := range all {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			ready[i], errs[i] = p.prepare(ctx, en)
		})
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err // that of the first policy, whichever was prepared first
		}
	}
	e := &Evaluator{options: o, policies: ready[:len(p.entries)], canaries: ready[len(all)-len(p.groups):]}
	if p.custom != nil {
		e.custom = &ready[len(p.entries)]
	}
	return e, nil
}

// compile reads all sets and compiles them beside the canary, those that do not
// read each other apart. Tests are compiled too if asked for; then the compiler
// is left to the test runner.
func (r *reading) compile(ctx context.Context, sets []policies.Set, o Options, tests bool) (*program, error) {
	boundCalls()
	caps := capabilities()
	modules, err := r.parse(sets, caps, tests)
	if err != nil {
		return nil, err
	}
	values, err := allData(sets, modules, o.Data)
	if err != nil {
		return nil, err
	}
	p := &program{reading: r, modules: map[string]*ast.Module{}}
	var customRef ast.Ref
	if o.AggregationRule != "" {
		if p.custom, customRef, err = customEntry(modules, o.AggregationRule); err != nil {
			return nil, err
		}
	}
	if p.entries, err = entries(sets, modules, customRef); err != nil {
		return nil, err
	}
	if err := checkCost(modules); err != nil {
		return nil, err
	}
	inputType, err := schemaSet(modules)
	if err != nil {
		return nil, err
	}
	// Values are shared by all evaluations and never written.
	p.store = inmem.NewFromObjectWithOpts(values.root, inmem.OptRoundTripOnWrite(false), inmem.OptReturnASTValuesOnRead(true))
	compiler := func(g *group) *ast.Compiler {
		c := ast.NewCompiler().WithCapabilities(caps).WithPathConflictsCheck(values.exists).WithDefaultRegoVersion(ast.RegoV1).
			WithSchemas(inputType).WithUseTypeCheckAnnotations(g.typed)
		if !g.foreign {
			// What the program brings was checked when it was tested; and no plan so far
			// is judged faster by these indices than it takes to make them.
			c = c.WithSkipStages(ast.StageCheckTypes, ast.StageBuildComprehensionIndices, ast.StageBuildRequiredCapabilities)
		}
		return c
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if tests {
		for _, m := range modules {
			p.modules[m.file] = m.ast
		}
		p.compiler = compiler(&group{typed: inputType != nil, foreign: true})
		p.modules[canaryFile], err = canaryModule(caps)
		return p, err
	}
	p.groups = groups(modules)
	if err := r.compileAll(p.groups, compiler, caps); err != nil {
		return nil, err
	}
	p.apart = map[string]*ast.Compiler{}
	for _, g := range p.groups {
		for set := range g.sets {
			p.apart[set] = g.compiler
		}
	}
	return p, nil
}

// prepare makes one query of all rules of a policy. Each rule is wrapped in a
// comprehension, so that an undefined one is an empty list and not the end of
// the query, and helpers that rules share are evaluated once.
func (p *program) prepare(ctx context.Context, e entry) (prepared, error) {
	defer p.reading.begin(e.rules[0].at)()
	var parts []string
	for _, r := range e.rules {
		parts = append(parts, fmt.Sprintf("[x | x = %s]", append(e.path.Copy(), ast.StringTerm(r.name))))
	}
	q, err := rego.New(
		rego.Query("result = ["+strings.Join(parts, ", ")+"]"),
		rego.Compiler(p.apart[e.set]),
		rego.Store(p.store),
		// A built-in function that fails must not look like a rule that found nothing.
		rego.StrictBuiltinErrors(true),
		// The answer stays what OPA has: no number is converted, nothing is copied.
		rego.GenerateJSON(func(t *ast.Term, _ *rego.EvalContext) (any, error) { return t, nil }),
	).PrepareForEval(ctx)
	if err != nil {
		return prepared{}, astError(e.name, err)
	}
	return prepared{entry: e, query: q}, nil
}

// Evaluate judges one input. An error is a canary that did not deny, an input
// that cannot be written, or the end of ctx.
func (e *Evaluator) Evaluate(ctx context.Context, in policies.Input, evaluatedAt string) (policies.Result, error) {
	doc, err := in.Document()
	if err != nil {
		return policies.Result{}, err
	}
	return e.EvaluateDocument(ctx, doc, evaluatedAt)
}

// EvaluateDocument is Evaluate for an input document as protocol.DecodeAny gives it.
func (e *Evaluator) EvaluateDocument(ctx context.Context, doc any, evaluatedAt string) (policies.Result, error) {
	if err := e.checkCanary(ctx); err != nil {
		return policies.Result{}, err
	}
	input, err := ast.InterfaceToValue(doc)
	if err != nil {
		return policies.Result{}, protocol.Errorf(protocol.ExitDenied, "policy_input", "the policy input cannot be judged: %w", err)
	}
	// The opinions stand in the policies' order, whichever comes first. The input and
	// the data are shared and never written.
	opinions, errs := make([]opinion, len(e.policies)), make([]error, len(e.policies))
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	var wait sync.WaitGroup
	for i, p := range e.policies {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			opinions[i], errs[i] = e.ask(ctx, p, input)
		})
	}
	wait.Wait()
	var out policies.Result
	for i, a := range opinions {
		if errs[i] != nil {
			return policies.Result{}, errs[i]
		}
		for k := range a.findings {
			a.findings[k].EvaluatedAt, a.findings[k].Spent = evaluatedAt, a.spent
		}
		out.Findings = append(out.Findings, a.findings...)
		if a.told != nil {
			out.Explanations = append(out.Explanations, a.told.explanation())
		}
	}
	return out, nil
}

// opinion is what one policy says.
type opinion struct {
	findings []policies.Finding
	told     *tracer // nil without explanations
	spent    time.Duration
}

func (e *Evaluator) ask(ctx context.Context, p prepared, input ast.Value) (a opinion, err error) {
	if e.options.Explain {
		a.told = newTracer(p.name)
	}
	began := time.Now()
	a.findings, err = e.judge(ctx, p, input, a.told)
	a.spent = time.Since(began)
	return a, err
}

// judge evaluates one policy. Whatever goes wrong with the policy is a finding;
// an error is the end of ctx only.
func (e *Evaluator) judge(ctx context.Context, p prepared, input ast.Value, t *tracer) ([]policies.Finding, error) {
	j := judgement{entry: p.entry, role: e.options.Role}
	lists, err := e.run(ctx, p, input, t)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		j.unjudged(p.name, whereOf(err, p.rules[0].at), reasonOf(err, e.options))
		return j.findings, nil
	}
	for i, r := range p.rules {
		j.rule(r, lists.Elem(i))
	}
	if len(j.findings) == 0 {
		j.add(protocol.Allow, p.name, p.rules[0].at, fields{msg: "evaluated; nothing found"})
	}
	return j.findings, nil
}

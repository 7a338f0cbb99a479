package rego

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
)

// TestReport is the outcome of the tests of policy sets.
type TestReport struct {
	Tests []TestCase `json:"tests"` // by file, line and name
	// Covered and Uncovered count the lines of policies (not of tests) that tests
	// evaluated and did not evaluate.
	Covered   int `json:"covered_lines"`
	Uncovered int `json:"uncovered_lines"`
	// Missed lists the uncovered lines by file.
	Missed map[string][]int `json:"missed,omitempty"`
}

// TestCase is one test.
type TestCase struct {
	Package  string        `json:"package"`
	Name     string        `json:"name"`
	File     string        `json:"file"`
	Line     int           `json:"line"`
	Outcome  TestOutcome   `json:"outcome"`
	Error    string        `json:"error,omitempty"`
	Duration time.Duration `json:"duration_ns"`
}

// TestOutcome is how a test ended.
type TestOutcome string

// The outcomes of a test. A skipped test is one named todo_test_*.
const (
	TestPass  TestOutcome = "pass"
	TestFail  TestOutcome = "fail"
	TestError TestOutcome = "error"
	TestSkip  TestOutcome = "skip"
)

// Passed says whether there was a test and none failed.
func (r TestReport) Passed() bool {
	ran := false
	for _, t := range r.Tests {
		if t.Outcome == TestFail || t.Outcome == TestError {
			return false
		}
		ran = ran || t.Outcome == TestPass
	}
	return ran
}

// Coverage gives the share of covered lines in tenths of a percent.
func (r TestReport) Coverage() int {
	if r.Covered+r.Uncovered == 0 {
		return 0
	}
	return 1000 * r.Covered / (r.Covered + r.Uncovered)
}

// Test runs the Rego tests (rules test_*) of policy sets under the same
// restrictions as flights. filter is a regular expression over
// "data.<package>.<name>"; empty means all.
func Test(ctx context.Context, sets []policies.Set, filter string, o Options) (TestReport, error) {
	if o.Time <= 0 {
		o.Time = limits.PolicyTime
	}
	if o.Memory == 0 {
		o.Memory = limits.PolicyMemory
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // tests that nobody waits for any more
	t := testRun{covered: cover.New()}
	r := newReading(o)
	results, err := readWithin(ctx, r, func(c context.Context) (chan *tester.Result, error) {
		p, err := r.compile(c, sets, o, true)
		if err != nil {
			return nil, err
		}
		t.program = p
		return t.start(ctx, filter, o.Time)
	})
	if err != nil {
		return TestReport{}, err
	}
	// The limit of one test for each of them; the runner ends those that can be ended.
	limit := bound{o.Time * time.Duration(t.tests()+1), o.Memory}
	out := TestReport{}
	out.Tests, err = within(ctx, limit, func(ctx context.Context) ([]TestCase, error) { return t.collect(ctx, results), nil })
	switch {
	case errors.Is(err, errTime), errors.Is(err, errMemory):
		return TestReport{}, policyError("policies", "the tests were stopped: %s", reasonOf(err, Options{Time: limit.time, Memory: limit.memory})).
			WithHint("find out which by --run, and let it do less")
	case err != nil:
		return TestReport{}, err
	}
	slices.SortFunc(out.Tests, func(a, b TestCase) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Name, b.Name))
	})
	out.cover(t.covered.Report(judging(t.program.modules)))
	return out, nil
}

// testRun is the running of tests.
type testRun struct {
	program *program
	covered *cover.Cover
	txn     storage.Transaction
}

// start compiles policies with their tests and lets these run.
func (t *testRun) start(ctx context.Context, filter string, limit time.Duration) (chan *tester.Result, error) {
	p := t.program
	files := slices.DeleteFunc(slices.Sorted(maps.Keys(p.modules)), func(file string) bool { return file == canaryFile })
	defer p.reading.begin(strings.Join(files, ", "))()
	txn, err := p.store.NewTransaction(ctx, storage.TransactionParams{})
	if err != nil {
		return nil, policyError("", "the tests cannot be run: %w", err)
	}
	t.txn = txn
	results, err := tester.NewRunner().SetCompiler(p.compiler).SetStore(p.store).SetModules(p.modules).
		SetTimeout(limit).Filter(filter).RaiseBuiltinErrors(true).SetCoverageQueryTracer(t.covered).
		RunTests(ctx, txn)
	if err != nil {
		p.store.Abort(ctx, txn)
		return nil, astError("policies", err)
	}
	return results, nil
}

// collect takes all results, also of tests that nobody waits for any more: the
// runner could not end otherwise.
func (t *testRun) collect(ctx context.Context, results chan *tester.Result) []TestCase {
	var out []TestCase
	partial := t.partial()
	for r := range results {
		c := testCase(r)
		if c.Outcome == TestPass && len(r.SubResults) == 0 && partial[place(r.Location)] {
			c.Outcome, c.Error = TestFail, "no case of it was evaluated: it stands for a case each time that its body holds, and that was never"
		}
		out = append(out, c)
	}
	t.program.store.Abort(ctx, t.txn)
	return out
}

// tests counts the rules that may be tests.
func (t *testRun) tests() int {
	n := 0
	for _, m := range t.program.modules {
		for _, r := range m.Rules {
			if strings.HasPrefix(r.Head.Ref()[0].String(), tester.TestPrefix) {
				n++
			}
		}
	}
	return n
}

// partial gives the places of tests with cases, such as test_x[name] if { ... }.
func (t *testRun) partial() map[string]bool {
	out := map[string]bool{}
	for _, m := range t.program.modules {
		for _, r := range m.Rules {
			if r.Head.DocKind() == ast.PartialObjectDoc {
				out[place(r.Location)] = true
			}
		}
	}
	return out
}

func place(l *ast.Location) string {
	if l == nil {
		return ""
	}
	return fmt.Sprintf("%s:%d:%d", l.File, l.Row, l.Col)
}

func testCase(r *tester.Result) TestCase {
	c := TestCase{Package: strings.TrimPrefix(r.Package, "data."), Name: r.Name, Outcome: TestPass, Duration: r.Duration}
	if r.Location != nil {
		c.File, c.Line = r.Location.File, r.Location.Row
	}
	switch {
	case r.Skip:
		c.Outcome = TestSkip
	case r.Error != nil:
		c.Outcome, c.Error = TestError, clean(r.Error.Error())
	case r.Fail:
		c.Outcome = TestFail
	}
	return c
}

func judging(all map[string]*ast.Module) map[string]*ast.Module {
	out := map[string]*ast.Module{}
	for file, m := range all {
		if file != canaryFile && !strings.HasSuffix(file, "_test.rego") {
			out[file] = m
		}
	}
	return out
}

// cover counts lines; a line with a part that was not evaluated is uncovered.
func (r *TestReport) cover(c cover.Report) {
	for file, f := range c.Files {
		missed := lines(f.NotCovered)
		for line := range lines(f.Covered) {
			if !missed[line] {
				r.Covered++
			}
		}
		if len(missed) == 0 {
			continue
		}
		r.Uncovered += len(missed)
		if r.Missed == nil {
			r.Missed = map[string][]int{}
		}
		r.Missed[file] = slices.Sorted(maps.Keys(missed))
	}
}

func lines(ranges []cover.Range) map[int]bool {
	out := map[int]bool{}
	for _, r := range ranges {
		for line := r.Start.Row; line <= r.End.Row; line++ {
			out[line] = true
		}
	}
	return out
}

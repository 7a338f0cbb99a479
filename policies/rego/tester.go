package rego

import (
	"cmp"
	"context"
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
	p, err := compile(sets, o, true)
	if err != nil {
		return TestReport{}, err
	}
	txn, err := p.store.NewTransaction(ctx, storage.TransactionParams{})
	if err != nil {
		return TestReport{}, policyError("", "the tests cannot be run: %w", err)
	}
	defer p.store.Abort(ctx, txn)
	limit := o.Time
	if limit <= 0 {
		limit = limits.PolicyTime
	}
	covered := cover.New()
	results, err := tester.NewRunner().SetCompiler(p.compiler).SetStore(p.store).SetModules(p.modules).
		SetTimeout(limit).Filter(filter).RaiseBuiltinErrors(true).SetCoverageQueryTracer(covered).
		RunTests(ctx, txn)
	if err != nil {
		return TestReport{}, astError("policies", err)
	}
	var out TestReport
	for r := range results {
		out.Tests = append(out.Tests, testCase(r))
	}
	if ctx.Err() != nil {
		return TestReport{}, context.Cause(ctx)
	}
	slices.SortFunc(out.Tests, func(a, b TestCase) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Name, b.Name))
	})
	out.cover(covered.Report(judging(p.modules)))
	return out, nil
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

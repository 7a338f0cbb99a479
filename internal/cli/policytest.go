package cli

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/protocol"
)

// testFlags are those of policy test.
type testFlags struct {
	filter, format string
	coverage       bool
	least          float64 // percent of coverage, 0 for none
}

func (a *app) policyTestCommand() *cobra.Command {
	var f testFlags
	cmd := &cobra.Command{
		Use: "test [DIR…]", Short: "Run the Rego tests of policies under the restrictions of a flight",
		Long: `Runs the rules test_* of the given directories (a directory or the name of a
bundled set), or of the configuration's policies. It fails where a test fails or
none ran, and where the tests go through less than --coverage-min percent of the
policies' lines.`,
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			if err := a.policyFormat(&f.format); err != nil {
				return err
			}
			if _, err := regexp.Compile(f.filter); err != nil {
				return usageError("usage", "--run is no regular expression: %w", err).WithHint("for example --run 'test_deny_.*'")
			}
			if f.least < 0 || f.least > 100 {
				return usageError("usage", "--coverage-min is %g; it is a percentage from 0 to 100", f.least)
			}
			report, sets, err := a.policyTest(cmd.Context(), args, f.filter)
			if err != nil {
				return err
			}
			return a.tellTests(report, sets, f)
		}),
	}
	cmd.Flags().StringVar(&f.filter, "run", "", "only tests whose data.PACKAGE.NAME matches this regular expression")
	cmd.Flags().BoolVar(&f.coverage, "coverage", false, "say how much of the policies the tests went through")
	cmd.Flags().Float64Var(&f.least, "coverage-min", 0, "fail if the tests went through less than this percentage of the policies' lines")
	formatFlag(cmd, &f.format)
	return cmd
}

// policyTest runs the tests of the sets that are named, or of the configuration:
// those that judge plans, and apart from them those that judge take-offs.
func (a *app) policyTest(ctx context.Context, names []string, filter string) (rego.TestReport, policySets, error) {
	if len(names) > 0 {
		sets, err := namedSets(ctx, names)
		if err != nil {
			return rego.TestReport{}, sets, err
		}
		report, err := rego.Test(ctx, sets.sets, filter, rego.Options{})
		return report, sets, err
	}
	plan, after, _, err := a.configuredSets(ctx)
	if err != nil {
		return rego.TestReport{}, plan, err
	}
	report, err := rego.Test(ctx, plan.sets, filter, rego.Options{Role: plan.role})
	if err != nil || len(after.sets) == 0 {
		return report, plan, err
	}
	others, err := rego.Test(ctx, after.sets, filter, rego.Options{Role: after.role})
	maps.Copy(plan.dirs, after.dirs)
	return joined(report, others), plan, err
}

// joined puts two reports together. A set that judges plans and take-offs is told once.
func joined(a, b rego.TestReport) rego.TestReport {
	files := map[string]bool{}
	for _, t := range a.Tests {
		files[t.File] = true
	}
	for _, t := range b.Tests {
		if !files[t.File] {
			a.Tests = append(a.Tests, t)
		}
	}
	a.Covered, a.Uncovered = a.Covered+b.Covered, a.Uncovered+b.Uncovered
	for file, lines := range b.Missed {
		if a.Missed == nil {
			a.Missed = map[string][]int{}
		}
		a.Missed[file] = lines
	}
	return a
}

// tellTests prints how tests ended, and fails where they did.
func (a *app) tellTests(r rego.TestReport, sets policySets, f testFlags) error {
	for i := range r.Tests {
		t := &r.Tests[i]
		if name, _ := sets.file(t.File); name != "" {
			t.File = name
		}
	}
	err := testError(r, f)
	var writeErr error
	switch f.format {
	case outputJSON:
		a.printJSON(struct {
			rego.TestReport
			Passed bool                       `json:"passed"`
			Error  *orchestrator.SummaryError `json:"error,omitempty"`
		}{r, err == nil, orchestrator.ErrorOf(err)})
	case formatJUnit:
		writeErr = a.writeJUnit(testJUnit(r, err))
	case formatSARIF:
		writeErr = a.writeSARIF(testRemarks(r, sets), testRules())
	case formatGitHub:
		if writeErr = a.write([]byte(githubCommands(testRemarks(r, sets)))); writeErr == nil {
			a.text(testSummary(r, f))
		}
	default:
		a.text(testLines(r) + testSummary(r, f))
	}
	if writeErr != nil {
		return writeErr
	}
	if err != nil {
		a.complain(err)
		return reportedError{err}
	}
	return nil
}

func testCount(r rego.TestReport) map[rego.TestOutcome]int {
	count := map[rego.TestOutcome]int{}
	for _, t := range r.Tests {
		count[t.Outcome]++
	}
	return count
}

func testError(r rego.TestReport, f testFlags) error {
	count := testCount(r)
	failed := count[rego.TestFail] + count[rego.TestError]
	switch {
	case failed > 0:
		return protocol.Errorf(protocol.ExitFailure, "policy_test_failed", "%d policy tests failed", failed).WithHint("each failing test is named above with its place")
	case !r.Passed():
		return protocol.Errorf(protocol.ExitFailure, "policy_test_none", "no policy test ran").WithHint("tests are rules test_* in files *_test.rego; look at --run too")
	case float64(r.Coverage())/10 < f.least:
		return protocol.Errorf(protocol.ExitFailure, "policy_coverage_low", "the tests went through %d.%d %% of the policies' lines, less than %g %%",
			r.Coverage()/10, r.Coverage()%10, f.least).WithHint("cabincrew policy test --output json names the lines that no test went through, under missed")
	}
	return nil
}

func testLines(r rego.TestReport) string {
	var b strings.Builder
	for _, t := range r.Tests {
		name := oneLine(t.Package) + "." + oneLine(t.Name)
		switch t.Outcome {
		case rego.TestPass:
		case rego.TestSkip:
			_, _ = fmt.Fprintf(&b, "skip  %s:%d  %s: it is named todo_test_\n", oneLine(t.File), t.Line, name)
		case rego.TestFail, rego.TestError:
			_, _ = fmt.Fprintf(&b, "%-5s %s:%d  %s (%s)  %s\n", t.Outcome, oneLine(t.File), t.Line, name, t.Duration.Round(time.Microsecond), oneLine(t.Error))
		}
	}
	return b.String()
}

func testSummary(r rego.TestReport, f testFlags) string {
	count := testCount(r)
	text := fmt.Sprintf("%d passed, %d failed", count[rego.TestPass], count[rego.TestFail]+count[rego.TestError])
	if n := count[rego.TestSkip]; n > 0 {
		text += fmt.Sprintf(", %d skipped", n)
	}
	text += "\n"
	if f.coverage || f.least > 0 {
		text += fmt.Sprintf("coverage %d.%d %% (%d of %d lines)\n", r.Coverage()/10, r.Coverage()%10, r.Covered, r.Covered+r.Uncovered)
	}
	return text
}

// testJUnit makes a suite of each file of tests.
func testJUnit(r rego.TestReport, failed error) junitReport {
	out := junitReport{Name: "cabincrew policy test"}
	var total time.Duration
	for _, t := range r.Tests {
		if n := len(out.Suites); n == 0 || out.Suites[n-1].Name != oneLine(t.File) {
			out.Suites, total = append(out.Suites, junitSuite{Name: oneLine(t.File)}), 0
		}
		c := junitCase{Name: oneLine(t.Name), Class: oneLine(t.Package), File: oneLine(t.File), Line: t.Line, Time: junitTime(t.Duration)}
		switch t.Outcome {
		case rego.TestPass:
		case rego.TestSkip:
			c.Skipped = newJUnitMessage("", "it is named todo_test_", "")
		case rego.TestFail:
			c.Failure = newJUnitMessage("fail", testMessage(t), "")
		case rego.TestError:
			c.Error = newJUnitMessage("error", testMessage(t), "")
		}
		s := &out.Suites[len(out.Suites)-1]
		s.Cases = append(s.Cases, c)
		total += t.Duration
		s.Time = junitTime(total)
	}
	var e *orchestrator.SummaryError
	if e = orchestrator.ErrorOf(failed); e != nil && e.Code != "policy_test_failed" {
		c := junitCase{Name: "policy tests", Class: "policy", Time: junitTime(0), Failure: newJUnitMessage(e.Code, e.Message, e.Hint)}
		out.Suites = append(out.Suites, junitSuite{Name: "policy tests", Time: junitTime(0), Cases: []junitCase{c}})
	}
	return out
}

func testMessage(t rego.TestCase) string {
	if t.Error != "" {
		return t.Error
	}
	return "the test " + t.Package + "." + t.Name + " does not hold"
}

const failedTest = "policy-test"

// testRemarks makes a remark of each test that failed, at the test's place if it
// lies in a directory.
func testRemarks(r rego.TestReport, sets policySets) []remark {
	var out []remark
	for _, t := range r.Tests {
		if t.Outcome != rego.TestFail && t.Outcome != rego.TestError {
			continue
		}
		m := remark{Rule: failedTest, Decision: protocol.Deny, Message: testMessage(t), Subject: t.Package + "." + t.Name}
		for _, dir := range sets.dirs {
			if strings.HasPrefix(t.File, dir+"/") || dir == "." {
				m.Spots = []spot{{t.File, t.Line}}
				break
			}
		}
		out = append(out, m)
	}
	return out
}

func testRules() map[string]rego.Rule {
	return map[string]rego.Rule{failedTest: {
		ID: failedTest, Policy: "test", Title: "Policy test", Description: "A test of a policy does not hold.",
		Remedy: "Mend the policy, or the test, and run cabincrew policy test.",
	}}
}

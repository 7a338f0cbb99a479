package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/protocol"
)

func (a *app) policyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "Try and test policies"}
	cmd.AddCommand(a.policyEvalCommand(), a.policyTestCommand())
	return cmd
}

// judged is what policies say of one step, or of one input document.
type judged struct {
	StepID      string                       `json:"step_id,omitempty"`
	Decision    protocol.Decision            `json:"decision"`
	Evaluations []protocol.PolicyEvaluation  `json:"evaluations"`
	Violations  []string                     `json:"violations"`
	Warnings    []string                     `json:"warnings"`
	Requires    []protocol.PreflightRequires `json:"requires"`
}

func (a *app) policyEvalCommand() *cobra.Command {
	var flight, input string
	cmd := &cobra.Command{
		Use: "eval --flight FLIGHT | --input FILE", Short: "Ask the policies about a flight or an input document; records nothing", Args: cobra.NoArgs,
		Long: `Asks the policies of the configuration, as they are now, about every step of a
sealed flight or about one input document (docs/policy-input.md; - is stdin).
The exit code is that of the decision: 0 allow or warn, 4 require_approval, 3 deny.`,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			if (flight == "") == (input == "") {
				return usageError("usage", "policy eval needs either --flight or --input").WithHint("cabincrew policy eval --flight FLIGHT")
			}
			return a.with(cmd.Context(), func(s *session) error {
				var list []judged
				var err error
				if flight != "" {
					list, err = s.judgeFlight(cmd.Context(), flight)
				} else {
					list, err = s.judgeInput(cmd.Context(), input)
				}
				if err != nil {
					return err
				}
				return a.tellJudged(list)
			})
		}),
	}
	cmd.Flags().StringVar(&flight, "flight", "", "flight to judge again")
	cmd.Flags().StringVar(&input, "input", "", "file with a policy input document")
	_ = cmd.RegisterFlagCompletionFunc("flight", a.completeFlights(1)) // the flag is there
	return cmd
}

func (s *session) judgeFlight(ctx context.Context, name string) ([]judged, error) {
	f, _, err := s.read([]string{name})
	if err != nil {
		return nil, err
	}
	reports, err := s.crew.Judge(ctx, f, s.setup)
	if err != nil {
		return nil, err
	}
	list := make([]judged, 0, len(reports))
	for _, r := range reports {
		list = append(list, judged{r.StepID, r.Decision, r.Evaluations, r.Violations, r.Warnings, r.Requires})
	}
	return list, nil
}

func (s *session) judgeInput(ctx context.Context, name string) ([]judged, error) {
	data, err := s.app.readInput(name, limits.PolicyEvalBytes)
	if err != nil {
		return nil, err
	}
	var in policies.Input
	if err := protocol.Decode(data, &in); err != nil {
		return nil, usageError("policy_input", "the document is no policy input: %w", err).At(name).
			WithHint("docs/policy-input.md describes it")
	}
	result, err := s.judges.plan.Evaluate(ctx, in, s.crew.Now().UTC().Format("2006-01-02T15:04:05.000Z"))
	if err != nil {
		return nil, err
	}
	d, err := policies.Decide(result.Findings, s.setup.Governance.Decide)
	if err != nil {
		return nil, err
	}
	return []judged{{
		Decision: d, Evaluations: result.Evaluations(), Violations: append([]string{}, result.Violations()...),
		Warnings: append([]string{}, result.Warnings()...), Requires: append([]protocol.PreflightRequires{}, result.Requires()...),
	}}, nil
}

func (a *app) tellJudged(list []judged) error {
	worst := protocol.Allow
	for _, j := range list {
		worst = protocol.MostSevere(worst, j.Decision)
	}
	if a.flags.output == outputJSON {
		a.printJSON(map[string]any{"decision": worst, "steps": list})
	}
	for _, j := range list {
		if j.StepID != "" {
			a.text("step " + oneLine(j.StepID) + "\n")
		}
		for _, e := range j.Evaluations {
			a.text(strings.TrimRight(fmt.Sprintf("%-16s  %s  %s", e.Decision, oneLine(e.PolicyID), oneLine(e.Reason)), " ") + "\n")
		}
		if len(j.Evaluations) == 0 {
			a.text("no policy judged this\n")
		}
		for _, q := range j.Requires {
			a.text("needs approval of role " + oneLine(q.Role) + "\n")
		}
	}
	a.text("decision " + string(worst) + "\n")
	switch worst {
	case protocol.Allow, protocol.Warn:
		return nil
	case protocol.RequireApproval:
		return reportedError{exit(protocol.ExitWaiting)}
	case protocol.Deny:
	}
	return reportedError{exit(protocol.ExitDenied)}
}

func (a *app) policyTestCommand() *cobra.Command {
	var filter string
	var coverage bool
	cmd := &cobra.Command{
		Use: "test [DIR…]", Short: "Run the Rego tests of policies under the restrictions of a flight",
		Long: `Runs the rules test_* of the given directories (a directory or the name of a
bundled set), or of the configuration's policies. It fails where a test fails or
none ran.`,
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			if _, err := regexp.Compile(filter); err != nil {
				return usageError("usage", "--run is no regular expression: %w", err).WithHint("for example --run 'test_deny_.*'")
			}
			sets, role, err := a.testSets(cmd.Context(), args)
			if err != nil {
				return err
			}
			report, err := rego.Test(cmd.Context(), sets, filter, rego.Options{Role: role})
			if err != nil {
				return err
			}
			return a.tellTests(report, coverage)
		}),
	}
	cmd.Flags().StringVar(&filter, "run", "", "only tests whose data.PACKAGE.NAME matches this regular expression")
	cmd.Flags().BoolVar(&coverage, "coverage", false, "say how much of the policies the tests went through")
	return cmd
}

// testSets gives the sets that are named, or those of the configuration.
func (a *app) testSets(ctx context.Context, names []string) ([]policies.Set, string, error) {
	if len(names) == 0 {
		p, err := a.place()
		if err != nil {
			return nil, "", err
		}
		c, err := config.Load(p.config)
		if err != nil {
			return nil, "", err
		}
		sets, err := loadSets(ctx, c.Policies.Bundled, c.Policies.Rego, p.dir())
		return sets, c.Approvals.DefaultRole, err
	}
	var sets []policies.Set
	for _, name := range names {
		load := func() (policies.Set, error) { return policies.Load(ctx, name, name) }
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) && slices.Contains(policies.BundledNames(), name) {
			load = func() (policies.Set, error) { return policies.Bundled(name) }
		}
		set, err := load()
		if err != nil {
			return nil, "", err
		}
		sets = append(sets, set)
	}
	return sets, "", nil
}

func (a *app) tellTests(r rego.TestReport, coverage bool) error {
	count := map[rego.TestOutcome]int{}
	for _, t := range r.Tests {
		count[t.Outcome]++
		switch t.Outcome {
		case rego.TestPass:
			continue
		case rego.TestSkip:
			a.text(fmt.Sprintf("skip  %s:%d  %s.%s: it is named todo_test_\n", oneLine(t.File), t.Line, oneLine(t.Package), oneLine(t.Name)))
		case rego.TestFail, rego.TestError:
			a.text(fmt.Sprintf("%-5s %s:%d  %s.%s (%s)  %s\n", t.Outcome, oneLine(t.File), t.Line, oneLine(t.Package), oneLine(t.Name),
				t.Duration.Round(time.Microsecond), oneLine(t.Error)))
		}
	}
	failed := count[rego.TestFail] + count[rego.TestError]
	a.text(fmt.Sprintf("%d passed, %d failed", count[rego.TestPass], failed))
	if n := count[rego.TestSkip]; n > 0 {
		a.text(fmt.Sprintf(", %d skipped", n))
	}
	a.text("\n")
	if coverage {
		a.text(fmt.Sprintf("coverage %d.%d %% (%d of %d lines)\n", r.Coverage()/10, r.Coverage()%10, r.Covered, r.Covered+r.Uncovered))
	}
	var err error
	switch {
	case failed > 0:
		err = protocol.Errorf(protocol.ExitFailure, "policy_test_failed", "%d policy tests failed", failed).WithHint("each failing test is named above with its place")
	case !r.Passed():
		err = protocol.Errorf(protocol.ExitFailure, "policy_test_none", "no policy test ran").WithHint("tests are rules test_* in files *_test.rego; look at --run too")
	}
	if a.flags.output == outputJSON {
		a.printJSON(struct {
			rego.TestReport
			Passed bool                       `json:"passed"`
			Error  *orchestrator.SummaryError `json:"error,omitempty"`
		}{r, err == nil, orchestrator.ErrorOf(err)})
	}
	if err != nil {
		a.complain(err)
		return reportedError{err}
	}
	return nil
}

// dir gives the directory that paths of the configuration are relative to.
func (p place) dir() string { return filepath.Dir(p.config) }

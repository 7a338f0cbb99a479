package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/schemas"
)

// judged is what policies say of one step, or of one input document.
type judged struct {
	StepID       string                       `json:"step_id,omitempty"`
	Decision     protocol.Decision            `json:"decision"`
	Evaluations  []evaluation                 `json:"evaluations"`
	Violations   []string                     `json:"violations"`
	Warnings     []string                     `json:"warnings"`
	Requires     []protocol.PreflightRequires `json:"requires"`
	Explanations []policies.Explanation       `json:"explanations,omitempty"`
}

func (a *app) policyEvalCommand() *cobra.Command {
	var flight, input, format string
	cmd := &cobra.Command{
		Use: "eval --flight FLIGHT | --input FILE", Short: "Ask the policies about a flight or an input document; records nothing", Args: cobra.NoArgs,
		Long: `Asks the policies of the configuration, as they are now, about every step of a
sealed flight or about one input document (docs/policy-input.md; - is stdin).
It tells every evaluation with its reason, evidence, place and the time that the
policy took; with --explain also what each rule came to.
The exit code is that of the decision: 0 allow or warn, 4 require_approval, 3 deny.`,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			if (flight == "") == (input == "") {
				return usageError("usage", "policy eval needs either --flight or --input").WithHint("cabincrew policy eval --flight FLIGHT")
			}
			if err := a.policyFormat(&format); err != nil {
				return err
			}
			a.judging = true
			return a.with(cmd.Context(), func(s *session) error { return s.policyEval(cmd.Context(), flight, input, format) })
		}),
	}
	cmd.Flags().StringVar(&flight, "flight", "", "flight to judge again")
	cmd.Flags().StringVar(&input, "input", "", "file with a policy input document")
	cmd.Flags().BoolVar(&a.explain, "explain", false, "tell what each rule of the policies came to")
	formatFlag(cmd, &format)
	_ = cmd.RegisterFlagCompletionFunc("flight", a.completeFlights(1)) // the flag is there
	return cmd
}

func (s *session) policyEval(ctx context.Context, flight, input, format string) error {
	plan := policySets{sets: s.judges.sets, dirs: s.place.setDirs(s.setup.Config.Policies.Rego)}
	var list []judged
	var err error
	if flight != "" {
		list, err = s.judgeFlight(ctx, flight, plan)
	} else {
		list, err = s.judgeInput(ctx, input, plan)
	}
	if err != nil {
		return err
	}
	return s.app.tellJudged(list, plan, format)
}

func (s *session) judgeFlight(ctx context.Context, name string, sets policySets) ([]judged, error) {
	f, _, err := s.read([]string{name})
	if err != nil {
		return nil, err
	}
	all, err := s.crew.Judge(ctx, f, s.setup)
	if err != nil {
		return nil, err
	}
	list := make([]judged, 0, len(all))
	for _, j := range all {
		list = append(list, judged{
			StepID: j.StepID, Decision: j.Decision, Evaluations: evaluationsOf(j.Findings, sets),
			Violations: j.Violations, Warnings: j.Warnings, Requires: j.Requires, Explanations: j.Explanations,
		})
	}
	return list, nil
}

func evaluationsOf(findings []policies.Finding, sets policySets) []evaluation {
	out := make([]evaluation, 0, len(findings))
	for _, f := range findings {
		out = append(out, evaluationOf(f, sets))
	}
	return out
}

// policyInput reads an input document as the schema has it: policies would find
// nothing in what is misspelt or missing.
func policyInput(data []byte, name string) (policies.Input, error) {
	var in policies.Input
	bad := func(err error) error {
		return usageError("policy_input", "the document is no policy input: %w", err).At(name).
			WithHint("docs/policy-input.md describes it; cabincrew schema policy-input prints its schema")
	}
	doc, err := protocol.DecodeAny(data)
	if err != nil {
		return in, bad(err)
	}
	if err := schemas.ValidateValue("policy-input", doc); err != nil {
		return in, bad(err)
	}
	if err := protocol.Decode(data, &in); err != nil {
		return in, bad(err)
	}
	return in, nil
}

func (s *session) judgeInput(ctx context.Context, name string, sets policySets) ([]judged, error) {
	data, err := s.app.readInput(name, limits.PolicyEvalBytes)
	if err != nil {
		return nil, err
	}
	in, err := policyInput(data, name)
	if err != nil {
		return nil, err
	}
	result, err := s.judges.plan.Evaluate(ctx, in, s.crew.Now().UTC().Format("2006-01-02T15:04:05.000Z"))
	if err != nil {
		return nil, err
	}
	result = s.setup.Shown(result)
	d, err := policies.Decide(result.Findings, s.setup.Governance.Decide)
	if err != nil {
		return nil, err
	}
	return []judged{{
		Decision: d, Evaluations: evaluationsOf(result.Findings, sets), Violations: append([]string{}, result.Violations()...),
		Warnings: append([]string{}, result.Warnings()...), Requires: append([]protocol.PreflightRequires{}, result.Requires()...),
		Explanations: result.Explanations,
	}}, nil
}

// tellJudged prints what the policies say and ends as the decision does.
func (a *app) tellJudged(list []judged, sets policySets, format string) error {
	worst := protocol.Allow
	var remarks []remark
	for _, j := range list {
		worst = protocol.MostSevere(worst, j.Decision)
		for _, e := range j.Evaluations {
			remarks = append(remarks, e.remark(j.StepID))
		}
	}
	var err error
	switch format {
	case outputJSON:
		a.printJSON(map[string]any{"decision": worst, "steps": list})
	case formatSARIF:
		err = a.writeSARIF(remarks, ruleBook(sets))
	case formatJUnit:
		err = a.writeJUnit(judgedJUnit(list))
	case formatGitHub:
		err = a.write([]byte(githubCommands(remarks)))
		a.text("decision " + string(worst) + "\n")
	default:
		for _, j := range list {
			a.text(j.render())
		}
		a.text("decision " + string(worst) + "\n")
	}
	if err != nil {
		return err
	}
	return decisionExit(worst)
}

func (j judged) render() string {
	var b strings.Builder
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format, args...) }
	if j.StepID != "" {
		p("step %s  decision %s\n", oneLine(j.StepID), j.Decision)
	}
	for _, e := range j.Evaluations {
		p("%s\n", strings.TrimRight(fmt.Sprintf("%-16s  %s  %s", e.Decision, oneLine(e.PolicyID), oneLine(e.Reason)), " "))
		if spots := e.remark("").Spots; len(spots) > 0 {
			p("    files     %s\n", filesText(spots))
		}
		if e.Policy != "" {
			p("    rule      %s\n", oneLine(e.Policy))
		}
		if rest := evidenceText(e.PolicyEvaluation); rest != "" {
			p("    evidence  %s\n", oneLine(rest))
		}
		if e.SpentUS > 0 {
			p("    spent     %s\n", e.spent().Round(10*time.Microsecond))
		}
	}
	if len(j.Evaluations) == 0 {
		p("no policy judged this\n")
	}
	for _, q := range j.Requires {
		p("needs approval of role %s\n", oneLine(q.Role))
	}
	for _, x := range j.Explanations {
		p("explained %s\n", oneLine(x.Policy))
		for _, line := range x.Lines {
			p("    %s\n", oneLine(line))
		}
	}
	return b.String()
}

// judgedJUnit makes a test of each evaluation: what is not allowed has failed.
func judgedJUnit(list []judged) junitReport {
	r := junitReport{Name: "cabincrew policy eval"}
	for _, j := range list {
		s := junitSuite{Name: oneLine(j.StepID)}
		if s.Name == "" {
			s.Name = "input"
		}
		var total time.Duration
		spent := map[string]bool{}
		for _, e := range j.Evaluations {
			c := junitCase{Name: oneLine(e.PolicyID), Class: junitClass("policy", s.Name), Time: junitTime(e.spent())}
			policy, _, _ := strings.Cut(e.PolicyID, "/")
			if !spent[policy] { // the time is that of the whole policy
				spent[policy] = true
				total += e.spent()
			}
			switch e.Decision {
			case protocol.Deny, protocol.RequireApproval:
				c.Failure = newJUnitMessage(string(e.Decision), e.Reason, filesText(e.remark("").Spots))
			default:
				c.Output = visible(string(e.Decision) + ": " + e.Reason)
			}
			s.Cases = append(s.Cases, c)
		}
		if len(j.Evaluations) == 0 {
			c := junitCase{Name: "judged", Class: junitClass("policy", s.Name), Time: junitTime(0), Output: "no policy judged this"}
			if j.Decision == protocol.Deny {
				c.Failure = newJUnitMessage(string(j.Decision), "no policy judged this", "")
			}
			s.Cases = append(s.Cases, c)
		}
		s.Time = junitTime(total)
		r.Suites = append(r.Suites, s)
	}
	return r
}

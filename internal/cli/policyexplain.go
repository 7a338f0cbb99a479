package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/policies/rules"
	"github.com/cabincrew/action/policies/secrets"
	"github.com/cabincrew/action/protocol"
)

// explainedRule is what policy explain tells of one rule.
type explainedRule struct {
	ID          string            `json:"id,omitempty"`
	PolicyID    string            `json:"policy_id"`
	Decision    protocol.Decision `json:"decision,omitempty"`
	Role        string            `json:"role,omitempty"`
	Title       string            `json:"title,omitempty"`
	Description string            `json:"description,omitempty"`
	Remedy      string            `json:"remedy,omitempty"`
	At          string            `json:"at"`
	Rego        string            `json:"rego,omitempty"`
	Exempt      string            `json:"exempt"` // for the configuration
	Findings    []flightFinding   `json:"findings,omitempty"`
}

// flightFinding is what a rule found in a flight, as it was recorded.
type flightFinding struct {
	StepID string `json:"step_id"`
	matched
}

func (a *app) policyExplainCommand() *cobra.Command {
	var flight string
	var sets []string
	cmd := &cobra.Command{
		Use: "explain RULE", Short: "Tell what a rule says, how to satisfy it and how to exempt it", Args: cobra.ExactArgs(1),
		Long: `Tells of a rule, by its id (ci-workflow) or its whole policy id
(cabincrew.baseline/require_approval/ci-workflow): title, description, decision,
remedy, place, text and how to exempt files from it. It looks into the policies of
the configuration, into those of --set, or, where there is no configuration, into
the bundled ones; it also knows the rules and models of the configuration and the
rules of the search for secrets. With --flight it tells what the rule found there.`,
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			if flight == "" {
				list, err := a.rulesNamed(cmd.Context(), args[0], sets)
				if err != nil {
					return err
				}
				a.tellRules(list, "")
				return nil
			}
			return a.with(cmd.Context(), func(s *session) error {
				list, err := a.rulesNamed(cmd.Context(), args[0], sets)
				if err != nil {
					return err
				}
				f, _, err := s.read([]string{flight})
				if err != nil {
					return err
				}
				foundIn(orchestrator.Summarize(f), list)
				a.tellRules(list, f.ID())
				return nil
			})
		}),
	}
	cmd.Flags().StringVar(&flight, "flight", "", "also tell what the rule found in this flight")
	cmd.Flags().StringArrayVar(&sets, "set", nil, "look into this set: a directory, or the name of a bundled one; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("flight", a.completeFlights(1)) // the flag is there
	return cmd
}

// rulesNamed finds the rules that a name means; more than one if sets share an id.
func (a *app) rulesNamed(ctx context.Context, name string, names []string) ([]explainedRule, error) {
	all, err := a.everyRule(ctx, names)
	if err != nil {
		return nil, err
	}
	var found []explainedRule
	for _, r := range all {
		if name == r.ID || name == r.PolicyID {
			found = append(found, r)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	near := nearest(name, all)
	e := usageError("policy_rule_unknown", "there is no rule %q", name)
	if len(near) > 0 {
		return nil, e.WithHint("perhaps %s; --set looks into other sets", strings.Join(near, ", "))
	}
	return nil, e.WithHint("rules are named as in the report: ID, or PACKAGE/RULE/ID; --set looks into other sets")
}

// everyRule gives the rules of the sets that are named, or of the configuration.
func (a *app) everyRule(ctx context.Context, names []string) ([]explainedRule, error) {
	var groups []policySets
	var c *config.Config
	given := names
	if len(names) == 0 {
		plan, after, current, err := a.configuredSets(ctx)
		switch {
		case errors.Is(err, protocol.Code("config_not_found")):
			names = slices.Concat(policies.BundledNames(), policies.GatewayNames())
		case err != nil:
			return nil, err
		default:
			groups, c = []policySets{plan, after}, current
		}
	}
	if len(names) > 0 {
		sets, err := namedSets(ctx, names)
		if err != nil {
			return nil, err
		}
		groups = []policySets{sets}
	}
	var out []explainedRule
	for _, g := range groups {
		rules, err := rego.AllRules(g.sets)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			out = append(out, explainedRule{
				ID: r.ID, PolicyID: r.PolicyID(), Decision: r.Decision, Title: r.Title, Description: r.Description, Remedy: r.Remedy,
				At: g.shown(r.At), Rego: r.Text, Exempt: exemptText(cmp.Or(r.ID, r.PolicyID())),
			})
		}
	}
	if c == nil && len(given) > 0 {
		return out, nil
	}
	others, err := otherRules(c)
	return append(out, others...), err
}

// otherRules gives what judges without Rego: what is built in, the search for secrets, and the rules
// and models of a configuration, if there is one.
func otherRules(c *config.Config) ([]explainedRule, error) {
	var out []explainedRule
	for _, r := range rules.LegibleRules() {
		out = append(out, explainedRule{
			ID: r.ID, PolicyID: "legible/" + r.ID, Decision: protocol.Deny, Title: r.Title, Description: r.Description, Remedy: r.Remedy,
			At: "built in (docs/policies.md)", Exempt: exemptText(r.ID),
		})
	}
	decision := protocol.Deny
	if c != nil {
		for _, r := range c.Rules {
			out = append(out, explainedRule{
				ID: r.ID, PolicyID: "rules/" + r.ID, Decision: r.Decision, Role: r.Role, Description: r.Reason, At: r.Where, Exempt: exemptText(r.ID),
			})
		}
		for i := range c.Models {
			out = append(out, modelRule(&c.Models[i]))
		}
		if !c.Policies.Secrets.Scan {
			return out, nil
		}
		decision = c.Policies.Secrets.Decision
	}
	infos, err := secrets.RuleInfos()
	if err != nil {
		return nil, err
	}
	for _, r := range infos {
		rule := explainedRule{
			ID: r.ID, PolicyID: "secrets/" + r.ID, Decision: decision, Title: r.Description, At: "the search for secrets (docs/policies.md)", Exempt: exemptText(r.ID),
			Remedy: "Take it out of the change and revoke it. One that is none, or that everybody knows, belongs into the baseline: cabincrew policy secrets --flight FLIGHT --write-baseline FILE.",
		}
		if r.ID == secrets.RuleDelta {
			rule.Decision, rule.Remedy = protocol.RequireApproval, "Let the engine plan the file's whole content, or look at it."
		}
		out = append(out, rule)
	}
	return out, nil
}

// modelRule tells of a model as of a rule.
func modelRule(m *config.Model) explainedRule {
	var when []string
	for _, d := range m.Decisions {
		when = append(when, fmt.Sprintf("%s at %s of %s", d.Decision, d.AtLeast, d.Label))
	}
	source := cmp.Or(m.Path, m.OCI)
	if m.Bundled != "" {
		source = "bundled " + m.Bundled + " (models/" + m.Bundled + ".md says how it was made and where it fails)"
	}
	return explainedRule{
		ID: m.Name, PolicyID: "onnx/" + m.Name, Title: "Model " + source, Description: strings.Join(when, "; "), At: m.Where,
		Remedy: "Look at the place that the finding names; the score is its evidence.", Exempt: exemptText("onnx/" + m.Name),
	}
}

// exemptFor is for how long the exemption that is shown would hold.
const exemptFor = 30 * 24 * time.Hour

// exemptText gives what exempts files from a rule, to be put into the configuration.
func exemptText(rule string) string {
	return "policies:\n  exemptions:\n    - rule: " + rule + "\n      paths: [path/to/file]\n      until: " +
		time.Now().UTC().Add(exemptFor).Format(time.DateOnly) + "\n      reason: why this is fine\n"
}

// nearest gives ids that a mistyped name may mean.
func nearest(name string, all []explainedRule) []string {
	const most = 5
	last := path.Base(name)
	var out []string
	for _, r := range all {
		id := cmp.Or(r.ID, r.PolicyID)
		if (strings.Contains(id, last) || strings.Contains(last, id) || distance(id, last) <= 2) && !slices.Contains(out, id) && len(out) < most {
			out = append(out, id)
		}
	}
	return out
}

// distance counts the letters by which two short words differ.
func distance(a, b string) int {
	const longest = 128
	if len(a) > longest || len(b) > longest {
		return longest
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// foundIn adds what a flight records of rules.
func foundIn(s orchestrator.Summary, list []explainedRule) {
	for i := range list {
		for _, step := range s.Steps {
			for _, e := range step.Evaluations {
				if e.PolicyID == list[i].PolicyID {
					list[i].Findings = append(list[i].Findings, flightFinding{step.StepID, matchedOf(e)})
				}
			}
		}
	}
}

// tellRules prints rules, with what they found in a flight.
func (a *app) tellRules(list []explainedRule, flight string) {
	if a.flags.output == outputJSON {
		a.printJSON(list)
		return
	}
	for i, r := range list {
		if i > 0 {
			a.text("\n")
		}
		a.text(r.render(flight))
	}
}

func (r explainedRule) render(flight string) string {
	var b strings.Builder
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format, args...) }
	p("%s\n", oneLine(r.PolicyID))
	if r.Title != "" {
		p("%s\n", oneLine(r.Title))
	}
	p("\n")
	if r.Decision != "" {
		p("decision  %s", r.Decision)
		if r.Role != "" {
			p(" of role %s", oneLine(r.Role))
		}
		p("\n")
	}
	p("place     %s\n", oneLine(r.At))
	if r.Description != "" {
		p("when      %s\n", oneLine(r.Description))
	}
	if r.Remedy != "" {
		p("remedy    %s\n", oneLine(r.Remedy))
	}
	if r.Rego != "" {
		p("\n%s\n", indented(r.Rego))
	}
	p("\nto exempt files from it, in the configuration:\n\n%s", indented(r.Exempt)+"\n")
	if flight == "" {
		return b.String()
	}
	p("\n")
	if len(r.Findings) == 0 {
		p("it found nothing in flight %s\n", oneLine(flight))
	}
	for _, f := range r.Findings {
		p("flight %s  step %s  %s  %s", oneLine(flight), oneLine(f.StepID), f.Decision, oneLine(f.Reason))
		if len(f.Files) > 0 {
			p(" (%s)", filesText(f.spots()))
		}
		p("\n")
	}
	return b.String()
}

// indented shows foreign text of many lines behind a gutter.
func indented(s string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimRight(s, "\n")) {
		b.WriteString("    " + strings.TrimRight(visible(line), "\n") + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

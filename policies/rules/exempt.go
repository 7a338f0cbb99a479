package rules

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Exemption says that what a rule finds in some files is known and accepted.
type Exemption struct {
	Rule   string   // a rule's id, or a whole policy id
	Paths  []string // globs; every file of the finding must match one
	Until  time.Time
	Reason string
}

// everything is the glob that also covers a finding that names no file.
const everything = "**"

// Exempt wraps a judge: its findings that an exemption covers become allow, with
// what they were and why in reason and evidence.
func Exempt(judge policies.Evaluator, exemptions []Exemption) policies.Evaluator {
	if len(exemptions) == 0 {
		return judge
	}
	return exempting{judge, slices.Clone(exemptions)}
}

type exempting struct {
	judge      policies.Evaluator
	exemptions []Exemption
}

func (e exempting) Evaluate(ctx context.Context, in policies.Input, evaluatedAt string) (policies.Result, error) {
	result, err := e.judge.Evaluate(ctx, in, evaluatedAt)
	if err != nil {
		return policies.Result{}, err
	}
	now, err := time.Parse(time.RFC3339, evaluatedAt)
	if err != nil {
		return policies.Result{}, protocol.Errorf(protocol.ExitDenied, "policy_exemption",
			"whether exemptions still hold cannot be told: the time of the evaluation is %q", evaluatedAt)
	}
	for i := range result.Findings {
		f := &result.Findings[i]
		for _, x := range e.exemptions {
			if !x.covers(*f) {
				continue
			}
			if now.After(x.Until) {
				f.Reason += fmt.Sprintf(" (its exemption ended on %s)", x.Until.UTC().Format(time.DateOnly))
				continue
			}
			*f = x.exempt(*f)
			break
		}
	}
	return result, nil
}

// covers says whether the exemption speaks about a finding, whatever the time.
func (x Exemption) covers(f policies.Finding) bool {
	if f.Unjudged || f.Firm || f.Cut || f.Decision == protocol.Allow || (x.Rule != f.PolicyID && (f.Rule == "" || x.Rule != f.Rule)) {
		return false
	}
	if len(f.Files) == 0 {
		return slices.Contains(x.Paths, everything)
	}
	for _, file := range f.Files {
		if !anyGlob(x.Paths, file) {
			return false
		}
	}
	return true
}

func (x Exemption) exempt(f policies.Finding) policies.Finding {
	until := x.Until.UTC().Format(time.DateOnly)
	evidence := map[string]any{"exempted": map[string]any{"was": string(f.Decision), "until": until, "reason": x.Reason}}
	for k, v := range f.Evidence {
		if k != "exempted" && k != "role" {
			evidence[k] = v
		}
	}
	f.Reason = fmt.Sprintf("exempt until %s (%s); it was %s: %s", until, x.Reason, f.Decision, f.Reason)
	f.Decision, f.Severity, f.Evidence, f.Role = protocol.Allow, protocol.Allow.Severity(), evidence, ""
	return f
}

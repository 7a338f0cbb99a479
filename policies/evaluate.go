package policies

import (
	"context"
	"slices"
	"time"

	"github.com/cabincrew/action/protocol"
)

// DefaultRole is the role that must approve where a policy names none.
const DefaultRole = "maintainer"

// Evaluator judges one step. An error means that judging itself broke (a failed
// canary, a cancelled context); the step is then denied. What only one policy
// could not judge is a Finding with Unjudged set. It is safe for concurrent use.
type Evaluator interface {
	// Evaluate judges one input document. evaluatedAt is copied into every
	// evaluation as it is.
	Evaluate(ctx context.Context, in Input, evaluatedAt string) (Result, error)
}

// Result is everything that an Evaluator found, in an order that depends on the
// policies and the input only.
type Result struct {
	Findings []Finding
	// Explanations tell how decisions came about, where that was asked for.
	Explanations []Explanation
	// Hidden are secrets that were found, see Discreet.
	Hidden Hidden
}

// Explanation tells what the rules of one policy came to, a line each.
type Explanation struct {
	Policy string   `json:"policy"`
	Lines  []string `json:"lines"`
}

// Finding is one evaluation with what the wire form has no field for.
type Finding struct {
	protocol.PolicyEvaluation
	// Role must approve; set if and only if the decision is require_approval.
	Role string
	// Artifact is the name of the artifact that the finding is about, or empty.
	Artifact string
	// Rule is the id of the rule that found it, as exemptions name it; empty if it has none.
	Rule string
	// Files are the paths that the finding is about, if it says so. Cut says that
	// there are more.
	Files []string
	Cut   bool
	// Firm says that no exemption of the configuration covers it and no aggregation
	// method outvotes it.
	Firm bool
	// Spent is how long the judge took for all findings of this policy together.
	Spent time.Duration
	// Unjudged says that the policy could not be evaluated (an error, a time-out,
	// an answer of the wrong kind). No aggregation method outvotes it.
	Unjudged bool
	// Discreet says that its texts hold no secret that the same judge found.
	Discreet bool
}

// Evaluations gives the wire form of the findings.
func (r Result) Evaluations() []protocol.PolicyEvaluation {
	out := make([]protocol.PolicyEvaluation, len(r.Findings))
	for i, f := range r.Findings {
		out[i] = f.PolicyEvaluation
	}
	return out
}

// Violations gives the reasons of all denials, in order.
func (r Result) Violations() []string { return r.reasons(protocol.Deny) }

// Warnings gives the reasons of all warnings, in order.
func (r Result) Warnings() []string { return r.reasons(protocol.Warn) }

// Requires gives each role that must approve with the first reason for it, by role.
func (r Result) Requires() []protocol.PreflightRequires {
	var out []protocol.PreflightRequires
	for _, f := range r.Findings {
		if f.Decision != protocol.RequireApproval {
			continue
		}
		if !slices.ContainsFunc(out, func(q protocol.PreflightRequires) bool { return q.Role == f.Role }) {
			out = append(out, protocol.PreflightRequires{Role: f.Role, Reason: f.Reason})
		}
	}
	slices.SortStableFunc(out, func(a, b protocol.PreflightRequires) int {
		switch {
		case a.Role < b.Role:
			return -1
		case a.Role > b.Role:
			return 1
		}
		return 0
	})
	return out
}

func (r Result) reasons(d protocol.Decision) []string {
	var out []string
	for _, f := range r.Findings {
		if f.Decision == d {
			out = append(out, f.Reason)
		}
	}
	return out
}

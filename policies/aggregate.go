package policies

import (
	"github.com/cabincrew/action/protocol"
)

// Custom is the rule that decides under the aggregation method "custom".
type Custom func([]protocol.PolicyEvaluation) (protocol.Decision, error)

// AggregateOptions says how findings become one decision.
type AggregateOptions struct {
	// Method is the aggregation method; empty means most_restrictive.
	Method protocol.Aggregation
	// AllowWithoutPolicies makes "no evaluation at all" an allow, not a deny.
	AllowWithoutPolicies bool
	// Custom is needed by the method "custom" and not used by any other.
	Custom Custom
}

// Decide gives the decision of all findings together. A finding that could not
// be judged makes it a deny whatever the method: a majority of judges that did
// look cannot speak for one that could not. A firm finding is not outvoted, and does
// not vote: it makes the decision stricter or nothing. The decision is deny beside
// any error.
// SPEC: docs/protocol.md 6.
func Decide(findings []Finding, o AggregateOptions) (protocol.Decision, error) {
	evals := Result{Findings: findings}.Evaluations()
	var decisions []protocol.Decision
	for _, f := range findings {
		if !f.Firm {
			decisions = append(decisions, f.Decision)
		}
	}
	var custom func() (protocol.Decision, error)
	if o.Custom != nil {
		custom = func() (protocol.Decision, error) { return o.Custom(evals) }
	}
	d, err := Aggregate(o.Method, decisions, o.AllowWithoutPolicies, custom)
	if err != nil {
		return protocol.Deny, err
	}
	for _, f := range findings {
		if f.Unjudged {
			return protocol.Deny, nil
		}
		if f.Firm {
			d = protocol.MostSevere(d, f.Decision)
		}
	}
	return d, nil
}

// Aggregate makes one decision of many, independent of their order. An unknown
// decision counts as deny. No decision at all is deny unless
// allowWithoutPolicies. The result is deny beside any error.
// SPEC: docs/protocol.md 6.
func Aggregate(method protocol.Aggregation, decisions []protocol.Decision, allowWithoutPolicies bool,
	custom func() (protocol.Decision, error),
) (protocol.Decision, error) {
	switch method {
	case "", protocol.MostRestrictive, protocol.Unanimous, protocol.Majority, protocol.AnyDeny, protocol.AllAllow:
	case protocol.CustomRule:
		if custom == nil {
			return protocol.Deny, protocol.Errorf(protocol.ExitUsage, "aggregation_rule_missing",
				"aggregation is custom, but no rule is named").
				WithHint("name the rule under policies.custom_rule, or choose another method")
		}
	default:
		return protocol.Deny, protocol.Errorf(protocol.ExitUsage, "aggregation_unknown",
			"there is no aggregation method %q", string(method)).
			WithHint("use most_restrictive, unanimous, majority, any_deny, all_allow or custom")
	}
	if len(decisions) == 0 {
		// A flight that nobody judged is not a flight that everybody allowed.
		if allowWithoutPolicies {
			return protocol.Allow, nil
		}
		return protocol.Deny, nil
	}
	switch method {
	case protocol.Majority:
		return majority(decisions), nil
	case protocol.CustomRule:
		return customDecision(custom)
	default:
		// unanimous, any_deny and all_allow name a case in which the answer is
		// clear and fall back to the most restrictive one; in that case the most
		// restrictive is the same answer.
		return mostRestrictive(decisions), nil
	}
}

func customDecision(custom func() (protocol.Decision, error)) (protocol.Decision, error) {
	d, err := custom()
	if err != nil {
		return protocol.Deny, err
	}
	if !d.Valid() {
		return protocol.Deny, protocol.Errorf(protocol.ExitDenied, "policy_error",
			"the aggregation rule answered %q, which is no decision", string(d)).
			WithHint("it must give allow, warn, require_approval or deny")
	}
	return d, nil
}

func mostRestrictive(decisions []protocol.Decision) protocol.Decision {
	most := protocol.Allow
	for _, d := range decisions {
		most = protocol.MostSevere(most, d)
	}
	return most
}

// majority gives the decision that is there most often, the more severe one of
// equally frequent ones.
func majority(decisions []protocol.Decision) protocol.Decision {
	bySeverity := [...]protocol.Decision{protocol.Allow, protocol.Warn, protocol.RequireApproval, protocol.Deny}
	var count [len(bySeverity)]int
	for _, d := range decisions {
		count[d.Severity()]++
	}
	best := 0
	for s := range count {
		if count[s] >= count[best] && count[s] > 0 {
			best = s
		}
	}
	return bySeverity[best]
}

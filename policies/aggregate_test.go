package policies_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

var four = []protocol.Decision{protocol.Allow, protocol.Warn, protocol.RequireApproval, protocol.Deny}

// model is a second reading of the aggregation rules, by sentences over counts
// of each word and not by severities.
func model(method protocol.Aggregation, n map[protocol.Decision]int, without bool, custom protocol.Decision) protocol.Decision {
	total := n["allow"] + n["warn"] + n["require_approval"] + n["deny"]
	if total == 0 {
		if without {
			return "allow"
		}
		return "deny"
	}
	restrictive := func(skipDeny bool) protocol.Decision {
		for _, d := range []protocol.Decision{"deny", "require_approval", "warn"} {
			if n[d] > 0 && (!skipDeny || d != "deny") {
				return d
			}
		}
		return "allow"
	}
	switch method {
	case "most_restrictive":
		return restrictive(false)
	case "unanimous":
		for d, c := range n {
			if c == total {
				return d
			}
		}
		return restrictive(false)
	case "majority":
		for want := total; want > 0; want-- {
			for _, d := range []protocol.Decision{"deny", "require_approval", "warn", "allow"} {
				if n[d] == want {
					return d
				}
			}
		}
		panic("unreachable")
	case "any_deny":
		if n["deny"] >= 1 {
			return "deny"
		}
		return restrictive(true)
	case "all_allow":
		if n["allow"] == total {
			return "allow"
		}
		return restrictive(false)
	case "custom":
		return custom
	}
	panic("no such method")
}

func TestAggregateAgainstModel(t *testing.T) {
	t.Parallel()
	methods := []protocol.Aggregation{
		protocol.MostRestrictive, protocol.Unanimous, protocol.Majority,
		protocol.AnyDeny, protocol.AllAllow, protocol.CustomRule,
	}
	r := rand.New(rand.NewPCG(1, 2))
	cases := 0
	for a := range 7 {
		for w := range 7 - a {
			for q := range 7 - a - w {
				for d := range 7 - a - w - q {
					n := map[protocol.Decision]int{"allow": a, "warn": w, "require_approval": q, "deny": d}
					var list []protocol.Decision
					for _, dec := range four {
						for range n[dec] {
							list = append(list, dec)
						}
					}
					for _, m := range methods {
						for _, without := range []bool{false, true} {
							answer := four[(a+2*w+3*q+d)%4]
							want := model(m, n, without, answer)
							for range 8 { // any order gives the same
								got, err := policies.Aggregate(m, list, without, func() (protocol.Decision, error) { return answer, nil })
								if err != nil || got != want {
									t.Fatalf("%s %v without=%v: %s, %v; want %s", m, list, without, got, err, want)
								}
								r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
								cases++
							}
						}
					}
				}
			}
		}
	}
	if cases != 210*6*2*8 { // C(6+4,4) multisets of up to six
		t.Fatalf("%d cases", cases)
	}
}

func TestAggregateRefusals(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	allows := []protocol.Decision{protocol.Allow}
	tests := []struct {
		name   string
		method protocol.Aggregation
		in     []protocol.Decision
		custom func() (protocol.Decision, error)
		want   error
	}{
		{"unknown method", "loudest", allows, nil, protocol.Code("aggregation_unknown")},
		{"unknown method without evaluations", "loudest", nil, nil, protocol.Code("aggregation_unknown")},
		{"custom without rule", protocol.CustomRule, allows, nil, protocol.Code("aggregation_rule_missing")},
		{"custom fails", protocol.CustomRule, allows, func() (protocol.Decision, error) { return protocol.Allow, broken }, broken},
		{"custom gives no decision", protocol.CustomRule, allows, func() (protocol.Decision, error) { return "", nil }, protocol.Code("policy_error")},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := policies.Aggregate(tc.method, tc.in, true, tc.custom)
			if got != protocol.Deny || !errors.Is(err, tc.want) {
				t.Fatalf("%s, %v; want deny and %v", got, err, tc.want)
			}
		})
	}
	for _, m := range []protocol.Aggregation{"", protocol.Unanimous, protocol.Majority, protocol.AllAllow, protocol.AnyDeny} {
		if got, err := policies.Aggregate(m, []protocol.Decision{"perhaps"}, true, nil); got != protocol.Deny || err != nil {
			t.Errorf("%s over an unknown decision: %s, %v", m, got, err)
		}
	}
}

func TestDecideIsNotOutvoted(t *testing.T) {
	t.Parallel()
	allow := policies.Finding{PolicyEvaluation: protocol.PolicyEvaluation{Decision: protocol.Allow}}
	failed := policies.Finding{PolicyEvaluation: protocol.PolicyEvaluation{Decision: protocol.Deny}, Unjudged: true}
	say := func([]protocol.PolicyEvaluation) (protocol.Decision, error) { return protocol.Allow, nil }
	for _, m := range []protocol.Aggregation{protocol.Majority, protocol.CustomRule} {
		o := policies.AggregateOptions{Method: m, Custom: say}
		if d, err := policies.Decide([]policies.Finding{allow, allow}, o); d != protocol.Allow || err != nil {
			t.Errorf("%s of allows: %s, %v", m, d, err)
		}
		if d, err := policies.Decide([]policies.Finding{allow, allow, failed}, o); d != protocol.Deny || err != nil {
			t.Errorf("%s with a judge that failed: %s, %v", m, d, err)
		}
	}
	firm := policies.Finding{PolicyEvaluation: protocol.PolicyEvaluation{Decision: protocol.RequireApproval}, Firm: true}
	for _, m := range []protocol.Aggregation{protocol.Majority, protocol.CustomRule} {
		if d, err := policies.Decide([]policies.Finding{allow, allow, firm}, policies.AggregateOptions{Method: m, Custom: say}); d != protocol.RequireApproval || err != nil {
			t.Errorf("%s outvotes a firm finding: %s, %v", m, d, err)
		}
	}
	deny := policies.Finding{PolicyEvaluation: protocol.PolicyEvaluation{Decision: protocol.Deny}}
	if d, err := policies.Decide([]policies.Finding{deny, firm, firm, deny, firm}, policies.AggregateOptions{Method: protocol.Majority}); d != protocol.Deny || err != nil {
		t.Errorf("firm findings outvote others: %s, %v", d, err)
	}
	if d, err := policies.Decide([]policies.Finding{firm}, policies.AggregateOptions{}); d != protocol.Deny || err != nil {
		t.Errorf("a firm finding stands in for a policy: %s, %v", d, err)
	}
	if d, err := policies.Decide(nil, policies.AggregateOptions{}); d != protocol.Deny || err != nil {
		t.Errorf("nothing evaluated: %s, %v", d, err)
	}
	if d, err := policies.Decide(nil, policies.AggregateOptions{AllowWithoutPolicies: true}); d != protocol.Allow || err != nil {
		t.Errorf("nothing evaluated, allowed without policies: %s, %v", d, err)
	}
}

func TestResultViews(t *testing.T) {
	t.Parallel()
	f := func(d protocol.Decision, role, reason string) policies.Finding {
		return policies.Finding{PolicyEvaluation: protocol.PolicyEvaluation{Decision: d, Reason: reason}, Role: role}
	}
	r := policies.Result{Findings: []policies.Finding{
		f(protocol.RequireApproval, "b", "first"), f(protocol.Warn, "", "careful"),
		f(protocol.RequireApproval, "a", "second"), f(protocol.Deny, "", "no"), f(protocol.RequireApproval, "b", "third"),
	}}
	req := r.Requires()
	if len(req) != 2 || req[0] != (protocol.PreflightRequires{Role: "a", Reason: "second"}) ||
		req[1] != (protocol.PreflightRequires{Role: "b", Reason: "first"}) {
		t.Errorf("requires %v", req)
	}
	if v, w := r.Violations(), r.Warnings(); len(v) != 1 || v[0] != "no" || len(w) != 1 || w[0] != "careful" {
		t.Errorf("violations %v warnings %v", v, w)
	}
	if e := r.Evaluations(); len(e) != 5 || e[3].Decision != protocol.Deny {
		t.Errorf("evaluations %v", e)
	}
}

package cli

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/protocol"
)

// TestT09GateNobodyAsks: where nobody can tell whether an environment's gate was
// opened, nothing takes off.
func TestT09GateNobodyAsks(t *testing.T) {
	t.Parallel()
	d := governedDesk(t, governedPolicies)
	at := d.path(".cabincrew.yaml")
	raw, err := os.ReadFile(at)
	must(t, err)
	must(t, os.WriteFile(at, []byte(strings.Replace(string(raw), "approvals: {", "approvals: {environments: [production], ", 1)), 0o600))
	d.must(7, []string{"environment_unknown", "environment production"}, "take-off", d.plan(0))
}

// TestStepConclusions: a step's check says how the step stands.
func TestStepConclusions(t *testing.T) {
	t.Parallel()
	open, done := ci.ReportApproval{Status: ci.ApprovalOpen}, ci.ReportApproval{Status: ci.ApprovalApproved}
	waiting := protocol.Errorf(protocol.ExitWaiting, "approval_waiting", "wait")
	for name, c := range map[string]struct {
		decision  protocol.Decision
		approvals []ci.ReportApproval
		err       error
		want      string
	}{
		"allow":               {protocol.Allow, nil, nil, "success"},
		"allow beside others": {protocol.Allow, nil, waiting, "success"},
		"warn":                {protocol.Warn, nil, nil, "neutral"},
		"open":                {protocol.RequireApproval, []ci.ReportApproval{done, open}, waiting, "action_required"},
		"approved":            {protocol.RequireApproval, []ci.ReportApproval{done}, nil, "success"},
		"deny":                {protocol.Deny, nil, protocol.Errorf(protocol.ExitDenied, "denied", "no"), "failure"},
		"failed":              {protocol.Allow, nil, errors.New("broken"), "failure"},
		"not judged":          {"", nil, nil, "failure"},
	} {
		rep := ci.Report{Decision: c.decision, Approvals: c.approvals}
		if got := stepConclusion(&rep, c.err); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

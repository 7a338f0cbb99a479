package policies_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// judge answers after a delay.
type judge struct {
	id    string
	delay time.Duration
	err   error
}

func (j judge) Evaluate(context.Context, policies.Input, string) (policies.Result, error) {
	time.Sleep(j.delay)
	return policies.Result{Findings: []policies.Finding{{PolicyEvaluation: protocol.PolicyEvaluation{PolicyID: j.id, Decision: protocol.Allow}}}}, j.err
}

func TestPanelKeepsItsOrder(t *testing.T) {
	t.Parallel()
	p := policies.Panel{judge{id: "slow", delay: 30 * time.Millisecond}, judge{id: "quick"}, policies.Panel{judge{id: "inner"}}}
	r, err := p.Evaluate(t.Context(), policies.Input{}, "")
	if err != nil || len(r.Findings) != 3 || r.Findings[0].PolicyID != "slow" || r.Findings[1].PolicyID != "quick" || r.Findings[2].PolicyID != "inner" {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err := (policies.Panel{}).Evaluate(t.Context(), policies.Input{}, ""); err != nil || r.Findings != nil {
		t.Fatalf("nobody on the panel: %+v, %v", r, err)
	}
}

func TestPanelWithABrokenJudge(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	p := policies.Panel{judge{id: "fine"}, judge{id: "b", err: broken}}
	if r, err := p.Evaluate(t.Context(), policies.Input{}, ""); !errors.Is(err, broken) || r.Findings != nil {
		t.Fatalf("%+v, %v", r, err)
	}
}

package llm

import (
	"context"
	"net/http"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/protocol"
)

// holdRequest waits until a person approved the request.
func (x *exchange) holdRequest() *refusal {
	if err := x.recordRequest(); err != nil {
		return &unrecorded
	}
	if no := x.hold(x.verdict, x.request.Raw, string(gateways.PhaseRequest)); no != nil {
		return no
	}
	x.verdict.Decision = protocol.Allow
	return nil
}

// hold waits until persons approved a payload for every role that policies name.
func (x *exchange) hold(v gateways.Verdict, payload []byte, phase string) *refusal {
	return x.holdIn(x.held(), v, payload, phase)
}

// held is the context of what waits for a person: that takes longer than a call may.
func (x *exchange) held() context.Context {
	if x.outer != nil {
		return x.outer
	}
	return x.ctx
}

func (x *exchange) holdIn(ctx context.Context, v gateways.Verdict, payload []byte, phase string) *refusal {
	if x.g.o.Holds == nil {
		return &refusal{http.StatusForbidden, "approval_required", "it needs an approval, and the gateway keeps none: " + why(v)}
	}
	needs := v.Requires
	if len(needs) == 0 {
		needs = []protocol.PreflightRequires{{Role: x.g.o.Role}}
	}
	var held []gateways.Held
	seen := map[string]bool{}
	for _, need := range needs {
		role := need.Role
		if role == "" {
			role = x.g.o.Role
		}
		if seen[role] {
			continue
		}
		seen[role] = true
		held = append(held, gateways.Held{
			Request: protocol.ApprovalRequest{
				StepID: x.id, Reason: brief(need.Reason), RequiredRole: role,
				EngineOutput: map[string]any{
					"format": string(x.format), "model": brief(discreet(v.Hidden, x.request.Model)), "phase": phase, "principal": x.who.Name, "request_id": x.id,
				},
			},
			Payload: payload,
			Binding: gateways.Binding{Server: Kind, Principal: x.who.Name, Session: x.id, GovernanceHash: x.g.o.GovernanceHash},
			Expires: x.g.o.Now().Add(x.g.o.Hold),
		})
	}
	a, err := gateways.HoldAll(ctx, x.g.o.Holds, held)
	d, say := protocol.Allow, "approved by "+a.Approver
	var no *refusal
	switch {
	case err != nil:
		d, say = protocol.Deny, "nobody approved it: "+err.Error()
		no = &refusal{http.StatusForbidden, "not_approved", say}
	case !a.Approved:
		d, say = protocol.Deny, "rejected by "+a.Approver
		if a.Reason != "" {
			say += ": " + a.Reason
		}
		no = &refusal{http.StatusForbidden, "rejected", say}
	}
	ev := x.event(protocol.EventLLMDecision, d)
	ev.Message = brief(phase + ": " + say)
	ev.Severity = protocol.SeverityWarning
	ev.Policy = &protocol.AuditPolicy{Decision: d, PolicyEvaluations: []protocol.PolicyEvaluation{{
		Source: protocol.SourceLLMGateway, PolicyID: "gateway/approval", Decision: d, Severity: d.Severity(), Reason: brief(say),
		Evidence: map[string]any{"approver": brief(a.Approver), "approved": a.Approved, "digest": protocol.Digest(payload)}, EvaluatedAt: stamp(x.g.o.Now()),
	}}}
	if x.append(ev) != nil {
		return &unrecorded
	}
	return no
}

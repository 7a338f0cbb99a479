package mcp

import (
	"context"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/protocol"
)

// record writes what came and what was decided of it, before anything else happens. An
// error means that nothing may happen.
// SPEC: docs/protocol.md 10, 11
func (s *session) record(ctx context.Context, m *matter, r ruling) error {
	fact := s.fact(m, r)
	tool := ""
	if m.e.method == methodCall {
		tool = m.shown(m.e.name)
	}
	var events []protocol.AuditEvent
	if m.phase == gateways.PhaseResponse {
		ev := s.event(protocol.EventMCPResponse, m, tool, r.Decision)
		ev.Policy = policyOf(r, append([]protocol.PolicyEvaluation{fact}, r.Evaluations...))
		events = []protocol.AuditEvent{ev}
	} else {
		came := s.event(protocol.EventMCPRequest, m, tool, "")
		came.Policy = &protocol.AuditPolicy{
			Decision: r.Decision, PolicyEvaluations: []protocol.PolicyEvaluation{fact},
		}
		said := s.event(protocol.EventMCPDecision, m, tool, r.Decision)
		said.Policy = policyOf(r, r.Evaluations)
		events = []protocol.AuditEvent{came, said}
	}
	last := &events[len(events)-1]
	if r.Decision != protocol.Allow {
		last.Severity = protocol.SeverityWarning
	}
	err := s.append(ctx, s.g.o.Durable || !r.passes(), events...)
	if o := s.g.o.Observe; o != nil {
		o(Observation{
			Server: s.g.o.Server, Method: m.e.method, Tool: tool, Direction: string(m.e.from),
			Phase: m.phase, Decision: r.Decision, Took: s.g.o.Now().Sub(m.at),
		})
	}
	return err
}

// recorded gives the ruling if it could be recorded, and else a denial.
func (s *session) recorded(ctx context.Context, m *matter, r ruling) ruling {
	if s.record(ctx, m, r) != nil {
		return s.unrecorded(m)
	}
	return r
}

// append writes events even where the client does not wait any more: what happened
// stands in the record.
func (s *session) append(ctx context.Context, durable bool, events ...protocol.AuditEvent) error {
	err := s.g.o.Trail.Append(context.WithoutCancel(ctx), durable, events...)
	if err != nil {
		s.g.o.Log.Error("the audit trail cannot be written", "error", err)
	}
	return err
}

func (s *session) event(kind string, m *matter, tool string, d protocol.Decision) protocol.AuditEvent {
	return protocol.AuditEvent{
		EventType: kind,
		Gateway: &protocol.AuditGateway{
			GatewayType: "mcp", RequestID: m.e.request, Tool: tool, PolicyDecision: d,
		},
		Severity: protocol.SeverityInfo,
		Message:  m.title(),
	}
}

// title says in one line which message it is.
func (m *matter) title() string {
	name := m.e.method
	if m.e.name != "" {
		name += " " + m.shown(m.e.name)
	}
	if name == "" {
		name = "no message"
	}
	switch m.phase {
	case gateways.PhaseResponse:
		name = "answer to " + name
	case gateways.PhaseNotification, gateways.PhaseRequest:
	}
	return brief(name)
}

// fact says which bytes came, from whom and for whom; never what they say.
func (s *session) fact(m *matter, r ruling) protocol.PolicyEvaluation {
	raw := m.msg.Raw
	if m.foreign != nil {
		raw = m.foreign
	}
	evidence := map[string]any{
		"server":    s.g.o.Server,
		"principal": s.who.Principal,
		"session":   s.ref,
		"method":    brief(m.e.method),
		"direction": string(m.e.from),
		"phase":     string(m.phase),
	}
	if m.came != "" {
		evidence["digest"] = m.came
	} else {
		evidence["digest"] = protocol.Digest(raw)
	}
	if r.changed && r.passes() {
		evidence["forwarded_digest"] = protocol.Digest(r.message.Raw)
	}
	if m.e.own {
		evidence["asked_by"] = "gateway"
	}
	if m.e.entry != nil {
		evidence["tool_pin"] = m.e.entry.pin
	}
	return protocol.PolicyEvaluation{
		Source: protocol.SourceMCPGateway, PolicyID: policyMessage, Decision: protocol.Allow,
		Evidence: evidence, EvaluatedAt: m.time(),
	}
}

func policyOf(r ruling, evaluations []protocol.PolicyEvaluation) *protocol.AuditPolicy {
	return &protocol.AuditPolicy{
		Decision: r.Decision, PolicyEvaluations: evaluations,
		Violations: r.Violations, Warnings: r.Warnings,
	}
}

// settled records how a held message ended.
func (s *session) settled(ctx context.Context, m *matter, a gateways.Answered, d protocol.Decision, why string, at time.Time) error {
	ev := s.event(protocol.EventMCPDecision, m, "", d)
	if m.e.method == methodCall {
		ev.Gateway.Tool = m.shown(m.e.name)
	}
	ev.Severity = protocol.SeverityWarning
	why = m.shown(why)
	ev.Message = brief(m.title() + ": " + why)
	evaluations := []protocol.PolicyEvaluation{{
		Source: protocol.SourceMCPGateway, PolicyID: "gateway/approval", Decision: d, Severity: d.Severity(),
		Reason: brief(why), Evidence: map[string]any{"approver": brief(a.Approver), "approved": a.Approved, "digest": protocol.Digest(m.msg.Raw)},
		EvaluatedAt: stamp(at),
	}}
	ev.Policy = &protocol.AuditPolicy{Decision: d, PolicyEvaluations: evaluations}
	return s.append(ctx, true, ev)
}

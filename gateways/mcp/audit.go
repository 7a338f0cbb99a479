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
func (s *session) record(ctx context.Context, m *matter, r ruling) (err error) {
	defer func() {
		if err != nil { // nothing goes on, whatever was decided
			r.Decision = protocol.Deny
		}
		s.observe(m, r.Decision)
	}()
	if r.often != "" {
		return s.count(ctx, m, r)
	}
	// A denial has no effect that could outrun its record, so a flood of them costs no
	// syncs; who holds a call brings its request to the disk, and with it all before it.
	return s.append(ctx, s.g.o.Durable, s.eventsOf(m, r)...)
}

// tool gives the name of the tool that a message calls or answers.
func (m *matter) tool() string {
	if m.e.method == methodCall {
		return m.shown(m.e.name)
	}
	return ""
}

// eventsOf gives the events of a message and what was decided of it.
func (s *session) eventsOf(m *matter, r ruling) []protocol.AuditEvent {
	fact, tool := s.fact(m, r), m.tool()
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
	return events
}

// count records a refusal that the sender can cause at will: the first one as all, and of
// those that follow how many they were.
func (s *session) count(ctx context.Context, m *matter, r ruling) error {
	of := gateways.Often{
		Server: s.g.o.Server, Principal: s.who.Principal, Direction: string(m.from), Policy: r.Evaluations[0].PolicyID, Reason: r.often,
	}
	err := s.g.tally.Refused(context.WithoutCancel(ctx), of, func() []protocol.AuditEvent { return s.eventsOf(m, r) })
	s.heard(err)
	return err
}

// observe tells of a message what became of it.
func (s *session) observe(m *matter, d protocol.Decision) {
	o := s.g.o.Observe
	if o == nil {
		return
	}
	o(Observation{
		Server: s.g.o.Server, Method: m.e.method, Tool: m.tool(), Direction: string(m.e.from),
		Phase: m.phase, Decision: d, Took: s.g.o.Now().Sub(m.at),
	})
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
	s.heard(err)
	return err
}

func (s *session) heard(err error) {
	if err != nil {
		s.g.o.Log.Error("the audit trail cannot be written", "error", err)
	}
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

// unheld records that a message which needs an approval could not be held.
func (s *session) unheld(ctx context.Context, m *matter, why string) error {
	return s.append(ctx, s.g.o.Durable, s.ending(m, gateways.Answered{}, protocol.Deny, why, s.g.o.Now()))
}

// settled records how a held message ended.
func (s *session) settled(ctx context.Context, m *matter, a gateways.Answered, d protocol.Decision, why string, at time.Time) error {
	return s.append(ctx, true, s.ending(m, a, d, why, at))
}

func (s *session) ending(m *matter, a gateways.Answered, d protocol.Decision, why string, at time.Time) protocol.AuditEvent {
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
	return ev
}

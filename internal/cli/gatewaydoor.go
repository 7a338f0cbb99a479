package cli

import (
	"context"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp/front"
	"github.com/cabincrew/action/protocol"
)

// policyDoor names the door in the record.
const policyDoor = "gateway/door"

// doorReasons say in words what the door refuses.
var doorReasons = map[string]string{
	front.ReasonHost:    "the gateway is not reached by this host name",
	front.ReasonOrigin:  "a page of another site asked",
	front.ReasonUnknown: "the client did not say who it is, or may not come in",
	front.ReasonMethod:  "the endpoint does not have this HTTP method",
	front.ReasonSession: "there is no such session of this client",
	front.ReasonHeaders: "headers contradict the message or each other",
	front.ReasonVersion: "the revision of the protocol is unknown",
	front.ReasonMessage: "what came is no valid JSON-RPC",
	front.ReasonLimit:   "it is too large, too slow, or too much at once",
	front.ReasonRequest: "the request is not as the protocol wants it",
}

// refusedAtDoor counts what is refused before it is a message of a session, and records
// it: the first of a kind at once, and those that follow by their number. It is refused,
// recorded or not.
func (r *gatewayRun) refusedAtDoor(f front.Refusal) {
	r.calls.Refused(f.Reason)
	if r.tally == nil {
		return
	}
	of := gateways.Often{Principal: f.Principal, Direction: "client_to_server", Policy: policyDoor, Reason: doorReasons[f.Reason]}
	err := r.tally.Refused(context.Background(), of, func() []protocol.AuditEvent {
		evidence := map[string]any{"door": f.Reason}
		for name, value := range map[string]string{"principal": f.Principal, "remote": f.Remote} {
			if value != "" {
				evidence[name] = value
			}
		}
		return []protocol.AuditEvent{{
			EventType: r.decisionEvent(), Severity: protocol.SeverityWarning, Message: "refused at the door: " + of.Reason,
			Gateway: &protocol.AuditGateway{GatewayType: r.kind, PolicyDecision: protocol.Deny},
			Policy: &protocol.AuditPolicy{Decision: protocol.Deny, Violations: []string{of.Reason}, PolicyEvaluations: []protocol.PolicyEvaluation{{
				Source: protocol.SourceMCPGateway, PolicyID: policyDoor, Decision: protocol.Deny, Severity: protocol.Deny.Severity(),
				Reason: of.Reason, Evidence: evidence, EvaluatedAt: r.now().UTC().Format(time.RFC3339Nano),
			}}},
		}}
	})
	if err != nil {
		r.log.Error("what was refused at the door cannot be recorded", "reason", f.Reason, "error", err.Error())
	}
}

// decisionEvent is the type of the events that tell what was decided.
func (r *gatewayRun) decisionEvent() string {
	if r.kind == gatewayKind {
		return protocol.EventMCPDecision
	}
	return protocol.EventLLMDecision
}

package llm

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/llm/wire"
	"github.com/cabincrew/action/protocol"
)

// policyDoor names the door in the record.
const policyDoor = "gateway/door"

// door refuses what is no call yet: it is counted, for anybody can cause it.
func (g *Gateway) door(w http.ResponseWriter, r *http.Request, f wire.Format, who Caller, status int, code, why string) {
	of := gateways.Often{Principal: who.Name, Direction: "client_to_server", Policy: policyDoor, Reason: why}
	first := func() []protocol.AuditEvent {
		return []protocol.AuditEvent{{
			EventType: protocol.EventLLMDecision, Severity: protocol.SeverityWarning, Message: "refused at the door: " + why,
			Gateway: &protocol.AuditGateway{GatewayType: Kind, PolicyDecision: protocol.Deny},
			Policy: &protocol.AuditPolicy{Decision: protocol.Deny, Violations: []string{why}, PolicyEvaluations: []protocol.PolicyEvaluation{{
				Source: protocol.SourceLLMGateway, PolicyID: policyDoor, Decision: protocol.Deny, Severity: protocol.Deny.Severity(),
				Reason: why, Evidence: map[string]any{"door": code}, EvaluatedAt: stamp(g.o.Now()),
			}}},
		}}
	}
	var err error
	if ctx := context.WithoutCancel(r.Context()); g.o.Tally != nil {
		err = g.o.Tally.Refused(ctx, of, first)
	} else {
		err = g.o.Trail.Append(ctx, false, first()...)
	}
	if err != nil { // it is refused, recorded or not
		g.o.Log.Error("what was refused at the door cannot be recorded", "error", err.Error())
	}
	g.observe(Observation{Format: string(f), Principal: who.Name, Decision: protocol.Deny, Outcome: OutcomeDoor, Code: code, Status: status})
	writeError(w, f, status, refusal{status: status, code: code, message: why})
}

func (g *Gateway) observe(o Observation) {
	if g.o.Observe != nil {
		g.o.Observe(o)
	}
}

// refusal is what a client is told. It never repeats what was refused.
type refusal struct {
	status        int
	code, message string
}

// kindOf gives the error's type in the words that the vendors use.
func kindOf(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return "authentication_error"
	case status == http.StatusForbidden:
		return "permission_error"
	case status == http.StatusNotFound:
		return "not_found_error"
	case status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case status == http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case status < http.StatusInternalServerError:
		return "invalid_request_error"
	}
	return "api_error"
}

func writeError(w http.ResponseWriter, f wire.Format, status int, e refusal) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Should-Retry", "false") // the vendors' clients ask it
	if status == http.StatusTooManyRequests || status >= http.StatusInternalServerError {
		h.Del("X-Should-Retry")
	}
	w.WriteHeader(status)
	_, _ = w.Write(wire.AppendError(nil, f, kindOf(status), e.code, "cabincrew: "+e.message)) //nolint:gosec // JSON with escapes; the client may be gone
}

// why puts reasons in one line.
func why(v gateways.Verdict) string {
	if len(v.Violations) > 0 {
		return strings.Join(v.Violations, "; ")
	}
	var list []string
	for _, n := range v.Requires {
		list = append(list, n.Reason)
	}
	return strings.Join(list, "; ")
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

package llm

import (
	"context"
	"maps"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/llm/wire"
	"github.com/cabincrew/action/protocol"
)

// Kind names this kind of gateway in the state directory.
const Kind = "llm"

// policyCall names the call itself in the record.
const policyCall = "gateway/call"

// recordRequest writes what came, what was decided of it and where it will go, before
// anything goes there. An error means that nothing may.
// SPEC: docs/protocol.md 10, 11
func (x *exchange) recordRequest() error {
	came := x.event(protocol.EventLLMRequest, "")
	came.Policy = &protocol.AuditPolicy{Decision: x.verdict.Decision, PolicyEvaluations: []protocol.PolicyEvaluation{x.fact()}}
	decided := x.event(protocol.EventLLMDecision, x.verdict.Decision)
	decided.Policy = policyOf(x.verdict)
	if x.verdict.Decision != protocol.Allow {
		decided.Severity = protocol.SeverityWarning
	}
	return x.append(came, decided)
}

// append writes events even where the client does not wait any more: what happened stands
// in the record.
func (x *exchange) append(events ...protocol.AuditEvent) error {
	err := x.g.o.Trail.Append(context.WithoutCancel(x.ctx), false, events...)
	if err != nil {
		x.g.o.Log.Error("the audit trail cannot be written", "error", err.Error())
	}
	return err
}

func (x *exchange) event(kind string, d protocol.Decision) protocol.AuditEvent {
	model := ""
	if x.request != nil {
		model = brief(discreet(x.verdict.Hidden, x.request.Model))
	}
	return protocol.AuditEvent{
		EventType: kind, Severity: protocol.SeverityInfo, Message: string(x.format) + " " + model,
		Gateway: &protocol.AuditGateway{GatewayType: Kind, RequestID: x.id, Model: model, PolicyDecision: d},
	}
}

// fact says which bytes came, from whom, and where they go; never what they say.
func (x *exchange) fact() protocol.PolicyEvaluation {
	if x.facts == nil {
		x.facts = map[string]any{"format": string(x.format), "principal": x.who.Name, "digest": protocol.Digest(x.came), "bytes": len(x.came)}
	}
	evidence := maps.Clone(x.facts)
	if x.request != nil {
		evidence["stream"] = x.request.Stream
	}
	if x.who.Key != "" {
		evidence["key"] = x.who.Key
	}
	if x.who.Workflow != "" {
		evidence["workflow"] = x.who.Workflow
	}
	if x.choice.Provider != "" {
		evidence["provider"], evidence["routed_model"], evidence["route"] = x.choice.Provider, brief(x.choice.Upstream), x.choice.Reason
		if len(x.plan.Skipped) > 0 {
			skipped := make([]any, len(x.plan.Skipped))
			for i, s := range x.plan.Skipped {
				skipped[i] = map[string]any{"provider": s.Provider, "reason": s.Reason}
			}
			evidence["skipped"] = skipped
		}
	}
	if x.digest != "" && x.verdict.Decision != protocol.Deny {
		evidence["forwarded_digest"] = x.digest
	}
	return protocol.PolicyEvaluation{
		Source: protocol.SourceLLMGateway, PolicyID: policyCall, Decision: protocol.Allow, Evidence: evidence, EvaluatedAt: stamp(x.at),
	}
}

func policyOf(v gateways.Verdict) *protocol.AuditPolicy {
	return &protocol.AuditPolicy{Decision: v.Decision, PolicyEvaluations: v.Evaluations, Violations: v.Violations, Warnings: v.Warnings}
}

// outcome is how a call ended.
type outcome struct {
	what    string // ok, denied, redacted, failed, cut, error_status, client_gone, unrecorded …
	verdict gateways.Verdict
	status  int
	usage   wire.Usage
	finish  string
	digest  string // of the answer as it came; "" where it did not come whole
	given   string // of the answer as the client got it, where that is another one
	reason  string
}

// recordAnswer writes how a call ended. Of a whole answer the client sees nothing before.
func (x *exchange) recordAnswer(o outcome) error {
	if o.verdict.Decision == "" { // there was nothing to judge
		o.verdict.Decision = protocol.Allow
	}
	ev := x.event(protocol.EventLLMResponse, o.verdict.Decision)
	evidence := map[string]any{"outcome": o.what, "provider": x.choice.Provider, "attempts": len(x.tries) + 1}
	if o.status != 0 {
		evidence["status"] = o.status
	}
	if len(x.tries) > 0 {
		evidence["failed_attempts"] = x.tries
	}
	for name, v := range map[string]string{"finish": brief(discreet(o.verdict.Hidden, o.finish)), "digest": o.digest, "given_digest": o.given, "reason": brief(o.reason)} {
		if v != "" {
			evidence[name] = v
		}
	}
	if u := o.usage; u.Given {
		evidence["usage"] = map[string]any{"input": u.Input, "output": u.Output, "cache_read": u.CacheRead, "cache_write": u.CacheWrite, "reasoning": u.Reasoning}
		if cost, priced, err := x.g.o.Router.Cost(x.choice, u.Input, u.Output); err == nil && priced {
			evidence["cost_millionths"] = cost
		}
	}
	fact := protocol.PolicyEvaluation{Source: protocol.SourceLLMGateway, PolicyID: policyCall, Decision: protocol.Allow, Evidence: evidence, EvaluatedAt: stamp(x.g.o.Now())}
	ev.Policy = policyOf(o.verdict)
	ev.Policy.PolicyEvaluations = append([]protocol.PolicyEvaluation{fact}, o.verdict.Evaluations...)
	if o.what != outcomeOK && o.what != outcomeCached {
		ev.Severity = protocol.SeverityWarning
	}
	err := x.append(ev)
	if x.settle != nil {
		x.settle(o.usage, o.what == outcomeOK)
	}
	x.observed(o.verdict.Decision, o.what, o.status, o.usage)
	return err
}

// The outcomes.
const (
	OutcomeDoor        = "door" // it was refused before it was a call
	outcomeOK          = "ok"
	outcomeDenied      = "denied"
	outcomeRejected    = "rejected"
	outcomeFailed      = "failed"
	outcomeStatus      = "error_status"
	outcomeGone        = "client_gone"
	outcomeUnrecorded  = "unrecorded"
	outcomeCached      = "cached"
	outcomeRegenerated = "regenerated" // it was denied, and a safer model is asked
)

// brief bounds what others chose.
func brief(s string) string {
	const most = 256
	if len(s) <= most {
		return s
	}
	n := most
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}

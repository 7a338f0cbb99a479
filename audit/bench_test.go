package audit

import (
	"testing"

	"github.com/cabincrew/action/protocol"
)

// gatewayEvent is one of those that a gateway writes by the thousand.
func gatewayEvent(kind string) protocol.AuditEvent {
	return protocol.AuditEvent{
		Timestamp: "2026-11-22T18:00:00.123456789Z", EventType: kind, WorkflowState: "SERVING",
		Workflow: &protocol.AuditWorkflow{WorkflowID: flight},
		Gateway:  &protocol.AuditGateway{GatewayType: "mcp", RequestID: "01jd3x7k9v5c2m8n4q6r0s1t2w-17", Tool: "echo", PolicyDecision: protocol.Allow},
		Policy: &protocol.AuditPolicy{Decision: protocol.Allow, PolicyEvaluations: []protocol.PolicyEvaluation{{
			Source: protocol.SourceOPA, PolicyID: "tools/echo", Decision: protocol.Allow, Reason: "the tool is on the list",
			Evidence: map[string]any{"payload": protocol.Digest([]byte("x")), "bytes": 123, "server": "everything"},
		}}},
		Severity: protocol.SeverityInfo,
	}
}

func BenchmarkLine(b *testing.B) {
	l, _ := openLog(b, b.TempDir(), Options{})
	e := gatewayEvent(protocol.EventMCPDecision)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := l.line(e, l.head); err != nil {
			b.Fatal(err)
		}
	}
}

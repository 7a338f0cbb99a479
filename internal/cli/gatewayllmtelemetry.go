package cli

import (
	"github.com/cabincrew/action/gateways/llm"
	llmwire "github.com/cabincrew/action/gateways/llm/wire"
	"github.com/cabincrew/action/internal/telemetry"
)

// operations are the names that the semantic conventions have for what formats do.
var operations = map[llmwire.Format]string{
	llmwire.Chat: "chat", llmwire.Messages: "chat", llmwire.Responses: "generate_content", llmwire.Embeddings: "embeddings",
	llmwire.Models: "models", llmwire.CountTokens: "count_tokens", llmwire.Rerank: "rerank",
}

// observedBy tells metrics and traces of calls of models.
func (r *gatewayRun) observedBy(m *telemetry.Models) func(llm.Observation) {
	return func(o llm.Observation) {
		if o.Outcome == llm.OutcomeDoor { // it was no call yet
			r.calls.Refused(o.Code)
			return
		}
		end := r.now()
		c := telemetry.ModelCall{
			Operation: operations[llmwire.Format(o.Format)], Provider: o.Provider, Routed: o.Routed, Decision: string(o.Decision), Outcome: o.Outcome,
			ID: o.ID, Start: end.Add(-o.Took), End: end, FirstByte: o.FirstByte, Stream: o.Stream, Input: o.Input, Output: o.Output, CostMillionths: o.Cost, HTTPStatus: o.Status,
		}
		if o.Provider != "" { // who is refused chooses no label
			c.Model = o.Model
		}
		m.Done(c)
	}
}

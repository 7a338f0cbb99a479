package telemetry

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// ModelCall is one call of a model that went through a gateway, as metrics and traces tell
// of it. No field of it holds anything of the call's content.
type ModelCall struct {
	Operation      string // chat, embeddings, …: of the semantic conventions
	Provider       string // as configured
	Model          string // that was asked for
	Routed         string // the provider's name of the model that answered; "" if none did
	Decision       string
	Outcome        string // "ok", or what went wrong
	ID             string // of the request
	Start, End     time.Time
	FirstByte      time.Duration // 0: none came
	Stream         bool
	Input, Output  int64
	CostMillionths int64
	HTTPStatus     int
}

// Models counts calls of models and traces them, in the registry of a gateway's Calls. The
// names and buckets are those of OpenTelemetry's semantic conventions for generative AI.
type Models struct {
	calls    *Calls
	decided  *prometheus.CounterVec
	duration *prometheus.HistogramVec
	first    *prometheus.HistogramVec
	tokens   *prometheus.HistogramVec
	cost     *prometheus.CounterVec
}

// NewModels makes the metrics of a gateway for calls of models.
func NewModels(c *Calls) *Models {
	seconds := []float64{0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}
	by := []string{"gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"}
	m := &Models{
		calls: c,
		decided: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cabincrew_gateway_calls_total", Help: "Calls of models that ended, by decision and outcome.",
		}, []string{"gen_ai_operation_name", "decision", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gen_ai_client_operation_duration_seconds", Help: "How long a call took from its arrival to the end of its answer, with the time that it was held.", Buckets: seconds,
		}, append(by, "error_type")),
		first: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gen_ai_server_time_to_first_token_seconds", Help: "How long a call took from its arrival to the first byte of the provider's answer.",
			Buckets: []float64{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10},
		}, by),
		tokens: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gen_ai_client_token_usage", Help: "Tokens that providers counted.",
			Buckets: []float64{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864},
		}, append(by, "gen_ai_token_type")),
		cost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cabincrew_gateway_cost_total", Help: "What calls cost by the declared prices, in the currency of the prices.",
		}, by),
	}
	c.registry.MustRegister(m.decided, m.duration, m.first, m.tokens, m.cost)
	return m
}

// Done records a call that ended.
func (m *Models) Done(c ModelCall) {
	provider, operation, model := m.calls.bounded(c.Provider, c.Operation, c.Model)
	m.decided.WithLabelValues(operation, c.Decision, c.Outcome).Inc()
	failed := ""
	if c.Outcome != "ok" {
		failed = c.Outcome
	}
	m.duration.WithLabelValues(operation, provider, model, failed).Observe(c.End.Sub(c.Start).Seconds())
	if c.FirstByte > 0 {
		m.first.WithLabelValues(operation, provider, model).Observe(c.FirstByte.Seconds())
	}
	if c.Input > 0 {
		m.tokens.WithLabelValues(operation, provider, model, "input").Observe(float64(c.Input))
	}
	if c.Output > 0 {
		m.tokens.WithLabelValues(operation, provider, model, "output").Observe(float64(c.Output))
	}
	if c.CostMillionths > 0 {
		m.cost.WithLabelValues(operation, provider, model).Add(float64(c.CostMillionths) / 1e6)
	}
	m.calls.tracer.model(c)
}

// model traces a call of a model.
func (t *Tracer) model(c ModelCall) {
	if t == nil {
		return
	}
	attrs := []attribute.KeyValue{
		attribute.String("gen_ai.operation.name", c.Operation), attribute.String("gen_ai.provider.name", c.Provider), attribute.String("gen_ai.request.model", c.Model),
		attribute.String("cabincrew.gateway.decision", c.Decision), attribute.String("cabincrew.gateway.outcome", c.Outcome), attribute.String("cabincrew.gateway.request_id", c.ID),
		attribute.Bool("cabincrew.gateway.stream", c.Stream),
	}
	if c.Routed != "" {
		attrs = append(attrs, attribute.String("gen_ai.response.model", c.Routed))
	}
	if c.Input > 0 || c.Output > 0 {
		attrs = append(attrs, attribute.Int64("gen_ai.usage.input_tokens", c.Input), attribute.Int64("gen_ai.usage.output_tokens", c.Output))
	}
	if c.HTTPStatus != 0 {
		attrs = append(attrs, attribute.Int("http.response.status_code", c.HTTPStatus))
	}
	if c.Outcome != "ok" {
		attrs = append(attrs, attribute.String("error.type", c.Outcome))
	}
	_, span := t.tracer.Start(context.Background(), c.Operation+" "+c.Model, trace.WithTimestamp(c.Start), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
	if c.Outcome != "ok" {
		span.SetStatus(codes.Error, c.Outcome)
	}
	span.End(trace.WithTimestamp(c.End))
}

package telemetry

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cabincrew/action/internal/limits"
)

// Call is one request that went through a gateway, with its answer, as metrics and
// traces tell of it. No field of it holds anything of the call's content.
type Call struct {
	Server string // as configured
	Method string
	Tool   string // of tools/call, the prompt of prompts/get; else ""
	// Outcome is "ok", "error" (the server said so), "refused" (the gateway did) or "down".
	Outcome string
	Session string
	Start   time.Time
	End     time.Time
}

// Judged is one message that was judged.
type Judged struct {
	Server, Method, Tool string
	Direction            string // client_to_server or server_to_client
	Phase                string // request, response or notification
	Decision             string // allow, warn, require_approval or deny
	Took                 time.Duration
}

// Calls counts calls and traces them. It may be used by many goroutines.
type Calls struct {
	registry *prometheus.Registry
	judged   *prometheus.CounterVec
	judging  *prometheus.HistogramVec
	duration *prometheus.HistogramVec
	refused  *prometheus.CounterVec
	sessions prometheus.Gauge
	held     prometheus.Gauge
	broken   prometheus.Gauge
	tracer   *Tracer

	mu   sync.Mutex
	seen map[[3]string]bool // what has series of its own
}

// other is the label of names beyond the bound: clients and servers choose them.
const other = "_other"

// NewCalls makes the metrics of a gateway, with a registry of its own.
func NewCalls(tracer *Tracer) *Calls {
	c := &Calls{
		registry: prometheus.NewRegistry(), tracer: tracer, seen: map[[3]string]bool{},
		judged: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cabincrew_gateway_messages_total", Help: "Messages that were judged, by decision.",
		}, []string{"server", "method", "tool", "direction", "phase", "decision"}),
		judging: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cabincrew_gateway_judging_seconds", Help: "How long judging and recording one message took.",
			Buckets: []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 1, 10},
		}, []string{"server", "phase"}),
		// The name and the buckets are those of OpenTelemetry's semantic conventions for MCP.
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "mcp_server_operation_duration_seconds", Help: "How long a request took from its arrival to its answer, with the time that it was held.",
			Buckets: []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300},
		}, []string{"server", "mcp_method_name", "gen_ai_tool_name", "outcome"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cabincrew_gateway_refused_total", Help: "What the door refused before it was a message of a session, by reason.",
		}, []string{"reason"}),
		held:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "cabincrew_gateway_held_calls", Help: "Calls that wait for an approval now."}),
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{Name: "cabincrew_gateway_sessions", Help: "Sessions that are open now."}),
		broken:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "cabincrew_gateway_audit_broken", Help: "1 if the audit trail cannot be written, so that everything is denied."}),
	}
	c.registry.MustRegister(c.judged, c.refused, c.judging, c.duration, c.held, c.sessions, c.broken)
	return c
}

// Handler serves the metrics in Prometheus' formats.
func (c *Calls) Handler() http.Handler {
	return promhttp.HandlerFor(c.registry, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: limits.MetricsRequests})
}

// Judged records a message that was judged.
func (c *Calls) Judged(j Judged) {
	server, method, tool := c.bounded(j.Server, j.Method, j.Tool)
	c.judged.WithLabelValues(server, method, tool, j.Direction, j.Phase, j.Decision).Inc()
	c.judging.WithLabelValues(server, j.Phase).Observe(j.Took.Seconds())
}

// Refused counts what a door refused. There are few reasons, which are the program's own.
func (c *Calls) Refused(reason string) { c.refused.WithLabelValues(reason).Inc() }

// Done records a request that was answered.
func (c *Calls) Done(call Call) {
	server, method, tool := c.bounded(call.Server, call.Method, call.Tool)
	c.duration.WithLabelValues(server, method, tool, call.Outcome).Observe(call.End.Sub(call.Start).Seconds())
	c.tracer.call(call)
}

// State says how many sessions there are, how many calls are held, and whether the
// audit trail can still be written.
func (c *Calls) State(sessions, held int, broken bool) {
	c.sessions.Set(float64(sessions))
	c.held.Set(float64(held))
	c.broken.Set(0)
	if broken {
		c.broken.Set(1)
	}
}

// bounded gives what labels a call has: the first limits.MetricsSeries combinations
// have their own.
func (c *Calls) bounded(server, method, tool string) (string, string, string) {
	key := [3]string{server, method, tool}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[key] {
		return server, method, tool
	}
	if len(c.seen) >= limits.MetricsSeries || len(method) > limits.MetricsLabel || len(tool) > limits.MetricsLabel {
		return server, other, other
	}
	c.seen[key] = true
	return server, method, tool
}

package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Tracer sends a span for each call. nil sends none.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// NewTracer sends spans to an OTLP endpoint over HTTP, such as http://127.0.0.1:4318.
// What it cannot send it drops: no call waits for a trace.
func NewTracer(ctx context.Context, endpoint, version string) (*Tracer, error) {
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint+"/v1/traces"), otlptracehttp.WithTimeout(5*time.Second))
	if err != nil {
		return nil, err
	}
	p := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "cabincrew"), attribute.String("service.version", version))),
	)
	return &Tracer{provider: p, tracer: p.Tracer("github.com/cabincrew/action/gateways")}, nil
}

// Close sends what is left.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// call makes the span of a call. The attributes are those of OpenTelemetry's semantic
// conventions for MCP, and our own for what those do not have.
func (t *Tracer) call(c Call) {
	if t == nil {
		return
	}
	name := c.Method
	attrs := []attribute.KeyValue{
		attribute.String("mcp.method.name", c.Method), attribute.String("mcp.session.id", c.Session),
		attribute.String("cabincrew.gateway.server", c.Server), attribute.String("cabincrew.gateway.outcome", c.Outcome),
	}
	if c.Tool != "" {
		name += " " + c.Tool
		attrs = append(attrs, attribute.String("gen_ai.tool.name", c.Tool), attribute.String("gen_ai.operation.name", "execute_tool"))
	}
	if c.Outcome != "ok" {
		attrs = append(attrs, attribute.String("error.type", c.Outcome))
	}
	_, span := t.tracer.Start(context.Background(), name, trace.WithTimestamp(c.Start), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attrs...))
	if c.Outcome != "ok" {
		span.SetStatus(codes.Error, c.Outcome)
	}
	span.End(trace.WithTimestamp(c.End))
}

package telemetry_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/telemetry"
)

func metrics(t *testing.T, c *telemetry.Calls) string {
	t.Helper()
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	return w.Body.String()
}

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func call(method, tool, outcome string) telemetry.Call {
	return telemetry.Call{Server: "files", Method: method, Tool: tool, Outcome: outcome, Session: "s1", Start: start, End: start.Add(3 * time.Second)}
}

func judged(tool, decision string) telemetry.Judged {
	return telemetry.Judged{Server: "files", Method: "tools/call", Tool: tool, Direction: "client_to_server", Phase: "request", Decision: decision, Took: time.Millisecond}
}

func TestCallsAreCounted(t *testing.T) {
	t.Parallel()
	c := telemetry.NewCalls(nil)
	c.Judged(judged("read", "allow"))
	c.Judged(judged("read", "allow"))
	c.Judged(judged("rm", "deny"))
	c.Done(call("tools/call", "read", "ok"))
	c.State(3, 1, true)
	got := metrics(t, c)
	for _, want := range []string{
		`cabincrew_gateway_messages_total{decision="allow",direction="client_to_server",method="tools/call",phase="request",server="files",tool="read"} 2`,
		`cabincrew_gateway_messages_total{decision="deny",direction="client_to_server",method="tools/call",phase="request",server="files",tool="rm"} 1`,
		`cabincrew_gateway_judging_seconds_count{phase="request",server="files"} 3`,
		`mcp_server_operation_duration_seconds_sum{gen_ai_tool_name="read",mcp_method_name="tools/call",outcome="ok",server="files"} 3`,
		`cabincrew_gateway_held_calls 1`, `cabincrew_gateway_sessions 3`, `cabincrew_gateway_audit_broken 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
}

// TestHostileNamesMakeNoSeries calls more tools than have series of their own.
func TestHostileNamesMakeNoSeries(t *testing.T) {
	t.Parallel()
	c := telemetry.NewCalls(nil)
	for i := range limits.MetricsSeries + 500 {
		c.Judged(judged(fmt.Sprint("t", i), "allow"))
	}
	c.Judged(judged(strings.Repeat("x", 1<<16), "allow"))
	got := metrics(t, c)
	if n := strings.Count(got, "cabincrew_gateway_messages_total{"); n != limits.MetricsSeries+1 {
		t.Errorf("%d series", n)
	}
	if !strings.Contains(got, `tool="_other"} 501`) {
		t.Error("what is beyond the bound is not counted as other")
	}
}

func TestTracesAreSent(t *testing.T) {
	t.Parallel()
	var got atomic.Pointer[string]
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s := r.URL.Path + " " + string(body)
		got.Store(&s)
	}))
	defer srv.Close()
	tracer, err := telemetry.NewTracer(t.Context(), srv.URL, "v1")
	if err != nil {
		t.Fatal(err)
	}
	c := telemetry.NewCalls(tracer)
	c.Done(call("tools/call", "read", "error"))
	if err := tracer.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	text := got.Load()
	if text == nil {
		t.Fatal("nothing was sent")
	}
	for _, want := range []string{"/v1/traces ", "tools/call read", "mcp.method.name", "gen_ai.tool.name", "cabincrew.gateway.server", "error.type"} {
		if !strings.Contains(*text, want) {
			t.Errorf("%s is not in %q", want, *text)
		}
	}
}

// TestNobodyWaitsForTraces sends to where nobody listens.
func TestNobodyWaitsForTraces(t *testing.T) {
	t.Parallel()
	tracer, err := telemetry.NewTracer(t.Context(), "http://127.0.0.1:1", "v1")
	if err != nil {
		t.Fatal(err)
	}
	c := telemetry.NewCalls(tracer)
	for range 5000 {
		c.Done(call("tools/call", "read", "ok"))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if err := tracer.Close(ctx); err == nil {
		t.Error("spans were sent to nobody")
	}
}

package telemetry_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/telemetry"
)

func modelCall(model, outcome string) telemetry.ModelCall {
	return telemetry.ModelCall{
		Operation: "chat", Provider: "openai", Model: model, Routed: model + "-1", Decision: "allow", Outcome: outcome, Start: start, End: start.Add(2 * time.Second),
		FirstByte: 300 * time.Millisecond, Input: 10, Output: 20, CostMillionths: 1_500_000,
	}
}

func TestModelCallsAreCounted(t *testing.T) {
	t.Parallel()
	c := telemetry.NewCalls(nil)
	m := telemetry.NewModels(c)
	m.Done(modelCall("m", "ok"))
	m.Done(modelCall("m", "failed"))
	got := metrics(t, c)
	for _, want := range []string{
		`cabincrew_gateway_calls_total{decision="allow",gen_ai_operation_name="chat",outcome="ok"} 1`,
		`gen_ai_client_operation_duration_seconds_sum{error_type="",gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="m"} 2`,
		`gen_ai_client_operation_duration_seconds_count{error_type="failed",gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="m"} 1`,
		`gen_ai_client_token_usage_sum{gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="m",gen_ai_token_type="output"} 40`,
		`gen_ai_server_time_to_first_token_seconds_bucket{gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="m",le="0.25"} 0`,
		`gen_ai_server_time_to_first_token_seconds_bucket{gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="m",le="0.5"} 2`,
		`cabincrew_gateway_cost_total{gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="m"} 3`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

// TestModelNamesAreBounded: clients choose the names of models.
func TestModelNamesAreBounded(t *testing.T) {
	t.Parallel()
	c := telemetry.NewCalls(nil)
	m := telemetry.NewModels(c)
	for i := range limits.MetricsSeries + 100 {
		m.Done(modelCall(fmt.Sprint("m", i), "ok"))
	}
	if n := strings.Count(metrics(t, c), "gen_ai_client_operation_duration_seconds_count"); n > limits.MetricsSeries+1 {
		t.Fatalf("%d series", n)
	}
}

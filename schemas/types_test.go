package schemas_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/schemas"
)

// types are the Go types of the protocol's objects, by the kind of their schema.
var types = map[string]any{
	"approval-received-data":    protocol.ApprovalReceivedData{},
	"approval-record":           protocol.ApprovalRecord{},
	"approval-request":          protocol.ApprovalRequest{},
	"approval-requested-data":   protocol.ApprovalRequestedData{},
	"approval-response":         protocol.ApprovalResponse{},
	"artifact":                  protocol.Artifact{},
	"artifact-created-data":     protocol.ArtifactCreatedData{},
	"artifact-record":           protocol.ArtifactRecord{},
	"audit-approval":            protocol.AuditApproval{},
	"audit-artifact":            protocol.AuditArtifact{},
	"audit-engine":              protocol.AuditEngine{},
	"audit-event":               protocol.AuditEvent{},
	"audit-gateway":             protocol.AuditGateway{},
	"audit-integrity":           protocol.AuditIntegrity{},
	"audit-policy":              protocol.AuditPolicy{},
	"audit-workflow":            protocol.AuditWorkflow{},
	"engine-artifact":           protocol.EngineArtifact{},
	"engine-input":              protocol.EngineInput{},
	"engine-meta":               protocol.EngineMeta{},
	"engine-metric":             protocol.EngineMetric{},
	"engine-orchestrator":       protocol.EngineOrchestrator{},
	"engine-output":             protocol.EngineOutput{},
	"gateway-approval":          protocol.GatewayApproval{},
	"llm-gateway-policy-config": protocol.LLMGatewayPolicyConfig{},
	"llm-gateway-request":       protocol.LLMGatewayRequest{},
	"llm-gateway-response":      protocol.LLMGatewayResponse{},
	"llm-gateway-rule":          protocol.LLMGatewayRule{},
	"mcp-gateway-policy-config": protocol.MCPGatewayPolicyConfig{},
	"mcp-gateway-request":       protocol.MCPGatewayRequest{},
	"mcp-gateway-response":      protocol.MCPGatewayResponse{},
	"mcp-gateway-rule":          protocol.MCPGatewayRule{},
	"plan-artifact-hash":        protocol.PlanArtifactHash{},
	"plan-token":                protocol.PlanToken{},
	"policy-evaluated-data":     protocol.PolicyEvaluatedData{},
	"policy-evaluation":         protocol.PolicyEvaluation{},
	"policy-evaluation-record":  protocol.PolicyEvaluationRecord{},
	"preflight-evidence":        protocol.PreflightEvidence{},
	"preflight-input":           protocol.PreflightInput{},
	"preflight-output":          protocol.PreflightOutput{},
	"preflight-requires":        protocol.PreflightRequires{},
	"step-completed-data":       protocol.StepCompletedData{},
	"step-started-data":         protocol.StepStartedData{},
	"wal-entry":                 protocol.WALEntry{},
	"workflow-completed-data":   protocol.WorkflowCompletedData{},
	"workflow-failed-data":      protocol.WorkflowFailedData{},
	"workflow-started-data":     protocol.WorkflowStartedData{},
	"workflow-state":            protocol.WorkflowState{},
	"workflow-state-record":     protocol.WorkflowStateRecord{},
}

// elsewhere are objects whose Go types live in higher layers, or that have none.
var elsewhere = []string{
	"any-map", "approval-predicate", "audit-head", "config", "derived", "flight", "flight-plan-predicate", "gateway", "llm", "plan-context", "plan-manifest", "policy-input",
	"preflight-report", "statement", "take-off-predicate",
}

// alwaysWritten are optional members that this implementation never leaves out:
// size is part of what the token is made of. SPEC: docs/protocol.md 3.
var alwaysWritten = map[string]string{"plan-artifact-hash": "size"}

type objectSchema struct {
	Type       string                     `json:"type"`
	Required   []string                   `json:"required"`
	Properties map[string]json.RawMessage `json:"properties"`
	Enum       []any                      `json:"enum"`
}

func read(t *testing.T, kind string) objectSchema {
	t.Helper()
	text, err := schemas.Schema(kind)
	if err != nil {
		t.Fatal(err)
	}
	var s objectSchema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGoTypesHaveTheFieldsOfTheirSchemas(t *testing.T) {
	t.Parallel()
	for _, kind := range schemas.Kinds() {
		s := read(t, kind)
		if s.Type != "object" || slices.Contains(elsewhere, kind) {
			continue
		}
		zero, ok := types[kind]
		if !ok {
			t.Errorf("no Go type is compared with %s", kind)
			continue
		}
		var names, required []string
		for _, f := range reflect.VisibleFields(reflect.TypeOf(zero)) {
			name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
			names = append(names, name)
			if opts == "" && alwaysWritten[kind] != name {
				required = append(required, name)
			}
		}
		slices.Sort(names)
		slices.Sort(required)
		slices.Sort(s.Required)
		if want := slices.Sorted(maps.Keys(s.Properties)); !slices.Equal(names, want) {
			t.Errorf("%s: Go has %v, the schema %v", kind, names, want)
		}
		if !slices.Equal(required, s.Required) {
			t.Errorf("%s: Go always writes %v, the schema requires %v", kind, required, s.Required)
		}
	}
	for kind := range types {
		if !slices.Contains(schemas.Kinds(), kind) {
			t.Errorf("there is no schema %s", kind)
		}
	}
}

// TestGoTypesFitTheSchemas writes each type with every field filled, and checks
// that the schema takes it and that strict reading gives it back.
func TestGoTypesFitTheSchemas(t *testing.T) {
	t.Parallel()
	for _, kind := range slices.Sorted(maps.Keys(types)) {
		v := reflect.New(reflect.TypeOf(types[kind]))
		fill(t, v.Elem())
		text, err := protocol.Canonical(v.Interface())
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if err := schemas.Validate(kind, text); err != nil {
			t.Errorf("%s: %v\n%s", kind, err, text)
		}
		again := reflect.New(reflect.TypeOf(types[kind]))
		if err := protocol.Decode(text, again.Interface()); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if !reflect.DeepEqual(v.Interface(), again.Interface()) {
			t.Errorf("%s: read back as %#v, was %#v", kind, again.Elem(), v.Elem())
		}
	}
}

func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	if v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			fillField(t, v.Type().Field(i).Name, v.Field(i))
		}
		return
	}
	fillField(t, "", v)
}

func fillField(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	switch x := v.Addr().Interface().(type) {
	case *protocol.Decision:
		*x = protocol.Warn
	case *protocol.Mode:
		*x = protocol.TakeOff
	case *protocol.State:
		*x = protocol.StateInit
	case *protocol.Aggregation:
		*x = protocol.AnyDeny
	case *protocol.WALEntryType:
		*x = protocol.WALStepStarted
	case *protocol.Number:
		*x = "12"
	case *json.RawMessage:
		*x = json.RawMessage(`{"step_id":"s","step_type":"INIT"}`)
	case *any:
		*x = map[string]any{"k": "v"}
	case *map[string]any:
		*x = map[string]any{"k": []any{true, protocol.Number("1"), nil}}
	default:
		switch v.Kind() {
		case reflect.String:
			v.SetString(sample(name))
		case reflect.Int, reflect.Int64:
			v.SetInt(2)
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem())
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fill(t, v.Index(0))
		case reflect.Struct:
			fill(t, v)
		default:
			t.Fatalf("%s is a %s, which nothing fills", name, v.Kind())
		}
	}
}

func sample(field string) string {
	switch field {
	case "Timestamp", "CreatedAt", "UpdatedAt", "ApprovedAt", "EvaluatedAt":
		return "2026-11-22T18:00:00Z"
	case "Status":
		return protocol.StatusSuccess
	case "Severity":
		return protocol.SeverityInfo
	case "Source":
		return protocol.SourceOPA
	}
	return "text"
}

func TestGoConstantsAreTheEnums(t *testing.T) {
	t.Parallel()
	valid := func(kind string, ok func(string) bool) {
		enum := read(t, kind).Enum
		if len(enum) == 0 {
			t.Errorf("%s lists nothing", kind)
		}
		for _, v := range enum {
			if s, isText := v.(string); !isText || !ok(s) {
				t.Errorf("%s lists %v, which Go does not know", kind, v)
			}
		}
	}
	valid("state", func(s string) bool { return protocol.State(s).Valid() })
	valid("decision", func(s string) bool { return protocol.Decision(s).Valid() })
	valid("mode", func(s string) bool {
		return slices.Contains([]protocol.Mode{protocol.FlightPlan, protocol.TakeOff}, protocol.Mode(s))
	})
	if n := len(read(t, "state").Enum); n != 14 {
		t.Errorf("%d states", n)
	}
	for _, m := range []protocol.Aggregation{
		protocol.MostRestrictive, protocol.Unanimous, protocol.Majority, protocol.AnyDeny, protocol.AllAllow, protocol.CustomRule,
	} {
		if err := schemas.Validate("aggregation-method", []byte(`"`+string(m)+`"`)); err != nil {
			t.Error(err)
		}
	}
}

package signing_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/schemas"
	"github.com/cabincrew/action/signing"
)

// TestStatementsFitTheirSchemas: what is signed is what the schemas say, and these
// name the members of the Go types.
func TestStatementsFitTheirSchemas(t *testing.T) {
	t.Parallel()
	plan, err := signing.NewFlightPlan(manifest, flightPlan())
	if err != nil {
		t.Fatal(err)
	}
	end, err := signing.NewTakeOff(manifest, takeOff())
	if err != nil {
		t.Fatal(err)
	}
	for kind, statement := range map[string][]byte{"flight-plan-predicate": plan, "take-off-predicate": end, "approval-predicate": approvalStatement(t)} {
		if err := schemas.Validate("statement", statement); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		var s signing.Statement
		if err := json.Unmarshal(statement, &s); err != nil {
			t.Fatal(err)
		}
		if err := schemas.Validate(kind, s.Predicate); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for kind, zero := range map[string]any{
		"flight-plan-predicate": signing.FlightPlanPredicate{}, "take-off-predicate": signing.TakeOffPredicate{}, "approval-predicate": signing.ApprovalPredicate{},
		"derived": signing.Derived{}, "audit-head": signing.AuditHead{}, "statement": signing.Statement{},
	} {
		text, err := schemas.Schema(kind)
		if err != nil {
			t.Fatal(err)
		}
		var s struct {
			Properties map[string]any `json:"properties"`
		}
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range reflect.VisibleFields(reflect.TypeOf(zero)) {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "-" {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		if want := slices.Sorted(maps.Keys(s.Properties)); !slices.Equal(names, want) {
			t.Errorf("%s: the type has %v, the schema %v", kind, names, want)
		}
	}
}

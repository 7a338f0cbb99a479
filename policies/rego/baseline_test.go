package rego_test

import (
	"testing"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
)

func baseline(tb testing.TB) []policies.Set {
	tb.Helper()
	set, err := policies.Bundled("baseline")
	if err != nil {
		tb.Fatal(err)
	}
	return []policies.Set{set}
}

func TestBaselinePolicies(t *testing.T) {
	t.Parallel()
	r, err := rego.Test(t.Context(), baseline(t), "", rego.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Tests {
		if c.Outcome != rego.TestPass {
			t.Errorf("%s:%d %s: %s %s", c.File, c.Line, c.Name, c.Outcome, c.Error)
		}
	}
	if len(r.Tests) < 25 || !r.Passed() {
		t.Errorf("%d tests, passed %v", len(r.Tests), r.Passed())
	}
	if r.Coverage() < 950 {
		t.Errorf("coverage %d.%d %%, missed %v", r.Coverage()/10, r.Coverage()%10, r.Missed)
	}
	t.Logf("%d tests, coverage %d.%d %%, missed %v", len(r.Tests), r.Coverage()/10, r.Coverage()%10, r.Missed)
}

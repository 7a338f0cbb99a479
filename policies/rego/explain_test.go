package rego_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
)

// TestExplanation tells which rules held and where the others stopped, the same
// each time, and changes no finding.
func TestExplanation(t *testing.T) {
	t.Parallel()
	src := `package main

deny contains f.path if {
	some a in input.artifacts
	some f in a.patch.files
	startswith(f.path, "x")
}

warn contains "never" if {
	input.mode == "flight-plan"
	input.opaque
}

unused := 1
`
	in := policies.Input{Mode: "flight-plan", Artifacts: []policies.Artifact{{Patch: &policies.Patch{Files: []policies.PatchFile{{Path: "x1"}, {Path: "y"}, {Path: "x2"}}}}}}
	evaluateWith := func(explain bool) policies.Result {
		t.Helper()
		r, err := mustNew(t, rego.Options{Explain: explain}, set("s", "a.rego", src)).Evaluate(t.Context(), in, now)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	plain, told := evaluateWith(false), evaluateWith(true)
	if plain.Explanations != nil || len(plain.Findings) != len(told.Findings) {
		t.Errorf("%+v\n%+v", plain, told)
	}
	if len(told.Explanations) != 1 || told.Explanations[0].Policy != "main" {
		t.Fatalf("%+v", told.Explanations)
	}
	lines := told.Explanations[0].Lines
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "s/a.rego:3 deny: held") || lines[1] != "s/a.rego:9 warn: did not hold, stopped at line 11" {
		t.Errorf("%q", lines)
	}
	if again := evaluateWith(true).Explanations[0].Lines; !slices.Equal(lines, again) {
		t.Errorf("another time %q", again)
	}
	if told.Findings[0].Spent <= 0 {
		t.Error("no time was spent")
	}
}

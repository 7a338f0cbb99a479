package rego_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/protocol"
)

// TestCasesOfTests: a test with cases, none of which was evaluated, has not passed.
func TestCasesOfTests(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]rego.TestOutcome{
		"test_x[c] if {\n\tsome c in []\n\tc == 1\n}":                              rego.TestFail,
		"test_x[c] if {\n\tsome c in [\"a\"]\n\tinput.never\n}":                    rego.TestFail,
		"test_x[c] if {\n\tsome c in [\"a\", \"b\"]\n\tc == \"a\"\n}":              rego.TestFail,
		"test_x[c] if {\n\tsome c in [\"a\", \"b\"]\n\tc != \"\"\n}":               rego.TestPass,
		"test_x[c][d] if {\n\tsome c in [\"a\"]\n\tsome d in []\n\td == c\n}":      rego.TestFail,
		"test_x[c][d] if {\n\tsome c in [\"a\"]\n\tsome d in [\"b\"]\n\td != c\n}": rego.TestPass,
		"test_x contains c if {\n\tsome c in [\"a\"]\n}":                           rego.TestFail,
		"test_x := {}":     rego.TestFail,
		"test_x if 1 == 2": rego.TestFail,
		"test_x if 1 == 1": rego.TestPass,
	} {
		t.Run(body, func(t *testing.T) {
			t.Parallel()
			r, err := rego.Test(t.Context(), []policies.Set{set("s", "a.rego", judges, "a_test.rego", "package cabincrew.a_test\n\n"+body+"\n")}, "", rego.Options{})
			if err != nil || len(r.Tests) != 1 {
				t.Fatal(r, err)
			}
			if c := r.Tests[0]; c.Outcome != want || r.Passed() != (want == rego.TestPass) {
				t.Errorf("%s %s, want %s", c.Outcome, c.Error, want)
			}
		})
	}
	r, err := rego.Test(t.Context(), []policies.Set{set("s", "a.rego", judges)}, "", rego.Options{})
	if err != nil || r.Passed() {
		t.Errorf("no test passed: %v, %v", r, err)
	}
}

// TestTestsAreBounded ends tests that take too much together.
func TestTestsAreBounded(t *testing.T) {
	t.Parallel()
	_, err := rego.Test(t.Context(), []policies.Set{set("s", "a.rego", judges, "a_test.rego", `package cabincrew.a_test

r := numbers.range(1, 100000)

test_x if count([[a, b] | some a in r; some b in r]) == 0
`)}, "", rego.Options{Memory: 64 << 20})
	var pe *protocol.Error
	if !errors.As(err, &pe) || pe.Exit != protocol.ExitDenied || !strings.Contains(err.Error(), "the tests were stopped") {
		t.Error(err)
	}
}

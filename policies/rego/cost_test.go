package rego_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/protocol"
)

// tower has rules or expressions of which each holds the one before twice.
func tower(name, first, format string, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s0 %s\n", name, first)
	for i := range n {
		fmt.Fprintf(&b, format+"\n", i+1, i)
	}
	return b.String()
}

// TestCompileBombs has policies that take OPA's compiler hours or all memory. They
// are refused before it sees them.
func TestCompileBombs(t *testing.T) {
	t.Parallel()
	x, y := tower("x", ":= [input.mode, 2]", "x%[1]d := [x%[2]d, x%[2]d]", 16), tower("y", ":= [input.mode, 2]", "y%[1]d := [y%[2]d, y%[2]d]", 16)
	head := "package main\n\n"
	for _, tc := range []struct{ name, rego, at, want string }{
		{"tower", head + tower("x", ":= [1, 2]", "x%[1]d := [x%[2]d, x%[2]d]", 45) + "deny contains \"x\" if x45 == 3\n", "s/a.rego:", "steps to compare"},
		{"two towers", head + x + y + "deny contains \"x\" if { x16 == y16; 1 == 2 }\n", "s/a.rego:", "steps to compare"},
		{"local", head + "deny contains \"x\" if {\n" + tower("x", ":= [1, 2]", "x%[1]d := [x%[2]d, x%[2]d]", 40) + "x40 == 3 }\n", "s/a.rego:", "steps to compare"},
		{"unified", head + "deny contains \"x\" if {\n" + tower("x", "= [1, 2]", "[x%[1]d] = [[x%[2]d, x%[2]d]]", 40) + "x40 == 3 }\n", "s/a.rego:", "steps to compare"},
		{"functions", head + "f0(x) := [x, 2]\n" + tower("g", ":= 1", "f%[1]d(x) := [f%[2]d(x), f%[2]d(x)]", 40) + "deny contains \"x\" if f40(1) == 3\n", "s/a.rego:", "steps to compare"},
		{"objects", head + tower("x", ":= {\"a\": 1}", "x%[1]d := {\"a\": x%[2]d, \"b\": x%[2]d}", 40) + "deny contains \"x\" if x40 == 3\n", "s/a.rego:", "steps to compare"},
		{"two values", head + tower("x", ":= 1", "x%[1]d := {\"a\": x%[2]d} if input.a\nx%[1]d := {\"b\": x%[2]d} if input.b", 40) + "deny contains \"x\" if x40 == 3\n", "s/a.rego:", "steps to compare"},
		{"else", head + "p := 0 if input.a\n" + strings.Repeat("else := 1 if input.b\n", 20_000) + "deny contains \"x\" if p == 3\n", "s/a.rego:504", "else branches"},
		{"comprehensions", head + "deny contains \"x\" if " + strings.Repeat("[1 | 1 == ", 40) + "1" + strings.Repeat("]", 40) + "\n", "s/a.rego:3", "nested more than"},
		{"one body", head + "deny contains \"x\" if {\n" + strings.Repeat("input.a\n", 2001) + "}\n", "s/a.rego:4", "expressions"},
		{"rules", head + strings.Repeat("deny contains \"x\" if input.a\n", 20_001), "s/a.rego:1", "rules"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			sets := []policies.Set{set("s", "a.rego", tc.rego)}
			began := time.Now()
			_, err := rego.New(t.Context(), sets, rego.Options{})
			refusedBy(t, err, tc.at, tc.want)
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("it took %s", took)
			}
			_, err = rego.Test(t.Context(), sets, "", rego.Options{})
			refusedBy(t, err, tc.at, tc.want)
		})
	}
}

func refusedBy(t *testing.T, err error, at, want string) {
	t.Helper()
	var pe *protocol.Error
	if !errors.As(err, &pe) || pe.Code != "policy_compile_limit" || pe.Exit != protocol.ExitDenied || pe.Hint == "" {
		t.Fatalf("%v is no refusal", err)
	}
	if !strings.HasPrefix(pe.Where, at) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v lacks %q or is not at %q", err, want, at)
	}
}

// TestLargePolicies has policies that are large and no bombs.
func TestLargePolicies(t *testing.T) {
	t.Parallel()
	var table, list strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&table, "\t\"k%d\": {\"owner\": [\"a\", %d], \"level\": {\"n\": %d}},\n", i, i, i)
		fmt.Fprintf(&list, "\t\"name-%d\",\n", i)
	}
	src := "package main\n\ntable := {\n" + table.String() + "}\n\nnames := {\n" + list.String() + "}\n\nagain := [table, table]\n\n" +
		"deny contains \"x\" if {\n\tsome k, v in table\n\tv.owner == [\"a\", 1]\n\tk in names\n\tcount(again) == 3\n}\n"
	if _, err := rego.New(t.Context(), []policies.Set{set("s", "a.rego", src)}, rego.Options{CompileTime: 2 * time.Minute, CompileMemory: 16 << 30}); err != nil {
		t.Error(err)
	}
}

// slow takes the compiler some seconds and passes all that is looked at before.
func slow() string {
	var b strings.Builder
	b.WriteString("package main\n\ndeny contains \"x\" if {\n")
	for i := 450; i > 0; i-- {
		fmt.Fprintf(&b, "\ty%d = y%d\n", i, i-1)
	}
	return b.String() + "\ty0 = input.a\n}\n"
}

// TestCompileLimits ends what the compiler does not.
func TestCompileLimits(t *testing.T) {
	t.Parallel()
	sets := []policies.Set{set("fast", "a.rego", judges), set("s", "a.rego", slow())}
	ended, end := context.WithCancelCause(t.Context())
	end(errors.New("the user has gone"))
	ask := map[string]func(context.Context, rego.Options) error{
		"flight": func(ctx context.Context, o rego.Options) error { _, err := rego.New(ctx, sets, o); return err },
		"test":   func(ctx context.Context, o rego.Options) error { _, err := rego.Test(ctx, sets, "", o); return err },
	}
	for name, f := range ask {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := f(t.Context(), rego.Options{CompileTime: 100 * time.Millisecond})
			var pe *protocol.Error
			if !errors.As(err, &pe) || pe.Code != "policy_compile_limit" || pe.Exit != protocol.ExitDenied || !strings.Contains(pe.Where, "s/a.rego") {
				t.Errorf("%v", err)
			}
			if err := f(t.Context(), rego.Options{CompileMemory: 1 << 20}); !errors.Is(err, protocol.Code("policy_compile_limit")) || !strings.Contains(err.Error(), "MiB of memory") {
				t.Errorf("%v", err)
			}
			if err := f(ended, rego.Options{}); err == nil || !strings.Contains(err.Error(), "the user has gone") {
				t.Errorf("%v", err)
			}
		})
	}
}

package rego_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/protocol"
)

const (
	judges = "package cabincrew.a\n\ndeny contains \"x\" if false\n"
	tests  = "package cabincrew.a_test\n\ntest_x if true\n"
)

// TestUnasked has policies that no flight would evaluate.
func TestUnasked(t *testing.T) {
	t.Parallel()
	beside := func(src string) []policies.Set { return []policies.Set{set("s", "a.rego", judges, "b.rego", src)} }
	alone := func(files ...string) []policies.Set {
		return []policies.Set{set("other", "a.rego", judges), set("s", files...)}
	}
	for _, tc := range []struct {
		name           string
		sets           []policies.Set
		at, want, hint string
	}{
		{"data only", alone("data.json", `{"x": 1}`), "s", "no rule of the policy set s is asked", "put a *.rego file"},
		{"tests only", alone("a_test.rego", "package cabincrew.y\n\ndeny contains \"x\"\n\ntest_x if true\n"), "s", "data or tests only", "*_test.rego"},
		{"a mistyped package", alone("a.rego", "package cabincrw.y\n\ndeny contains \"x\"\n"), "s/a.rego", "its packages are cabincrw.y", "did you mean package cabincrew.y?"},
		{"another namespace", alone("a.rego", "package deployments\n\ndeny contains \"x\"\n"), "s/a.rego", "its packages are deployments", "name it cabincrew.deployments"},
		{"below main", alone("a.rego", "package main.sub\n\ndeny contains \"x\"\n"), "s/a.rego", "its packages are main.sub", "did you mean package cabincrew.sub?"},
		{"a misspelt rule alone", alone("a.rego", "package cabincrew.y\n\ndenny contains \"x\"\n"), "s/a.rego:3", "nobody asks the rule denny", "did you mean deny?"},
		{"several packages", alone("a.rego", "package lib\n\nx := 1\n", "b.rego", "package mian\n\ndeny contains \"x\"\n"), "s/a.rego", "its packages are lib, mian", "name it cabincrew.lib"},
		{"a mistyped package beside", beside("package cabincrw.y\n\ndeny contains \"x\"\n"), "s/b.rego:1", "nobody asks package cabincrw.y", "did you mean package cabincrew.y?"},
		{"another namespace beside", beside("package deployments\n\ndeny contains \"x\"\n"), "s/b.rego:1", "nobody asks package deployments", "*_test.rego"},
		{"below main beside", beside("package main.sub\n\ndeny contains \"x\"\n"), "s/b.rego:1", "nobody asks package main.sub", "cabincrew.sub"},
		{"a helper without a reader", beside("package lib\n\nx := 1\n"), "s/b.rego:1", "nobody asks package lib", ""},
		{"two that read each other", beside("package lib.a\n\nx := data.deep.b.y\n\ny := data.lib.a.x\n"), "s/b.rego:1", "nobody asks package lib.a", ""},
		{"misspelt beside", beside("package cabincrew.y\n\nwarn contains \"x\"\n\ndenny contains \"x\"\n"), "s/b.rego:5", "nobody asks the rule denny", "did you mean deny?"},
		{"plural", beside("package cabincrew.y\n\nwarn contains \"x\"\n\nviolations contains \"x\"\n"), "s/b.rego:5", "rule violations", "did you mean violation?"},
		{"capital", beside("package main\n\nwarn contains \"x\"\n\nDeny contains \"x\"\n"), "s/b.rego:5", "rule Deny", "did you mean deny?"},
		{"swapped", beside("package main\n\nwarn contains \"x\"\n\nrequire_aprpoval contains \"x\"\n"), "s/b.rego:5", "rule require_aprpoval", "did you mean require_approval?"},
		{"with a longer name", beside("package main\n\nwarn contains \"x\"\n\ndenny_root contains \"x\"\n"), "s/b.rego:5", "rule denny_root", "did you mean deny_root?"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := rego.New(t.Context(), tc.sets, rego.Options{CompileMemory: 16 << 30})
			_, testErr := rego.Test(t.Context(), tc.sets, "", rego.Options{CompileMemory: 16 << 30})
			for _, err := range []error{err, testErr} {
				var pe *protocol.Error
				if !errors.As(err, &pe) || pe.Code != "policy_unasked" || pe.Exit != protocol.ExitDenied {
					t.Fatalf("%v is no error of what nobody asks", err)
				}
				if pe.Where != tc.at || !strings.Contains(err.Error(), tc.want) || !strings.Contains(pe.Hint, tc.hint) {
					t.Errorf("at %q: %v; hint %q", pe.Where, err, pe.Hint)
				}
			}
		})
	}
}

// TestAsked has helpers, and names that are like answers' and are read.
func TestAsked(t *testing.T) {
	t.Parallel()
	for name, sets := range map[string][]policies.Set{
		"a library":             {set("s", "a.rego", "package main\n\nimport data.lib.deep\n\ndeny contains \"x\" if deep.x == 2\n", "lib.rego", "package lib.deep\n\nx := data.lib.other.y\n", "other.rego", "package lib.other\n\ny := 1\n")},
		"read as a whole":       {set("s", "a.rego", "package main\n\ndeny contains \"x\" if data.lib[_].x == 2\n", "lib.rego", "package lib.deep\n\nx := 1\n")},
		"another set's library": {set("s", "a.rego", judges+"\nhelp := 1\n"), set("t", "a.rego", "package main\n\ndeny contains \"x\" if data.cabincrew.a.help == 2\n")},
		"read rule":             {set("s", "a.rego", "package main\n\ndeny contains \"x\" if denied\n\ndenys if false\n\ndenied if denys\n")},
		"read from elsewhere":   {set("s", "a.rego", "package main\n\ndeny contains \"x\" if data.cabincrew.b.warns\n", "b.rego", "package cabincrew.b\n\nwarn contains \"x\" if false\n\nwarns if false\n")},
		"a list of deny":        {set("s", "a.rego", "package main\n\ndeny contains \"x\" if false\n\ndeny_list := [1]\n")},
		"tests beside":          {set("s", "a.rego", judges, "a_test.rego", tests, "helpers_test.rego", "package helpers\n\nx := 1\n")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := rego.New(t.Context(), sets, rego.Options{CompileMemory: 16 << 30}); err != nil {
				t.Error(err)
			}
			if _, err := rego.Test(t.Context(), sets, "", rego.Options{CompileMemory: 16 << 30}); err != nil {
				t.Error(err)
			}
		})
	}
	// What aggregates is asked too.
	sets := []policies.Set{set("s", "a.rego", judges), set("t", "b.rego", "package ours\n\nverdict := \"allow\"\n")}
	if _, err := rego.New(t.Context(), sets, rego.Options{AggregationRule: "data.ours.verdict"}); err != nil {
		t.Error(err)
	}
}

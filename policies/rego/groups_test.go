package rego

import (
	"slices"
	"testing"

	"github.com/cabincrew/action/policies"
)

// TestGroups parts sets only where none can read the other, and judges with what
// one reads of another.
func TestGroups(t *testing.T) {
	t.Parallel()
	first := "package cabincrew.first\n\nwarn contains \"first\"\n\nvalue := 7\n"
	tests := []struct {
		name, second string
		groups       int
	}{
		{"apart", "package cabincrew.second\n\nwarn contains \"second\"\n", 2},
		{"data of its own", "package cabincrew.second\n\nimport data.cabincrew_second as config\n\nwarn contains \"second\" if not config.off\n", 2},
		{"reads a rule", "package cabincrew.second\n\nwarn contains \"second\" if data.cabincrew.first.value == 7\n", 1},
		{"imports a package", "package cabincrew.second\n\nimport data.cabincrew.first\n\nwarn contains \"second\" if first.value == 7\n", 1},
		{"imports what is above", "package cabincrew.second\n\nimport data.cabincrew as all\n\nwarn contains \"second\" if all.first.value == 7\n", 1},
		{"reads by a variable", "package cabincrew.second\n\nwarn contains \"second\" if {\n\tsome name in [\"first\"]\n\tdata.cabincrew[name].value == 7\n}\n", 1},
		{"replaces a rule", "package cabincrew.second\n\nwarn contains \"second\" if {\n\tx := data.cabincrew.first.value with data.cabincrew.first.value as 8\n\tx == 8\n}\n", 1},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			sets := []policies.Set{
				{Name: "one", Files: []policies.SetFile{{Path: "a.rego", Data: []byte(first)}}},
				{Name: "two", Files: []policies.SetFile{{Path: "b.rego", Data: []byte(tc.second)}}},
			}
			e, err := New(t.Context(), sets, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if len(e.canaries) != tc.groups {
				t.Errorf("%d groups, want %d", len(e.canaries), tc.groups)
			}
			r, err := e.Evaluate(t.Context(), policies.Input{}, "")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range r.Findings {
				got = append(got, f.Reason)
			}
			if slices.Sort(got); !slices.Equal(got, []string{"first", "second"}) {
				t.Errorf("%q", got)
			}
		})
	}
	// Without any policy there is one canary still.
	if e, err := New(t.Context(), nil, Options{}); err != nil || len(e.canaries) != 1 {
		t.Error(err)
	}
}

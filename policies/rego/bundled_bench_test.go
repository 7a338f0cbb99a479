package rego_test

import (
	"fmt"
	"runtime/debug"
	"testing"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
)

// all gives all sets that are built in, also those for gateways.
func all(tb testing.TB) []policies.Set {
	tb.Helper()
	out := every(tb)
	for _, name := range policies.GatewayNames() {
		set, err := policies.GatewayBundled(name)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, set)
	}
	return out
}

// every gives all sets that are built in and judge flights.
func every(tb testing.TB) []policies.Set {
	tb.Helper()
	var out []policies.Set
	for _, name := range policies.BundledNames() {
		set, err := policies.Bundled(name)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, set)
	}
	return out
}

// mixedPatch is a change of 200 files and 5,000 lines in several languages, with
// words in it that rules look at twice.
func mixedPatch() policies.Input {
	kinds := []struct{ path, added, deleted string }{
		{"internal/part%d/file%d.go", "\treturn fmt.Errorf(\"line %d of file %d: %%w\", err)", "\treturn errors.New(\"line %d of file %d\")"},
		{"internal/part%d/file%d_test.go", "\t\tt.Errorf(\"line %d of file %d: %%v\", got)", "\t\tt.Fatal(\"line %d of file %d\")"},
		{"web/part%d/view%d.ts", "  const uses%d = await fetch(`/api/${id}/%d`); // as before", "  const used%d = get(%d);"},
		{"docs/part%d/page%d.md", "Line %d of page %d – how the thing is used, and what curl says of it.", "Line %d of page %d."},
		{"deploy/part%d/values%d.yaml", "  - name: line-%d\n    value: \"https://example.com/%d\"", "  - name: old-%d-%d"},
		{"scripts/part%d/run%d.py", "    assert run(%d) == %d, \"skip nothing\"", "    assert run(%d) != %d"},
	}
	in := bigPatch()
	files := in.Artifacts[0].Patch.Files
	for i := range files {
		k, f := kinds[i%len(kinds)], &files[i]
		f.Path = fmt.Sprintf(k.path, i%20, i)
		f.OldPath = f.Path
		h := policies.Hunk{OldStart: 10, NewStart: 10}
		for l := range f.DeletedLines {
			f.DeletedLines[l] = fmt.Sprintf(k.deleted, l, i)
			h.Lines = append(h.Lines, policies.Line{Op: "-", Line: int64(10 + l), Text: f.DeletedLines[l]})
		}
		for l := range f.AddedLines {
			f.AddedLines[l] = fmt.Sprintf(k.added, l, i)
			h.Lines = append(h.Lines, policies.Line{Op: "+", Line: int64(10 + l), Text: f.AddedLines[l]})
		}
		for l := range 6 {
			h.Lines = append(h.Lines, policies.Line{Op: " ", Line: int64(30 + l), Text: "unchanged"})
		}
		f.Hunks = []policies.Hunk{h}
	}
	return in
}

func BenchmarkPrepareBundled(b *testing.B) {
	// As cmd/cabincrew has it; a fifth of the time is else that of the collector.
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	sets := every(b)
	for b.Loop() {
		if _, err := rego.New(b.Context(), sets, rego.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEvaluateBundled(b *testing.B) {
	in := mixedPatch()
	run := func(name string, sets []policies.Set, in policies.Input) {
		b.Run(name, func(b *testing.B) {
			e, err := rego.New(b.Context(), sets, rego.Options{})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := e.Evaluate(b.Context(), in, "2026-01-01T00:00:00Z"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("all", every(b), in)
	for _, s := range every(b) {
		run(s.Name, []policies.Set{s}, in)
	}
}

func BenchmarkDocument200Files(b *testing.B) {
	in := mixedPatch()
	for b.Loop() {
		if _, err := in.Document(); err != nil {
			b.Fatal(err)
		}
	}
}

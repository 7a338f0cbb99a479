package rego_test

import (
	"fmt"
	"testing"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
)

// bigPatch is a change of 200 files and 5,000 lines.
func bigPatch() policies.Input {
	var files []policies.PatchFile
	for i := range 200 {
		f := policies.PatchFile{
			Op: "modify", Path: fmt.Sprintf("internal/part%d/file%d.go", i%20, i), OldMode: "100644", NewMode: "100644",
			Added: 13, Deleted: 12,
		}
		f.OldPath = f.Path
		for l := range 13 {
			f.AddedLines = append(f.AddedLines, fmt.Sprintf("\treturn fmt.Errorf(\"line %d of file %d: %%w\", err)", l, i))
		}
		for l := range 12 {
			f.DeletedLines = append(f.DeletedLines, fmt.Sprintf("\treturn errors.New(\"line %d of file %d\")", l, i))
		}
		files = append(files, f)
	}
	return policies.Input{
		Artifacts: []policies.Artifact{{Name: "changes", Role: "evidence", ArtifactType: "patch", Action: "apply", Patch: &policies.Patch{Files: files}}},
		Mode:      "flight-plan", Isolation: policies.Isolation{Tier: "A"},
	}
}

func BenchmarkPrepareBaseline(b *testing.B) {
	for b.Loop() {
		if _, err := rego.New(b.Context(), baseline(b), rego.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEvaluate200Files(b *testing.B) {
	e, err := rego.New(b.Context(), baseline(b), rego.Options{})
	if err != nil {
		b.Fatal(err)
	}
	in := bigPatch()
	for b.Loop() {
		r, err := e.Evaluate(b.Context(), in, "2026-01-01T00:00:00Z")
		if err != nil || len(r.Findings) != 1 {
			b.Fatal(len(r.Findings), err)
		}
	}
}

func BenchmarkEvaluateNothing(b *testing.B) {
	e, err := rego.New(b.Context(), baseline(b), rego.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := e.Evaluate(b.Context(), policies.Input{}, "2026-01-01T00:00:00Z"); err != nil {
			b.Fatal(err)
		}
	}
}

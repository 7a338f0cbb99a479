package rego_test

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

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
	// The limit is for one whole test, which has dozens of cases and is traced for coverage.
	r, err := rego.Test(t.Context(), baseline(t), "", rego.Options{Time: 2 * time.Minute, Memory: 16 << 30})
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

// TestBaselineFromGo fires every rule from the Go form of the input, so that
// field names of policies.Input and of the rules cannot drift apart.
func TestBaselineFromGo(t *testing.T) {
	t.Parallel()
	text := func(path string) policies.PatchFile {
		return policies.PatchFile{Op: "modify", Path: path, OldPath: path, OldMode: "100644", NewMode: "100644", Added: 1, AddedLines: []string{"x"}}
	}
	with := func(f policies.PatchFile, change func(*policies.PatchFile)) policies.PatchFile {
		change(&f)
		return f
	}
	var gone []policies.PatchFile
	for i := range 20 {
		gone = append(gone, policies.PatchFile{Op: "delete", Path: fmt.Sprintf("f%d", i), OldPath: fmt.Sprintf("f%d", i), OldMode: "100644", Deleted: 1})
	}
	tests := []struct {
		name  string
		in    policies.Input
		files []policies.PatchFile
		want  string
	}{
		{"nothing", policies.Input{}, nil, "allow cabincrew.baseline:"},
		{"ordinary", policies.Input{}, []policies.PatchFile{text("a.go")}, "allow cabincrew.baseline:"},
		{"outside", policies.Input{}, []policies.PatchFile{text("../a.go")}, "deny cabincrew.baseline/deny/outside-workspace:"},
		{"credential", policies.Input{}, []policies.PatchFile{text(".env")}, "deny cabincrew.baseline/deny/credential-file:"},
		{"link", policies.Input{}, []policies.PatchFile{with(text("l"), func(f *policies.PatchFile) {
			f.NewMode, f.AddedLines = "120000", []string{"/etc"}
		})}, "deny cabincrew.baseline/deny/symlink-outside:"},
		{"workflow", policies.Input{}, []policies.PatchFile{text(".github/workflows/ci.yml")}, "require_approval cabincrew.baseline/require_approval/ci-workflow maintainer:"},
		{"configuration", policies.Input{}, []policies.PatchFile{text(".cabincrew.yaml")}, "require_approval cabincrew.baseline/require_approval/governance policy-owner:"},
		{"governed path", policies.Input{Governance: policies.Governance{Paths: []string{"rules/"}}}, []policies.PatchFile{text("rules/data.json")}, "require_approval cabincrew.baseline/require_approval/governance policy-owner:"},
		{"deletion", policies.Input{}, gone, "require_approval cabincrew.baseline/require_approval/mass-deletion maintainer:"},
		{"half of the files", policies.Input{Workspace: &policies.Workspace{Files: 10}}, gone[:5], "require_approval cabincrew.baseline/require_approval/mass-deletion maintainer:"},
		{"executable", policies.Input{}, []policies.PatchFile{with(text("run"), func(f *policies.PatchFile) { f.ExecutableChanged = true })}, "require_approval cabincrew.baseline/require_approval/changed-executable maintainer:"},
		{"lines", policies.Input{}, []policies.PatchFile{with(text("a"), func(f *policies.PatchFile) { f.Added = 1001 })}, "require_approval cabincrew.baseline/require_approval/many-lines maintainer:"},
		{"not isolated", policies.Input{Isolation: policies.Isolation{Tier: "C"}}, nil, "require_approval cabincrew.baseline/require_approval/not-isolated maintainer:"},
		{"isolation unknown", policies.Input{Isolation: policies.Isolation{Tier: "D"}}, nil, "require_approval cabincrew.baseline/require_approval/not-isolated maintainer:"},
		{"tier B", policies.Input{Isolation: policies.Isolation{Tier: "B"}}, nil, "allow cabincrew.baseline:"},
		{"opaque", policies.Input{Opaque: true}, nil, "require_approval cabincrew.baseline/require_approval/opaque-step maintainer:"},
		{"binary", policies.Input{}, []policies.PatchFile{with(text("a"), func(f *policies.PatchFile) { f.Binary = true })}, "warn cabincrew.baseline/warn/binary-file:"},
		{"cut off", policies.Input{}, []policies.PatchFile{with(text("a"), func(f *policies.PatchFile) { f.Truncated = true })}, "warn cabincrew.baseline/warn/truncated-view:"},
	}
	e := mustNew(t, rego.Options{}, baseline(t)...)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.in.Isolation.Tier = cmp.Or(tc.in.Isolation.Tier, "A")
			tc.in.Artifacts = []policies.Artifact{{Name: "changes", ArtifactType: "patch", Patch: &policies.Patch{Files: tc.files}}}
			got := brief(evaluate(t, e, tc.in))
			if len(got) != 1 || !strings.HasPrefix(got[0], tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
	unread := policies.Input{Isolation: policies.Isolation{Tier: "A"}, Artifacts: []policies.Artifact{{Name: "changes", ArtifactType: "patch"}}}
	if got := brief(evaluate(t, e, unread)); len(got) != 1 || !strings.HasPrefix(got[0], "deny cabincrew.baseline/deny/patch-unreadable:") {
		t.Errorf("%q", got)
	}
}

package rego_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
)

var update = flag.Bool("update", false, "write the generated part of docs/policies.md")

const (
	docsFile = "../../docs/policies.md"
	begin    = "<!-- rules of the bundled sets: made from their annotations, do not edit -->\n"
	end      = "<!-- end of rules -->\n"
)

// TestRulesAreDocumented keeps docs/policies.md, the annotations and the ids in
// findings equal. Run it with -update after a change of an annotation.
func TestRulesAreDocumented(t *testing.T) {
	t.Parallel()
	rules, err := rego.Rules(baseline(t))
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("\n| rule | decision | when | what to do |\n|---|---|---|---|\n")
	annotated := map[string]bool{}
	for _, r := range rules {
		if r.ID == "" || r.Title == "" || r.Description == "" || r.Remedy == "" {
			t.Errorf("%s: the annotation lacks something: %+v", r.At, r)
		}
		annotated[r.ID] = true
		fmt.Fprintf(&table, "| `%s` | %s | **%s.** %s | %s |\n", r.ID, r.Decision, r.Title, r.Description, r.Remedy)
	}
	table.WriteString("\n")

	used := map[string]bool{}
	for _, f := range baseline(t)[0].Files {
		if f.Rego() && !f.Test() {
			for _, m := range regexp.MustCompile(`(?m)^\t"id": "([^"]+)"`).FindAllSubmatch(f.Data, -1) {
				used[string(m[1])] = true
			}
		}
	}
	if !maps.Equal(used, annotated) || len(used) < 13 {
		t.Errorf("ids in rules %v, in annotations %v", slices.Sorted(maps.Keys(used)), slices.Sorted(maps.Keys(annotated)))
	}

	page, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(page), begin)
	have, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has lost its marks", docsFile)
	}
	if have == table.String() {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the annotations say; run: go test ./policies/rego -run Documented -update", docsFile)
	}
	if err := os.WriteFile(docsFile, []byte(head+begin+table.String()+end+tail), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestInputIsDocumented finds every field of the input document in its page.
func TestInputIsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/policy-input.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{
		policies.Input{}, policies.Artifact{}, policies.Patch{}, policies.PatchFile{}, policies.Isolation{}, policies.Workspace{}, policies.Governance{},
		policies.Hunk{}, policies.Line{}, policies.Terraform{}, policies.TerraformResource{}, policies.Change{}, policies.TakeOff{},
	} {
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if name == "-" {
				continue
			}
			if !strings.Contains(string(page), "`"+name+"`") {
				t.Errorf("%s.%s is not on the page", typ.Name(), name)
			}
		}
	}
}

// TestExampleIsTrue judges with the policy that the page shows.
func TestExampleIsTrue(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```rego\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("the page has no example")
	}
	e := mustNew(t, rego.Options{}, set("s", "a.rego", example))
	in := policies.Input{Artifacts: []policies.Artifact{{Patch: &policies.Patch{Files: []policies.PatchFile{{Path: "VERSION"}}}}}}
	got := evaluate(t, e, in)
	if len(got) != 1 || got[0].PolicyID != "cabincrew.releases/require_approval/release-notes" || got[0].Role != "release-manager" {
		t.Errorf("%q", brief(got))
	}
	in.Artifacts[0].Patch.Files = append(in.Artifacts[0].Patch.Files, policies.PatchFile{Path: "CHANGELOG.md"})
	if got := brief(evaluate(t, e, in)); len(got) != 1 || !strings.HasPrefix(got[0], "allow cabincrew.releases:") {
		t.Errorf("%q", got)
	}
}

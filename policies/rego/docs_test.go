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

const docsFile = "../../docs/policies.md"

// marks are the lines around the generated table of a set.
func marks(set string) (begin, end string) {
	return fmt.Sprintf("<!-- rules of the bundled set %s: made from their annotations, do not edit -->\n", set), fmt.Sprintf("<!-- end of the rules of %s -->\n", set)
}

// ruleIDs finds the ids that the rules of a set give their findings.
var ruleIDs = regexp.MustCompile(`(?m)^\t"(?:id": ")?([a-z0-9-]+)",(?: |$)`)

// TestRulesAreDocumented keeps docs/policies.md, the annotations and the ids in
// findings equal. Run it with -update after a change of an annotation.
func TestRulesAreDocumented(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	page, owner := string(raw), map[string]string{}
	for _, set := range all(t) {
		table, ids := ruleTable(t, set)
		for _, id := range ids {
			if owner[id] != "" {
				t.Errorf("%s is a rule of %s and of %s; exemptions name rules by their ids", id, owner[id], set.Name)
			}
			owner[id] = set.Name
		}
		begin, end := marks(set.Name)
		head, rest, ok := strings.Cut(page, begin)
		have, tail, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no marks for %s", docsFile, set.Name)
		}
		if have != table && !*update {
			t.Errorf("%s is not what the annotations of %s say; run: go test ./policies/rego -run Documented -update", docsFile, set.Name)
		}
		page = head + begin + table + end + tail
	}
	if *update && page != string(raw) {
		if err := os.WriteFile(docsFile, []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// ruleTable makes the table of a set's rules and gives their ids.
func ruleTable(t *testing.T, set policies.Set) (string, []string) {
	t.Helper()
	rules, err := rego.Rules([]policies.Set{set})
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
		if annotated[r.ID] {
			t.Errorf("%s: %s is there twice", r.At, r.ID)
		}
		annotated[r.ID] = true
		fmt.Fprintf(&table, "| `%s` | %s | **%s.** %s | %s |\n", r.ID, r.Decision, r.Title, r.Description, r.Remedy)
	}
	table.WriteString("\n")

	used := map[string]bool{}
	for _, f := range set.Files {
		if f.Rego() && !f.Test() {
			for _, m := range ruleIDs.FindAllSubmatch(f.Data, -1) {
				used[string(m[1])] = true
			}
		}
	}
	if !maps.Equal(used, annotated) || len(used) < 13 {
		t.Errorf("%s: ids in rules %v, in annotations %v", set.Name, slices.Sorted(maps.Keys(used)), slices.Sorted(maps.Keys(annotated)))
	}
	return table.String(), slices.Sorted(maps.Keys(annotated))
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
		policies.Statement{}, policies.Condition{}, policies.Binding{},
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

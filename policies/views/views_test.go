package views_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/views"
)

func fill(t *testing.T, kind, mime, body string) policies.Artifact {
	t.Helper()
	a := policies.Artifact{ArtifactType: kind, Mime: mime}
	views.Fill(&a, []byte(body))
	return a
}

func TestYAML(t *testing.T) {
	t.Parallel()
	a := fill(t, "x", "application/yaml; charset=utf-8", `
a: &x {b: 1, c: yes, d: "yes", e: 1.50, f: 0777, g: ~, h: 12345678901234567890, i: -3, j: !!str 5}
k: [*x, *x]
--- # empty
---
- l
`)
	x := map[string]any{
		"b": json.Number("1"), "c": true, "d": "yes", "e": json.Number("1.50"), "f": json.Number("511"), "g": nil, "h": json.Number("12345678901234567890"), "i": json.Number("-3"), "j": "5",
	}
	want := []any{map[string]any{"a": x, "k": []any{x, x}}, []any{"l"}}
	if a.ViewError != "" || !reflect.DeepEqual(a.Documents, want) {
		t.Errorf("%q\n%#v\nwant\n%#v", a.ViewError, a.Documents, want)
	}
}

// TestNumbers: numbers in any form that clusters' reader knows are numbers.
func TestNumbers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]any{
		"0x0": json.Number("0"), "00": json.Number("0"), "0_0": json.Number("0"), "0777": json.Number("511"), "0o17": json.Number("15"), "0b101": json.Number("5"),
		"-0b11": json.Number("-3"), "+0x10": json.Number("16"), "1_000": json.Number("1000"), ".0": json.Number("0"), "0.": json.Number("0"), ".5e1": json.Number("5"),
		"08": json.Number("8"), "1_0.5": json.Number("10.5"), "+1": json.Number("1"), "0xffffffffffffffff": json.Number("18446744073709551615"), "1e400": json.Number("1e400"),
		"2001-01-01": "2001-01-01", "1:30": "1:30", "0x": "0x", "0b2": "0b2", "_1": "_1", "1e4_0x": "1e4_0x", ".": ".", "+": "+", ".inf": ".inf", ".nan": ".nan", "1.2.3": "1.2.3",
		"0x1p-2": "0x1p-2", "..5": "..5",
	} {
		a := fill(t, "x", "application/yaml", "a: "+text+"\n")
		if got := a.Documents[0].(map[string]any)["a"]; a.ViewError != "" || got != want {
			t.Errorf("%s is %#v, want %#v (%s)", text, got, want, a.ViewError)
		}
	}
}

func TestKubernetes(t *testing.T) {
	t.Parallel()
	a := fill(t, "manifest", "text/yaml", `
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {hostNetwork: yes}}
- {apiVersion: apps/v1, kind: Deployment}
---
kind: not an object of Kubernetes
`)
	if a.ViewError != "" || len(a.Kubernetes) != 2 || len(a.Documents) != 2 {
		t.Fatalf("%+v", a)
	}
	if spec := a.Kubernetes[0].(map[string]any)["spec"]; !reflect.DeepEqual(spec, map[string]any{"hostNetwork": true}) {
		t.Error(spec)
	}
	inline := policies.Artifact{Mime: "application/json", Body: map[string]any{"apiVersion": "v1", "kind": "Service"}}
	views.Fill(&inline, nil)
	if inline.ViewError != "" || len(inline.Kubernetes) != 1 {
		t.Errorf("%+v", inline)
	}
}

func TestTerraform(t *testing.T) {
	t.Parallel()
	a := fill(t, "terraform-plan", "application/json", `{"format_version":"1.2","resource_changes":[
		{"address":"a.b","mode":"managed","type":"a","name":"b","provider_name":"p","change":{"actions":["delete","create"],"before":{"x":1},"after":{"x":2},"after_unknown":{},"replace_paths":[["x"]]}},
		{"address":"a.c","type":"a","change":{"actions":["no-op"],"before":null,"after":null}}]}`)
	if a.ViewError != "" || a.Terraform == nil || len(a.Terraform.Resources) != 2 {
		t.Fatalf("%+v", a)
	}
	want := policies.TerraformResource{
		Address: "a.b", Mode: "managed", Type: "a", Name: "b", Provider: "p", Action: "replace",
		Before: map[string]any{"x": json.Number("1")}, After: map[string]any{"x": json.Number("2")}, Unknown: map[string]any{}, ReplacePaths: []any{[]any{"x"}},
	}
	if got := a.Terraform.Resources[0]; !reflect.DeepEqual(got, want) {
		t.Errorf("%#v", got)
	}
	if c := a.Terraform.Counts; c["replace"] != 1 || c["no-op"] != 1 || c["destroy"] != 0 || len(c) != 7 {
		t.Error(c)
	}
	if a := fill(t, "report", "application/json", `{"format_version":"1.2","resource_changes":[]}`); a.Terraform == nil || a.ViewError != "" {
		t.Errorf("not known by its form: %+v", a)
	}
}

// TestUnreadable: what cannot be read is told, whole, and quickly.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		bomb += "a" + string(rune('1'+i)) + ": &a" + string(rune('1'+i)) + " [" + strings.Repeat("*a"+string(rune('0'+i))+", ", 8) + "x]\n"
	}
	plan := func(change string) string {
		return `{"format_version":"1.2","resource_changes":[{"address":"a.b","type":"a","change":` + change + `}]}`
	}
	for name, c := range map[string][3]string{
		"alias bomb":          {"application/yaml", bomb, "more than 500000 values"},
		"recursive alias":     {"application/yaml", "a: &a [*a]", "nested deeper"},
		"deep":                {"application/yaml", strings.Repeat("[", 70) + strings.Repeat("]", 70), "nested deeper"},
		"very deep":           {"application/yaml", strings.Repeat("[", 200_000), "cannot be read"},
		"key twice":           {"application/yaml", "a: 1\na: 2", `the key "a" is there twice`},
		"merge key":           {"application/yaml", "a: &a {b: 1}\nc: {<<: *a}", "merge keys"},
		"key that is a list":  {"application/yaml", "? [a]\n: b", "no text"},
		"no YAML":             {"application/yaml", "a: b: c", "cannot be read"},
		"no UTF-8":            {"application/yaml", "a: \xff", "not UTF-8"},
		"too large":           {"application/yaml", strings.Repeat("#", 5<<20), "more than 4194304 bytes"},
		"many documents":      {"application/yaml", strings.Repeat("---\na\n", 10_001), "more than 10000 documents"},
		"JSON, key twice":     {"application/json", `{"a":1,"a":2}`, "cannot be read"},
		"JSON, line broken":   {"application/json", "{}\n{", "cannot be read"},
		"JSON, many lines":    {"application/json", strings.Repeat("1\n", 10_001), "more than 10000 documents"},
		"plan, two documents": {"application/json", "{}\n{}", "one JSON document"},
		"plan, no object":     {"application/json", "[]", "no object"},
		"plan, other version": {"application/json", `{"format_version":"2.0"}`, `format_version is "2.0"`},
		"plan, changes":       {"application/json", `{"format_version":"1.0","resource_changes":{}}`, "no list"},
		"plan, no change":     {"application/json", plan("null"), "no address, type or change"},
		"plan, new action":    {"application/json", plan(`{"actions":["explode"]}`), `its actions "explode" are not known`},
		"plan, no actions":    {"application/json", plan(`{"actions":null}`), "are not known"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kind := "x"
			if strings.HasPrefix(name, "plan") {
				kind = "terraform-plan"
			}
			a := fill(t, kind, c[0], c[1])
			if !strings.Contains(a.ViewError, c[2]) || len(a.ViewError) > 250 || a.Documents != nil || a.Kubernetes != nil || a.Terraform != nil {
				t.Errorf("%q", a.ViewError)
			}
		})
	}
}

func TestWanted(t *testing.T) {
	t.Parallel()
	for mime, want := range map[string]bool{
		"application/json": true, "application/vnd.x+json": true, "text/yaml": true, "APPLICATION/YAML": true, "text/plain": false, "": false, "application/json;;": true,
	} {
		if views.Wanted(policies.Artifact{Mime: mime}) != want {
			t.Errorf("%q", mime)
		}
	}
	if !views.Wanted(policies.Artifact{ArtifactType: "terraform-plan"}) {
		t.Error("a plan")
	}
}

func FuzzFill(f *testing.F) {
	for _, s := range []string{"a: &x [1]\nb: *x", "{\"a\":1}", "---\n- a\n...\n", "? a\n: b", "apiVersion: v1\nkind: List\nitems: [1]"} {
		f.Add("application/yaml", s)
		f.Add("application/json", s)
	}
	f.Fuzz(func(t *testing.T, mime, body string) {
		a := policies.Artifact{Mime: mime, ArtifactType: "terraform-plan"}
		views.Fill(&a, []byte(body))
		if a.ViewError == "" && a.Terraform == nil {
			t.Error("neither a view nor an error")
		}
		if _, err := (policies.Input{Artifacts: []policies.Artifact{a}}).Document(); err != nil && len(body) < 1000 && !strings.Contains(err.Error(), "nested") {
			t.Error(err)
		}
	})
}

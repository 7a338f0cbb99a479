package rego_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/schemas"
)

const (
	typedPackage   = "# METADATA\n# scope: package\n# schemas:\n#   - input: schema.input\npackage cabincrew.x\n\n"
	untypedPackage = "package cabincrew.x\n\n\n\n\n\n"
)

// refusal gives the error of policies that must not compile.
func refusal(t *testing.T, sets ...policies.Set) *protocol.Error {
	t.Helper()
	_, err := rego.New(t.Context(), sets, rego.Options{})
	var e *protocol.Error
	if !errors.As(err, &e) {
		t.Fatalf("compiled, or failed otherwise: %v", err)
	}
	if e.Code != "policy_error" || e.Exit != protocol.ExitDenied {
		t.Errorf("code %s, exit %d", e.Code, e.Exit)
	}
	return e
}

func TestMisspeltFieldIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ rule, where, says, hint string }{
		"at the top": {`deny contains "x" if input.artefacts[_].name == "x"`, "s/a.rego:7", "undefined ref: input.artefacts[_].name", "input has no field artefacts; it has artifacts, change, "},
		"below":      {`deny contains "x" if input.artifacts[_].pach`, "s/a.rego:7", "undefined ref: input.artifacts[_].pach", "input.artifacts[_] has no field pach; it has action, "},
		"in quotes":  {`deny contains "x" if input.artifacts[0]["pach"]`, "s/a.rego:7", "input.artifacts[0].pach", "has no field pach"},
		"by variables": {
			"deny contains \"x\" if {\n\tsome a in input.artifacts\n\tsome f in a.patch.files\n\tsome h in f.hunks\n\tsome l in h.lines\n\tl.txt == \"\"\n}",
			"s/a.rego:12", "undefined ref: l.txt", "l has no field txt; it has line, op, text (docs/policy-input.md describes the input)",
		},
		"of a list": {
			"deny contains \"x\" if {\n\tsome a in input.artifacts\n\tsome f in a.pach.files\n}", "s/a.rego:9", "undefined ref: a.pach.files[_]", "a has no field pach",
		},
		"in another rule": {
			"files contains f if {\n\tsome a in input.artifacts\n\tsome f in a.patch.files\n}\n\ndeny contains \"x\" if {\n\tsome f in files\n\tf.paht == \"\"\n}",
			"s/a.rego:14", "undefined ref: f.paht", "f has no field paht; it has added, ",
		},
		"of the context":   {`deny contains "x" if input.context.step == "x"`, "s/a.rego:7", "input.context.step", "it has change, config_digest, "},
		"of the receipt":   {`deny contains "x" if input.take_off.receipt.statis == "x"`, "s/a.rego:7", "statis", "it has artifacts, diagnostics, "},
		"of counts":        {`deny contains "x" if input.artifacts[_].terraform.counts.delete > 0`, "s/a.rego:7", "counts.delete", "it has create, destroy, "},
		"of another type":  {`deny contains "x" if input.isolation.tier == 1`, "s/a.rego:7", "match error", "left: string, right: number"},
		"index for a text": {`deny contains "x" if input.mode[0] == "f"`, "s/a.rego:7", "undefined ref: input.mode[0]", "cabincrew policy test"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := refusal(t, set("s", "a.rego", typedPackage+c.rule))
			if e.Where != c.where || !strings.Contains(e.Message, "rego_type_error: ") || !strings.Contains(e.Message, c.says) || !strings.Contains(e.Hint, c.hint) {
				t.Errorf("%s: %s\n%s", e.Where, e.Message, e.Hint)
			}
			if strings.Contains(e.Message+e.Hint, "__local") {
				t.Errorf("a name of the compiler's own: %s, %s", e.Message, e.Hint)
			}
			if name == "of another type" || name == "index for a text" {
				return
			}
			// Without the annotation nothing is known of the input.
			mustNew(t, rego.Options{}, set("s", "a.rego", untypedPackage+c.rule))
		})
	}
}

// TestAnnotationOfOneRule holds for that rule alone.
func TestAnnotationOfOneRule(t *testing.T) {
	t.Parallel()
	const annotation = "# METADATA\n# schemas:\n#   - input: schema.input\n"
	mustNew(t, rego.Options{}, set("s", "a.rego", "package cabincrew.x\n\n"+annotation+"deny contains \"x\" if input.opaque\n\nwarn contains \"x\" if input.opake\n"))
	if e := refusal(t, set("s", "a.rego", "package cabincrew.x\n\n"+annotation+"deny contains \"x\" if input.opake\n")); e.Where != "s/a.rego:6" {
		t.Error(e)
	}
}

// TestTypedPolicyJudges uses what is open in the input, and what OPA cannot know.
func TestTypedPolicyJudges(t *testing.T) {
	t.Parallel()
	e := mustNew(t, rego.Options{}, set("s", "a.rego", typedPackage+`
deny contains sprintf("%v", [found]) if {
	found := [x |
		some a in input.artifacts
		some x in [
			a.body.any.thing, a.metadata.reason, a.documents[0].x, a.kubernetes[_].metadata.name, a.terraform.resources[_].after.acl,
			a.terraform.counts.destroy, object.get(a, ["nothing", "there"], "none"), input.config.engine["with"].x, input.receipt.diagnostics.d,
		]
	]
	count(found) == 9
	not input.take_off
}
`, "b.rego", "package cabincrew.x\n\nwarn contains a.name if some a in input.artifacts\n"))
	got := brief(evaluate(t, e, policies.Input{
		Config:  map[string]any{"engine": map[string]any{"with": map[string]any{"x": "e"}}},
		Receipt: &protocol.EngineOutput{Diagnostics: map[string]any{"d": "f"}},
		Artifacts: []policies.Artifact{{
			Name: "n", Body: map[string]any{"any": map[string]any{"thing": "a"}}, Metadata: map[string]any{"reason": "b"}, Documents: []any{map[string]any{"x": "c"}},
			Kubernetes: []any{map[string]any{"metadata": map[string]any{"name": "d"}}},
			Terraform:  &policies.Terraform{Counts: map[string]int64{"destroy": 2}, Resources: []policies.TerraformResource{{After: map[string]any{"acl": "g"}}}},
		}},
	}))
	want := []string{`deny cabincrew.x/deny: ["a", "b", "c", "d", "g", 2, "none", "e", "f"]`, "warn cabincrew.x/warn: n"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q", got)
	}
}

// TestTypedTests run with inputs that are only a part of one, in the package itself.
func TestTypedTests(t *testing.T) {
	t.Parallel()
	s := set("s", "a.rego", typedPackage+"deny contains a.name if {\n\tsome a in input.artifacts\n\ta.size > 3\n}\n",
		"a_test.rego", "package cabincrew.x\n\ntest_large if deny == {\"n\"} with input as {\"artifacts\": [{\"name\": \"n\", \"size\": 4}]}\n\ntest_none if count(deny) == 0 with input as {}\n")
	report, err := rego.Test(t.Context(), []policies.Set{s}, "", rego.Options{})
	if err != nil || len(report.Tests) != 2 {
		t.Fatalf("%+v, %v", report, err)
	}
	for _, c := range report.Tests {
		if c.Outcome != rego.TestPass {
			t.Errorf("%+v", c)
		}
	}
	s.Files[0].Data = []byte(strings.Replace(string(s.Files[0].Data), "a.size", "a.sise", 1))
	if _, err := rego.Test(t.Context(), []policies.Set{s}, "", rego.Options{}); err == nil || !strings.Contains(err.Error(), "s/a.rego:9: rego_type_error: undefined ref: a.sise") {
		t.Error(err)
	}
}

func TestForeignSchemasAreRefused(t *testing.T) {
	t.Parallel()
	const known = `only schema.input is known: write "- input: schema.input", or leave schemas out`
	for name, c := range map[string]struct{ schemas, says, hint string }{
		"unknown":      {"#   - input: schema.kubernetes", "there is no schema schema.kubernetes", known},
		"below":        {"#   - input: schema.input.artifacts", "there is no schema schema.input.artifacts", known},
		"all":          {"#   - input: schema", "there is no schema schema", known},
		"for data":     {"#   - data.acl: schema.input", "schema.input describes input, not data.acl", `write "- input: schema.input"`},
		"for a part":   {"#   - input.config: schema.input", "schema.input describes input, not input.config", `write "- input: schema.input"`},
		"own":          {"#   - input: {type: object, properties: {a: {type: string}}}", "the annotation for input holds a schema of its own", known},
		"from a file":  {`#   - input: {"$ref": "file:///etc/passwd"}`, "holds a schema of its own", known},
		"from a host":  {`#   - input.config: {"$ref": "https://schemas.example/x.json"}`, "holds a schema of its own", known},
		"among others": {"#   - input: schema.input\n#   - input.config: schema.mine", "there is no schema schema.mine", known},
	} {
		for _, file := range []string{"a.rego", "x.rego"} {
			module := "# METADATA\n# scope: package\n# schemas:\n" + c.schemas + "\npackage cabincrew.x\n\ndeny contains \"x\" if input.opaque\n"
			e := refusal(t, set("s", file, module))
			if e.Where != "s/"+file+":1" || !strings.Contains(e.Message, c.says) || e.Hint != c.hint {
				t.Errorf("%s: %v (%s)", name, e, e.Hint)
			}
		}
	}
	e := refusal(t, set("s", "a.rego", "# METADATA\n# scope: package\n# schemas:\n#   - input: what ever\npackage cabincrew.x\n"))
	if !strings.Contains(e.Message, "invalid schema reference") {
		t.Error(e)
	}
}

// TestBundledSetsAreTyped reads them as sets of somebody else, since those that
// the program brings are not checked again in each flight.
func TestBundledSetsAreTyped(t *testing.T) {
	t.Parallel()
	for _, s := range every(t) {
		mustNew(t, rego.Options{}, s)
		s.Files = append([]policies.SetFile{}, s.Files...)
		checked := false
		for i, f := range s.Files {
			if !f.Rego() || f.Test() || !strings.HasPrefix(string(f.Data), "# METADATA\n# scope: package\n# schemas:\n#   - input: schema.input\npackage ") {
				continue
			}
			checked = true
			s.Files[i].Data = append([]byte(nil), f.Data...)
			s.Files[i].Data = append(s.Files[i].Data, "\n# another line\n"...)
			mustNew(t, rego.Options{}, s)
			s.Files[i].Data = append(s.Files[i].Data, "warn contains \"x\" if input.artefacts\n"...)
			if e := refusal(t, s); !strings.Contains(e.Message, "undefined ref: input.artefacts") {
				t.Error(e)
			}
		}
		if !checked {
			t.Errorf("no file of %s asks to be checked", s.Name)
		}
	}
}

// TestPrintedSchemaServesOPA gives OPA the schema as "cabincrew schema
// policy-input" prints it, as "opa check --schema" does.
func TestPrintedSchemaServesOPA(t *testing.T) {
	t.Parallel()
	text, err := schemas.Schema("policy-input")
	if err != nil {
		t.Fatal(err)
	}
	var raw any
	if err := json.Unmarshal(text, &raw); err != nil {
		t.Fatal(err)
	}
	for rule, want := range map[string]string{
		`deny contains "x" if input.artifacts[_].patch.files[_].path == "x"`: "", `deny contains "x" if input.artifacts[_].patch.files[_].paht == "x"`: "a.rego:7: rego_type_error: undefined ref",
	} {
		m, err := ast.ParseModuleWithOpts("a.rego", typedPackage+rule, ast.ParserOptions{ProcessAnnotation: true})
		if err != nil {
			t.Fatal(err)
		}
		set, caps := ast.NewSchemaSet(), ast.CapabilitiesForThisVersion()
		set.Put(ast.MustParseRef("schema.input"), raw)
		caps.AllowNet = []string{}
		c := ast.NewCompiler().WithCapabilities(caps).WithSchemas(set).WithUseTypeCheckAnnotations(true)
		c.Compile(map[string]*ast.Module{"a.rego": m})
		if c.Failed() != (want != "") || !strings.Contains(c.Errors.Error(), want) {
			t.Errorf("%s: %v", rule, c.Errors)
		}
	}
}

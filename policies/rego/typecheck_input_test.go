package rego_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/schemas"
)

func inputSchema(t *testing.T) (root, defs map[string]any) {
	t.Helper()
	return schemaOf(t, "policy-input"), schemaOf(t, "policy-input")["$defs"].(map[string]any)
}

func schemaOf(t *testing.T, kind string) map[string]any {
	t.Helper()
	text, err := schemas.Schema(kind)
	if err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestInputSchemaIsTheGoType holds every field of the Go types and of the schema
// against each other: names, kinds, and which are always written.
func TestInputSchemaIsTheGoType(t *testing.T) {
	t.Parallel()
	root, defs := inputSchema(t)
	c := comparison{T: t, defs: defs, seen: map[string]bool{"mode": true}}
	c.compare("input", reflect.TypeFor[policies.Input](), root)
	copies := []string{"engine-output", "engine-artifact", "engine-metric", "plan-token", "plan-artifact-hash", "mode"}
	for _, kind := range copies {
		c.seen[kind] = true
		want := schemaOf(t, kind)
		for _, key := range []string{"$schema", "$id", "title"} {
			delete(want, key)
		}
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range copies {
			text = bytes.ReplaceAll(text, []byte(`"`+other+`.schema.json"`), []byte(`"#/$defs/`+other+`"`))
		}
		if have, err := json.Marshal(defs[kind]); err != nil || !bytes.Equal(have, text) {
			t.Errorf("$defs/%s is not what %s.schema.json says:\n%s\n%s", kind, kind, have, text)
		}
	}
	for name := range defs {
		if !c.seen[name] {
			t.Errorf("nothing refers to $defs/%s", name)
		}
	}
}

type comparison struct {
	*testing.T
	defs map[string]any
	seen map[string]bool
}

// kinds are the types of the schema that Go's may have.
var kinds = map[reflect.Kind]string{
	reflect.Struct: "object", reflect.Map: "object", reflect.Slice: "array", reflect.String: "string", reflect.Bool: "boolean", reflect.Int: "integer", reflect.Int64: "integer",
}

func (c comparison) compare(at string, typ reflect.Type, s map[string]any) {
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if ref, ok := s["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/$defs/")
		c.seen[name] = true
		s, _ = c.defs[name].(map[string]any)
		if strings.HasPrefix(typ.PkgPath(), "github.com/cabincrew/action/protocol") && name == kebab(typ.Name()) {
			return // the same as that schema's, which is compared with its own type
		}
	}
	if s["description"] == nil && !strings.HasSuffix(at, "[]") && !strings.Contains(at, ".counts.") {
		c.Errorf("%s has no description", at)
	}
	if want := kinds[typ.Kind()]; s["type"] != any(want) && (want != "" || s["type"] != nil) {
		c.Errorf("%s is %v in the schema and %s in Go", at, s["type"], typ)
	}
	switch typ.Kind() {
	case reflect.Slice:
		c.list(at, typ.Elem(), s)
	case reflect.Map:
		c.object(at, typ, s)
	case reflect.Struct:
		c.fields(at, typ, s)
	}
}

func (c comparison) list(at string, elem reflect.Type, s map[string]any) {
	items, ok := s["items"].(map[string]any)
	switch {
	case elem.Kind() != reflect.Interface && !ok:
		c.Errorf("%s says nothing of its items", at)
	case elem.Kind() != reflect.Interface:
		c.compare(at+"[]", elem, items)
	}
}

// object judges maps: what engines and authors fill is open, the rest is listed.
func (c comparison) object(at string, typ reflect.Type, s map[string]any) {
	if typ.Elem().Kind() == reflect.Interface {
		if s["properties"] != nil || s["additionalProperties"] != nil {
			c.Errorf("%s is not open", at)
		}
		return
	}
	members, _ := s["properties"].(map[string]any)
	if len(members) == 0 || s["additionalProperties"] != false || s["required"] != nil {
		c.Errorf("%s is not closed", at)
	}
	for name, m := range members {
		c.compare(at+"."+name, typ.Elem(), m.(map[string]any))
	}
	if at == "input.context" {
		want := schemaOf(c.T, "plan-context")["properties"].(map[string]any)
		if have := slices.Sorted(maps.Keys(members)); !slices.Equal(have, slices.Sorted(maps.Keys(want))) {
			c.Errorf("%s has %v", at, have)
		}
	}
}

func (c comparison) fields(at string, typ reflect.Type, s map[string]any) {
	members, _ := s["properties"].(map[string]any)
	var names, required, demanded []string
	for _, f := range reflect.VisibleFields(typ) {
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		names = append(names, name)
		if opts == "" {
			required = append(required, name)
		}
		if m, ok := members[name].(map[string]any); ok {
			c.compare(at+"."+name, f.Type, m)
		}
	}
	for _, r := range s["required"].([]any) {
		demanded = append(demanded, r.(string))
	}
	slices.Sort(names)
	if have := slices.Sorted(maps.Keys(members)); !slices.Equal(have, names) {
		c.Errorf("%s: the schema has %v, Go %v", at, have, names)
	}
	slices.Sort(required)
	slices.Sort(demanded)
	if !slices.Equal(required, demanded) {
		c.Errorf("%s: the schema requires %v, Go always writes %v", at, demanded, required)
	}
	if s["additionalProperties"] != false {
		c.Errorf("%s takes unknown fields", at)
	}
}

func kebab(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('-')
		}
		b.WriteString(strings.ToLower(string(r)))
	}
	return b.String()
}

// TestDocumentsFitTheSchema writes inputs with everything and with nothing in them.
func TestDocumentsFitTheSchema(t *testing.T) {
	t.Parallel()
	minimal := policies.Input{Mode: protocol.TakeOff, Isolation: policies.Isolation{Tier: "C"}}
	sparse := minimal
	sparse.TakeOff, sparse.Workspace = &policies.TakeOff{}, &policies.Workspace{}
	sparse.Artifacts = []policies.Artifact{
		{Role: protocol.RoleState, Patch: &policies.Patch{}},
		{Role: protocol.RoleEvidence, Patch: &policies.Patch{Files: []policies.PatchFile{{Op: "add"}, {Op: "rename", Hunks: []policies.Hunk{{}}}}}},
	}
	var rich policies.Input
	fillInput(t, "", reflect.ValueOf(&rich).Elem())
	rich.Context = map[string]string{}
	for name := range schemaOf(t, "plan-context")["properties"].(map[string]any) {
		rich.Context[name] = "text"
	}
	for name, in := range map[string]policies.Input{"minimal": minimal, "sparse": sparse, "rich": rich} {
		doc, err := in.Document()
		if err != nil {
			t.Fatal(err)
		}
		if err := schemas.ValidateValue("policy-input", doc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		text, err := protocol.Canonical(doc)
		if err != nil {
			t.Fatal(err)
		}
		var again policies.Input
		if err := protocol.Decode(text, &again); err != nil {
			t.Errorf("%s is not read back: %v", name, err)
		}
	}
	doc, err := rich.Document()
	if err != nil {
		t.Fatal(err)
	}
	artifact := doc.(map[string]any)["artifacts"].([]any)[0].(map[string]any)
	artifact["patch"].(map[string]any)["files"].([]any)[0].(map[string]any)["pach"] = "x"
	if err := schemas.ValidateValue("policy-input", doc); err == nil || !strings.Contains(err.Error(), `$.artifacts[0].patch.files[0]: has unknown "pach"`) {
		t.Errorf("got %v", err)
	}
}

// listed are the values of texts that the schema lists.
var listed = map[string]string{
	"Mode": "flight-plan", "Tier": "A", "Role": "evidence", "Status": "success", "CreatedAt": "2026-11-22T18:00:00Z",
	"PatchFile.Op": "rename", "Line.Op": "-", "TerraformResource.Action": "no-op", "TerraformResource.Mode": "managed",
	"Artifact.Seems": "other", "Statement.Effect": "deny",
}

func fillInput(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			key := v.Type().Name() + "." + f.Name
			if listed[key] == "" {
				key = f.Name
			}
			if f.Tag.Get("json") != "-" {
				fillInput(t, key, v.Field(i))
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillInput(t, name, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fillInput(t, name, v.Index(0))
		fillInput(t, name, v.Index(1))
	case reflect.Map:
		switch m := v.Addr().Interface().(type) {
		case *map[string]any:
			*m = map[string]any{"k": []any{true, nil, "v"}}
		case *map[string]int64:
			*m = map[string]int64{"create": 1, "update": 2, "replace": 3, "destroy": 4, "read": 5, "forget": 6, "no-op": 7}
		}
	case reflect.Interface:
		v.Set(reflect.ValueOf(map[string]any{"k": "v"}))
	case reflect.String:
		text := listed[name]
		if text == "" {
			text = "text"
		}
		v.SetString(text)
		if v.Type() == reflect.TypeFor[protocol.Number]() {
			v.SetString("15")
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(2)
	default:
		t.Fatalf("nothing fills %s, a %s", name, v.Type())
	}
}

// TestExampleOfTheInputFits takes the example of the page through the schema.
func TestExampleOfTheInputFits(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/policy-input.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```json\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("the page has no example")
	}
	if err := schemas.Validate("policy-input", []byte(example)); err != nil {
		t.Error(err)
	}
}

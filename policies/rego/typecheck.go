package rego

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/types"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/schemas"
)

// A policy that says "schemas: - input: schema.input" in its annotations is
// compiled against the schema of the input, so that a misspelt field is an error
// with its line and not a rule that never fires.

const (
	inputKind   = "policy-input" // of schemas.Schema
	inputSchema = "schema.input" // as annotations name it
	inputPage   = "docs/policy-input.md"
)

// checkSchemas refuses annotations that name another schema or bring their own:
// OPA would load files and addresses that such a schema refers to, and a policy
// whose schema is not known would look checked and be none.
func checkSchemas(m *ast.Module) error {
	for _, a := range m.Annotations {
		for _, s := range a.Schemas {
			where := at(a.Location)
			switch {
			case s.Definition != nil:
				return policyError(where, "the annotation for %s holds a schema of its own", clean(s.Path.String())).
					WithHint("only %s is known: write \"- input: %s\", or leave schemas out", inputSchema, inputSchema)
			case s.Schema.String() != inputSchema:
				return policyError(where, "there is no schema %s", clean(s.Schema.String())).
					WithHint("only %s is known: write \"- input: %s\", or leave schemas out", inputSchema, inputSchema)
			case !s.Path.Equal(ast.InputRootRef):
				return policyError(where, "%s describes input, not %s", inputSchema, clean(s.Path.String())).
					WithHint("write \"- input: %s\"", inputSchema)
			}
		}
	}
	return nil
}

// annotated says whether a module asks to be checked.
func annotated(m *ast.Module) bool {
	return slices.ContainsFunc(m.Annotations, func(a *ast.Annotations) bool { return len(a.Schemas) > 0 })
}

// builtIn says whether a set is one that the program brings, byte for byte. The
// tests of this repository check those, and flights need not pay for it again.
func builtIn(s policies.Set) bool {
	own, err := policies.AnyBundled(s.Name)
	return err == nil && slices.EqualFunc(s.Files, own.Files, func(a, b policies.SetFile) bool {
		return a.Path == b.Path && bytes.Equal(a.Data, b.Data)
	})
}

// schemaSet gives what compilers check against; nil where no module asks for it.
func schemaSet(modules []module) (*ast.SchemaSet, error) {
	if !slices.ContainsFunc(modules, func(m module) bool { return m.typed }) {
		return nil, nil //nolint:nilnil // OPA's own word for no schemas
	}
	text, err := schemas.Schema(inputKind)
	if err != nil {
		return nil, schemaError(err)
	}
	var s shape
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, schemaError(err)
	}
	plain, err := s.plain(s.Defs, 0)
	if err != nil {
		return nil, schemaError(err)
	}
	set := ast.NewSchemaSet()
	set.Put(ast.MustParseRef(inputSchema), plain)
	return set, nil
}

func schemaError(err error) error {
	return protocol.Errorf(protocol.ExitFailure, "policy_input_schema", "the schema of the policy input cannot be used: %w", err).
		WithHint("this is a fault of the program, not of your policies; please report it")
}

// shape is what OPA's type checker uses of a schema.
type shape struct {
	Ref        string            `json:"$ref"`
	Type       string            `json:"type"`
	Properties map[string]*shape `json:"properties"`
	More       json.RawMessage   `json:"additionalProperties"`
	Items      *shape            `json:"items"`
	Defs       map[string]*shape `json:"$defs"`
}

// schemaDepth bounds how deep the schema's definitions refer to each other.
const schemaDepth = 16

// plain gives a schema without references and without all that says nothing of
// types. OPA takes an object with properties for closed, so one that may have
// more members keeps none.
func (s *shape) plain(defs map[string]*shape, depth int) (map[string]any, error) {
	if depth > schemaDepth {
		return nil, fmt.Errorf("it is nested more than %d deep", schemaDepth)
	}
	if s.Ref != "" {
		def := defs[strings.TrimPrefix(s.Ref, "#/$defs/")]
		if def == nil {
			return nil, fmt.Errorf("%s is not in it", s.Ref)
		}
		return def.plain(defs, depth+1)
	}
	out := map[string]any{}
	if s.Type != "" {
		out["type"] = s.Type
	}
	var err error
	if s.Items != nil {
		if out["items"], err = s.Items.plain(defs, depth+1); err != nil {
			return nil, err
		}
	}
	if string(s.More) != "false" {
		return out, nil
	}
	members := map[string]any{}
	for name, member := range s.Properties {
		if members[name], err = member.plain(defs, depth+1); err != nil {
			return nil, err
		}
	}
	out["properties"] = members
	return out, nil
}

// Bounds of a hint: how many names it tells, and how many bytes of types.
const (
	maxNames = 32
	maxTypes = 300
)

// invented are variables that the compiler has put in.
var invented = regexp.MustCompile(`__local[0-9]+__`)

// readable makes a message of the compiler speak of what the author wrote.
func readable(message string) string { return clean(invented.ReplaceAllString(message, "_")) }

// typeHint tells which fields there are in place of one that is not, or which
// two types do not go together.
func typeHint(e *ast.Error) (string, bool) {
	if d, ok := e.Details.(*ast.UnificationErrDetail); ok {
		text := "left: " + types.Sprint(d.Left) + ", right: " + types.Sprint(d.Right)
		return clean(text), len(text) <= maxTypes
	}
	d, ok := e.Details.(*ast.RefErrInvalidDetail)
	if !ok || d.Pos < 1 || d.Pos >= len(d.Ref) || len(d.OneOf) == 0 {
		return "", false
	}
	field, ok := d.Ref[d.Pos].Value.(ast.String)
	if !ok {
		return "", false
	}
	names := make([]string, 0, len(d.OneOf))
	for _, v := range d.OneOf {
		if name, ok := v.(ast.String); ok {
			names = append(names, string(name))
		}
	}
	slices.Sort(names)
	more := ""
	if len(names) > maxNames {
		names, more = names[:maxNames], " …"
	}
	return clean(fmt.Sprintf("%s has no field %s; it has %s%s (%s describes the input)", readable(d.Ref[:d.Pos].String()), string(field), strings.Join(names, ", "), more, inputPage)), true
}

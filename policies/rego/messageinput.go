package rego

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// messageDepth is how deep a message may be nested, with what is around it.
const messageDepth = 128

type jsonNumber = json.Number

// knownKeys makes the terms for members that most messages have, once.
func knownKeys() map[string]*ast.Term {
	keys := map[string]*ast.Term{}
	for k := range strings.FieldsSeq(`request_id timestamp source server_id method params context name arguments path content type text phase
		direction transport revision session principal environment tool title description annotations pin state paths at value root inside protected why
		roots client version result error known suspicions readOnlyHint destructiveHint idempotentHint openWorldHint isError structuredContent tools
		inputSchema properties required message code data uri _meta`) {
		keys[k] = ast.StringTerm(k)
	}
	return keys
}

// value gives a tree of JSON as OPA has it, without a look at what types are like. It is
// not given lazily, as OPA could: {"a": 1} == input.b would be false then where b is that.
func (m *Messages) value(v any, depth int) (ast.Value, error) {
	if depth > messageDepth {
		return nil, fmt.Errorf("it is nested more than %d deep", messageDepth)
	}
	switch v := v.(type) {
	case map[string]any:
		pairs := make([][2]*ast.Term, 0, len(v))
		for k, member := range v {
			value, err := m.value(member, depth+1)
			if err != nil {
				return nil, err
			}
			key := m.keys[k]
			if key == nil {
				key = ast.StringTerm(k)
			}
			pairs = append(pairs, [2]*ast.Term{key, ast.NewTerm(value)})
		}
		return ast.NewObject(pairs...), nil
	case []any:
		terms := make([]*ast.Term, len(v))
		for i, member := range v {
			value, err := m.value(member, depth+1)
			if err != nil {
				return nil, err
			}
			terms[i] = ast.NewTerm(value)
		}
		return ast.NewArray(terms...), nil
	case string:
		return ast.String(v), nil
	case json.Number:
		return ast.Number(v), nil
	case bool:
		return ast.Boolean(v), nil
	case nil:
		return ast.NullValue, nil
	}
	return nil, fmt.Errorf("it holds a %T", v)
}

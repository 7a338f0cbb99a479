package wire

import (
	"github.com/cabincrew/action/internal/rawjson"
	"github.com/cabincrew/action/policies"
)

// WithSystem puts a text before all instructions of a request. A format that has no
// instructions is refused: a safety text that nobody reads is none.
func WithSystem(body []byte, f Format, text string) ([]byte, error) {
	tree, err := object(body)
	if err != nil {
		return nil, err
	}
	switch f {
	case Chat:
		if list, ok := tree["messages"].([]any); !ok || len(list) == 0 {
			return nil, refusef("messages is no list with something in it")
		}
		return prepend(body, "messages", map[string]any{"role": "system", "content": text})
	case Responses:
		return before(body, tree, "instructions", text)
	case Messages, CountTokens:
		if list, ok := tree["system"].([]any); ok && len(list) > 0 {
			return prepend(body, "system", map[string]any{"type": "text", "text": text})
		}
		return before(body, tree, "system", text)
	case Embeddings, Models, Rerank:
	}
	return nil, refusef("%s has no place for a system message", f)
}

// before puts a text before that of a member.
func before(body []byte, tree map[string]any, name, text string) ([]byte, error) {
	switch old := tree[name].(type) {
	case nil:
	case []any:
		if len(old) > 0 {
			return nil, refusef("%s is no text", name)
		}
	case string:
		if old != "" {
			text += "\n\n" + old
		}
	default:
		return nil, refusef("%s is no text", name)
	}
	return set(body, name, text)
}

// prepend adds the first element of a list that has others.
func prepend(body []byte, name string, value any) ([]byte, error) {
	list, ok := rawjson.Lookup(body, name)
	at := rawjson.Offset(body, list)
	if !ok || at < 0 || list[0] != '[' {
		return nil, refusef("%s is no list", name)
	}
	add, err := rawjson.Encode(value)
	if err != nil {
		return nil, err
	}
	return rawjson.Splice(body, []rawjson.Edit{{From: at + 1, To: at + 1, New: append(add, ',')}}), nil
}

// WithSchema makes the provider hold the answer to a JSON schema, in place of the form that
// the client asked for. A format that cannot say so is refused.
func WithSchema(body []byte, f Format, name string, schema any) ([]byte, error) {
	tree, err := object(body)
	if err != nil {
		return nil, err
	}
	switch f {
	case Chat:
		return set(body, "response_format", map[string]any{
			"type": "json_schema", "json_schema": map[string]any{"name": name, "strict": true, "schema": schema},
		})
	case Responses:
		return within(body, tree, "text", map[string]any{"type": "json_schema", "name": name, "strict": true, "schema": schema})
	case Messages:
		return within(body, tree, "output_config", map[string]any{"type": "json_schema", "schema": schema})
	case CountTokens, Embeddings, Models, Rerank:
	}
	return nil, refusef("%s cannot be held to a schema", f)
}

// within sets the form that an answer has, in the member that says so.
func within(body []byte, tree map[string]any, name string, form any) ([]byte, error) {
	switch old := tree[name].(type) {
	case nil:
		return set(body, name, map[string]any{"format": form})
	case map[string]any:
		if _, has := old["format"]; has {
			return Rewrite(body, []policies.Rewrite{{At: "/" + name + "/format", Value: form}})
		}
		inner, ok := rawjson.Lookup(body, name)
		at := rawjson.Offset(body, inner)
		if !ok || at < 0 {
			return nil, refusef("%s cannot be changed", name)
		}
		add, err := rawjson.Encode(form)
		if err != nil {
			return nil, err
		}
		add = append([]byte(`"format":`), add...)
		if len(old) > 0 {
			add = append(add, ',')
		}
		return rawjson.Splice(body, []rawjson.Edit{{From: at + 1, To: at + 1, New: add}}), nil
	}
	return nil, refusef("%s is no object", name)
}

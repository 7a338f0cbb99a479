package paths

import (
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// A schema is what a server says of its own parameters. It can make a text a path and
// never make a path no text: a format that says "email" counts only where the name of the
// parameter says nothing else.

// combining are keywords whose value is a list of schemas of the same thing.
var combining = [...]string{"allOf", "anyOf", "oneOf"}

// deref gives the object of a schema, through references within the tool's own schema.
func (w *walk) deref(node any) map[string]any {
	for range protocol.MaxDepth {
		if w.steps--; w.steps < 0 {
			return nil
		}
		m, ok := node.(map[string]any)
		if !ok {
			return nil
		}
		ref, ok := m["$ref"].(string)
		if !ok {
			return m
		}
		target := w.lookup(ref)
		if target == nil {
			return m
		}
		node = target
	}
	return nil
}

// lookup follows a reference like "#/$defs/Name".
func (w *walk) lookup(ref string) any {
	rest, ok := strings.CutPrefix(ref, "#")
	if !ok || len(ref) > limits.MCPPathShown {
		return nil
	}
	node := w.tool.Schema
	for rest != "" {
		name, after, _ := strings.Cut(rest[1:], "/")
		name = strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
		m, ok := node.(map[string]any)
		if !ok {
			return nil
		}
		if node, ok = m[name]; !ok {
			return nil
		}
		if rest = ""; after != "" {
			rest = "/" + after
		}
	}
	return node
}

// member gives the schema of a member of an object, nil if there is none.
func (w *walk) member(node any, key string, depth int) any {
	m := w.deref(node)
	if m == nil || depth > protocol.MaxDepth {
		return nil
	}
	var first any
	var more []any
	add := func(node any) {
		switch {
		case node == nil:
		case first == nil:
			first = node
		default:
			more = append(more, node)
		}
	}
	known := false
	if list, ok := m["properties"].(map[string]any); ok {
		if p, ok := list[key]; ok {
			known = true
			add(p)
		}
	}
	if list, ok := m["patternProperties"].(map[string]any); ok {
		for _, p := range list { // any of them may be meant
			add(p)
		}
	}
	if !known {
		if p, ok := m["additionalProperties"].(map[string]any); ok {
			add(p)
		}
	}
	for _, word := range combining {
		list, _ := m[word].([]any)
		for _, sub := range list {
			add(w.member(sub, key, depth+1))
		}
	}
	for _, word := range [...]string{"then", "else"} {
		if sub, ok := m[word]; ok {
			add(w.member(sub, key, depth+1))
		}
	}
	return both(first, more)
}

// elements gives the schema of the elements of a list.
func (w *walk) elements(node any, depth int) any {
	m := w.deref(node)
	if m == nil || depth > protocol.MaxDepth {
		return nil
	}
	first := m["items"]
	var more []any
	if list, ok := m["prefixItems"].([]any); ok {
		more = append(more, list...)
	}
	for _, word := range combining {
		list, _ := m[word].([]any)
		for _, sub := range list {
			if e := w.elements(sub, depth+1); e != nil {
				more = append(more, e)
			}
		}
	}
	return both(first, more)
}

func both(first any, more []any) any {
	if len(more) == 0 {
		return first
	}
	if first != nil {
		more = append(more, first)
	}
	return map[string]any{"allOf": more}
}

// schemaHint tells from a schema what a value is.
func (w *walk) schemaHint(node any, depth int) (format hint, words bool) {
	m := w.deref(node)
	if m == nil || depth > protocol.MaxDepth {
		return none, false
	}
	if f, ok := m["format"].(string); ok && len(f) < maxName {
		format = formats[strings.ToLower(f)]
	}
	for _, word := range [...]string{"description", "title"} {
		if text, ok := m[word].(string); ok && !words {
			words = saysFile(text[:min(len(text), limits.MCPPathDescription)])
		}
	}
	for _, word := range combining {
		list, _ := m[word].([]any)
		for _, sub := range list {
			f, d := w.schemaHint(sub, depth+1)
			format, words = max(format, f), words || d
		}
	}
	return format, words
}

// hintOf puts together what is known of a parameter.
func (w *walk) hintOf(name hint, node any) hint {
	if node == nil || name == strong {
		return name
	}
	format, words := w.schemaHint(node, 0)
	switch {
	case format == strong:
		return strong
	case name == content:
		return content
	case name == none || name == weak && format > content:
		name = max(name, format)
	case name == weak && format == content:
		return content
	}
	if name == none && words {
		return weak
	}
	return name
}

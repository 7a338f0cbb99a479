package kit

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/template"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

var errWork = errors.New("it does more than a template may do; make its loops shorter")

var errText = fmt.Errorf("the text would have more than %d bytes", limits.TemplateTextBytes)

// meter counts what a template does.
type meter struct {
	ctx  context.Context
	left int
}

func (m *meter) spend(n int) error {
	if m.left -= n; m.left < 0 {
		return errWork
	}
	return nil
}

// tick is called where a list of nodes begins. It prints nothing.
func (m *meter) tick(nodes int) (string, error) {
	if m.ctx.Err() != nil {
		return "", context.Cause(m.ctx)
	}
	return "", m.spend(nodes * limits.TemplateNodeWork)
}

// text counts and bounds what a function made.
func (m *meter) text(s string, read ...string) (string, error) {
	if len(s) > limits.TemplateTextBytes {
		return "", errText
	}
	n := len(s)
	for _, r := range read {
		n += len(r)
	}
	return s, m.spend(n)
}

// builtins are the functions of package template that a template may call. What
// formats by a pattern is not among them: a width in it can ask for any amount
// of memory.
func builtins() map[string]any {
	allowed := map[string]any{}
	for _, name := range []string{"and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "slice"} {
		allowed[name] = true
	}
	return allowed
}

// functions are the others. None reaches outside its arguments.
func (m *meter) functions() template.FuncMap {
	return template.FuncMap{
		"base64":   func(s string) (string, error) { return m.text(base64.StdEncoding.EncodeToString([]byte(s)), s) },
		"has":      has,
		"indent":   m.indent,
		"index":    index,
		"join":     m.join,
		"json":     m.json,
		"lower":    func(s string) (string, error) { return m.text(strings.ToLower(s), s) },
		"replace":  m.replace,
		"split":    m.split,
		"trim":     func(s string) (string, error) { return m.text(strings.TrimSpace(s), s) },
		"upper":    func(s string) (string, error) { return m.text(strings.ToUpper(s), s) },
		"urlquery": func(s string) (string, error) { return m.text(url.QueryEscape(s), s) },
	}
}

// has says whether a map has a key.
func has(key string, in map[string]any) bool {
	_, ok := in[key]
	return ok
}

// index is that of package template for values; but what is not there is an
// error, as it is for {{.key}}.
func index(in any, keys ...any) (any, error) {
	for _, key := range keys {
		switch at := in.(type) {
		case map[string]any:
			name, isText := key.(string)
			value, there := at[name]
			if !isText || !there {
				return nil, fmt.Errorf("the map has no entry for the key %v", key)
			}
			in = value
		case []any:
			n, ok := wholeNumber(key)
			if !ok || n < 0 || n >= int64(len(at)) {
				return nil, fmt.Errorf("the list has no element %v", key)
			}
			in = at[n]
		default:
			return nil, errors.New("only a list or a map has elements")
		}
	}
	return in, nil
}

func wholeNumber(v any) (int64, bool) {
	switch n := v.(type) {
	case int:
		return int64(n), true
	case int64:
		return n, true
	}
	return 0, false
}

func (m *meter) indent(width int, s string) (string, error) {
	if width < 0 || width > limits.TemplateIndent {
		return "", fmt.Errorf("an indentation has 0 to %d spaces", limits.TemplateIndent)
	}
	return m.replaceAll(strings.Repeat(" ", width)+s, "\n", "\n"+strings.Repeat(" ", width))
}

func (m *meter) replace(old, with, s string) (string, error) {
	if old == "" {
		return "", errors.New("there is nothing to be replaced")
	}
	return m.replaceAll(s, old, with)
}

func (m *meter) replaceAll(s, old, with string) (string, error) {
	if n := strings.Count(s, old); len(s)+n*(len(with)-len(old)) > limits.TemplateTextBytes {
		return "", errText
	}
	return m.text(strings.ReplaceAll(s, old, with), s)
}

func (m *meter) join(separator string, list []any) (string, error) {
	parts := make([]string, 0, len(list))
	total := 0
	for _, e := range list {
		part := fmt.Sprint(e)
		if total += len(part) + len(separator); total > limits.TemplateTextBytes {
			return "", errText
		}
		parts = append(parts, part)
	}
	if err := m.spend(len(list)); err != nil {
		return "", err
	}
	return m.text(strings.Join(parts, separator))
}

func (m *meter) split(separator, s string) ([]any, error) {
	if separator == "" {
		return nil, errors.New("the separator is empty")
	}
	if _, err := m.text(s, s); err != nil {
		return nil, err
	}
	parts := strings.Split(s, separator)
	out := make([]any, 0, len(parts))
	for _, p := range parts {
		out = append(out, p)
	}
	return out, nil
}

// json writes a value in canonical form.
func (m *meter) json(v any) (string, error) {
	raw, err := protocol.Canonical(v)
	if err != nil {
		return "", err
	}
	return m.text(string(raw))
}

// PlainValues gives values as a template sees them: text, true and false, whole
// numbers, lists and maps. What has no text, such as nothing, is refused.
func PlainValues(v any, at string) (any, error) {
	switch v := v.(type) {
	case string, bool, int64:
		return v, nil
	case int:
		return int64(v), nil
	case protocol.Number:
		n, err := v.Int64()
		if err != nil {
			return nil, fmt.Errorf("%s: %s is not a whole number; write it in quotes", at, v)
		}
		return n, nil
	case []any:
		list := make([]any, len(v))
		for i := range v {
			var err error
			if list[i], err = PlainValues(v[i], fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return nil, err
			}
		}
		return list, nil
	case map[string]any:
		m := make(map[string]any, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			var err error
			if m[k], err = PlainValues(v[k], at+"."+k); err != nil {
				return nil, err
			}
		}
		return m, nil
	case nil:
		return nil, fmt.Errorf("%s has no value; write \"\" for an empty text", at)
	}
	return nil, fmt.Errorf("%s is of a kind that templates do not know", at)
}

package pins

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// The kinds of items.
const (
	Tool     = "tool"
	Prompt   = "prompt"
	Template = "template"
)

// Kinds gives all kinds, in the order in which they are listed.
func Kinds() []string { return []string{Prompt, Template, Tool} }

// members are where the result of a list has the items of a kind.
func member(kind string) string {
	switch kind {
	case Tool:
		return "tools"
	case Prompt:
		return "prompts"
	case Template:
		return "resourceTemplates"
	}
	return ""
}

// Item is one tool, prompt or resource template as a server describes it.
type Item struct {
	Kind string
	// Name is its name; the URI template of a resource template, whose name need not be
	// its own.
	Name               string
	Title, Description string
	Annotations        map[string]any
	// Raw is the item as it came.
	Raw []byte
	// From and To are where it stands in the result.
	From, To int

	tree  map[string]any
	form  []byte // canonical
	depth int
	pin   string
}

// Items reads the items of a kind from the result of tools/list, prompts/list or
// resources/templates/list. A result without the list has none.
func Items(kind string, result []byte) ([]Item, error) {
	key := member(kind)
	if key == "" {
		return nil, fmt.Errorf("items of kind %q are not pinned", kind)
	}
	list, ok := jsonrpc.Lookup(result, key)
	if !ok {
		return nil, nil
	}
	var out []Item
	var wrong error
	err := jsonrpc.Elements(list, func(i int, raw []byte) bool {
		if i >= limits.MCPPinItems {
			wrong = fmt.Errorf("there are more than %d %s", limits.MCPPinItems, key)
			return false
		}
		item, err := ReadItem(kind, raw)
		if err != nil {
			wrong = fmt.Errorf("%s/%d: %w", key, i, err)
			return false
		}
		item.From = jsonrpc.Offset(result, raw)
		item.To = item.From + len(raw)
		out = append(out, item)
		return true
	})
	if err == nil {
		err = wrong
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ReadItem reads one item.
func ReadItem(kind string, raw []byte) (Item, error) {
	v, err := protocol.DecodeAny(raw)
	if err != nil {
		return Item{}, err
	}
	tree, ok := v.(map[string]any)
	if !ok {
		return Item{}, fmt.Errorf("the %s is no object", kind)
	}
	item := Item{Kind: kind, Raw: raw, tree: tree}
	key := "name"
	if kind == Template {
		key = "uriTemplate"
	}
	item.Name, ok = tree[key].(string)
	if !ok || item.Name == "" || len(item.Name) > limits.MCPPinName {
		return Item{}, fmt.Errorf("the %s has no %s of 1 to %d bytes", kind, key, limits.MCPPinName)
	}
	item.Title, _ = tree["title"].(string)
	item.Description, _ = tree["description"].(string)
	item.Annotations, _ = tree["annotations"].(map[string]any)
	if item.form, item.depth, err = canonical(nil, tree, 1); err != nil {
		return Item{}, err
	}
	item.pin = pinOf(kind, item.form)
	return item, nil
}

// Pin is the digest of everything that a server says of an item.
func Pin(item Item) string { return item.pin }

func pinOf(kind string, form []byte) string {
	return protocol.H("mcp-pin", slices.Concat([]byte(kind+"\n"), form))
}

// canonical appends the canonical form of a tree and gives how deep it is.
func canonical(b []byte, v any, depth int) (form []byte, deepest int, err error) {
	deepest = depth
	nested := func(v any) error {
		var d int
		b, d, err = canonical(b, v, depth+1)
		deepest = max(deepest, d)
		return err
	}
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), depth, nil
	case bool:
		if v {
			return append(b, "true"...), depth, nil
		}
		return append(b, "false"...), depth, nil
	case json.Number: // as it was written: no float comes near it
		return append(b, v...), depth, nil
	case string:
		b, err = protocol.AppendText(b, v)
		return b, depth, err
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			if err := nested(e); err != nil {
				return nil, 0, err
			}
		}
		return append(b, ']'), deepest, nil
	case map[string]any:
		b = append(b, '{')
		for i, key := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = protocol.AppendText(b, key); err != nil {
				return nil, 0, err
			}
			b = append(b, ':')
			if err := nested(v[key]); err != nil {
				return nil, 0, err
			}
		}
		return append(b, '}'), deepest, nil
	}
	return nil, 0, fmt.Errorf("a value of JSON cannot be a %T", v)
}

// kept gives the form that is recorded, nil if it is too large.
func (i *Item) kept() []byte {
	if len(i.form) > limits.MCPPinForm || i.depth > limits.MCPPinDepth {
		return nil
	}
	return bytes.Clone(i.form)
}

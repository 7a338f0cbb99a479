package views

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

var (
	wholeNumber   = regexp.MustCompile(`^[-+]?(?:0|[1-9][0-9]*)$`)
	decimalNumber = regexp.MustCompile(`^[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$`)
)

const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle

// readYAML gives the documents of a YAML stream as JSON values.
func readYAML(body []byte) (docs []any, err error) {
	// The library is handed hostile bytes; a fault of it must not end a flight.
	defer func() {
		if r := recover(); r != nil {
			docs, err = nil, fmt.Errorf("the YAML cannot be read: %v", r)
		}
	}()
	if !utf8.Valid(body) {
		return nil, errors.New("the YAML is not UTF-8")
	}
	dec := yaml.NewDecoder(bytes.NewReader(body))
	t := &tree{left: limits.ViewNodes}
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the YAML cannot be read: %w", err)
		}
		if len(docs) >= limits.ViewDocuments {
			return nil, fmt.Errorf("more than %d documents", limits.ViewDocuments)
		}
		v, err := t.value(&n, 0)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", max(t.line, n.Line), err)
		}
		if v != nil { // an empty document, as after a last ---
			docs = append(docs, v)
		}
	}
}

// tree turns nodes into values. Every use of an alias counts again, so that what is
// small on paper cannot become large.
type tree struct {
	left int
	line int
}

func (t *tree) value(n *yaml.Node, depth int) (any, error) {
	t.line = n.Line
	if t.left--; t.left < 0 {
		return nil, fmt.Errorf("more than %d values", limits.ViewNodes)
	}
	if depth > protocol.MaxDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", protocol.MaxDepth)
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return t.value(n.Content[0], depth)
	case yaml.AliasNode:
		return t.value(n.Alias, depth+1)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			v, err := t.value(c, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.MappingNode:
		return t.mapping(n, depth)
	}
	return scalar(n), nil
}

func (t *tree) mapping(n *yaml.Node, depth int) (any, error) {
	out := make(map[string]any, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		t.line = key.Line
		if key.Kind != yaml.ScalarNode {
			return nil, errors.New("a key is no text")
		}
		if key.Value == "<<" && key.Style&quoted == 0 {
			// What it merges in, and which key then wins, readers do not agree upon.
			return nil, errors.New("merge keys (<<) are not read")
		}
		if _, twice := out[key.Value]; twice {
			return nil, fmt.Errorf("the key %q is there twice", clip(key.Value))
		}
		v, err := t.value(n.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		out[key.Value] = v
	}
	return out, nil
}

// scalar resolves a plain scalar as the readers of such files do: besides true and
// false also yes, no, on and off, which Kubernetes' own reader takes for booleans.
func scalar(n *yaml.Node) any {
	if n.Style&quoted != 0 || n.Tag == "!!str" && n.Style&yaml.TaggedStyle != 0 {
		return n.Value
	}
	switch strings.ToLower(n.Value) {
	case "", "~", "null":
		return nil
	case "true", "yes", "on", "y":
		return true
	case "false", "no", "off", "n":
		return false
	}
	if wholeNumber.MatchString(n.Value) || decimalNumber.MatchString(n.Value) && !strings.HasSuffix(n.Value, ".") {
		return json.Number(strings.TrimPrefix(n.Value, "+"))
	}
	return n.Value
}

// Bounds in bytes on hostile text within messages, and on messages.
const (
	maxShown   = 80
	maxMessage = 240
)

func clip(s string) string { return clipTo(s, maxShown) }

func clipTo(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

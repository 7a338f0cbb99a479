package config

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/cabincrew/action/internal/limits"
)

// kind is the type that the YAML 1.2 core schema gives a scalar.
type kind string

const (
	kindNull  kind = "nothing"
	kindBool  kind = "true or false"
	kindInt   kind = "a whole number"
	kindFloat kind = "a decimal number"
	kindText  kind = "text"
)

var (
	coreInt   = lazily(`^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$`)
	coreFloat = lazily(`^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$`)
	octal11   = lazily(`^[-+]?0[0-9]+$`)
)

const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle

// scalarKind resolves a scalar by the YAML 1.2 core schema. The library's own
// resolution is not used: it knows YAML 1.1 timestamps, octals and underscores.
func scalarKind(n *yaml.Node) kind {
	if n.Style&quoted != 0 {
		return kindText
	}
	switch n.Value {
	case "", "~", "null", "Null", "NULL":
		return kindNull
	case "true", "True", "TRUE", "false", "False", "FALSE":
		return kindBool
	}
	switch {
	case coreInt().MatchString(n.Value):
		return kindInt
	case coreFloat().MatchString(n.Value):
		return kindFloat
	}
	return kindText
}

// plainText says whether a text stays text when it is written without quotes.
func plainText(s string) bool {
	return scalarKind(&yaml.Node{Kind: yaml.ScalarNode, Value: s}) == kindText
}

func parseInt(s string) (int64, error) {
	switch {
	case strings.HasPrefix(s, "0o"):
		return strconv.ParseInt(s[2:], 8, 64)
	case strings.HasPrefix(s, "0x"):
		return strconv.ParseInt(s[2:], 16, 64)
	}
	return strconv.ParseInt(s, 10, 64)
}

func kindName(k yaml.Kind) string {
	switch k {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	default:
		return "a single value"
	}
}

func nodeName(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return string(scalarKind(n))
	}
	return kindName(n.Kind)
}

// structure checks what holds for every node, whatever the schema says of it:
// depth, count, no anchors, aliases or tags, text keys, no key twice. It gives
// false if reading must not go on.
func (r *reader) structure(n *yaml.Node, depth int) bool {
	if r.places == nil {
		r.places = map[string]*yaml.Node{}
	}
	if r.nodes++; r.nodes > limits.ConfigNodes {
		r.failf(n, "config_too_large", "move data that engines need into files of the workspace", "more than %d values", limits.ConfigNodes)
		return false
	}
	if depth > limits.ConfigDepth {
		r.failf(n, "config_depth", "flatten it", "nested deeper than %d levels", limits.ConfigDepth)
		return false
	}
	switch {
	case n.Kind == yaml.AliasNode:
		r.failf(n, "config_alias", "write the value out", "aliases (*%s) are not allowed", clip(n.Value))
	case n.Anchor != "":
		r.failf(n, "config_alias", "write the value out where it is used", "anchors (&%s) are not allowed", clip(n.Anchor))
	}
	if n.Style&yaml.TaggedStyle != 0 {
		r.failf(n, "config_tag", "remove the tag", "tags (%s) are not allowed", clip(n.Tag))
	}
	if n.Kind == yaml.ScalarNode && n.Style&quoted == 0 && octal11().MatchString(n.Value) {
		// 0644 is octal to YAML 1.1 and decimal to YAML 1.2; people mean either.
		r.failf(n, "config_value", "write it in quotes, or as 0o… if it is octal", "the number %s begins with 0", clip(n.Value))
	}
	if what, ok := strings.CutPrefix(n.Value, unfilled); ok && n.Kind == yaml.ScalarNode {
		r.unfilled++
		r.failf(n, "config_unfilled", strings.TrimSuffix(what, ">"), "this is not filled in yet")
	}
	if n.Kind == yaml.MappingNode {
		r.keys(n)
	}
	for _, child := range n.Content {
		if !r.structure(child, depth+1) {
			return false
		}
	}
	return true
}

func (r *reader) keys(n *yaml.Node) {
	first := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if !plainKey(key) {
			if key.Kind == yaml.ScalarNode && key.Value == "<<" {
				r.failf(key, "config_alias", "write the entries out", "merge keys (<<) are not allowed")
			} else if key.Kind != yaml.AliasNode { // reported as an alias
				r.failf(key, "config_type", "write it in quotes", "a key must be text, not %s", nodeName(key))
			}
			continue
		}
		if f, twice := first[key.Value]; twice {
			r.failf(key, "config_duplicate_key", "remove one of them", "the key %q is already at line %d", short(key.Value), f.Line)
			continue
		}
		first[key.Value] = key
	}
}

// plainKey says whether a node can be a key. An unquoted << is YAML's merge key.
func plainKey(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && scalarKind(n) == kindText && (n.Value != "<<" || n.Style&quoted != 0)
}

// value gives a node as a value that has a canonical form: text, bool, nil,
// int64, a decimal number's source text, lists and maps.
// SPEC: docs/protocol.md 3
func (r *reader) value(n *yaml.Node, path string) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			if k := n.Content[i]; plainKey(k) {
				m[k.Value] = r.value(n.Content[i+1], join(path, k.Value))
			}
		}
		return m
	case yaml.SequenceNode:
		l := make([]any, 0, len(n.Content))
		for i, e := range n.Content {
			l = append(l, r.value(e, fmt.Sprintf("%s[%d]", path, i)))
		}
		return l
	case yaml.ScalarNode:
		return r.scalar(n, path)
	}
	return nil // an alias, reported by structure
}

// maxSafe is the largest whole number that every JSON implementation keeps.
const maxSafe = 1<<53 - 1

func (r *reader) scalar(n *yaml.Node, path string) any {
	switch scalarKind(n) {
	case kindNull:
		return nil
	case kindBool:
		return n.Value[0] == 't' || n.Value[0] == 'T'
	case kindInt:
		v, err := parseInt(n.Value)
		if err != nil || v > maxSafe || v < -maxSafe {
			r.failf(n, "config_value", fmt.Sprintf("write it in quotes: %q", short(n.Value)), "%s: the number %s is not within 2^53", path, clip(n.Value))
			return nil
		}
		return v
	}
	return n.Value
}

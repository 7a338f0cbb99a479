package views

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
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
	t := &tree{left: limits.ViewNodes}
	err = nodes(body, func(n *yaml.Node) error {
		if len(docs) >= limits.ViewDocuments {
			return fmt.Errorf("more than %d documents", limits.ViewDocuments)
		}
		v, err := t.value(n, 0)
		if err != nil {
			return fmt.Errorf("line %d: %w", max(t.line, n.Line), err)
		}
		if v != nil { // an empty document, as after a last ---
			docs = append(docs, v)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return docs, nil
}

// nodes gives each document of a stream.
func nodes(body []byte, each func(*yaml.Node) error) error {
	dec := yaml.NewDecoder(bytes.NewReader(body))
	for {
		var n yaml.Node
		switch err := dec.Decode(&n); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("the YAML cannot be read: %w", err)
		}
		if err := each(&n); err != nil {
			return err
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
	return scalar(n)
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
		name, err := keyText(key)
		if err != nil {
			return nil, err
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("the key %q is there twice", clip(name))
		}
		v, err := t.value(n.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		out[name] = v
	}
	return out, nil
}

// keyText gives a key as text: of a plain key its own text, whatever type it has.
func keyText(n *yaml.Node) (string, error) {
	if n.Style&yaml.TaggedStyle == 0 {
		return n.Value, nil
	}
	v, err := scalar(n)
	if text, ok := v.(string); ok && err == nil {
		return text, nil
	}
	return n.Value, err
}

// scalar gives the value of a scalar. Tags are resolved as clusters do it: those of
// YAML itself change the type, those of applications change nothing. A tag that
// its text does not suit is an error: readers do not agree upon it.
func scalar(n *yaml.Node) (any, error) {
	if n.Style&yaml.TaggedStyle == 0 {
		if n.Style&quoted != 0 {
			return n.Value, nil
		}
		return plain(n.Value), nil
	}
	v, fits := plain(n.Value), false
	switch tag := n.ShortTag(); tag {
	case "!!str":
		return n.Value, nil
	case "!!binary":
		raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), ""))
		if err != nil || !utf8.Valid(raw) {
			return nil, errors.New("a value with the tag !!binary is no text")
		}
		return string(raw), nil
	case "!!bool":
		_, fits = v.(bool)
	case "!!null":
		fits = v == nil
	case "!!int", "!!float":
		_, fits = v.(json.Number)
	default:
		if !strings.HasPrefix(tag, "!!") {
			return n.Value, nil
		}
	}
	if !fits {
		return nil, fmt.Errorf("a value does not suit its tag %q", clip(n.ShortTag()))
	}
	return v, nil
}

// plain resolves a plain scalar as the readers of such files do: besides true and
// false also yes, no, on and off, which Kubernetes' own reader takes for booleans.
func plain(text string) any {
	switch strings.ToLower(text) {
	case "", "~", "null":
		return nil
	case "true", "yes", "on", "y":
		return true
	case "false", "no", "off", "n":
		return false
	}
	if wholeNumber.MatchString(text) || decimalNumber.MatchString(text) && !strings.HasSuffix(text, ".") {
		return json.Number(strings.TrimPrefix(text, "+"))
	}
	if n, ok := oddNumber(text); ok {
		return n
	}
	return text
}

var floatForm = regexp.MustCompile(`^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$`)

// oddNumber reads the other forms of numbers that Kubernetes' reader of YAML 1.1
// knows: with underscores, in base 2, 8 (also by a leading zero) and 16, and decimals
// without a digit before or behind the point. What is a date is none.
func oddNumber(text string) (json.Number, bool) {
	if text == "" || !strings.ContainsRune("0123456789+-.", rune(text[0])) || dated.MatchString(text) {
		return "", false
	}
	digits := strings.ReplaceAll(text, "_", "")
	if text[0] == '.' {
		digits = text // no underscores here
	}
	if n, err := strconv.ParseInt(digits, 0, 64); err == nil {
		return json.Number(strconv.FormatInt(n, 10)), true
	}
	if n, err := strconv.ParseUint(digits, 0, 64); err == nil {
		return json.Number(strconv.FormatUint(n, 10)), true
	}
	if f, err := strconv.ParseFloat(digits, 64); err == nil && floatForm.MatchString(digits) && !math.IsInf(f, 0) && !math.IsNaN(f) {
		return json.Number(strconv.FormatFloat(f, 'f', -1, 64)), true
	}
	return "", false
}

var dated = regexp.MustCompile(`^[0-9]{4}-`)

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

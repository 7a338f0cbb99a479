// Package schemas holds the JSON Schemas (draft 2020-12) of every message and
// document of docs/protocol.md, one file a kind, and checks documents against
// them.
//
// It promises to be offline and closed: schemas come from the binary alone, a
// reference to anywhere else fails, and nothing of this module is imported. A
// kind is the kebab-case name of a type, such as "engine-output"; a file
// <kind>.schema.json put beside the others becomes a kind by itself.
//
// Validation is about shape. It does not see duplicate members, which reading
// has dropped by then: read documents that are judged or hashed with
// protocol.Decode, which refuses them.
package schemas

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

//go:embed *.schema.json
var files embed.FS

const (
	base   = "https://cabincrew.dev/schemas/"
	suffix = ".schema.json"
	bundle = "bundle"
)

// Kinds gives the names of all schemas, sorted.
func Kinds() []string {
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		panic("schemas: the embedded files are gone: " + err.Error()) //nolint:forbidigo // the compiler put them in
	}
	kinds := make([]string, 0, len(entries))
	for _, e := range entries {
		if kind, ok := strings.CutSuffix(e.Name(), suffix); ok && kind != bundle {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	return kinds
}

// Schema gives the text of one schema.
func Schema(kind string) ([]byte, error) {
	if kind != bundle {
		if text, err := files.ReadFile(kind + suffix); err == nil {
			return text, nil
		}
	}
	return nil, fmt.Errorf("there is no schema %q", clip(kind))
}

// Bundle gives the protocol's schemas in one document, each under $defs by its
// kind, for tools that want a single file.
func Bundle() []byte {
	text, err := files.ReadFile(bundle + suffix)
	if err != nil {
		panic("schemas: the bundle is gone: " + err.Error()) //nolint:forbidigo // the compiler put it in
	}
	return text
}

// Validate checks a JSON document against the schema of a kind. A document that
// does not fit gives an *Error.
func Validate(kind string, data []byte) error {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return &Error{Kind: kind, Problems: []Problem{{Where: "$", Text: "not JSON: " + clip(err.Error())}}}
	}
	return ValidateValue(kind, doc)
}

// ValidateValue checks a document that was read already, as protocol.DecodeAny
// gives it: map[string]any, []any, string, json.Number, bool and nil.
func ValidateValue(kind string, doc any) error {
	schema, err := compiled.get(kind)
	if err != nil {
		return err
	}
	if path, bad := costlyNumber(doc); bad {
		return &Error{Kind: kind, Problems: []Problem{{Where: "$" + clip(path), Text: "the number is too long or too large"}}}
	}
	if err := schema.Validate(doc); err != nil {
		return newError(kind, doc, err)
	}
	return nil
}

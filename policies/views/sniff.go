package views

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"go.yaml.in/yaml/v3"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

var (
	// archive are MIME types of bodies that are no text, and may be large.
	archive = regexp.MustCompile(`(?i)^(image|audio|video|font)/|^application/(octet-stream|zip|gzip|x-(tar|gtar|gzip|bzip2|xz|7z-compressed|executable)|zstd|pdf|wasm|java-archive|vnd\.(oci|docker)\.)`)
	// spelled are ways to write a word of YAML or JSON in other letters.
	spelled = regexp.MustCompile(`\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|\r?\n[ \t]*)`)
	// hidden are signs of tags, which may encode words.
	hidden = regexp.MustCompile(`!!|!<|(?m:^%TAG)`)
	// versioned is the beginning of a line that gives apiVersion as a key.
	versioned = regexp.MustCompile(`(?m)^[ \t,{-]*["']?apiVersion["']?[ \t]*:`)
)

// hinted says whether a body may hold a document that judges have a view of. It is
// quick, and is wrong only by saying so too often.
func hinted(body []byte) bool {
	return bytes.Contains(body, []byte("apiVersion")) || bytes.Contains(body, []byte("resource_changes")) ||
		wide(body) != 0 || spelled.Match(body) || hidden.Match(body)
}

// sniffed reads the documents of a body whose MIME type says nothing, as far as
// they are Kubernetes objects or a plan of Terraform. What is neither is no error.
func sniffed(a *policies.Artifact, body []byte) ([]any, error) {
	if body == nil {
		return []any{a.Body}, nil
	}
	if !hinted(body) {
		return nil, nil
	}
	body = narrow(body)
	if text := bytes.TrimSpace(body); bytes.HasPrefix(text, []byte("{")) || bytes.HasPrefix(text, []byte("[")) {
		docs, err := jsonStream(text)
		switch {
		case err == nil:
			return docs, nil
		case errors.As(err, &hiding{}), len(kubernetes(docs)) > 0, bytes.Contains(unescaped(text), []byte(`"resource_changes"`)):
			return nil, fmt.Errorf("the JSON cannot be read: %w", err)
		}
	}
	if len(body) > limits.ViewYAML {
		if versioned.Match(unescaped(body)) {
			return nil, fmt.Errorf("the YAML has more than %d bytes", limits.ViewYAML)
		}
		return nil, nil
	}
	return sniffYAML(body)
}

// hiding is an error in a JSON value that may be an object for other readers.
type hiding struct{ error }

// jsonStream reads JSON values one behind the other, as the client of clusters does;
// what it has read before an error counts there.
func jsonStream(text []byte) ([]any, error) {
	var docs []any
	dec := json.NewDecoder(bytes.NewReader(text))
	for {
		var raw json.RawMessage
		switch err := dec.Decode(&raw); {
		case errors.Is(err, io.EOF):
			return docs, nil
		case err != nil:
			return docs, err
		}
		doc, err := protocol.DecodeAny(raw)
		if err != nil && versioned.Match(unescaped(raw)) {
			return docs, hiding{err}
		}
		if err != nil {
			return docs, err
		}
		if docs = append(docs, doc); len(docs) > limits.ViewDocuments {
			return docs, hiding{fmt.Errorf("more than %d documents", limits.ViewDocuments)}
		}
	}
}

// sniffYAML finds the objects in a text: in the stream of YAML documents that it is,
// or, where it is none as a whole, in its parts, so that a part which is no YAML does
// not hide the others.
func sniffYAML(body []byte) ([]any, error) {
	if all, err := readYAML(body); err == nil {
		return objectsOf(nil, all)
	}
	var docs []any
	// The client of clusters parts at lines of --- alone, other readers at each line
	// that begins so. An object that both find is told once.
	for _, at := range []*regexp.Regexp{alone, marks} {
		for part := range parts(body, at) {
			found, err := readYAML(part)
			if err != nil && objectLike(part) {
				return nil, err
			}
			if docs, err = objectsOf(docs, found); err != nil {
				return nil, err
			}
		}
	}
	return docs, nil
}

var (
	alone = regexp.MustCompile(`(?m)^---[ \t\r]*$`)
	marks = regexp.MustCompile(`(?m)^---`)
)

// objectsOf adds the documents that hold objects, each once.
func objectsOf(docs, found []any) ([]any, error) {
	for _, d := range found {
		if len(kubernetes([]any{d})) > 0 && !slices.ContainsFunc(docs, func(known any) bool { return reflect.DeepEqual(known, d) }) {
			docs = append(docs, d)
		}
	}
	if len(docs) > limits.ViewDocuments {
		return nil, fmt.Errorf("more than %d documents", limits.ViewDocuments)
	}
	return docs, nil
}

// parts gives what lies between separators, with the line of the one before it, as
// far as it may hold an object.
func parts(body []byte, at *regexp.Regexp) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		from := 0
		for _, m := range at.FindAllIndex(body, -1) {
			if part := body[from:m[0]]; hinted(part) && !yield(part) {
				return
			}
			from = m[0]
		}
		if part := body[from:]; hinted(part) {
			yield(part)
		}
	}
}

// objectLike says whether a part which could not be read holds an object all the
// same: YAML by its form, with the keys of an object at its top.
func objectLike(part []byte) (yes bool) {
	defer func() {
		if recover() != nil { // the library, over hostile bytes
			yes = true
		}
	}()
	err := nodes(part, func(n *yaml.Node) error {
		if topKeys(n) {
			return errFound
		}
		return nil
	})
	return errors.Is(err, errFound)
}

var errFound = errors.New("found")

func topKeys(n *yaml.Node) bool {
	if n.Kind == yaml.DocumentNode {
		n = n.Content[0]
	}
	if n.Kind != yaml.MappingNode {
		return false
	}
	found := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if name, err := keyText(k); err == nil {
			found[name] = true
		}
	}
	return found["kind"] && found["apiVersion"] || found["<<"]
}

// seems tells what a body that cannot be read looks like.
func seems(a *policies.Artifact, body []byte) string {
	text := unescaped(narrow(body))
	switch {
	case a.ArtifactType == policies.TypeTerraformPlan, a.Terraform != nil, bytes.Contains(text, []byte("resource_changes")):
		return policies.SeemsTerraform
	case len(a.Kubernetes) > 0, policies.KindOf(a.Mime) != policies.KindJSON && hidden.Match(text), bytes.Contains(text, []byte("apiVersion")) && bytes.Contains(text, []byte("kind")):
		return policies.SeemsKubernetes
	}
	return policies.SeemsOther
}

// unescaped writes letters for escapes, wherever they stand.
func unescaped(body []byte) []byte {
	if !bytes.Contains(body, []byte(`\`)) {
		return body
	}
	return spelled.ReplaceAllFunc(body, func(m []byte) []byte {
		r, err := strconv.ParseUint(string(m[2:]), 16, 32)
		if m[1] == '\n' || m[1] == '\r' || err != nil {
			return nil
		}
		return []byte(string(rune(r))) //nolint:gosec // what is no letter becomes U+FFFD
	})
}

// wide gives the byte order of UTF-16 that begins with its mark, else 0.
func wide(body []byte) byte {
	switch {
	case bytes.HasPrefix(body, []byte{0xfe, 0xff}):
		return 'B'
	case bytes.HasPrefix(body, []byte{0xff, 0xfe}):
		return 'L'
	}
	return 0
}

// narrow gives UTF-16 as UTF-8, which is what is read, and all else as it is,
// without a byte order mark.
func narrow(body []byte) []byte {
	var order binary.ByteOrder = binary.BigEndian
	switch wide(body) {
	case 0:
		return bytes.TrimPrefix(body, []byte("\ufeff"))
	case 'L':
		order = binary.LittleEndian
	}
	units := make([]uint16, 0, len(body)/2)
	for i := 2; i+1 < len(body); i += 2 {
		units = append(units, order.Uint16(body[i:]))
	}
	return []byte(strings.TrimPrefix(string(utf16.Decode(units)), "\ufeff"))
}

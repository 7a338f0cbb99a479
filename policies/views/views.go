package views

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Wanted says whether an artifact may have a parsed view, so that its body is needed:
// where its type or MIME type says so, and else where its body does, since take-off
// does not go by MIME types. Patches have a view of their own.
func Wanted(a policies.Artifact) bool {
	if policies.KindOf(a.Mime) != policies.KindUnknown || a.ArtifactType == policies.TypeTerraformPlan {
		return true
	}
	if a.ArtifactType == "patch" {
		return false
	}
	switch body := a.Body.(type) {
	case nil:
		return a.Digest != "" && (a.Size <= limits.ViewBody || !archive.MatchString(a.Mime))
	case string:
		return hinted([]byte(body))
	}
	return true
}

// Fill adds the parsed views of a body to an artifact. body holds the bytes, or is
// nil where the body is inline, as a document, in a.Body.
func Fill(a *policies.Artifact, body []byte) {
	if text, ok := a.Body.(string); ok && body == nil {
		body = []byte(text)
	}
	if err := fill(a, body); err != nil {
		a.ViewError, a.Seems = clipTo(err.Error(), maxMessage), seems(a, body)
		a.Documents, a.Kubernetes, a.Terraform = nil, nil, nil
	}
}

func fill(a *policies.Artifact, body []byte) error {
	declared := policies.KindOf(a.Mime) != policies.KindUnknown || a.ArtifactType == policies.TypeTerraformPlan
	read := documents
	if !declared {
		read = sniffed
	}
	docs, err := read(a, body)
	if err != nil {
		return err
	}
	a.Kubernetes = kubernetes(docs)
	if a.ArtifactType == policies.TypeTerraformPlan || slices.ContainsFunc(docs, isTerraform) {
		if len(docs) != 1 {
			return fmt.Errorf("a Terraform plan is one JSON document, not %d", len(docs))
		}
		if a.Terraform, err = terraform(docs[0]); err != nil {
			return fmt.Errorf("the Terraform plan cannot be read: %w", err)
		}
		return nil // it is in the view, and in the body where that is small
	}
	if declared {
		a.Documents = docs
	}
	return nil
}

func documents(a *policies.Artifact, body []byte) ([]any, error) {
	if body == nil {
		return []any{a.Body}, nil
	}
	if policies.KindOf(a.Mime) == policies.KindYAML {
		if len(body) > limits.ViewYAML {
			return nil, fmt.Errorf("the YAML has more than %d bytes", limits.ViewYAML)
		}
		return readYAML(body)
	}
	if doc, err := protocol.DecodeAny(body); err == nil {
		return []any{doc}, nil
	} else if !bytes.Contains(bytes.TrimSpace(body), []byte("\n")) {
		return nil, fmt.Errorf("the JSON cannot be read: %w", err)
	}
	return jsonLines(body)
}

// jsonLines reads one JSON document a line.
func jsonLines(body []byte) ([]any, error) {
	var docs []any
	for line := range bytes.Lines(body) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if len(docs) >= limits.ViewDocuments {
			return nil, fmt.Errorf("more than %d documents", limits.ViewDocuments)
		}
		doc, err := protocol.DecodeAny(line)
		if err != nil {
			return nil, fmt.Errorf("the JSON cannot be read: %w", err)
		}
		docs = append(docs, doc)
	}
	return docs, nil
}

// kubernetes gives the documents that are Kubernetes objects; lists are taken apart.
func kubernetes(docs []any) []any {
	var out []any
	for _, d := range docs {
		out = appendObjects(out, d, "", "")
	}
	return out
}

// appendObjects adds an object, or the items of a list, which may be lists too: the
// depth of the document bounds that. As for the client of clusters, what has items is
// a list whatever its kind, and an item without kind and version has those of the list.
func appendObjects(out []any, doc any, version, kind string) []any {
	o, ok := doc.(map[string]any)
	if !ok {
		return out
	}
	v, _ := o["apiVersion"].(string)
	k, _ := o["kind"].(string)
	if v == "" && k == "" && kind != "" {
		o = maps.Clone(o)
		o["apiVersion"], o["kind"] = version, kind
		v, k = version, kind
	}
	if v == "" || k == "" {
		return out
	}
	item, isList := strings.CutSuffix(k, "List")
	items, has := member(o, "items").([]any)
	if !has || !isList {
		out = append(out, o)
	}
	for _, i := range items {
		out = appendObjects(out, i, v, item)
	}
	return out
}

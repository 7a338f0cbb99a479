package views

import (
	"bytes"
	"fmt"
	"mime"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Kind is what a body is known to be.
type Kind int

// The kinds of bodies.
const (
	Unknown Kind = iota
	JSON
	YAML
)

// KindOf tells the kind of a body by the MIME type that the engine declared.
func KindOf(mimeType string) Kind {
	t, _, err := mime.ParseMediaType(mimeType)
	if err != nil {
		t, _, _ = strings.Cut(strings.ToLower(mimeType), ";")
		t = strings.TrimSpace(t)
	}
	switch {
	case t == "application/json", strings.HasSuffix(t, "+json"):
		return JSON
	case t == "application/yaml", t == "application/x-yaml", t == "text/yaml", t == "text/x-yaml", strings.HasSuffix(t, "+yaml"):
		return YAML
	}
	return Unknown
}

// terraformPlan is the artifact type of a plan in Terraform's JSON form.
const terraformPlan = "terraform-plan"

// Wanted says whether an artifact has a parsed view, so that its body is needed.
func Wanted(a policies.Artifact) bool {
	return KindOf(a.Mime) != Unknown || a.ArtifactType == terraformPlan
}

// Fill adds the parsed views of a body to an artifact. body holds the bytes, or is
// nil where the body is inline, as a document, in a.Body.
func Fill(a *policies.Artifact, body []byte) {
	if err := fill(a, body); err != nil {
		a.ViewError = clipTo(err.Error(), maxMessage)
		a.Documents, a.Kubernetes, a.Terraform = nil, nil, nil
	}
}

func fill(a *policies.Artifact, body []byte) error {
	docs, err := documents(a, body)
	if err != nil {
		return err
	}
	a.Kubernetes = kubernetes(docs)
	a.Documents = docs
	if a.ArtifactType == terraformPlan || len(docs) == 1 && isTerraform(docs[0]) {
		if len(docs) != 1 {
			return fmt.Errorf("a Terraform plan is one JSON document, not %d", len(docs))
		}
		if a.Terraform, err = terraform(docs[0]); err != nil {
			return fmt.Errorf("the Terraform plan cannot be read: %w", err)
		}
		a.Documents = nil // it is in the view, and in the body where that is small
	}
	return nil
}

func documents(a *policies.Artifact, body []byte) ([]any, error) {
	if body == nil {
		if text, ok := a.Body.(string); ok {
			body = []byte(text)
		} else {
			return []any{a.Body}, nil
		}
	}
	if KindOf(a.Mime) == YAML {
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
		out = appendObjects(out, d, 0)
	}
	return out
}

// listDepth is how deep lists of Kubernetes may lie in each other.
const listDepth = 4

func appendObjects(out []any, doc any, depth int) []any {
	o, ok := doc.(map[string]any)
	if !ok {
		return out
	}
	version, _ := o["apiVersion"].(string)
	kind, _ := o["kind"].(string)
	if version == "" || kind == "" {
		return out
	}
	if items, ok := o["items"].([]any); ok && strings.HasSuffix(kind, "List") && depth < listDepth {
		for _, item := range items {
			out = appendObjects(out, item, depth+1)
		}
		return out
	}
	return append(out, o)
}

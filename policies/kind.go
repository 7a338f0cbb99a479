package policies

import (
	"mime"
	"strings"
)

// Kind is what a body is known to be.
type Kind int

// The kinds of bodies that are given to judges in parsed form.
const (
	KindUnknown Kind = iota
	KindJSON
	KindYAML
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
		return KindJSON
	case t == "application/yaml", t == "application/x-yaml", t == "text/yaml", t == "text/x-yaml", strings.HasSuffix(t, "+yaml"):
		return KindYAML
	}
	return KindUnknown
}

// TypeTerraformPlan is the artifact type of a plan in Terraform's JSON form.
const TypeTerraformPlan = "terraform-plan"

// What a body that has no parsed view seems to be: Artifact.Seems.
const (
	SeemsKubernetes = "kubernetes"
	SeemsTerraform  = "terraform"
	SeemsOther      = "other"
)

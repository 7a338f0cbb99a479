package rules_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rules"
	"github.com/cabincrew/action/protocol"
)

const (
	mebibyte    = 1 << 20
	evaluatedAt = "2026-11-22T00:00:00Z"
)

func TestLegible(t *testing.T) {
	t.Parallel()
	text := func(longest int64) *policies.Content { return &policies.Content{UTF8: true, LongestLine: longest} }
	long, invalid, binary := text(mebibyte+1), &policies.Content{LongestLine: 4}, &policies.Content{Binary: true, LongestLine: 9 * mebibyte}
	patch := func(longest int64) *policies.Patch {
		return &policies.Patch{Files: []policies.PatchFile{{Path: "ok", LongestLine: 80}, {Path: "dist/x.js", LongestLine: longest}}}
	}
	for name, c := range map[string]struct {
		artifact policies.Artifact
		want     []string
	}{
		"text":                     {policies.Artifact{Mime: "text/plain", Content: text(mebibyte)}, nil},
		"long line":                {policies.Artifact{Mime: "text/plain", Content: long}, []string{"line-too-long"}},
		"long line of an unknown":  {policies.Artifact{Mime: "application/octet-stream", Content: long}, []string{"line-too-long"}},
		"long line, parsed":        {policies.Artifact{Mime: "application/json", Content: long, Documents: []any{map[string]any{}}}, nil},
		"long line, a document":    {policies.Artifact{Mime: "application/json", Content: long, Body: []any{}}, nil},
		"long line, a text":        {policies.Artifact{Mime: "text/plain", Content: long, Body: "x"}, []string{"line-too-long"}},
		"long line, plan":          {policies.Artifact{Mime: "application/octet-stream", Content: long, Terraform: &policies.Terraform{}}, nil},
		"long line, view broke":    {policies.Artifact{Mime: "text/plain", Content: long, Kubernetes: []any{1}, ViewError: "x", Seems: "other"}, []string{"line-too-long"}},
		"binary":                   {policies.Artifact{Mime: "application/octet-stream", Content: binary}, nil},
		"binary text":              {policies.Artifact{Mime: "Text/Plain", Content: binary}, []string{"text-unreadable"}},
		"not UTF-8":                {policies.Artifact{Mime: " text/x-diff ; charset=\"UTF-8\"", Content: invalid}, []string{"text-unreadable"}},
		"another charset":          {policies.Artifact{Mime: "text/plain; charset=iso-8859-1", Content: invalid}, nil},
		"not text":                 {policies.Artifact{Mime: "application/octet-stream", Content: invalid}, nil},
		"JSON unread":              {policies.Artifact{Mime: "application/json", ViewError: "deep"}, []string{"view-unreadable"}},
		"YAML unread":              {policies.Artifact{Mime: "text/x-yaml; a=b", ViewError: "deep"}, []string{"view-unreadable"}},
		"plan unread":              {policies.Artifact{Mime: "application/octet-stream", ArtifactType: "terraform-plan", ViewError: "x"}, []string{"view-unreadable"}},
		"seems Kubernetes":         {policies.Artifact{Mime: "text/plain", ViewError: "x", Seems: "kubernetes", Content: text(9)}, []string{"view-unreadable"}},
		"seems a plan":             {policies.Artifact{Mime: "text/plain", ViewError: "x", Seems: "terraform"}, []string{"view-unreadable"}},
		"seems nothing":            {policies.Artifact{Mime: "text/plain", ViewError: "x", Seems: "other"}, nil},
		"too large to look into":   {policies.Artifact{Mime: "text/plain", ViewError: "too large", Content: text(200)}, nil},
		"JSON unread and too long": {policies.Artifact{Mime: "application/json", ViewError: "large", Content: long}, []string{"view-unreadable", "line-too-long"}},
		"nothing":                  {policies.Artifact{Mime: "text/plain"}, nil},
		"patch":                    {policies.Artifact{Mime: "text/x-diff", Patch: patch(mebibyte)}, nil},
		"patch with a long line":   {policies.Artifact{Mime: "text/x-diff", Patch: patch(mebibyte + 1)}, []string{"line-too-long"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.artifact.Name = "a"
			r, err := rules.Legible{}.Evaluate(t.Context(), policies.Input{Artifacts: []policies.Artifact{c.artifact}}, evaluatedAt)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range r.Findings {
				got = append(got, f.Rule)
				if f.Decision != protocol.Deny || f.PolicyID != "legible/"+f.Rule || f.Artifact != "a" || len(f.Reason) < 60 || f.EvaluatedAt != evaluatedAt {
					t.Errorf("%+v", f)
				}
				if c.artifact.Patch != nil && !slices.Equal(f.Files, []string{"dist/x.js"}) {
					t.Errorf("files %q", f.Files)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// TestLegibleIsDocumented keeps docs/policies.md equal to the rules.
func TestLegibleIsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules.LegibleRules() {
		row := fmt.Sprintf("| `%s` | deny | **%s.** %s | %s |\n", r.ID, r.Title, r.Description, r.Remedy)
		if !strings.Contains(string(page), row) {
			t.Errorf("docs/policies.md lacks\n%s", row)
		}
	}
}

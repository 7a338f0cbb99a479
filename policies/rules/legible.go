package rules

import (
	"context"
	"fmt"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Legible denies what is made so that nobody can read it: neither the judges, whose
// rules would see nothing and stay silent, nor a person. It judges whatever sets the
// configuration names, since a set cannot speak about what it was not shown.
//
// Binary content, and texts that are only large, are not its matter: judges know
// them by digest and size.
type Legible struct{}

var _ policies.Evaluator = Legible{}

// LegibleRule is one rule of Legible, for people.
type LegibleRule struct{ ID, Title, Description, Remedy string }

// The ids of its rules.
const (
	ruleView = "view-unreadable"
	ruleLine = "line-too-long"
	ruleText = "text-unreadable"
)

// LegibleRules are the rules of Legible; docs/policies.md has the same table.
func LegibleRules() []LegibleRule {
	return []LegibleRule{
		{
			ruleView, "Body that cannot be read",
			"A body says that it is YAML, JSON or a Terraform plan, or looks like Kubernetes objects or such a plan, and cannot be parsed, or is too large or too deep to be, so that rules about what it holds saw nothing.",
			"Let the engine write it well-formed and smaller, without YAML's merge keys, or say what it is by its MIME type.",
		},
		{
			ruleLine, "Line that is too long",
			"A text has a line of more than 1 MiB, and is no JSON or YAML that judges were given parsed.",
			"Let the engine write shorter lines, or say by the MIME type what it is; keep generated files out of the repository.",
		},
		{
			ruleText, "Text that is none",
			"A body says by its MIME type that it is text, but is not UTF-8, and names no other charset.",
			"Let the engine write UTF-8, or say by the MIME type what it is (application/octet-stream, or a charset).",
		},
	}
}

// Evaluate implements policies.Evaluator. What can be read gives no finding.
func (Legible) Evaluate(_ context.Context, in policies.Input, evaluatedAt string) (policies.Result, error) {
	var out policies.Result
	deny := func(rule, artifact, reason string, files []string) {
		out.Findings = append(out.Findings, policies.Finding{
			PolicyEvaluation: protocol.PolicyEvaluation{
				Source: protocol.SourceCustom, PolicyID: "legible/" + rule, Decision: protocol.Deny, Severity: protocol.Deny.Severity(),
				Reason: reason, Evidence: map[string]any{"rule": rule, "artifact": artifact}, EvaluatedAt: evaluatedAt,
			},
			Artifact: artifact, Rule: rule, Files: files,
		})
	}
	for i := range in.Artifacts {
		a := &in.Artifacts[i]
		if a.Patch != nil {
			if files := longLines(a.Patch); len(files) > 0 {
				deny(ruleLine, a.Name, fmt.Sprintf("artifact %s writes lines of more than %d bytes, which nobody can read: %s. Write shorter lines, or leave the files out.",
					a.Name, limits.LegibleLine, named(files)), files)
			}
			continue
		}
		if a.ViewError != "" && (structured(a) || a.Seems == policies.SeemsKubernetes || a.Seems == policies.SeemsTerraform) {
			deny(ruleView, a.Name, fmt.Sprintf("artifact %s cannot be read as what it says it is: %s. Let the engine write it well-formed and smaller, or say by the MIME type what it is.",
				a.Name, a.ViewError), nil)
		}
		if a.Content == nil {
			continue
		}
		if declaredText(a.Mime) && (a.Content.Binary || !a.Content.UTF8) {
			deny(ruleText, a.Name, fmt.Sprintf("artifact %s says that it is text (%q), but is not UTF-8, so that rules about text saw nothing. Write UTF-8, or say by the MIME type what it is.",
				a.Name, a.Mime), nil)
		}
		if !a.Content.Binary && a.Content.LongestLine > limits.LegibleLine && !viewed(a) {
			deny(ruleLine, a.Name, fmt.Sprintf("artifact %s has a line of %d bytes (more than %d), which nobody can read. Write shorter lines, or say by the MIME type what it is.",
				a.Name, a.Content.LongestLine, limits.LegibleLine), nil)
		}
	}
	return out, nil
}

// structured says whether an artifact declares a form that judges are given parsed.
func structured(a *policies.Artifact) bool {
	return a.ArtifactType == policies.TypeTerraformPlan || policies.KindOf(a.Mime) != policies.KindUnknown
}

// viewed says whether judges were given the body in parsed form, so that the length
// of its lines does not matter.
func viewed(a *policies.Artifact) bool {
	if _, text := a.Body.(string); a.Body != nil && !text {
		return true
	}
	return a.ViewError == "" && (a.Terraform != nil || len(a.Kubernetes) > 0 || len(a.Documents) > 0)
}

// declaredText says whether a MIME type is that of a text in UTF-8, which is what
// text is where no charset is named.
func declaredText(mime string) bool {
	mime = strings.ToLower(mime)
	kind, parameters, _ := strings.Cut(mime, ";")
	if !strings.HasPrefix(strings.TrimSpace(kind), "text/") {
		return false
	}
	return !strings.Contains(parameters, "charset") || strings.Contains(parameters, "utf-8")
}

// longLines gives the files of a patch that get lines which are too long.
func longLines(p *policies.Patch) []string {
	var out []string
	for i := range p.Files {
		if p.Files[i].LongestLine > limits.LegibleLine {
			out = append(out, p.Files[i].Path)
		}
	}
	return out
}

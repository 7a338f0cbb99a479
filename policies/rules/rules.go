package rules

import (
	"context"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Rule is one rule: what it matches, and what is decided then.
type Rule struct {
	ID       string
	Match    Match
	Except   *Match // where this matches too, the rule does not
	Decision protocol.Decision
	Role     string // that approves, for require_approval
	Reason   string
}

// Match says what a rule is about. Everything that is given must hold; an empty
// Match matches every step. Paths and targets are doublestar globs.
type Match struct {
	Steps         []string // step ids
	Branches      []string // globs over the branch that the change goes into
	Labels        []string // of the change; one of them is enough
	ArtifactTypes []string
	Actions       []string
	Targets       []string // globs
	Paths         []string // globs over files of patches, before and after
	Operations    []string // add, delete, modify, rename
	Files         Range    // number of files of patches that match
	Lines         Range    // added and deleted lines in them
	Bytes         Range    // size of the bodies of the artifacts that match
	Artifacts     Range    // number of artifacts that match
}

// Range bounds a count; nil is no bound.
type Range struct {
	AtLeast, AtMost *int64
}

func (r Range) given() bool { return r.AtLeast != nil || r.AtMost != nil }

func (r Range) holds(n int64) bool {
	return (r.AtLeast == nil || n >= *r.AtLeast) && (r.AtMost == nil || n <= *r.AtMost)
}

// Evaluator judges by rules. It implements policies.Evaluator.
type Evaluator struct{ rules []Rule }

var _ policies.Evaluator = (*Evaluator)(nil)

// New makes an evaluator of rules, which the configuration has checked.
func New(rules []Rule) *Evaluator { return &Evaluator{rules: slices.Clone(rules)} }

// evidenceFiles is how many file names of one finding are kept.
const evidenceFiles = 100

// Evaluate gives one finding for each rule that matches.
func (e *Evaluator) Evaluate(ctx context.Context, in policies.Input, evaluatedAt string) (policies.Result, error) {
	var out policies.Result
	for _, r := range e.rules {
		if err := ctx.Err(); err != nil {
			return policies.Result{}, context.Cause(ctx)
		}
		m := r.Match.matches(in)
		if !m.ok {
			continue
		}
		if r.Except != nil {
			// What is not known must not except: only a match without doubt does.
			if x := r.Except.matches(in); x.ok && len(x.unknown) == 0 {
				continue
			}
		}
		out.Findings = append(out.Findings, r.finding(m, evaluatedAt))
	}
	return out, nil
}

func (r Rule) finding(m matched, at string) policies.Finding {
	reason := r.Reason
	if len(m.unknown) > 0 {
		reason += " (" + strings.Join(m.unknown, " and ") + ", so the rule applies)"
	}
	f := policies.Finding{Rule: r.ID, Files: m.files}
	evidence := map[string]any{"rule": r.ID, "artifacts": m.artifacts, "files_matched": m.count, "lines": m.lines, "bytes": m.bytes}
	if len(m.files) > 0 {
		evidence["files"] = m.files[:min(len(m.files), evidenceFiles)]
	}
	if r.Decision == protocol.RequireApproval {
		f.Role = r.Role
		evidence["role"] = r.Role
	}
	f.PolicyEvaluation = protocol.PolicyEvaluation{
		Source: protocol.SourceCustom, PolicyID: "rules/" + r.ID, Decision: r.Decision, Severity: r.Decision.Severity(),
		Reason: reason, Evidence: evidence, EvaluatedAt: at,
	}
	return f
}

// matched is what a Match found in an input.
type matched struct {
	ok        bool
	unknown   []string // what could not be told
	files     []string // sorted; of a renamed file both names
	count     int64    // of files
	artifacts int64
	lines     int64
	bytes     int64
}

func (m Match) matches(in policies.Input) matched {
	var out matched
	if len(m.Steps) > 0 && !slices.Contains(m.Steps, in.Context["step_id"]) {
		return out
	}
	if len(m.Branches) > 0 {
		switch {
		case in.Change.Branch == "":
			out.unknown = append(out.unknown, "the branch is not known")
		case !anyGlob(m.Branches, in.Change.Branch):
			return out
		}
	}
	if len(m.Labels) > 0 {
		switch {
		case !in.Change.LabelsKnown:
			out.unknown = append(out.unknown, "the labels are not known")
		case !slices.ContainsFunc(m.Labels, func(l string) bool { return slices.Contains(in.Change.Labels, l) }):
			return out
		}
	}
	for _, a := range in.Artifacts {
		m.artifact(a, &out)
	}
	slices.Sort(out.files)
	out.files = slices.Compact(out.files)
	aboutFiles := len(m.Paths) > 0 || len(m.Operations) > 0
	aboutArtifacts := len(m.ArtifactTypes)+len(m.Actions)+len(m.Targets) > 0
	counted := m.Files.given() || m.Lines.given() || m.Bytes.given() || m.Artifacts.given()
	if out.unread() {
		out.ok = true // whatever the bounds: what cannot be read may be anything
		return out
	}
	switch {
	case aboutFiles && out.count == 0 && !counted, aboutArtifacts && out.artifacts == 0 && !counted:
		return out
	}
	out.ok = m.Files.holds(out.count) && m.Lines.holds(out.lines) && m.Bytes.holds(out.bytes) && m.Artifacts.holds(out.artifacts)
	return out
}

// artifactPatch is the type of artifacts that hold a patch. SPEC: docs/protocol.md 4
const artifactPatch = "patch"

const unreadPatch = "a patch cannot be read"

func (o *matched) unread() bool { return slices.Contains(o.unknown, unreadPatch) }

// artifact counts an artifact, and the files of its patch, if they match.
func (m Match) artifact(a policies.Artifact, out *matched) {
	if len(m.ArtifactTypes) > 0 && !slices.Contains(m.ArtifactTypes, a.ArtifactType) ||
		len(m.Actions) > 0 && !slices.Contains(m.Actions, a.Action) || len(m.Targets) > 0 && !anyGlob(m.Targets, a.Target) {
		return
	}
	aboutFiles := len(m.Paths) > 0 || len(m.Operations) > 0 || m.Files.given() || m.Lines.given()
	if a.Patch == nil {
		if a.ArtifactType == artifactPatch && aboutFiles {
			if !out.unread() {
				out.unknown = append(out.unknown, unreadPatch)
			}
			return
		}
		if len(m.Paths) > 0 || len(m.Operations) > 0 {
			return
		}
		out.artifacts++
		out.bytes += a.Size
		return
	}
	touched := false
	for _, f := range a.Patch.Files {
		if len(m.Operations) > 0 && !slices.Contains(m.Operations, f.Op) {
			continue
		}
		names := []string{f.Path}
		if f.OldPath != "" && f.OldPath != f.Path {
			names = append(names, f.OldPath)
		}
		if len(m.Paths) > 0 && !slices.ContainsFunc(names, func(n string) bool { return anyGlob(m.Paths, n) }) {
			continue
		}
		touched = true
		out.count++
		out.files = append(out.files, names...)
		out.lines += f.Added + f.Deleted
	}
	if touched || len(m.Paths) == 0 && len(m.Operations) == 0 {
		out.artifacts++
		out.bytes += a.Size
	}
}

func anyGlob(globs []string, text string) bool {
	return slices.ContainsFunc(globs, func(g string) bool { return doublestar.MatchUnvalidated(g, text) })
}

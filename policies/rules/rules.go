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
	ID    string
	Match Match
	// Except takes out what it is about: the files and artifacts that it matches, or,
	// where it speaks of neither, everything. The rule is about the rest.
	Except   *Match
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
func New(rules []Rule) *Evaluator {
	rules = slices.Clone(rules)
	for i := range rules {
		// A file system may take small letters for large ones.
		for _, g := range slices.Clone(rules[i].Match.Paths) {
			if small := strings.ToLower(g); small != g {
				rules[i].Match.Paths = append(slices.Clip(rules[i].Match.Paths), small)
			}
		}
	}
	return &Evaluator{rules: rules}
}

// evidenceFiles is how many file names of one finding are kept.
const evidenceFiles = 100

// Evaluate gives one finding for each rule that matches.
func (e *Evaluator) Evaluate(ctx context.Context, in policies.Input, evaluatedAt string) (policies.Result, error) {
	var out policies.Result
	for _, r := range e.rules {
		if err := ctx.Err(); err != nil {
			return policies.Result{}, context.Cause(ctx)
		}
		var except *Match
		if r.Except != nil {
			// What is not known must not except: only a match without doubt does.
			if x := r.Except.matches(in, nil, exactly); x.ok && len(x.unknown) == 0 {
				if !r.Except.aboutFiles() && !r.Except.aboutArtifacts() {
					continue
				}
				except = r.Except
			}
		}
		if m := r.Match.matches(in, except, likely); m.ok {
			out.Findings = append(out.Findings, r.finding(m, evaluatedAt))
		}
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
	// taken says that something was taken out, left that something was not.
	taken, left bool
}

func (m Match) aboutFiles() bool { return len(m.Paths) > 0 || len(m.Operations) > 0 }

func (m Match) aboutArtifacts() bool {
	return len(m.ArtifactTypes) > 0 || len(m.Actions) > 0 || len(m.Targets) > 0
}

// matches looks for what the Match is about in an input without what except takes out.
func (m Match) matches(in policies.Input, except *Match, same compare) matched {
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
		m.artifact(a, except, same, &out)
	}
	slices.Sort(out.files)
	out.files = slices.Compact(out.files)
	counted := m.Files.given() || m.Lines.given() || m.Bytes.given() || m.Artifacts.given()
	if out.unread() {
		out.ok = true // whatever the bounds: what cannot be read may be anything
		return out
	}
	switch {
	case m.aboutFiles() && out.count == 0 && !counted, m.aboutArtifacts() && out.artifacts == 0 && !counted, out.taken && !out.left:
		return out
	}
	out.ok = m.Files.holds(out.count) && m.Lines.holds(out.lines) && m.Bytes.holds(out.bytes) && m.Artifacts.holds(out.artifacts)
	return out
}

// artifactPatch is the type of artifacts that hold a patch. SPEC: docs/protocol.md 4
const artifactPatch = "patch"

// What only tells of the others is nothing that is left when they are taken out.
const (
	artifactSummary = "summary"
	actionInform    = "inform"
)

const unreadPatch = "a patch cannot be read"

func (o *matched) unread() bool { return slices.Contains(o.unknown, unreadPatch) }

// names says whether the artifact is of those that the Match is about.
func (m Match) names(a policies.Artifact) bool {
	return (len(m.ArtifactTypes) == 0 || slices.Contains(m.ArtifactTypes, a.ArtifactType)) &&
		(len(m.Actions) == 0 || slices.Contains(m.Actions, a.Action)) && (len(m.Targets) == 0 || anyGlob(m.Targets, a.Target))
}

// artifact counts an artifact, and the files of its patch, if they match and are
// not taken out.
func (m Match) artifact(a policies.Artifact, except *Match, same compare, out *matched) {
	if except != nil && !except.names(a) {
		except = nil
	}
	if except != nil && !except.aboutFiles() {
		out.taken = true
		return
	}
	if a.Patch == nil {
		out.left = out.left || !(a.ArtifactType == artifactSummary && a.Action == actionInform)
		m.whole(a, out)
		return
	}
	within := m.names(a)
	left, touched := len(a.Patch.Files) == 0, false
	for _, f := range a.Patch.Files {
		sides := sidesOf(f)
		if except != nil {
			sides = slices.DeleteFunc(sides, func(s side) bool { return except.holds(s, exactly) })
		}
		if len(sides) == 0 {
			out.taken = true
			continue
		}
		left = true
		if !within || !slices.ContainsFunc(sides, func(s side) bool { return m.holds(s, same) }) {
			continue
		}
		touched = true
		out.count++
		out.files = append(out.files, f.Path)
		if f.OldPath != "" {
			out.files = append(out.files, f.OldPath)
		}
		out.lines += f.Added + f.Deleted
	}
	out.left = out.left || left
	if touched || within && left && !m.aboutFiles() {
		out.artifacts++
		out.bytes += a.Size
	}
}

// whole counts an artifact that has no files to look at.
func (m Match) whole(a policies.Artifact, out *matched) {
	switch {
	case !m.names(a):
	case a.ArtifactType == artifactPatch && (m.aboutFiles() || m.Files.given() || m.Lines.given()):
		if !out.unread() {
			out.unknown = append(out.unknown, unreadPatch)
		}
	case !m.aboutFiles():
		out.artifacts++
		out.bytes += a.Size
	}
}

// side is a file's name before or after a change, with what the change is there. A
// rename is a deletion of the one and an addition of the other.
type side struct {
	path string
	ops  []string
}

const opRename = "rename"

func sidesOf(f policies.PatchFile) []side {
	if f.OldPath == "" || f.OldPath == f.Path {
		return []side{{f.Path, []string{f.Op}}}
	}
	return []side{{f.OldPath, []string{"delete", opRename}}, {f.Path, []string{"add", opRename}}}
}

func (m Match) holds(s side, same compare) bool {
	return (len(m.Operations) == 0 || slices.ContainsFunc(s.ops, func(op string) bool { return slices.Contains(m.Operations, op) })) &&
		(len(m.Paths) == 0 || same(m.Paths, s.path))
}

// compare says whether a path is one of globs.
type compare func(globs []string, path string) bool

// exactly compares letter by letter.
func exactly(globs []string, path string) bool { return anyGlob(globs, path) }

// likely also compares without regard to the case of letters; the globs hold their
// small forms already.
func likely(globs []string, path string) bool {
	return anyGlob(globs, path) || anyGlob(globs, strings.ToLower(path))
}

func anyGlob(globs []string, text string) bool {
	return slices.ContainsFunc(globs, func(g string) bool { return doublestar.MatchUnvalidated(g, text) })
}

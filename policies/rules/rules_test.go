package rules_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rules"
	"github.com/cabincrew/action/protocol"
)

const now = "2026-06-01T12:00:00.000Z"

func patch(files ...policies.PatchFile) policies.Artifact {
	return policies.Artifact{Name: "changes", ArtifactType: "patch", Action: "apply", Size: 100, Patch: &policies.Patch{Files: files}}
}

func file(op, path string, added int64) policies.PatchFile {
	return policies.PatchFile{Op: op, Path: path, OldPath: path, Added: added}
}

func TestRules(t *testing.T) {
	t.Parallel()
	in := policies.Input{
		Context: map[string]string{"step_id": "format"},
		Change:  policies.Change{Branch: "release/1", Labels: []string{"urgent", "bot"}, LabelsKnown: true},
		Artifacts: []policies.Artifact{
			patch(file("modify", "src/a.go", 10), file("add", "prod/b.yaml", 5), policies.PatchFile{Op: "rename", Path: "new", OldPath: "prod/old", Deleted: 2}),
			{Name: "request", ArtifactType: "http-request", Action: "send", Target: "https://example.com/x", Size: 50},
		},
	}
	for name, c := range map[string]struct {
		rule  rules.Rule
		files []string // nil: it does not match
	}{
		"everything":        {rules.Rule{}, []string{"new", "prod/b.yaml", "prod/old", "src/a.go"}},
		"a path":            {rules.Rule{Match: rules.Match{Paths: []string{"prod/**"}}}, []string{"new", "prod/b.yaml", "prod/old"}},
		"another path":      {rules.Rule{Match: rules.Match{Paths: []string{"docs/**"}}}, nil},
		"an operation":      {rules.Rule{Match: rules.Match{Paths: []string{"prod/**"}, Operations: []string{"add"}}}, []string{"prod/b.yaml"}},
		"another operation": {rules.Rule{Match: rules.Match{Paths: []string{"src/**"}, Operations: []string{"delete"}}}, nil},
		"a rename deletes":  {rules.Rule{Match: rules.Match{Operations: []string{"delete"}}}, []string{"new", "prod/old"}},
		"a type":            {rules.Rule{Match: rules.Match{ArtifactTypes: []string{"http-request"}}}, []string{}},
		"another type":      {rules.Rule{Match: rules.Match{ArtifactTypes: []string{"image"}}}, nil},
		"an action":         {rules.Rule{Match: rules.Match{Actions: []string{"send"}}}, []string{}},
		"a target":          {rules.Rule{Match: rules.Match{Targets: []string{"https://example.com/*"}}}, []string{}},
		"another target":    {rules.Rule{Match: rules.Match{Targets: []string{"https://example.org/*"}}}, nil},
		"a step":            {rules.Rule{Match: rules.Match{Steps: []string{"format"}, Paths: []string{"src/**"}}}, []string{"src/a.go"}},
		"another step":      {rules.Rule{Match: rules.Match{Steps: []string{"docs"}}}, nil},
		"a branch":          {rules.Rule{Match: rules.Match{Branches: []string{"release/*"}, Paths: []string{"src/**"}}}, []string{"src/a.go"}},
		"another branch":    {rules.Rule{Match: rules.Match{Branches: []string{"main"}}}, nil},
		"a label":           {rules.Rule{Match: rules.Match{Labels: []string{"x", "bot"}, Paths: []string{"src/**"}}}, []string{"src/a.go"}},
		"another label":     {rules.Rule{Match: rules.Match{Labels: []string{"x"}}}, nil},
		"enough files":      {rules.Rule{Match: rules.Match{Files: rules.Range{AtLeast: new(int64(3))}, ArtifactTypes: []string{"patch"}}}, []string{"new", "prod/b.yaml", "prod/old", "src/a.go"}},
		"too few files":     {rules.Rule{Match: rules.Match{Files: rules.Range{AtLeast: new(int64(4))}}}, nil},
		"few enough files":  {rules.Rule{Match: rules.Match{Paths: []string{"docs/**"}, Files: rules.Range{AtMost: new(int64(0))}}}, []string{}},
		"enough lines":      {rules.Rule{Match: rules.Match{Paths: []string{"src/**"}, Lines: rules.Range{AtLeast: new(int64(10)), AtMost: new(int64(10))}}}, []string{"src/a.go"}},
		"too few lines":     {rules.Rule{Match: rules.Match{Paths: []string{"src/**"}, Lines: rules.Range{AtLeast: new(int64(11))}}}, nil},
		"enough bytes":      {rules.Rule{Match: rules.Match{ArtifactTypes: []string{"http-request"}, Bytes: rules.Range{AtLeast: new(int64(50))}}}, []string{}},
		"too few bytes":     {rules.Rule{Match: rules.Match{ArtifactTypes: []string{"http-request"}, Bytes: rules.Range{AtLeast: new(int64(51))}}}, nil},
		"artifacts":         {rules.Rule{Match: rules.Match{Artifacts: rules.Range{AtLeast: new(int64(3))}}}, nil},
		"excepted":          {rules.Rule{Match: rules.Match{Paths: []string{"src/**"}}, Except: &rules.Match{Labels: []string{"urgent"}}}, nil},
		"not excepted":      {rules.Rule{Match: rules.Match{Paths: []string{"src/**"}}, Except: &rules.Match{Labels: []string{"x"}}}, []string{"src/a.go"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.rule.ID, c.rule.Decision, c.rule.Reason = "r", protocol.Deny, "because"
			got, err := rules.New([]rules.Rule{c.rule}).Evaluate(t.Context(), in, now)
			if err != nil {
				t.Fatal(err)
			}
			if c.files == nil {
				if len(got.Findings) != 0 {
					t.Fatalf("%+v", got.Findings)
				}
				return
			}
			if len(got.Findings) != 1 {
				t.Fatalf("%+v", got.Findings)
			}
			f := got.Findings[0]
			if !slices.Equal(f.Files, c.files) || f.Decision != protocol.Deny || f.PolicyID != "rules/r" || f.Reason != "because" || f.Source != "custom" || f.EvaluatedAt != now {
				t.Errorf("%+v", f)
			}
			if _, err := protocol.Canonical(f.PolicyEvaluation); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestExceptTakesOut: an exception takes out what it is about, and never what only
// lies beside it.
func TestExceptTakesOut(t *testing.T) {
	t.Parallel()
	moved := func(from, to string) policies.PatchFile {
		return policies.PatchFile{Op: "rename", OldPath: from, Path: to}
	}
	request := policies.Artifact{Name: "request", ArtifactType: "http-request", Action: "send", Target: "https://example.com/x", Size: 50}
	prod, docs := []string{"prod/**"}, []string{"prod/docs/**"}
	for name, c := range map[string]struct {
		match, except rules.Match
		in            []policies.Artifact
		files         []string // nil: it does not match
	}{
		"all are excepted":             {rules.Match{Paths: prod}, rules.Match{Paths: docs}, []policies.Artifact{patch(file("add", "prod/docs/a", 1))}, nil},
		"one is excepted, one is not":  {rules.Match{Paths: prod}, rules.Match{Paths: docs}, []policies.Artifact{patch(file("add", "prod/docs/a", 1), file("add", "prod/a.tf", 1))}, []string{"prod/a.tf"}},
		"moved into what is excepted":  {rules.Match{Paths: prod}, rules.Match{Paths: docs}, []policies.Artifact{patch(moved("prod/a.tf", "prod/docs/a.tf"))}, []string{"prod/a.tf", "prod/docs/a.tf"}},
		"moved out of it":              {rules.Match{Paths: prod}, rules.Match{Paths: docs}, []policies.Artifact{patch(moved("prod/docs/a.tf", "prod/a.tf"))}, []string{"prod/a.tf", "prod/docs/a.tf"}},
		"moved within it":              {rules.Match{Paths: prod}, rules.Match{Paths: docs}, []policies.Artifact{patch(moved("prod/docs/a.tf", "prod/docs/b.tf"))}, nil},
		"two files, one name excepted": {rules.Match{}, rules.Match{Paths: docs}, []policies.Artifact{patch(file("add", "prod/docs/a", 1), file("add", "b", 1))}, []string{"b"}},
		"everything, all excepted":     {rules.Match{}, rules.Match{Paths: docs}, []policies.Artifact{patch(file("add", "prod/docs/a", 1))}, nil},
		"excepted files, a request":    {rules.Match{}, rules.Match{Paths: docs}, []policies.Artifact{patch(file("add", "prod/docs/a", 1)), request}, []string{}},
		"excepted files, a summary":    {rules.Match{}, rules.Match{Paths: docs}, []policies.Artifact{patch(file("add", "prod/docs/a", 1)), {Name: "summary", ArtifactType: "summary", Action: "inform"}}, nil},
		"a summary, files beside":      {rules.Match{}, rules.Match{Paths: docs}, []policies.Artifact{patch(file("add", "a", 1)), {Name: "summary", ArtifactType: "summary", Action: "inform"}}, []string{"a"}},
		"by operation":                 {rules.Match{Paths: prod}, rules.Match{Operations: []string{"add"}}, []policies.Artifact{patch(file("add", "prod/a", 1), file("modify", "prod/b", 1))}, []string{"prod/b"}},
		"by type, both there":          {rules.Match{}, rules.Match{ArtifactTypes: []string{"http-request"}}, []policies.Artifact{patch(file("add", "a", 1)), request}, []string{"a"}},
		"by type, only it":             {rules.Match{}, rules.Match{ArtifactTypes: []string{"http-request"}}, []policies.Artifact{request}, nil},
		"by target":                    {rules.Match{Actions: []string{"send", "apply"}}, rules.Match{Targets: []string{"https://example.com/*"}}, []policies.Artifact{request, patch(file("add", "a", 1))}, []string{"a"}},
		"counts of what remains":       {rules.Match{Files: rules.Range{AtLeast: new(int64(2))}}, rules.Match{Paths: docs}, []policies.Artifact{patch(file("add", "prod/docs/a", 1), file("add", "b", 1))}, nil},
		"lines of what remains":        {rules.Match{Lines: rules.Range{AtLeast: new(int64(5))}}, rules.Match{Paths: docs}, []policies.Artifact{patch(file("add", "prod/docs/a", 9), file("add", "b", 5))}, []string{"b"}},
		"only up to a count":           {rules.Match{Paths: prod}, rules.Match{Paths: docs, Files: rules.Range{AtMost: new(int64(1))}}, []policies.Artifact{patch(file("add", "prod/docs/a", 1), file("add", "prod/docs/b", 1))}, []string{"prod/docs/a", "prod/docs/b"}},
		"a count, not more":            {rules.Match{Paths: prod}, rules.Match{Paths: docs, Files: rules.Range{AtMost: new(int64(1))}}, []policies.Artifact{patch(file("add", "prod/docs/a", 1))}, nil},
		"a patch that cannot be read":  {rules.Match{Paths: prod}, rules.Match{Paths: docs}, []policies.Artifact{patch(file("add", "prod/docs/a", 1)), {Name: "x", ArtifactType: "patch"}}, []string{"prod/docs/a"}},
		"its type is excepted":         {rules.Match{Paths: prod}, rules.Match{ArtifactTypes: []string{"patch"}}, []policies.Artifact{{Name: "x", ArtifactType: "patch"}}, nil},
		"other letters":                {rules.Match{Paths: prod}, rules.Match{Paths: docs}, []policies.Artifact{patch(file("add", "prod/DOCS/a", 1))}, []string{"prod/DOCS/a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rules.Rule{ID: "r", Match: c.match, Except: &c.except, Decision: protocol.Deny, Reason: "no"}
			got, err := rules.New([]rules.Rule{r}).Evaluate(t.Context(), policies.Input{Artifacts: c.in}, now)
			switch {
			case err != nil || c.files == nil && len(got.Findings) != 0 || c.files != nil && len(got.Findings) != 1:
				t.Fatalf("%+v, %v", got.Findings, err)
			case c.files != nil && !slices.Equal(got.Findings[0].Files, c.files):
				t.Errorf("%q", got.Findings[0].Files)
			}
		})
	}
}

// TestRenames: a rename is a deletion where the file was and an addition where it
// is; letters may be large or small.
func TestRenames(t *testing.T) {
	t.Parallel()
	prod := []string{"prod/**"}
	for name, c := range map[string]struct {
		match    rules.Match
		from, to string
		want     bool
	}{
		"out, deletions":       {rules.Match{Paths: prod, Operations: []string{"modify", "delete"}}, "prod/a", "trash/a", true},
		"out, additions":       {rules.Match{Paths: prod, Operations: []string{"add"}}, "prod/a", "trash/a", false},
		"in, additions":        {rules.Match{Paths: prod, Operations: []string{"add"}}, "a", "prod/a", true},
		"in, deletions":        {rules.Match{Paths: prod, Operations: []string{"delete"}}, "a", "prod/a", false},
		"within, deletions":    {rules.Match{Paths: prod, Operations: []string{"delete"}}, "prod/a", "prod/b", true},
		"out, renames":         {rules.Match{Paths: prod, Operations: []string{"rename"}}, "prod/a", "b", true},
		"in, renames":          {rules.Match{Paths: prod, Operations: []string{"rename"}}, "a", "prod/b", true},
		"elsewhere":            {rules.Match{Paths: prod, Operations: []string{"delete", "rename"}}, "a", "b", false},
		"modifications only":   {rules.Match{Paths: prod, Operations: []string{"modify"}}, "prod/a", "prod/b", false},
		"any, deletions":       {rules.Match{Operations: []string{"delete"}}, "a", "b", true},
		"large letters":        {rules.Match{Paths: prod}, "PROD/a", "b", true},
		"large letters, globs": {rules.Match{Paths: []string{"Prod/[A-C]*"}}, "prod/a", "b", true},
		"not a letter":         {rules.Match{Paths: []string{"prod/[^a]"}}, "prod/A", "b", true},
	} {
		in := policies.Input{Artifacts: []policies.Artifact{patch(policies.PatchFile{Op: "rename", OldPath: c.from, Path: c.to})}}
		got, err := rules.New([]rules.Rule{{ID: "r", Match: c.match, Decision: protocol.Deny}}).Evaluate(t.Context(), in, now)
		if err != nil || (len(got.Findings) == 1) != c.want {
			t.Errorf("%s: %+v, %v", name, got.Findings, err)
		}
	}
}

// TestUnknownApplies: what nobody can tell does not switch a rule off, and does
// not switch an exception on.
func TestUnknownApplies(t *testing.T) {
	t.Parallel()
	in := policies.Input{Artifacts: []policies.Artifact{{Name: "x", ArtifactType: "patch"}}}
	for name, c := range map[string]struct {
		rule rules.Rule
		want string
	}{
		"branch":           {rules.Rule{Match: rules.Match{Branches: []string{"main"}}}, "the branch is not known"},
		"labels":           {rules.Rule{Match: rules.Match{Labels: []string{"x"}}}, "the labels are not known"},
		"patch":            {rules.Rule{Match: rules.Match{Paths: []string{"x"}}}, "a patch cannot be read"},
		"patch, too many":  {rules.Rule{Match: rules.Match{Files: rules.Range{AtLeast: new(int64(100))}}}, "a patch cannot be read"},
		"unknown, excepts": {rules.Rule{Except: &rules.Match{Labels: []string{"x"}}}, "because"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.rule.ID, c.rule.Decision, c.rule.Reason, c.rule.Role = "r", protocol.RequireApproval, "because", "boss"
			got, err := rules.New([]rules.Rule{c.rule}).Evaluate(t.Context(), in, now)
			if err != nil || len(got.Findings) != 1 || !strings.Contains(got.Findings[0].Reason, c.want) || got.Findings[0].Role != "boss" {
				t.Fatalf("%+v, %v", got, err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rules.New([]rules.Rule{{}}).Evaluate(ctx, in, now); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

type says []policies.Finding

func (s says) Evaluate(context.Context, policies.Input, string) (policies.Result, error) {
	return policies.Result{Findings: slices.Clone(s)}, nil
}

func TestExemptions(t *testing.T) {
	t.Parallel()
	until := time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC)
	past := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	deny := func(f policies.Finding) policies.Finding {
		f.PolicyEvaluation = protocol.PolicyEvaluation{PolicyID: "cabincrew.x/deny/r", Decision: protocol.Deny, Severity: 3, Reason: "no", Evidence: map[string]any{"at": "x:1"}}
		return f
	}
	for name, c := range map[string]struct {
		finding policies.Finding
		x       rules.Exemption
		exempt  bool
		reason  string
	}{
		"all files":       {policies.Finding{Rule: "r", Files: []string{"a/x", "a/y"}}, rules.Exemption{Rule: "r", Paths: []string{"a/*"}, Until: until, Reason: "old"}, true, "exempt until 2026-12-31 (old); it was deny: no"},
		"by policy id":    {policies.Finding{Files: []string{"a/x"}}, rules.Exemption{Rule: "cabincrew.x/deny/r", Paths: []string{"a/*"}, Until: until}, true, "exempt"},
		"one file more":   {policies.Finding{Rule: "r", Files: []string{"a/x", "b"}}, rules.Exemption{Rule: "r", Paths: []string{"a/*"}, Until: until}, false, "no"},
		"no file":         {policies.Finding{Rule: "r"}, rules.Exemption{Rule: "r", Paths: []string{"a/*"}, Until: until}, false, "no"},
		"no file, all":    {policies.Finding{Rule: "r"}, rules.Exemption{Rule: "r", Paths: []string{"**"}, Until: until}, true, "exempt"},
		"another rule":    {policies.Finding{Rule: "q", Files: []string{"a"}}, rules.Exemption{Rule: "r", Paths: []string{"**"}, Until: until}, false, "no"},
		"no rule, none":   {policies.Finding{Files: []string{"a"}}, rules.Exemption{Rule: "", Paths: []string{"**"}, Until: until}, false, "no"},
		"over":            {policies.Finding{Rule: "r", Files: []string{"a"}}, rules.Exemption{Rule: "r", Paths: []string{"**"}, Until: past}, false, "no (its exemption ended on 2026-01-01)"},
		"not judged":      {policies.Finding{Rule: "r", Unjudged: true}, rules.Exemption{Rule: "r", Paths: []string{"**"}, Until: until}, false, "no"},
		"firm":            {policies.Finding{Rule: "r", Firm: true}, rules.Exemption{Rule: "r", Paths: []string{"**"}, Until: until}, false, "no"},
		"more than shown": {policies.Finding{Rule: "r", Files: []string{"a"}, Cut: true}, rules.Exemption{Rule: "r", Paths: []string{"**"}, Until: until}, false, "no"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := rules.Exempt(says{deny(c.finding)}, []rules.Exemption{c.x}).Evaluate(t.Context(), policies.Input{}, now)
			if err != nil {
				t.Fatal(err)
			}
			f := got.Findings[0]
			if (f.Decision == protocol.Allow) != c.exempt || (f.Severity == 0) != c.exempt || !strings.HasPrefix(f.Reason, c.reason) || f.Evidence["at"] != "x:1" {
				t.Errorf("%+v", f)
			}
			if was, _ := f.Evidence["exempted"].(map[string]any); (was["was"] == "deny") != c.exempt {
				t.Errorf("%+v", f.Evidence)
			}
		})
	}
	if _, err := rules.Exempt(says{}, []rules.Exemption{{}}).Evaluate(t.Context(), policies.Input{}, "today"); !errors.Is(err, protocol.Code("policy_exemption")) {
		t.Error(err)
	}
}

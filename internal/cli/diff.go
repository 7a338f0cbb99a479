package cli

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

// fieldChange is one thing of a flight or a step that differs.
type fieldChange struct {
	StepID string `json:"step_id,omitempty"`
	Field  string `json:"field"`
	A      string `json:"a"`
	B      string `json:"b"`
}

// artifactChange is one artifact that only one flight has, or that differs.
type artifactChange struct {
	StepID string `json:"step_id"`
	Name   string `json:"name"`
	Change string `json:"change"` // added, removed or changed
	A      string `json:"a,omitempty"`
	B      string `json:"b,omitempty"`
}

// fileChange is one file that two patches treat differently.
type fileChange struct {
	StepID   string `json:"step_id"`
	Artifact string `json:"artifact"`
	Path     string `json:"path"`
	Change   string `json:"change"` // added, removed or changed
	A        string `json:"a,omitempty"`
	B        string `json:"b,omitempty"`
}

// flightDiff is the document of diff.
type flightDiff struct {
	A         string           `json:"a"`
	B         string           `json:"b"`
	Equal     bool             `json:"equal"`
	Fields    []fieldChange    `json:"fields"`
	Artifacts []artifactChange `json:"artifacts"`
	Files     []fileChange     `json:"files"`
}

// Words of a change.
const (
	changeAdded   = "added"
	changeRemoved = "removed"
	changeChanged = "changed"
)

func (a *app) diffCommand() *cobra.Command {
	return &cobra.Command{
		Use: "diff A B", Short: "Say in what two flights differ", Args: cobra.ExactArgs(2),
		Long: `Compares what two flights plan: steps, artifacts, tokens and what they are made
of, decisions, and the files that their patches change. It reads; it does not
verify: see cabincrew verify.`,
		RunE: a.run(func(_ *cobra.Command, args []string) error {
			return a.withStore(func(s *session) error {
				var both [2]*orchestrator.Flight
				for i, name := range args {
					f, _, err := s.read([]string{name})
					if err != nil {
						return err
					}
					both[i] = f
				}
				d := compare(both[0], both[1])
				if a.flags.output == outputJSON {
					a.printJSON(d)
					return nil
				}
				a.text(d.render(a.colours()))
				return nil
			})
		}),
	}
}

// facts is what is compared of one step.
type facts struct {
	fields    map[string]string
	artifacts map[string]string            // name: hash
	files     map[string]map[string]string // artifact: path: what happens
}

func compare(a, b *orchestrator.Flight) flightDiff {
	d := flightDiff{A: a.ID(), B: b.ID(), Fields: []fieldChange{}, Artifacts: []artifactChange{}, Files: []fileChange{}}
	x, y := orchestrator.Summarize(a), orchestrator.Summarize(b)
	d.field("", "workflow", a.Info.Workflow, b.Info.Workflow)
	d.field("", "config_path", a.Info.ConfigPath, b.Info.ConfigPath)
	d.field("", "state", string(x.State), string(y.State))
	d.field("", "decision", string(x.Decision), string(y.Decision))
	d.field("", "flight_token", x.FlightToken, y.FlightToken)
	mine, theirs := stepFacts(a, x), stepFacts(b, y)
	var order []string
	for _, step := range append(x.Steps, y.Steps...) {
		if !slices.Contains(order, step.StepID) {
			order = append(order, step.StepID)
		}
	}
	for _, id := range order {
		d.step(id, mine[id], theirs[id])
	}
	d.Equal = len(d.Fields)+len(d.Artifacts)+len(d.Files) == 0
	return d
}

func (d *flightDiff) field(step, name, a, b string) {
	if a != b {
		d.Fields = append(d.Fields, fieldChange{step, name, a, b})
	}
}

func (d *flightDiff) step(id string, a, b *facts) {
	switch {
	case a == nil:
		d.field(id, "step", "", "present")
		a = &facts{}
	case b == nil:
		d.field(id, "step", "present", "")
		b = &facts{}
	default:
		for _, name := range union(a.fields, b.fields) {
			d.field(id, name, a.fields[name], b.fields[name])
		}
	}
	each(a.artifacts, b.artifacts, func(name, change, x, y string) {
		d.Artifacts = append(d.Artifacts, artifactChange{id, name, change, x, y})
	})
	for _, name := range union(a.files, b.files) {
		each(a.files[name], b.files[name], func(p, change, x, y string) {
			d.Files = append(d.Files, fileChange{id, name, p, change, x, y})
		})
	}
}

func union[V any](a, b map[string]V) []string {
	keys := slices.Collect(maps.Keys(a))
	for k := range b {
		if _, twice := a[k]; !twice {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

func each(a, b map[string]string, tell func(name, change, a, b string)) {
	for _, name := range union(a, b) {
		x, inA := a[name]
		y, inB := b[name]
		switch {
		case !inA:
			tell(name, changeAdded, "", y)
		case !inB:
			tell(name, changeRemoved, x, "")
		case x != y:
			tell(name, changeChanged, x, y)
		}
	}
}

// stepFacts gathers what a flight says of its steps. What is not there yet, or
// cannot be read, is left out, and shows as a difference.
func stepFacts(f *orchestrator.Flight, sum orchestrator.Summary) map[string]*facts {
	contexts := map[string]plantoken.Context{}
	if raw, err := f.ReadFile(orchestrator.ManifestFile, limits.ManifestFile); err == nil {
		if m, err := plantoken.ParseManifest(raw); err == nil {
			for _, step := range m.Steps {
				contexts[step.StepID] = step.Context
			}
		}
	}
	out := map[string]*facts{}
	for _, step := range sum.Steps {
		v := &facts{
			fields:    map[string]string{"engine_id": step.EngineID, "token": step.Token, "decision": string(step.Decision)},
			artifacts: map[string]string{}, files: map[string]map[string]string{},
		}
		var t protocol.PlanToken
		if raw, err := f.ReadFile(path.Join("steps", step.StepID, "plan-token.json"), limits.PlanToken); err == nil && protocol.Decode(raw, &t) == nil {
			v.fields["workspace_hash"], v.fields["policy_digest"], v.fields["governance_hash"] = t.WorkspaceHash, t.PolicyDigest, t.GovernanceHash
			v.fields["model"] = t.Model
		}
		if c, ok := contexts[step.StepID]; ok {
			v.fields["engine_digest"], v.fields["config_digest"] = c.EngineDigest, c.ConfigDigest
			v.fields["head_commit"], v.fields["target"], v.fields["change"] = c.HeadCommit, c.Target, c.Change
		}
		v.decisions(step)
		for _, a := range step.Artifacts {
			v.artifacts[a.Name] = a.Hash
			view := viewArtifact(f, step.StepID, a, &lineBudget{})
			if view.Type == orchestrator.TypePatch {
				v.files[a.Name] = patchFacts(view.Files)
			}
		}
		out[step.StepID] = v
	}
	return out
}

func (v *facts) decisions(step orchestrator.SummaryStep) {
	texts := map[string][]string{}
	for _, e := range step.Evaluations {
		text := string(e.Decision)
		if e.Reason != "" {
			text += ": " + e.Reason
		}
		texts[e.PolicyID] = append(texts[e.PolicyID], text)
	}
	for id, list := range texts {
		v.fields["policy "+id] = strings.Join(list, "; ")
	}
}

func patchFacts(files []patch.File) map[string]string {
	out := map[string]string{}
	for _, f := range files {
		text := string(f.Op)
		if f.Op == patch.Rename {
			text += " from " + strconv.Quote(f.OldPath)
		}
		if f.NewMode != "" {
			text += " mode " + f.NewMode
		}
		if f.After != "" {
			text += " after " + f.After
		}
		out[f.Path()] += text
	}
	return out
}

func (d *flightDiff) render(colour bool) string {
	var b strings.Builder
	minus := func(s string) { b.WriteString("    " + paintRed.on(colour, "- "+oneLine(orNone(s))) + "\n") }
	plus := func(s string) { b.WriteString("    " + paintGreen.on(colour, "+ "+oneLine(orNone(s))) + "\n") }
	_, _ = fmt.Fprintf(&b, "- %s\n+ %s\n", d.A, d.B)
	if d.Equal {
		b.WriteString("the two flights plan the same\n")
		return b.String()
	}
	for _, c := range d.Fields {
		b.WriteString("  " + oneLine(inStep(c.StepID)+c.Field) + "\n")
		minus(c.A)
		plus(c.B)
	}
	for _, c := range d.Artifacts {
		b.WriteString("  " + oneLine(inStep(c.StepID)+"artifact "+c.Name+" "+c.Change) + "\n")
		minus(c.A)
		plus(c.B)
	}
	for _, c := range d.Files {
		b.WriteString("  " + oneLine(inStep(c.StepID)+c.Artifact+": "+c.Path+" "+c.Change) + "\n")
		minus(c.A)
		plus(c.B)
	}
	return b.String()
}

func inStep(id string) string {
	if id == "" {
		return ""
	}
	return "step " + id + ": "
}

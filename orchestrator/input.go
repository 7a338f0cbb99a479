package orchestrator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/views"
	"github.com/cabincrew/action/protocol"
)

func validText(b []byte) bool { return utf8.Valid(b) }

// input builds the document that the judges read. SPEC: docs/protocol.md 6.
func (f *Flight) input(s *Setup, p *stepPlan, token protocol.PlanToken) (policies.Input, error) {
	step, _ := s.Config.Step(p.id)
	return f.inputOf(p, token, around{
		config: s.Config.Resolved(step), workspace: &policies.Workspace{Files: int64(p.files)},
		governance: policies.Governance{Paths: s.Governance.Paths},
		change:     policies.Change{Branch: s.Source.Branch, Labels: s.Source.Labels, LabelsKnown: s.Source.LabelsKnown},
	})
}

// around is what judges are told that a flight's directory does not hold.
type around struct {
	config     map[string]any
	workspace  *policies.Workspace // nil: not known
	governance policies.Governance
	change     policies.Change
}

func (f *Flight) inputOf(p *stepPlan, token protocol.PlanToken, x around) (policies.Input, error) {
	in := policies.Input{
		Receipt: &p.receipt, PlanToken: &token, Config: x.config, Mode: protocol.FlightPlan,
		Isolation: isolationInput(p.isolation), Opaque: p.opaque, Workspace: x.workspace, Governance: x.governance, Change: x.change,
		Bodies: bodies{f, p},
	}
	raw, err := protocol.Canonical(p.preimage.Context)
	if err != nil {
		return in, err
	}
	if err := protocol.Decode(raw, &in.Context); err != nil {
		return in, err
	}
	for i, a := range p.artifacts {
		if a.Role == protocol.RoleLog {
			continue
		}
		item, err := f.inputArtifact(p, a, p.hashes[i].Hash)
		if err != nil {
			return in, fmt.Errorf("artifact %s: %w", a.Name, err)
		}
		in.Artifacts = append(in.Artifacts, item)
	}
	return in, nil
}

// isolationInput is what the judges see of an engine's isolation and of what it tried.
func isolationInput(i engines.Isolation) policies.Isolation {
	out := policies.Isolation{
		Tier: i.Tier, LandlockABI: i.LandlockABI, NetNS: i.NetNS, Seccomp: i.Seccomp, Missing: i.Missing, Over: i.Over,
		Attempts: []policies.Attempt{}, Requests: []policies.Request{}, Tools: []policies.Tool{},
	}
	for _, a := range i.Attempts {
		out.Attempts = append(out.Attempts, policies.Attempt(a))
	}
	for _, r := range i.Requests {
		out.Requests = append(out.Requests, policies.Request(r))
	}
	for _, t := range i.Tools {
		out.Tools = append(out.Tools, policies.Tool(t))
	}
	return out
}

func (f *Flight) inputArtifact(p *stepPlan, a engines.Artifact, hash string) (item policies.Artifact, err error) {
	d := a.Description
	item = policies.Artifact{
		Name: a.Name, Role: a.Role, ArtifactType: d.ArtifactType, Action: d.Action, Target: d.Target, Mime: d.Mime,
		Metadata: d.Metadata, Body: d.Body, Hash: hash, Size: a.Size, BodyFile: d.BodyFile,
	}
	if d.BodyFile != "" {
		item.Digest = a.BodyDigest
		if text, ok := f.bodyText(p.id, a, limits.PolicyBody); ok {
			item.Digest = ""
			item.Body = parsedBody(d.Mime, text)
		}
	}
	if d.ArtifactType != TypePatch && (d.BodyFile != "" || d.Body != nil) {
		if item.Content, err = content(bodies{f, p}, a.Name); err != nil {
			return item, err
		}
	}
	if views.Wanted(item) {
		f.fillViews(p.id, a, &item)
	}
	for _, q := range p.patches {
		if q.name != a.Name {
			continue
		}
		view := patchView(q)
		item.Patch = &view
	}
	return item, nil
}

// content looks through the whole of a body, however large.
func content(b bodies, artifact string) (*policies.Content, error) {
	r, err := b.Open(artifact)
	if err != nil {
		return nil, err
	}
	t, err := patch.Look(r)
	return &policies.Content{Binary: t.Binary, UTF8: t.UTF8, LongestLine: t.LongestLine}, errors.Join(err, r.Close())
}

// fillViews adds what a body of a known kind says.
func (f *Flight) fillViews(step string, a engines.Artifact, item *policies.Artifact) {
	if a.Description.BodyFile == "" {
		views.Fill(item, nil)
		return
	}
	body, err := f.body(step, a, limits.ViewBody)
	if err != nil {
		item.ViewError = err.Error()
		return
	}
	views.Fill(item, body)
}

// bodies gives judges the bytes of a step's artifact bodies.
type bodies struct {
	f *Flight
	p *stepPlan
}

// Open implements policies.Bodies.
func (b bodies) Open(artifact string) (io.ReadCloser, error) {
	for _, a := range b.p.artifacts {
		if a.Name != artifact || a.Role == protocol.RoleLog {
			continue
		}
		if a.Description.BodyFile == "" {
			return inline(a.Description.Body)
		}
		return b.f.Root().Open(stepPath(b.p.id, artifactsDir, a.Name, a.Description.BodyFile))
	}
	return nil, fmt.Errorf("there is no artifact %s to judge", artifact)
}

// inline gives the bytes of a body that stands in the description: of a text the
// text itself, else JSON.
func inline(body any) (io.ReadCloser, error) {
	switch b := body.(type) {
	case nil:
		return io.NopCloser(strings.NewReader("")), nil
	case string:
		return io.NopCloser(strings.NewReader(b)), nil
	}
	raw, err := json.Marshal(body)
	return io.NopCloser(bytes.NewReader(raw)), err
}

// parsedBody gives JSON as a document where it can be read strictly, else text.
func parsedBody(mime, text string) any {
	kind, _, _ := strings.Cut(mime, ";")
	if kind = strings.TrimSpace(kind); kind == "application/json" || strings.HasSuffix(kind, "+json") {
		if doc, err := protocol.DecodeAny([]byte(text)); err == nil {
			return doc
		}
	}
	return text
}

func patchView(q patched) policies.Patch {
	var out policies.Patch
	for _, f := range patch.View(q.changes, q.meta, limits.PolicyPatchText) {
		v := policies.PatchFile{
			Op: f.Op, Path: f.Path, OldPath: f.OldPath, OldMode: f.OldMode, NewMode: f.NewMode, Binary: f.Binary,
			Added: f.Added, Deleted: f.Deleted, AddedLines: f.AddedLines, DeletedLines: f.DeletedLines, Truncated: f.Truncated,
			LongestLine: f.LongestLine, ExecutableChanged: f.ExecutableChanged,
		}
		for _, h := range f.Hunks {
			lines := make([]policies.Line, len(h.Lines))
			for i, l := range h.Lines {
				lines[i] = policies.Line(l)
			}
			v.Hunks = append(v.Hunks, policies.Hunk{OldStart: h.OldStart, NewStart: h.NewStart, Lines: lines})
		}
		out.Files = append(out.Files, v)
	}
	return out
}

// evidence gives a step what the steps that it needs planned: the descriptions
// of their evidence artifacts, with bodies where they are small text.
func (p *planner) evidence(id string) (map[string]any, error) {
	needs := p.f.needs(id)
	if len(needs) == 0 {
		return nil, nil
	}
	steps := map[string]any{}
	for _, n := range needs {
		step, _ := p.s.Config.Step(n)
		plan, err := p.f.readStep(p.ctx, n, p.recorded(n), limitsOf(step), p.s.Redactor)
		if err != nil {
			return nil, err
		}
		list := []any{}
		for i, a := range plan.artifacts {
			if a.Role != protocol.RoleEvidence {
				continue
			}
			item := map[string]any{
				"name": a.Name, "role": a.Role, "hash": plan.hashes[i].Hash, "size": a.Size,
				"artifact": json.RawMessage(a.Raw),
			}
			if text, ok := p.f.bodyText(n, a, limits.ContextBody); ok {
				item["body"] = text
			}
			list = append(list, item)
		}
		steps[n] = map[string]any{"artifacts": list}
	}
	return map[string]any{"steps": steps}, nil
}

package orchestrator

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

// TypePatch is the artifact type by which a step changes the workspace of the
// steps that need it. Its metadata.files names each file with its digests.
const TypePatch = "patch"

// stepPlan is what one step planned, read from the bytes in the flight.
type stepPlan struct {
	id        string
	receipt   protocol.EngineOutput
	raw       []byte // of the receipt
	artifacts []engines.Artifact
	hashes    []protocol.PlanArtifactHash
	patches   []patched
	isolation engines.Isolation
	opaque    bool

	// Filled by derive:
	files    int
	sees     []workspace.File
	preimage plantoken.Preimage
	token    string
}

// readStep validates everything that a step left in the flight. The flight is
// hostile bytes: every refusal is an integrity error. recorded is what the WAL
// says of it. SPEC: docs/protocol.md 2.
func (f *Flight) readStep(ctx context.Context, id, recorded string, lim engines.Limits, secrets *redact.Redactor) (*stepPlan, error) {
	p := &stepPlan{id: id}
	raw, err := f.ReadFile(stepPath(id, receiptFile), limits.ReceiptBytesMax)
	if err != nil {
		return nil, integrity("flight_unreadable", "%w", err).At(stepPath(id, receiptFile))
	}
	p.raw = raw
	if p.receipt, err = engines.ParseReceipt(raw, protocol.FlightPlan); err != nil {
		return nil, asIntegrity(err, stepPath(id, receiptFile))
	}
	if p.receipt.Status != protocol.StatusSuccess {
		return nil, integrity("receipt_invalid", "the stored receipt reports %s", p.receipt.Status).At(stepPath(id, receiptFile))
	}
	if err := f.readIsolation(p); err != nil {
		return nil, err
	}
	from, err := f.Root().OpenRoot(stepPath(id, artifactsDir))
	if err != nil {
		return nil, integrity("flight_unreadable", "%w", err).At(stepPath(id, artifactsDir))
	}
	defer func() { _ = from.Close() }() // only read
	c := engines.Collector{Limits: lim, Secrets: secrets, Step: id}
	if p.artifacts, err = c.Collect(ctx, from, nil, p.receipt.Artifacts); err != nil {
		return nil, asIntegrity(err, "")
	}
	if p.hashes, err = artifactHashes(p.artifacts); err != nil {
		return nil, err
	}
	if err := f.asPlanned(p, recorded); err != nil {
		return nil, err
	}
	p.opaque = slices.ContainsFunc(p.artifacts, func(a engines.Artifact) bool { return a.Role == protocol.RoleState })
	p.patches, err = f.patchesIn(id, p.artifacts)
	return p, err
}

// asIntegrity turns what was an engine's fault while it ran into a broken flight.
// A denial stays one.
func asIntegrity(err error, where string) error {
	var e *protocol.Error
	if errors.As(err, &e) && e.Exit == protocol.ExitFailure {
		changed := *e
		changed.Exit = protocol.ExitIntegrity
		changed.Where = cmp.Or(changed.Where, where)
		return &changed
	}
	return err
}

func (f *Flight) readIsolation(p *stepPlan) error {
	at := stepPath(p.id, isolationFile)
	raw, err := f.ReadFile(at, limits.SmallFile)
	if err != nil {
		return integrity("flight_unreadable", "%w", err).At(at)
	}
	if err := readOwn(raw, &p.isolation); err != nil {
		return integrity("isolation_malformed", "%w", err).At(at)
	}
	return nil
}

// patchesOf gives the patch artifacts of a step that has planned.
func (f *Flight) patchesOf(id string) ([]patched, error) {
	raw, err := f.ReadFile(stepPath(id, receiptFile), limits.ReceiptBytesMax)
	if err != nil {
		return nil, integrity("flight_unreadable", "%w", err).At(stepPath(id, receiptFile))
	}
	receipt, err := engines.ParseReceipt(raw, protocol.FlightPlan)
	if err != nil {
		return nil, asIntegrity(err, stepPath(id, receiptFile))
	}
	var found []engines.Artifact
	for _, a := range receipt.Artifacts {
		at := stepPath(id, artifactsDir, a.Name, engines.DescriptionFile)
		raw, err := f.ReadFile(at, limits.ArtifactJSON)
		if err != nil {
			return nil, integrity("flight_unreadable", "%w", err).At(at)
		}
		e := engines.Artifact{Name: a.Name, Role: a.Role, Raw: raw}
		if err := protocol.Decode(raw, &e.Description); err != nil {
			return nil, integrity("artifact_malformed", "%w", err).At(at)
		}
		found = append(found, e)
	}
	slices.SortFunc(found, func(a, b engines.Artifact) int { return cmp.Compare(a.Name, b.Name) })
	return f.patchesIn(id, found)
}

func (f *Flight) patchesIn(id string, artifacts []engines.Artifact) ([]patched, error) {
	var list []patched
	for _, a := range artifacts {
		if a.Description.ArtifactType != TypePatch || a.Role != protocol.RoleEvidence {
			continue
		}
		p, err := f.readPatch(id, a)
		if err != nil {
			var e *protocol.Error
			if errors.As(err, &e) {
				return nil, asIntegrity(err, stepPath(id, artifactsDir, a.Name))
			}
			return nil, integrity("patch_invalid", "%w", err).At(stepPath(id, artifactsDir, a.Name))
		}
		list = append(list, p)
	}
	return list, nil
}

func (f *Flight) readPatch(id string, a engines.Artifact) (patched, error) {
	p := patched{step: id, name: a.Name}
	var body []byte
	switch {
	case a.Description.BodyFile != "":
		var err error
		if body, err = f.ReadFile(stepPath(id, artifactsDir, a.Name, a.Description.BodyFile), limits.PatchBody); err != nil {
			return p, err
		}
	default:
		text, ok := a.Description.Body.(string)
		if !ok && a.Description.Body != nil {
			return p, fmt.Errorf("the body of a patch is text")
		}
		body = []byte(text)
	}
	var err error
	if p.changes, err = patch.Read(bytes.NewReader(body), patch.Limits{}); err != nil {
		return p, err
	}
	if p.meta, err = patch.Files(a.Description.Metadata); err != nil {
		return p, err
	}
	return p, patch.Check(p.changes, p.meta)
}

// readAll reads every step's plan from the flight, in plan order.
func (f *Flight) readAll(ctx context.Context, c *config.Config, secrets *redact.Redactor) ([]*stepPlan, error) {
	plans := make([]*stepPlan, 0, len(f.Info.Steps))
	for _, id := range f.order() {
		var lim engines.Limits
		if c != nil {
			if step, ok := c.Step(id); ok {
				lim = limitsOf(step)
			}
		}
		p, err := f.readStep(ctx, id, f.Status.Digests[plannedID+id], lim, secrets)
		if err != nil {
			return nil, err
		}
		plans = append(plans, p)
	}
	return plans, f.conflicts(plans)
}

// conflicts refuses two steps without a needs between them whose patches touch
// the same file, and patches that would change what later steps may see.
// SPEC: docs/protocol.md 4.
func (f *Flight) conflicts(plans []*stepPlan) error {
	owner := map[string][]string{}
	for _, p := range plans {
		for name := range touched(p.patches) {
			if path.Base(name) == ".gitignore" && f.needed(p.id) {
				return protocol.Errorf(protocol.ExitFailure, "patch_gitignore",
					"the patch changes %q, which decides what the steps that need this one can see", name).
					At("step " + p.id).WithHint("change .gitignore in a step that no other needs")
			}
			for _, other := range owner[name] {
				if !slices.Contains(f.needs(p.id), other) {
					return protocol.Errorf(protocol.ExitFailure, "patch_conflict",
						"steps %s and %s both change %q and neither needs the other", other, p.id, name).
						WithHint("let one of them name the other under needs")
				}
			}
			owner[name] = append(owner[name], p.id)
		}
	}
	return nil
}

// patchesNeeded gives the patches of the steps that a step needs, in plan order.
func (f *Flight) patchesNeeded(plans []*stepPlan, id string) []patched {
	needs := f.needs(id)
	var list []patched
	for _, p := range plans {
		if slices.Contains(needs, p.id) {
			list = append(list, p.patches...)
		}
	}
	return list
}

func allPatches(plans []*stepPlan) []patched {
	var list []patched
	for _, p := range plans {
		list = append(list, p.patches...)
	}
	return list
}

// listed gives every file below steps/ and approvals/ that a manifest covers,
// with its digest. Digests that are known from reading the artifacts are not
// computed again.
func (f *Flight) listed(plans []*stepPlan) ([]plantoken.ManifestFile, error) {
	var out []plantoken.ManifestFile
	collected := map[string]bool{}
	for _, p := range plans {
		// Collecting them has looked that there is nothing else.
		collected[stepPath(p.id, artifactsDir)] = true
		out = append(out, p.artifactFiles()...)
	}
	for _, top := range []string{"approvals", "steps"} {
		err := fs.WalkDir(f.Root().FS(), top, func(name string, d fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist) && name == top:
				return nil
			case err != nil:
				return err
			case d.IsDir() && collected[name]:
				return fs.SkipDir
			case d.IsDir() || !plantoken.Covered(name) || plantoken.Later(name):
				return nil
			case len(out) >= limits.FlightFiles:
				return fmt.Errorf("more than %d files", limits.FlightFiles)
			}
			file, err := f.manifestFile(name, d)
			out = append(out, file)
			return err
		})
		if err != nil {
			return nil, integrity("flight_unreadable", "%w", err).At(top)
		}
	}
	if len(out) > limits.FlightFiles {
		return nil, integrity("flight_unreadable", "more than %d files", limits.FlightFiles)
	}
	slices.SortFunc(out, func(a, b plantoken.ManifestFile) int { return cmp.Compare(a.Path, b.Path) })
	return out, nil
}

// artifactFiles gives the files of a step's artifacts, as they were collected.
func (p *stepPlan) artifactFiles() []plantoken.ManifestFile {
	var out []plantoken.ManifestFile
	mode := func(executable bool) string {
		if executable {
			return "0755"
		}
		return "0644"
	}
	for _, a := range p.artifacts {
		at := stepPath(p.id, artifactsDir, a.Name) + "/"
		out = append(out, plantoken.ManifestFile{Path: at + engines.DescriptionFile, Mode: mode(a.RawExec), Size: int64(len(a.Raw)), Digest: a.RawDigest})
		if a.BodyDigest != "" {
			out = append(out, plantoken.ManifestFile{Path: at + a.Description.BodyFile, Mode: mode(a.BodyExec), Size: a.Size, Digest: a.BodyDigest})
		}
	}
	return out
}

func (f *Flight) manifestFile(name string, d fs.DirEntry) (plantoken.ManifestFile, error) {
	m := plantoken.ManifestFile{Path: name, Mode: "0644"}
	info, err := d.Info()
	if err != nil {
		return m, err
	}
	if !info.Mode().IsRegular() {
		return m, fmt.Errorf("%s is not a regular file", name)
	}
	if info.Mode()&0o100 != 0 {
		m.Mode = "0755"
	}
	m.Size = info.Size()
	in, err := f.Root().Open(name)
	if err == nil {
		m.Digest, err = digestOf(in, nil)
	}
	return m, err
}

// bodyText reads an artifact's body up to a bound; ok is false where it is
// larger, is not there or is not UTF-8.
func (f *Flight) bodyText(id string, a engines.Artifact, most int64) (string, bool) {
	data, err := f.body(id, a, most)
	return string(data), err == nil && validText(data)
}

// body gives the bytes of a body file of at most so many bytes.
func (f *Flight) body(id string, a engines.Artifact, most int64) ([]byte, error) {
	if a.Description.BodyFile == "" {
		return nil, errors.New("it has no body file")
	}
	if a.Size > most {
		return nil, fmt.Errorf("the body has %d bytes, more than %d", a.Size, most)
	}
	file, err := f.Root().Open(stepPath(id, artifactsDir, a.Name, a.Description.BodyFile))
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != a.Size {
		return nil, fmt.Errorf("the body has not %d bytes any more", a.Size)
	}
	return data, nil
}

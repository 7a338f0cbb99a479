package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

// Seal takes a flight that has been planned, perhaps elsewhere, as hostile bytes:
// it validates every artifact, derives every token from bytes, asks the judges,
// and writes the manifest. It goes on wherever an earlier Seal stopped.
func (o *Orchestrator) Seal(ctx context.Context, f *Flight, s *Setup) error {
	err := o.seal(ctx, f, s)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return interrupted(ctx)
	case open(err):
		return err
	}
	return o.Fail(f, "", s.redacted(err))
}

func (o *Orchestrator) seal(ctx context.Context, f *Flight, s *Setup) error {
	if !f.Status.State.Reached(protocol.StatePlanGenerated) || f.Status.State.Terminal() {
		return protocol.Errorf(protocol.ExitUsage, "state_wrong", "flight %s is %s: it cannot be sealed", f.ID(), f.Status.State).
			WithHint("only a flight that has been planned can be sealed")
	}
	if f.Status.State.Reached(protocol.StatePreflightComplete) {
		return nil
	}
	if err := f.sameSteps(s.Config); err != nil {
		return err
	}
	if err := s.untracked(); err != nil {
		return err
	}
	o.progress(Progress{Stage: "seal", Message: "validating artifacts"})
	plans, err := f.readAll(ctx, s.Config, s.Redactor)
	if err != nil {
		return err
	}
	if err := o.validated(f, plans); err != nil {
		return err
	}
	if err := o.derive(ctx, f, s, plans); err != nil {
		return err
	}
	if err := f.sawThis(s, plans); err != nil {
		return err
	}
	if err := o.rederive(ctx, f, s, plans); err != nil {
		return err
	}
	if err := o.tokens(f, plans); err != nil {
		return err
	}
	return o.preflight(ctx, f, s, plans)
}

// rederive makes evidence that speaks about state again from the state's bytes,
// where the engine is built in and they can be read. SPEC: docs/protocol.md 2.
func (o *Orchestrator) rederive(ctx context.Context, f *Flight, s *Setup, plans []*stepPlan) error {
	for _, p := range plans {
		step, _ := s.Config.Step(p.id)
		if !p.opaque || step.Engine.Use == "" {
			continue
		}
		artifacts, err := f.Root().OpenRoot(stepPath(p.id, artifactsDir))
		if err != nil {
			return integrity("flight_unreadable", "%w", err).At(stepPath(p.id, artifactsDir))
		}
		p.opaque, err = o.Programs.Derive(ctx, step, artifacts)
		_ = artifacts.Close() // only read
		if err != nil {
			return err
		}
	}
	return nil
}

// validated records the artifacts, or compares them with what was recorded.
func (o *Orchestrator) validated(f *Flight, plans []*stepPlan) error {
	recorded := map[string]string{}
	for _, a := range f.Status.Artifacts {
		recorded[a.ArtifactID] = a.ArtifactHash
	}
	already := f.Status.State.Reached(protocol.StateArtifactsValidated)
	var records []Record
	for _, p := range plans {
		e := f.event(protocol.EventArtifactValidated, p.id, "")
		for i, a := range p.artifacts {
			id := artifactID + p.id + "/" + a.Name
			if already {
				if recorded[id] != p.hashes[i].Hash {
					return integrity("artifact_changed", "artifact %s has hash %s, the WAL says %s", a.Name, p.hashes[i].Hash, recorded[id]).At("step " + p.id)
				}
				continue
			}
			e.Message = fmt.Sprintf("artifact %s (%s) is valid", a.Name, a.Role)
			e.Artifacts = []protocol.AuditArtifact{{Name: a.Name, Role: a.Role, Path: stepPath(p.id, artifactsDir, a.Name), Hash: p.hashes[i].Hash, Size: a.Size}}
			records = append(records, Record{protocol.WALArtifactCreated,
				protocol.ArtifactCreatedData{ArtifactID: id, ArtifactHash: p.hashes[i].Hash, ArtifactType: a.Description.ArtifactType}, e})
		}
	}
	if already {
		return nil
	}
	return o.append(f, append(records, f.enter(protocol.StateArtifactsValidated, "all artifacts are valid"))...)
}

// derive computes each step's token from bytes: the flight's, the checkout's and
// the governance's. It also proves that patches give what they name.
func (o *Orchestrator) derive(ctx context.Context, f *Flight, s *Setup, plans []*stepPlan) (err error) {
	all := allPatches(plans)
	base, err := s.scan(ctx, all)
	if err != nil {
		return err
	}
	return o.deriveOn(ctx, f, s, plans, base, true)
}

// deriveOn is derive over a given checkout. Patches are really applied where
// prove is set; a take-off that is resumed has the checkout no more.
func (o *Orchestrator) deriveOn(ctx context.Context, f *Flight, s *Setup, plans []*stepPlan, base tree, prove bool) (err error) {
	tmp, remove, err := o.Temp("derive-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	for _, p := range plans {
		step, _ := s.Config.Step(p.id)
		if err := outsideInputs(base, step, p, touched(f.patchesNeeded(plans, p.id))); err != nil {
			return err
		}
		if err := s.throughLinks(p); err != nil {
			return err
		}
	}
	if prove {
		if err := shadow(ctx, s.Workspace, base, allPatches(plans), tmp); err != nil {
			return err
		}
	}
	for _, p := range plans {
		step, _ := s.Config.Step(p.id)
		needed := f.patchesNeeded(plans, p.id)
		c, _, err := compose(base, step.Inputs, needed)
		if err != nil {
			return err
		}
		dirs := []string{s.Workspace}
		if len(needed) > 0 && prove {
			// A step may run a file that an earlier step's patch made or changed.
			dirs = []string{tmp, s.Workspace}
		}
		e, err := o.findEngine(ctx, step, p.pinned(step), s.Workspace, dirs...)
		if err != nil {
			return err
		}
		if err := f.preimage(s, step, p, c, e); err != nil {
			return err
		}
	}
	return nil
}

// outsideInputs refuses a patch that adds a file which is there already, but which
// the step's inputs did not let its engine see: planning again would not help.
func outsideInputs(base tree, step *config.Step, p *stepPlan, earlier map[string]bool) error {
	for _, q := range p.patches {
		for _, m := range q.meta {
			there, ok := base[m.NewPath]
			if m.OldPath != "" || !ok || earlier[m.NewPath] {
				continue
			}
			seen, err := workspace.Select([]workspace.File{there}, step.Inputs)
			if err != nil {
				return err
			}
			if len(seen) == 0 {
				return protocol.Errorf(protocol.ExitFailure, "patch_outside_inputs", "the patch adds %q, which is there but not among the step's inputs", m.NewPath).
					At(step.Where).WithHint("add it to the step's inputs, so that its engine sees what it changes")
			}
		}
	}
	return nil
}

// throughLinks refuses a patch whose files lie below a symbolic link of the
// workspace: they would be written elsewhere. A link that the patch itself takes
// away is fine.
func (s *Setup) throughLinks(p *stepPlan) error {
	root, err := os.OpenRoot(s.Workspace)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // only looked at
	gone := map[string]bool{}
	for _, q := range p.patches {
		for _, m := range q.meta {
			gone[m.OldPath] = true
		}
	}
	for _, name := range sortedKeys(touched(p.patches)) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			info, err := root.Lstat(dir)
			if err == nil && info.Mode()&fs.ModeSymlink != 0 && !gone[dir] {
				return protocol.Errorf(protocol.ExitFailure, "patch_through_link", "the patch changes %q below the symbolic link %q", name, dir).
					At("step " + p.id).WithHint("change the file where it really is, or add the link to the step's inputs")
			}
		}
	}
	return nil
}

func (f *Flight) preimage(s *Setup, step *config.Step, p *stepPlan, c composed, e engine) error {
	cfg, err := plantoken.ConfigDigest(s.Config.Resolved(step))
	if err != nil {
		return fmt.Errorf("step %s: %w", p.id, err)
	}
	p.files, p.sees = len(c.files), c.files
	p.preimage = plantoken.Preimage{
		Version: plantoken.Version, ProtocolVersion: p.receipt.ProtocolVersion, EngineID: p.receipt.EngineID,
		Model: step.Model, WorkspaceHash: c.hash, PolicyDigest: s.Governance.PolicyDigest, GovernanceHash: s.Governance.Hash,
		Artifacts: p.hashes,
		Context: plantoken.Context{
			Forge: s.Source.Run.Forge, Repository: s.Source.Run.RepositoryID, Change: s.Source.Run.Change, HeadCommit: s.Source.HeadCommit, Workflow: s.Config.Workflow, ConfigPath: s.ConfigPath, Target: step.Target,
			StepID: p.id, EngineDigest: e.digest, ConfigDigest: cfg,
		},
	}
	if p.token, err = p.preimage.Token(); err != nil {
		return fmt.Errorf("step %s: %w", p.id, err)
	}
	return nil
}

// flightToken gives the flight's token from derived plans.
func flightToken(plans []*stepPlan) (string, error) {
	steps := make([]plantoken.StepToken, len(plans))
	for i, p := range plans {
		steps[i] = plantoken.StepToken{StepID: p.id, Token: p.token}
	}
	return plantoken.FlightToken(steps)
}

// tokens writes the plan-tokens, or compares with the ones that were made: a
// token is made once.
func (o *Orchestrator) tokens(f *Flight, plans []*stepPlan) error {
	flight, err := flightToken(plans)
	if err != nil {
		return err
	}
	if f.Status.State.Reached(protocol.StateTokenCreated) {
		for _, p := range plans {
			if f.Status.Tokens[p.id] != p.token {
				return stale(p, "the token of step "+p.id+" was made before and is another now")
			}
		}
		return nil
	}
	var records []Record
	for _, p := range plans {
		t, err := p.preimage.PlanToken(stamp(o.Now()))
		if err != nil {
			return err
		}
		raw, err := protocol.Canonical(t)
		if err != nil {
			return err
		}
		if err := f.WriteFile(stepPath(p.id, tokenFile), raw); err != nil {
			return err
		}
		r := f.artifactRecord(tokenID+p.id, p.token, "plan-token", p.id, protocol.EventPlanTokenCreated, "plan-token made")
		if len(t.Artifacts) <= limits.AuditArtifacts {
			r.Event.PlanToken = &t
		}
		records = append(records, r)
	}
	records = append(records,
		f.artifactRecord(flightTokenID, flight, "flight-token", "", protocol.EventPlanTokenCreated, "flight token made"),
		f.enter(protocol.StateTokenCreated, "all tokens are made"))
	return o.append(f, records...)
}

func stale(p *stepPlan, message string) error {
	return protocol.Errorf(protocol.ExitStale, "workspace_changed", "%s", message).At("step " + p.id).
		WithHint("workspace, configuration or policies changed since: plan again with cabincrew flight-plan")
}

// readTokens reads plan-token.json of every step and puts the preimages together
// from them and the manifest's contexts.
func (f *Flight) readTokens(plans []*stepPlan, m *plantoken.Manifest) error {
	for _, p := range plans {
		at := stepPath(p.id, tokenFile)
		raw, err := f.ReadFile(at, limits.PlanToken)
		if err != nil {
			return integrity("flight_unreadable", "%w", err).At(at)
		}
		var t protocol.PlanToken
		if err := readOwn(raw, &t); err != nil {
			return integrity("token_malformed", "%w", err).At(at)
		}
		if !slices.Equal(t.Artifacts, p.hashes) {
			return integrity("token_mismatch", "the token's artifacts are not those of the step").At(at)
		}
		step, ok := m.Step(p.id)
		if !ok {
			return integrity("token_mismatch", "the manifest does not name step %s", p.id).At(ManifestFile)
		}
		p.preimage = plantoken.Of(t, step.Context)
		if p.token, err = p.preimage.Token(); err != nil {
			return integrity("token_malformed", "%w", err).At(at)
		}
		if p.token != t.Token || p.token != step.Token || f.Status.Tokens[p.id] != p.token {
			return integrity("token_mismatch", "the bytes (with the manifest's context: target, engine_digest, config_digest) give token %s, plan-token.json says %s, the manifest %s, the WAL %s",
				p.token, t.Token, step.Token, f.Status.Tokens[p.id]).At(at)
		}
		if t.EngineID != p.receipt.EngineID || t.ProtocolVersion != p.receipt.ProtocolVersion {
			return integrity("token_mismatch", "the token names engine %q, the receipt %q", t.EngineID, p.receipt.EngineID).At(at)
		}
	}
	return nil
}

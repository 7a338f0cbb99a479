package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/protocol"
)

func (o *Orchestrator) takeOffSpec(ctx context.Context, f *Flight, s *Setup, step *config.Step, p *stepPlan, e engine, tmp string) (engines.Spec, error) {
	spec, err := o.specOf(ctx, s, step, protocol.TakeOff, e)
	if err != nil {
		return spec, err
	}
	if err := sameTools(p, spec.Hold.Tools); err != nil {
		return spec, err
	}
	spec.Workspace, spec.TempDir, spec.ArtifactsDir = s.Workspace, filepath.Join(tmp, "run"), filepath.Join(tmp, "artifacts")
	dirs := []string{spec.TempDir, spec.ArtifactsDir}
	if step.TakeOffWorkspace == config.WorkspaceNone {
		spec.Workspace = filepath.Join(tmp, "workspace") // empty
		dirs = append(dirs, spec.Workspace)
	}
	spec.Input.Meta = protocol.EngineMeta{WorkflowID: f.ID(), StepID: p.id}
	spec.Input.ExpectedPlanToken = p.token
	spec.Input.Orchestrator = &protocol.EngineOrchestrator{WorkspaceHash: p.preimage.WorkspaceHash}
	for _, d := range dirs {
		if err := os.Mkdir(d, 0o700); err != nil {
			return spec, fmt.Errorf("preparing the engine's directories: %w", err)
		}
	}
	return spec, f.stage(p, spec.ArtifactsDir)
}

// sameTools refuses to run with other tools than those that the plan was made with.
func sameTools(p *stepPlan, now []engines.Tool) error {
	planned := map[string]string{}
	for _, t := range p.isolation.Tools {
		planned[t.Name] = t.Digest
	}
	for _, t := range now {
		if digest := planned[t.Name]; digest != t.Digest {
			return protocol.Errorf(protocol.ExitStale, "tool_changed", "the tool %q is not the one that the plan was made with (%s now, %s then)", t.Name, t.Digest, digest).
				At("step " + p.id).WithHint("plan again with cabincrew flight-plan")
		}
	}
	return nil
}

// stage puts the planned evidence and state, read-only, where the engine finds
// them, and checks the bytes once more while they are copied.
func (f *Flight) stage(p *stepPlan, dir string) error {
	to, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = to.Close() }() // files are closed one by one
	for _, a := range artifactsFor(p) {
		if err := to.Mkdir(a.Name, 0o700); err != nil {
			return err
		}
		if err := to.WriteFile(a.Name+"/"+engines.DescriptionFile, a.Raw, 0o444); err != nil {
			return err
		}
		if body := a.Description.BodyFile; body != "" {
			in, err := f.Root().Open(stepPath(p.id, artifactsDir, a.Name, body))
			if err != nil {
				return err
			}
			err = copyChecked(to, a.Name+"/"+body, in, a.BodyDigest)
			_ = in.Close() // only read
			if err != nil {
				return integrity("artifact_changed", "%w", err).At(stepPath(p.id, artifactsDir, a.Name, body))
			}
		}
		if err := to.Chmod(a.Name, 0o555); err != nil { //nolint:gosec // the engine reads it
			return err
		}
	}
	return os.Chmod(dir, 0o555) //nolint:gosec // the engine reads it
}

func copyChecked(to *os.Root, name string, in io.Reader, want string) error {
	out, err := to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	h := newSHA256()
	_, err = io.Copy(io.MultiWriter(out, h), in)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	if got := protocol.FormatDigest(h.Sum(nil)); got != want {
		return fmt.Errorf("it has digest %s now, it was verified with %s", got, want)
	}
	return nil
}

package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/cabincrew/action/engines/oci"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/models"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/onnx"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

// instructionInjection is the model that comes with the program; models/ says what
// it is made of, and where its threshold comes from.
const instructionInjection = "instruction-injection"

// modelJudge makes the judge of the configured models, and names them for the
// governance hash: by the digests that their bytes must have.
func (a *app) modelJudge(c *config.Config, dir string) (*modelJudge, []plantoken.GovernanceModel, error) {
	var list []onnx.Model
	var named []plantoken.GovernanceModel
	for i := range c.Models {
		m, err := a.model(&c.Models[i], c.Approvals.DefaultRole, dir)
		if err != nil {
			return nil, nil, err
		}
		list = append(list, m)
		named = append(named, plantoken.GovernanceModel{Name: m.Name, Digest: "sha256:" + m.SHA256})
	}
	if err := onnx.Check(list); err != nil {
		return nil, nil, err
	}
	if len(list) == 0 {
		return nil, nil, nil
	}
	p, err := a.place()
	if err != nil {
		return nil, nil, err
	}
	j := &modelJudge{}
	j.make = func(ctx context.Context) (policies.Evaluator, error) {
		e, err := onnx.New(ctx, list, onnx.Options{
			Library: a.flags.onnxruntime, Getenv: func(name string) string { return a.env[name] }, Workspace: p.workspace,
			Require: c.Sandbox.Require, Sudo: a.maySudo(c),
		})
		if err != nil {
			return nil, err
		}
		j.loaded = e
		return e, nil
	}
	return j, named, nil
}

// modelJudge is the judge of all models. Each runs in a process that takes its time
// to start.
type modelJudge struct {
	lazy

	loaded *onnx.Evaluator // once it was made
	begun  sync.WaitGroup
}

// begin starts the models beside other work; what fails is told when they are asked.
func (j *modelJudge) begin(ctx context.Context) {
	if j != nil {
		j.begun.Go(func() { j.prepare(ctx) })
	}
}

// close gives back what the models took. None is asked any more.
func (j *modelJudge) close() error {
	if j == nil {
		return nil
	}
	j.begun.Wait()
	if j.loaded == nil { // never asked, or they could not be loaded
		return nil
	}
	return j.loaded.Close()
}

func (a *app) model(m *config.Model, role, dir string) (onnx.Model, error) {
	out := onnx.Model{
		Name: m.Name, At: m.Where, Source: m.Path, SHA256: m.SHA256, Input: m.Input,
		Reads:  onnx.Reads{Types: m.Types, Roles: m.Roles, MIME: m.Mime, Parts: m.Parts},
		Window: int(m.Window), Overlap: int(m.Overlap), Output: m.Output, Labels: m.Labels, Timeout: m.Timeout.Duration, OnError: m.OnError, OnErrorRole: role,
	}
	for _, d := range m.Decisions {
		row := onnx.Row(d)
		if row.Role == "" {
			row.Role = role
		}
		out.Decisions = append(out.Decisions, row)
	}
	switch {
	case m.Bundled != "":
		return bundledModel(m, out)
	case m.Path != "":
		out.Open = func(context.Context) (io.ReadCloser, error) { return openBelow(dir, m.Path) }
	default:
		out.Source = m.OCI
		out.Open = func(ctx context.Context) (io.ReadCloser, error) { return a.modelImage(ctx, m, dir) }
	}
	return out, nil
}

// bundledModel fills in what the program knows of a model of its own, where the
// configuration does not say otherwise.
func bundledModel(m *config.Model, out onnx.Model) (onnx.Model, error) {
	if m.Bundled != instructionInjection {
		return out, usageError("config_model", "there is no bundled model %q", m.Bundled).At(m.Where).WithHint("it is: %s", instructionInjection)
	}
	if m.SHA256 != "" && m.SHA256 != models.InstructionInjectionSHA256 {
		return out, protocol.Errorf(protocol.ExitDenied, "model_digest", "the bundled model %s is %s in this program, the configuration wants %s",
			m.Bundled, models.InstructionInjectionSHA256, m.SHA256).At(m.Where).WithHint("use the version of the program that the configuration was written for, or look at what changed")
	}
	out.Source, out.SHA256 = "bundled:"+m.Bundled, models.InstructionInjectionSHA256
	out.Open = func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(models.InstructionInjection())), nil
	}
	if len(out.Labels) == 0 {
		out.Labels = []string{"benign", "injection"}
	}
	if len(out.Decisions) == 0 {
		out.Decisions = []onnx.Row{{Label: "injection", AtLeast: "0.75", Decision: protocol.Warn}}
	}
	return out, nil
}

// modelImage takes a model out of an artifact.
func (a *app) modelImage(ctx context.Context, m *config.Model, dir string) (io.ReadCloser, error) {
	p, err := a.place()
	if err != nil {
		return nil, err
	}
	ref, err := oci.Parse(m.OCI, false)
	if err != nil {
		return nil, err
	}
	o := oci.Options{Cache: filepath.Join(p.home(), "cache", "oci", "blobs"), Plain: loopback(ref.Registry())}
	if m.Layout != "" {
		o.Layout = filepath.Join(dir, filepath.FromSlash(m.Layout))
	}
	image, err := oci.Get(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp("", "cabincrew-model-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(temp) }() // the open file outlives it
	if err := oci.Unpack(ctx, image, o, temp); err != nil {
		return nil, err
	}
	name := m.File
	if name == "" {
		entries, err := os.ReadDir(temp)
		if err != nil {
			return nil, err
		}
		if len(entries) != 1 {
			return nil, usageError("config_model", "the artifact has %d files", len(entries)).At(m.Where).WithHint("name the model's with file:")
		}
		name = entries[0].Name()
	}
	return openBelow(temp, name)
}

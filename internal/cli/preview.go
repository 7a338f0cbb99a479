package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/file"
)

// previewTime is how long a preview may take, and each of its steps.
const previewTime = 15 * time.Minute

// preview plans the steps of the workspace's own configuration, where a commit
// governs and the change edits the configuration: so that who is asked for approval
// sees what it would come to. Nothing of it is judged, has a token or takes off, and
// it is thrown away. The change's configuration is a stranger's: its steps get no
// secrets, no network, no variables and no programs but the system's, and are always
// isolated. nil if there is nothing to show. SPEC: docs/protocol.md 8.
func (s *session) preview(ctx context.Context, most time.Duration) *orchestrator.Preview {
	if s.origin.commit == "" || !slices.Contains(s.origin.changed, s.place.configPath) || ctx.Err() != nil {
		return nil
	}
	p := &orchestrator.Preview{}
	c, err := s.strangersConfig()
	if err != nil {
		p.Error = s.app.errorOf(err)
		return p
	}
	p.Without = harmlessSteps(c, s.origin.config)
	if len(c.Steps) == 0 {
		return p
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	f, err := s.previewed(ctx, c)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = protocol.Errorf(protocol.ExitFailure, "preview_time", "the preview took longer than %s", most)
	}
	if f != nil {
		p.Steps, p.Changes = orchestrator.Previewed(f)
	}
	if err != nil {
		p.Error = s.app.errorOf(err)
	}
	return p
}

// strangersConfig reads the workspace's configuration, which may be a link: what lies
// outside of the workspace is not read, messages would tell of it.
func (s *session) strangersConfig() (*config.Config, error) {
	root, err := os.OpenRoot(s.place.workspace)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // only read from
	f, err := engines.OpenPlainIn(root, filepath.FromSlash(s.place.configPath))
	if err != nil {
		return nil, usageError("config_unreadable", "the configuration that the change brings cannot be read: %w", err).At(s.place.configPath)
	}
	defer func() { _ = f.Close() }() // as above
	data, err := io.ReadAll(io.LimitReader(f, limits.ConfigBytes+1))
	if err != nil || len(data) > limits.ConfigBytes {
		return nil, usageError("config_unreadable", "the configuration that the change brings is larger than %d bytes, or cannot be read", limits.ConfigBytes).At(s.place.configPath)
	}
	c, err := config.Parse(s.place.configPath, data)
	if err != nil {
		return nil, err
	}
	return c, resolve(c)
}

// previewed flies in a directory of its own up to the plan.
func (s *session) previewed(ctx context.Context, c *config.Config) (*orchestrator.Flight, error) {
	dir, err := s.temp("preview-")
	if err != nil {
		return nil, err
	}
	store, err := file.Open(dir)
	if err != nil {
		return nil, err
	}
	s.close = append(s.close, store.Close)
	setup := *s.setup
	setup.Config, setup.Tip = c, nil
	setup.Exclude = slices.Compact(slices.Sorted(slices.Values(append(s.place.exclude(c), s.setup.Exclude...))))
	id, err := newID(s.crew.Now(), s.crew.Rand)
	if err != nil {
		return nil, err
	}
	at, err := store.Create(id)
	if err != nil {
		return nil, err
	}
	s.close = append(s.close, at.Close)
	j, err := openJournal(at, setup.Redactor, nil)
	if err != nil {
		return nil, err
	}
	f, err := s.crew.Begin(at, j, &setup)
	if err != nil {
		return nil, err
	}
	return f, s.crew.Plan(ctx, f, &setup)
}

// harmlessSteps takes from a stranger's configuration all that reaches out of its sandbox,
// and the steps that cannot do without. base is what governs. It tells what it took.
func harmlessSteps(c, base *config.Config) (without []string) {
	c.Sandbox = base.Sandbox
	var steps []config.Step
	for _, id := range c.PlanOrder() {
		step, _ := c.Step(id) // PlanOrder names steps that are there
		if why := unplannable(step, base, steps); why != "" {
			without = append(without, fmt.Sprintf("step %s: not planned, %s", id, why))
			continue
		}
		for _, x := range []struct {
			there bool
			what  string
		}{
			{len(step.Secrets) > 0, "secrets"},
			{len(step.Hosts)+len(step.Tunnels) > 0, "network"},
			{len(step.Tools) > 0, "declared tools"},
			{fromOutside(step), "variables of the environment"},
		} {
			if x.there {
				without = append(without, fmt.Sprintf("step %s: without %s", id, x.what))
			}
		}
		tame := *step
		tame.Secrets, tame.Hosts, tame.Tunnels, tame.Tools, tame.Env = nil, nil, nil, nil, map[string]config.EnvValue{}
		for name, v := range step.Env {
			if v.From == "" {
				tame.Env[name] = v
			}
		}
		if tame.Timeout.Duration == 0 || tame.Timeout.Duration > previewTime {
			tame.Timeout.Duration = previewTime
		}
		steps = append(steps, tame)
	}
	c.Steps = steps
	return without
}

// unplannable says why a step is not part of a preview; "" if it is.
func unplannable(step *config.Step, base *config.Config, steps []config.Step) string {
	known := slices.ContainsFunc(base.Steps, func(b config.Step) bool { return reflect.DeepEqual(b.Engine, step.Engine) })
	switch program := slices.Concat(step.Engine.Run, []string{""})[0]; {
	case step.Isolation == config.IsolationNone:
		return "it asks for no isolation"
	case step.Engine.OCI != "" && !known:
		return "its image is not one of the governing configuration"
	case filepath.IsAbs(step.Engine.Wasm) && !known, filepath.IsAbs(program) && !systemProgram(program) && !known:
		return "its program lies outside of the workspace and is not one of the governing configuration"
	}
	for _, need := range step.Needs {
		if !slices.ContainsFunc(steps, func(s config.Step) bool { return s.ID == need }) {
			return "it needs step " + need
		}
	}
	return ""
}

func systemProgram(path string) bool {
	path = filepath.Clean(path)
	return slices.ContainsFunc([]string{"/usr/", "/bin/", "/sbin/"}, func(dir string) bool { return strings.HasPrefix(path, dir) })
}

func fromOutside(step *config.Step) bool {
	for _, v := range step.Env {
		if v.From != "" {
			return true
		}
	}
	return false
}

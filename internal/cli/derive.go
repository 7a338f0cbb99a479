package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/cabincrew/action/engines/git"
	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/engines/terraform"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
)

// Derive makes the evidence of a built-in engine again from its state.
func (p programs) Derive(ctx context.Context, step *config.Step, artifacts *os.Root) (bool, error) {
	switch step.Engine.Use {
	case git.ID:
		return git.Derive(artifacts, step.Engine.With, git.DeriveKeys{})
	case terraform.ID:
		return terraform.Derive(ctx, artifacts, step.Engine.With, terraform.DeriveKeys{Age: terraform.Identities(p.identity(step)), Show: p.show(step)})
	}
	return true, nil
}

// identity is the step's age identity, if it is at hand here; that it is not is no
// error: then the saved plan is opaque.
func (p programs) identity(step *config.Step) string {
	name, _ := step.Engine.With["identity"].(string)
	if name == "" {
		name = terraform.DefaultIdentity
	}
	secret, ok := step.Secrets[name]
	if !ok {
		return ""
	}
	text, err := p.secret(secret)
	if err != nil {
		return ""
	}
	return text
}

// showTime bounds the reading of a saved plan.
const showTime = 2 * time.Minute

// show reads a saved plan with the step's program, isolated: the plan is foreign
// bytes. Without isolation nothing reads it.
func (p programs) show(step *config.Step) func(context.Context, []byte) ([]byte, error) {
	name, _ := step.Engine.With["binary"].(string)
	if name == "" {
		name = terraform.ID
	}
	return func(ctx context.Context, saved []byte) ([]byte, error) {
		program := name
		if !filepath.IsAbs(program) {
			var err error
			if program, err = p.Look(name); err != nil {
				return nil, err
			}
		}
		program, err := filepath.EvalSymlinks(program)
		if err != nil {
			return nil, err
		}
		found := p.isolation(ctx)
		if found.Isolation.Tier == sandbox.TierC {
			return nil, errors.New("nothing reads a saved plan without isolation")
		}
		dir, err := p.temp("show-")
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, "plan"), saved, 0o600); err != nil {
			return nil, err
		}
		out := &bounded{most: limits.TerraformPlanJSON}
		exit, err := sandbox.Run(ctx, sandbox.Command{
			Argv: []string{program, "show", "-json", filepath.Join(dir, "plan")}, Dir: dir, Stdout: out, Timeout: showTime, Grace: time.Second,
			Env: []string{"CHECKPOINT_DISABLE=1", "HOME=" + dir, "LANG=C.UTF-8", "TF_IN_AUTOMATION=1", "TMPDIR=" + dir, "TZ=UTC"},
			Confine: &sandbox.Confine{Tier: found.Isolation.Tier, Sudo: found.Sudo, Binds: []sandbox.Bind{
				{Source: program, Target: program}, {Source: dir, Target: dir, Write: true}, {Source: "/etc/ssl/certs", Target: "/etc/ssl/certs"},
				{Source: "/lib", Target: "/lib"}, {Source: "/lib64", Target: "/lib64"}, {Source: "/usr/lib", Target: "/usr/lib"}, {Source: "/usr/lib64", Target: "/usr/lib64"},
			}},
		})
		switch {
		case err != nil:
			return nil, err
		case exit.Code != 0 || out.over:
			return nil, errors.New("the saved plan cannot be read here")
		}
		return out.Bytes(), nil
	}
}

// bounded keeps what is written up to a bound.
type bounded struct {
	bytes.Buffer
	most int
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.most {
		b.over = true
		return len(p), nil
	}
	return b.Buffer.Write(p)
}

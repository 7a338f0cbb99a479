package cli

import (
	"context"
	"io"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/engines/command"
	"github.com/cabincrew/action/engines/files"
	"github.com/cabincrew/action/engines/git"
	httpengine "github.com/cabincrew/action/engines/http"
	"github.com/cabincrew/action/engines/terraform"
	"github.com/cabincrew/action/engines/wasm"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/policies/onnx"
)

// builtin is an engine that the program holds itself.
type builtin struct {
	engines.Builtin
	// check says what is wrong with the settings that a step gives.
	check func(with map[string]any) error
	run   func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int
}

func builtins() []builtin {
	return []builtin{
		{engines.Builtin{
			Name: command.ID, Version: command.Version, Idempotent: true, Copy: true,
			Summary: "runs any program over a private copy of the workspace; what it changes becomes one patch",
		}, command.Check, command.Run},
		{engines.Builtin{
			Name: files.ID, Version: files.Version, Idempotent: true,
			Summary: "writes, deletes and chmods a declared set of files from templates, as one patch",
		}, files.Check, files.Run},
		{engines.Builtin{
			Name: git.ID, Version: git.Version, Idempotent: true, Git: true,
			Summary: "makes one commit of the patches of earlier steps; take-off pushes exactly that commit to one branch",
		}, git.Check, git.Run},
		{engines.Builtin{
			Name: httpengine.ID, Version: httpengine.Version,
			Summary: "declares HTTP requests; take-off sends exactly those, each once",
		}, httpengine.Check, httpengine.Run},
		{engines.Builtin{
			Name: terraform.ID, Version: terraform.Version,
			Summary: "saves a plan of Terraform or OpenTofu; take-off applies exactly that plan",
		}, terraform.Check, terraform.Run},
	}
}

// internalPrograms are programs that the sandbox starts like engines, but that no step uses
// by name.
func internalPrograms() map[string]func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	return map[string]func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int{
		wasmEngine:   wasm.Run,
		onnx.Program: onnx.Run,
	}
}

func builtinConfigs() config.Builtins {
	known := config.Builtins{}
	for _, b := range builtins() {
		known[b.Name] = config.Builtin{Idempotent: b.Idempotent}
	}
	return known
}

// resolve fills in what built-in engines declare and checks the settings that
// steps give them.
func resolve(c *config.Config) error {
	if err := c.Resolve(builtinConfigs()); err != nil {
		return err
	}
	for i := range c.Steps {
		step := &c.Steps[i]
		for _, b := range builtins() {
			if step.Engine.Use != b.Name {
				continue
			}
			if err := b.check(step.Engine.With); err != nil {
				return usageError("config_engine", "step %s: %w", step.ID, err).At(step.Where).WithHint("see docs/engines.md, the engine %s", b.Name)
			}
		}
	}
	return nil
}

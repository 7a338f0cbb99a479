package cli

import (
	"context"
	"io"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/engines/command"
	"github.com/cabincrew/action/internal/config"
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
			Name: command.ID, Version: command.Version, Idempotent: true,
			Summary: "runs any program over a private copy of the workspace; what it changes becomes one patch",
		}, command.Check, command.Run},
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
				return usageError("config_engine", "step %s: %w", step.ID, err).At(step.Where).WithHint("see docs/configuration.md, the engine %s", b.Name)
			}
		}
	}
	return nil
}

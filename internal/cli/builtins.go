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
	run func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int
}

func builtins() []builtin {
	return []builtin{
		{engines.Builtin{
			Name: command.ID, Version: command.Version, Idempotent: true,
			Summary: "runs any program over a private copy of the workspace; what it changes becomes one patch",
		}, command.Run},
	}
}

func builtinConfigs() config.Builtins {
	known := config.Builtins{}
	for _, b := range builtins() {
		known[b.Name] = config.Builtin{Idempotent: b.Idempotent}
	}
	return known
}

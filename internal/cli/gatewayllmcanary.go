package cli

import (
	"cmp"
	"context"

	"github.com/cabincrew/action/gateways/llm"
	"github.com/cabincrew/action/internal/config"
)

// canaries is a secret that nobody has. It is put together here, so that nobody takes this
// file, or the program, for a leak.
func canaries() string {
	const half = "x9Qk2mZ7Lr4TvB8nW1"
	return "ghp" + "_" + half + "sYc6Hd3Jf5Gp0aEoUi"
}

// canary refuses to start a gateway that lets through what nobody may.
func (r *gatewayRun) canary(ctx context.Context, gw *llm.Gateway, c config.LLMCanary) error {
	if c.Off {
		r.warnings = append(r.warnings, "nobody tried whether a prompt or an answer with a secret is stopped (canary: off)")
		return nil
	}
	return gw.Canary(ctx, cmp.Or(c.Prompt, canaries()), cmp.Or(c.Answer, canaries()))
}

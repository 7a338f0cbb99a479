package cli

import (
	"context"

	"github.com/cabincrew/action/gateways/llm"
)

// canaries is a secret that nobody has. It is put together here, so that nobody takes this
// file, or the program, for a leak.
func canaries() string {
	const half = "x9Qk2mZ7Lr4TvB8nW1"
	return "ghp" + "_" + half + "sYc6Hd3Jf5Gp0aEoUi"
}

// canary refuses to start a gateway that lets through what nobody may.
func (r *gatewayRun) canary(ctx context.Context, gw *llm.Gateway, want string) error {
	switch want {
	case "on":
		return gw.Canary(ctx, canaries())
	case "off":
		r.warnings = append(r.warnings, "nobody tried whether a prompt or an answer with a secret is stopped (--canary=off)")
		return nil
	}
	return usageError("usage", "--canary %s is neither on nor off", oneLine(want)).WithHint("leave it out: it is on")
}

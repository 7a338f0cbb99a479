package cli

import (
	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/telemetry"
	"github.com/cabincrew/action/protocol"
)

// gatewayItself is the server's name in the records of what the gateway answers itself
// where it stands for several servers.
const gatewayItself = "gateway"

// own guards what the gateway answers in the place of its servers: it is judged, limited
// and recorded as what goes to them. It has no tools to pin and reads no files.
func (r *gatewayRun) own(next link.Opener) link.Opener {
	guarded := mcp.NewGuard(r.guardOptions(gatewayItself, next, r.kinds.transport))
	return timed{next: guarded, server: gatewayItself, calls: r.calls, now: r.now}
}

// guardOptions are those that all guards of the run have in common.
func (r *gatewayRun) guardOptions(server string, next link.Opener, transport string) mcp.GuardOptions {
	c := r.config
	return mcp.GuardOptions{
		Server: server, Next: next, Judge: r.judge, Trail: r.trail, Tally: r.tally, Holds: r.holds, Redact: r.redactor,
		Environment: r.environment(), UnknownMethods: c.UnknownMethods,
		PinDecisions:         mcp.PinDecisions{New: c.Tools.New, Changed: c.Tools.Changed, Shadowing: protocol.Deny, Unpinned: c.Tools.Unpinned},
		AllowWithoutPolicies: c.Policies.AllowWithoutPolicies, DenialsAsResults: c.Denials == config.DenialsResult, Durable: c.Audit.Sync.Duration == 0,
		GovernanceHash: r.hash, Transport: transport, Role: c.Approvals.DefaultRole, PinRole: c.Tools.Role,
		Rate:     mcp.Rate{PerSecond: float64(c.Limits.Rate) / 60, Burst: int(min(c.Limits.Rate, 1000)), Concurrent: int(c.Limits.Concurrent)},
		MaxBytes: int(c.Limits.Message), Hold: c.Approvals.Expire.Duration, Now: r.now, NewID: requestID, Log: r.log,
		Observe: func(x mcp.Observation) {
			r.calls.Judged(telemetry.Judged{
				Server: x.Server, Method: x.Method, Tool: x.Tool, Direction: x.Direction, Phase: string(x.Phase), Decision: string(x.Decision), Took: x.Took,
			})
			if r.kinds.observe != nil {
				r.kinds.observe(x)
			}
		},
	}
}

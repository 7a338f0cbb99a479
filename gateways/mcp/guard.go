package mcp

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/gateways/mcp/paths"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// PathJudge tells which files the arguments of a call name.
type PathJudge interface {
	Check(tool paths.Tool, args any) []paths.Finding
}

// Redactor replaces secrets in a text.
type Redactor interface {
	String(text string) string
}

// Environment says where the gateway runs: what is decided where nobody decided
// otherwise is stricter in CI.
type Environment string

// The environments.
const (
	Local Environment = "local"
	CI    Environment = "ci"
)

// PinDecisions are what becomes of tools, prompts and templates that are not as they
// were pinned. An empty one is its default.
type PinDecisions struct {
	// New is for what the lock does not name; require_approval.
	New protocol.Decision
	// Changed is for what is not as the lock says; require_approval.
	Changed protocol.Decision
	// Shadowing is for what is made to look like another; deny.
	Shadowing protocol.Decision
	// Unpinned is for what is there where there is no lock; warn.
	Unpinned protocol.Decision
	// Suspicious is for what is not pinned and speaks to the model; require_approval.
	// Without a lock, on a machine where a person watches, manners of speaking that honest
	// servers have, too, are only warned of.
	Suspicious protocol.Decision
}

// Rate bounds what one principal may ask of one server. Zeroes are no bounds.
type Rate struct {
	PerSecond  float64 // requests and notifications in the long run
	Burst      int     // how many at once; at least 1 where PerSecond is set
	Concurrent int     // requests that wait for their answers, streams to listen apart
}

// GuardOptions are what a guard needs. Next, Judge, Trail, Now and NewID are needed;
// without Holds what would be held is refused.
type GuardOptions struct {
	Server string // the server's name in the configuration
	Next   link.Opener
	Judge  gateways.Judge
	Trail  gateways.Trail
	Tally  *gateways.Tally // of refusals that are counted; nil: the guard has its own
	Holds  gateways.Holds
	Paths  PathJudge // nil: no rules of paths
	Pins   PinJudge  // nil: tools are not pinned
	Redact Redactor  // nil: nothing is redacted

	Environment Environment
	// UnknownMethods is what becomes of methods that no revision of the protocol knows;
	// "" is deny in CI and warn elsewhere.
	UnknownMethods protocol.Decision
	PinDecisions   PinDecisions
	// Hidden tells tools, prompts and templates that no client sees or calls; may be nil.
	Hidden func(kind, name string) bool
	// Tool gives what the configuration says of the arguments of a tool that name files;
	// the guard adds name and schema. May be nil.
	Tool func(name string) paths.Tool
	// AllowWithoutPolicies lets pass what no policy said anything of.
	AllowWithoutPolicies bool
	// DenialsAsResults answers refused tool calls with a result that is an error, for
	// the model to read, in place of an error of the protocol.
	DenialsAsResults bool
	// Durable waits for the disk with the record of every message, not only of those
	// that are denied or held.
	Durable bool

	GovernanceHash string
	Roots          []string // for policies to read
	Transport      string   // for policies to read: what the server is reached by
	// Role approves held calls where no policy names a role; "" is "approver". PinRole
	// approves what is not as it was pinned; "" is Role.
	Role     string
	PinRole  string
	Rate     Rate
	MaxBytes int           // of one message; 0 is limits.MCPGuardMessageBytes
	Hold     time.Duration // how long a held call waits; 0 is limits.MCPGuardHold
	Progress time.Duration // between words to a waiting client; 0 is limits.MCPGuardProgress

	Now   func() time.Time
	NewID func() string // ids of requests: unique, and not to be guessed
	Log   *slog.Logger  // nil: nothing is said
	// Observe hears of every message that was judged; may be nil.
	Observe func(Observation)
}

// Observation is one judged message, for metrics.
type Observation struct {
	Server, Method, Tool string
	Direction            string
	Phase                gateways.Phase
	Decision             protocol.Decision
	Took                 time.Duration // judging and recording
}

// guard judges what goes to and fro between clients and one server.
type guard struct {
	o     GuardOptions
	rates rates
	told  rates // what the server says unasked to a principal
	tally *gateways.Tally
	held  atomic.Int64
	roots []any // as policies read them
}

// NewGuard gives the link that judges every message in both directions. What cannot be
// judged, recorded or held is refused.
// SPEC: docs/protocol.md 10
func NewGuard(o GuardOptions) link.Opener {
	if o.Environment == "" {
		o.Environment = Local
	}
	if o.UnknownMethods == "" {
		o.UnknownMethods = protocol.Warn
		if o.Environment != Local {
			o.UnknownMethods = protocol.Deny
		}
	}
	o.PinDecisions = o.PinDecisions.filled()
	o.Role = or(o.Role, "approver")
	o.PinRole = or(o.PinRole, o.Role)
	o.MaxBytes = or(o.MaxBytes, limits.MCPGuardMessageBytes)
	o.Hold = or(o.Hold, limits.MCPGuardHold)
	o.Progress = or(o.Progress, limits.MCPGuardProgress)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	g := &guard{o: o, rates: rates{rate: o.Rate}, told: rates{rate: Rate{PerSecond: o.Rate.PerSecond, Burst: o.Rate.Burst}}, tally: o.Tally}
	if g.tally == nil {
		g.tally = gateways.NewTally(gateways.TallyOptions{Trail: o.Trail, Kind: "mcp", Now: o.Now, Log: o.Log})
	}
	for _, r := range o.Roots {
		g.roots = append(g.roots, r)
	}
	return g
}

func (p PinDecisions) filled() PinDecisions {
	p.New = or(p.New, protocol.RequireApproval)
	p.Changed = or(p.Changed, protocol.RequireApproval)
	p.Shadowing = or(p.Shadowing, protocol.Deny)
	p.Unpinned = or(p.Unpinned, protocol.Warn)
	p.Suspicious = or(p.Suspicious, protocol.RequireApproval)
	return p
}

// or gives a, or where a is nothing b.
func or[T comparable](a, b T) T {
	var none T
	if a == none {
		return b
	}
	return a
}

// Open opens a session with the server and guards it.
func (g *guard) Open(ctx context.Context, s link.Session) (link.Server, error) {
	next, err := g.o.Next.Open(ctx, s)
	if err != nil {
		return nil, err
	}
	return newSession(g, s, next), nil
}

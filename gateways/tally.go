package gateways

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Often names one kind of refusal that somebody can cause as often as they like. Its
// texts are the gateway's own, but for the principal's name.
type Often struct {
	Server, Principal, Direction string
	Policy, Reason               string
}

func (o Often) compare(p Often) int {
	return cmp.Or(cmp.Compare(o.Server, p.Server), cmp.Compare(o.Principal, p.Principal), cmp.Compare(o.Direction, p.Direction),
		cmp.Compare(o.Policy, p.Policy), cmp.Compare(o.Reason, p.Reason))
}

// TallyOptions are what a Tally needs.
type TallyOptions struct {
	Trail    Trail
	Kind     string // of gateway: mcp, llm
	Now      func() time.Time
	Interval time.Duration // 0: limits.GatewayTally
	Most     int           // kinds that are counted apart; 0: limits.GatewayTallies
	Log      *slog.Logger  // nil: none
}

// A Tally keeps refusals in the trail without letting anybody fill it: of each kind the
// first one is recorded at once, and those that follow within the interval as one event
// that says how many there were. Close records what was counted until then.
type Tally struct {
	o TallyOptions

	mu     sync.Mutex
	kinds  map[Often]*counted
	sweep  *time.Timer // nil while nothing is counted
	closed bool
}

// counted are the refusals of one kind after the first.
type counted struct {
	since, last time.Time
	n           int
}

// NewTally begins to count. It must be closed before its trail.
func NewTally(o TallyOptions) *Tally {
	o.Interval = cmp.Or(o.Interval, limits.GatewayTally)
	o.Most = cmp.Or(o.Most, limits.GatewayTallies)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Tally{o: o, kinds: map[Often]*counted{}}
}

// Refused records a refusal, or counts it: first gives the events of one that is recorded
// by itself. An error means that there is no record of it.
func (t *Tally) Refused(ctx context.Context, of Often, first func() []protocol.AuditEvent) error {
	now := t.o.Now()
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return t.o.Trail.Append(ctx, false, first()...)
	}
	if _, known := t.kinds[of]; !known && len(t.kinds) >= t.o.Most {
		of.Server, of.Principal = "", "" // the kinds that are left are the gateway's own few
	}
	c := t.kinds[of]
	if c != nil && now.Sub(c.since) < t.o.Interval {
		c.n++
		c.last = now
		t.mu.Unlock()
		return nil
	}
	var events []protocol.AuditEvent
	if c != nil && c.n > 0 {
		events = append(events, t.sum(of, c))
	}
	t.kinds[of] = &counted{since: now}
	if t.sweep == nil {
		t.sweep = time.AfterFunc(t.o.Interval, t.swept)
	}
	t.mu.Unlock()
	return t.o.Trail.Append(ctx, false, append(events, first()...)...)
}

// swept records what was counted in intervals that are over.
func (t *Tally) swept() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sweep = nil; t.closed {
		return
	}
	now := t.o.Now()
	// That it fails is logged, and nothing can be done about it here.
	_ = t.write(context.Background(), false, func(of Often, c *counted) bool {
		over := now.Sub(c.since) >= t.o.Interval
		if over {
			delete(t.kinds, of)
		}
		return over
	})
	if len(t.kinds) > 0 {
		t.sweep = time.AfterFunc(t.o.Interval, t.swept)
	}
}

// Settle records what was counted of one client of a server, whose session ended. Its
// intervals go on, so that new sessions are no way around them.
func (t *Tally) Settle(ctx context.Context, server, principal string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// As above.
	_ = t.write(ctx, false, func(of Often, _ *counted) bool { return of.Server == server && of.Principal == principal })
}

// Close records what was counted, durably. Refusals that still come are recorded one by one.
func (t *Tally) Close(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.sweep != nil {
		t.sweep.Stop()
		t.sweep = nil
	}
	err := t.write(ctx, true, func(Often, *counted) bool { return true })
	t.kinds = map[Often]*counted{}
	return err
}

// write records the counts that which says, and begins them anew. The lock is held: who
// refuses meanwhile waits, and nothing is counted twice or never.
func (t *Tally) write(ctx context.Context, durable bool, which func(Often, *counted) bool) error {
	var events []protocol.AuditEvent
	for _, of := range slices.SortedFunc(maps.Keys(t.kinds), Often.compare) {
		if c := t.kinds[of]; which(of, c) && c.n > 0 {
			events = append(events, t.sum(of, c))
			c.n = 0
		}
	}
	if len(events) == 0 {
		return nil
	}
	err := t.o.Trail.Append(context.WithoutCancel(ctx), durable, events...)
	if err != nil { // from now on everything is denied
		t.o.Log.Error("refusals that were counted cannot be recorded", "kinds", len(events), "error", err)
	}
	return err
}

// sum is the event for refusals that were not recorded one by one.
func (t *Tally) sum(of Often, c *counted) protocol.AuditEvent {
	evidence := map[string]any{
		"count": c.n, "since": c.since.UTC().Format(time.RFC3339Nano), "until": c.last.UTC().Format(time.RFC3339Nano),
	}
	for name, value := range map[string]string{"server": of.Server, "principal": of.Principal, "direction": of.Direction} {
		if value != "" {
			evidence[name] = value
		}
	}
	return protocol.AuditEvent{
		EventType: decisionOf(t.o.Kind), Severity: protocol.SeverityWarning,
		Gateway: &protocol.AuditGateway{GatewayType: t.o.Kind, PolicyDecision: protocol.Deny},
		Message: fmt.Sprintf("%d more refused: %s", c.n, of.Reason),
		Policy: &protocol.AuditPolicy{
			Decision: protocol.Deny, Violations: []string{of.Reason},
			PolicyEvaluations: []protocol.PolicyEvaluation{{
				Source: sourceOf(t.o.Kind), PolicyID: of.Policy, Decision: protocol.Deny, Severity: protocol.Deny.Severity(),
				Reason: of.Reason, Evidence: evidence, EvaluatedAt: c.last.UTC().Format(time.RFC3339Nano),
			}},
		},
	}
}

package route

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Target names a model, a provider, or both. An empty one names nothing.
type Target struct{ Provider, Model string }

// Call is what a plan is made for.
type Call struct {
	Digest  string   // of the request; chance is drawn from it
	Formats []string // the formats in which it can be sent, the native one first
	Model   string   // what the client asks for
	Tokens  int64    // of the prompt, estimated
	Output  int64    // of the answer, at most
	Flagged bool     // a judge took the prompt for unsafe
	Header  Target   // what the client's header names
	Routed  Target   // what the judge's decision names; it wins with every strategy
	Scope   Scope    // of the caller's key
}

// Choice is one way for a call.
type Choice struct {
	Provider string
	Kind     Kind
	Model    string // as it was asked for, or routed
	Upstream string // the provider's name of the model
	Format   string
	Tokens   int64  // of prompt and answer, estimated
	Cost     int64  // estimated, in millionths of the currency, rounded up
	Priced   bool   // the provider has a price of the model
	Reason   string // for people and the audit log
}

// Skip is a provider that has the model and was left out.
type Skip struct{ Provider, Reason string }

// Plan is the ways of a call, in the order in which they are to be tried.
type Plan struct {
	Choices []Choice
	Skipped []Skip
}

// candidate is a choice while the plan is made.
type candidate struct {
	Choice
	weight  int
	context int64
}

// Target reads "MODEL", "PROVIDER/MODEL" or "PROVIDER/". A whole name of a model wins, since
// models have slashes in their names. What is no provider is taken for a model, and so
// fits nothing unless somebody has it.
func (r *Router) Target(s string) Target {
	for i := range r.o.Providers {
		if _, ok := r.o.Providers[i].Models[s]; ok {
			return Target{Model: s}
		}
	}
	if provider, model, ok := strings.Cut(s, "/"); ok {
		if _, known := r.by[provider]; known {
			return Target{Provider: provider, Model: model}
		}
	}
	return Target{Model: s}
}

// Plan gives the ways of a call that are open now. There is at least one unless it gives
// an error.
func (r *Router) Plan(c Call) (Plan, error) {
	if c.Digest == "" || !within(c.Tokens, limits.LLMRouteTokens) || !within(c.Output, limits.LLMRouteTokens) {
		return Plan{}, protocol.Errorf(protocol.ExitDenied, "llm_route_call",
			"a call cannot be routed: it has no digest, or not between 0 and %d tokens", limits.LLMRouteTokens).
			WithHint("send a smaller request, and ask for a shorter answer")
	}
	want, why := r.want(c)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.o.Now()
	var p Plan
	var open []candidate
	var later bool // somebody has it, though not now
	for i := range r.o.Providers {
		x, skip, busy := r.candidate(i, c, want, now)
		switch {
		case skip != "":
			p.Skipped = append(p.Skipped, Skip{r.o.Providers[i].Name, skip})
			later = later || busy
		case x.Provider != "":
			open = append(open, x)
		}
	}
	if len(open) == 0 {
		return p, none(want.Model, p.Skipped, later)
	}
	r.order(c, open, why)
	for _, x := range open {
		p.Choices = append(p.Choices, x.Choice)
	}
	return p, nil
}

// want is what the call goes to, and why, where that was named.
func (r *Router) want(c Call) (Target, string) {
	t, why := Target{Model: c.Model}, ""
	named := Target{}
	switch {
	case r.o.Strategy == SafetyTier && c.Flagged:
		return Target{Model: r.o.SafeModel}, "safety_tier: the request was flagged, so it goes to the safe model"
	case c.Routed != Target{}:
		named, why = c.Routed, "policy: the judge's decision names it"
	case r.o.Strategy == Header && c.Header != Target{}:
		named, why = c.Header, "header: the client names it"
	}
	if named.Model != "" {
		t.Model = named.Model
	}
	t.Provider = named.Provider
	return t, why
}

// candidate gives the i-th provider as a way, or why it was skipped. busy is when it
// would serve at another time. Nothing at all is given of what the caller may not see.
func (r *Router) candidate(i int, c Call, want Target, now time.Time) (x candidate, skip string, busy bool) {
	p := &r.o.Providers[i]
	alias, upstream, ok := p.resolve(want.Model)
	if !ok || want.Provider != "" && want.Provider != p.Name ||
		!r.o.Allow.admits(p.Name, want.Model) || !c.Scope.admits(p.Name, want.Model) {
		return x, "", false
	}
	at := slices.IndexFunc(c.Formats, func(f string) bool { return slices.Contains(p.Formats, f) })
	if at < 0 {
		return x, "it does not speak the request's format", false
	}
	tokens := c.Tokens + c.Output
	if p.ContextTokens > 0 && tokens > p.ContextTokens {
		return x, fmt.Sprintf("its context of %d tokens is smaller than the %d of the request", p.ContextTokens, tokens), false
	}
	if p.Rate.Tokens > 0 && tokens > p.Rate.Tokens {
		return x, fmt.Sprintf("the request's %d tokens are more than it takes in a minute", tokens), false
	}
	if why := r.states[i].closed(p, tokens, now); why != "" {
		return x, why, true
	}
	price, priced := p.Prices[alias]
	x.Choice = Choice{
		Provider: p.Name, Kind: p.Kind, Model: want.Model, Upstream: upstream, Format: c.Formats[at],
		Tokens: tokens, Cost: price.cost(c.Tokens, c.Output), Priced: priced,
	}
	x.weight, x.context = p.Weight, p.ContextTokens
	return x, "", false
}

// order puts the ways into the order of the strategy, and says why each stands there.
func (r *Router) order(c Call, open []candidate, why string) {
	s := r.o.Strategy
	switch s {
	case Weighted:
		draw(c.Digest, open)
	case RoundRobin:
		at := int(r.turn % uint64(len(open))) //nolint:gosec // less than the number of providers
		r.turn++
		turned := append(slices.Clone(open[at:]), open[:at]...)
		copy(open, turned)
	case Cost:
		slices.SortStableFunc(open, func(a, b candidate) int { return cmp.Compare(a.Cost, b.Cost) })
	case ContextSize:
		// What is not known is the last: it may be too small.
		slices.SortStableFunc(open, func(a, b candidate) int {
			return cmp.Compare(uint64(a.context)-1, uint64(b.context)-1) //nolint:gosec // never negative; 0 wraps to the largest on purpose
		})
	case Fallback, SafetyTier, Header, Policy:
	}
	for i := range open {
		x := &open[i]
		reason := string(s)
		switch s {
		case Weighted:
			reason = fmt.Sprintf("weighted: weight %d, drawn by the request's digest", x.weight)
		case Cost:
			reason = fmt.Sprintf("cost: at most %d millionths", x.Cost)
		case ContextSize:
			reason = fmt.Sprintf("context_size: %d tokens", x.context)
		case RoundRobin:
			reason = "round_robin: its turn"
		case Fallback, SafetyTier, Header, Policy:
			reason += ": the order of the configuration"
		}
		if why != "" {
			reason = why + "; " + reason
		}
		if i > 0 {
			reason = fmt.Sprintf("fallback %d; %s", i, reason)
		}
		x.Reason = reason
	}
}

// draw orders by weight: place after place one is drawn of those that are left, by a hash
// of the request, so that the same request and state give the same order.
func draw(digest string, open []candidate) {
	for at := range open {
		var total uint64
		for _, x := range open[at:] {
			total += uint64(x.weight) //nolint:gosec // checked by New
		}
		if total == 0 {
			return // the last resort, in the order of the configuration
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "cabincrew route %d\x00%s", at, digest))
		n := binary.BigEndian.Uint64(sum[:8]) % total
		for i := at; i < len(open); i++ {
			w := uint64(open[i].weight) //nolint:gosec // checked by New
			if n < w {
				x := open[i]
				copy(open[at+1:i+1], open[at:i])
				open[at] = x
				break
			}
			n -= w
		}
	}
}

// none says why a call has no way.
func none(model string, skipped []Skip, later bool) error {
	if len(skipped) == 0 {
		return protocol.Errorf(protocol.ExitDenied, "llm_route_denied", "the model %q is not there for this caller", cut(model)).
			WithHint("ask for a model that the key and the gateway's configuration allow")
	}
	told := make([]string, len(skipped))
	for i, s := range skipped {
		told[i] = s.Provider + ": " + s.Reason
	}
	if later {
		return protocol.Errorf(protocol.ExitUnreachable, "llm_route_unready", "no provider takes the model %q now: %s", cut(model), strings.Join(told, "; ")).
			WithHint("try again later, or configure another provider of the model")
	}
	return protocol.Errorf(protocol.ExitDenied, "llm_route_unfit", "no provider of the model %q can take the request: %s", cut(model), strings.Join(told, "; ")).
		WithHint("send a shorter request, or use the format that the provider speaks")
}

// cost is what tokens cost, rounded up. New and Plan have checked that it fits.
func (p Price) cost(in, out int64) int64 {
	return (p.In*in + p.Out*out + 999_999) / 1_000_000
}

// Cost gives what a call to that choice cost, in millionths of the currency, rounded up.
// priced is false where the provider has no price of the model.
func (r *Router) Cost(c Choice, in, out int64) (cost int64, priced bool, err error) {
	if !within(in, limits.LLMRouteTokens) || !within(out, limits.LLMRouteTokens) {
		return 0, false, protocol.Errorf(protocol.ExitDenied, "llm_budget_count", "a call's usage is not between 0 and %d tokens", limits.LLMRouteTokens).
			WithHint("look at the provider: its usage cannot be true")
	}
	i, ok := r.by[c.Provider]
	if !ok {
		return 0, false, nil
	}
	alias, _, _ := r.o.Providers[i].resolve(c.Model)
	price, priced := r.o.Providers[i].Prices[alias]
	return price.cost(in, out), priced, nil
}

package route

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Router plans ways and keeps what it knows of the providers. It is safe for concurrent
// use, and its memory is bounded by the number of providers.
type Router struct {
	o      Options
	by     map[string]int // provider's name to its index
	mu     sync.Mutex
	turn   uint64
	states []*state
}

// New makes a Router. It refuses a provider or a named model outside of the allow-list.
func New(o Options) (*Router, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Breaker.Failures == 0 {
		o.Breaker.Failures = limits.LLMRouteFailures
	}
	if o.Breaker.Open == 0 {
		o.Breaker.Open = limits.LLMRouteOpen
	}
	// Later changes by the caller must not change what was checked.
	o.Providers = slices.Clone(o.Providers)
	o.Allow = Scope{slices.Clone(o.Allow.Providers), slices.Clone(o.Allow.Models)}
	r := &Router{o: o, by: map[string]int{}}
	now := o.Now()
	for i := range o.Providers {
		p := &o.Providers[i]
		p.Formats, p.Models, p.Prices = slices.Clone(p.Formats), maps.Clone(p.Models), maps.Clone(p.Prices)
		r.by[p.Name] = i
		r.states = append(r.states, &state{requests: full(p.Rate.Requests, now), tokens: full(p.Rate.Tokens, now)})
	}
	return r, nil
}

// Health is how a provider does.
type Health string

// The states of a circuit breaker.
const (
	Closed   Health = "closed"    // calls go through
	Open     Health = "open"      // it failed and is left alone
	HalfOpen Health = "half_open" // one call probes it
)

// state is what is known of one provider.
type state struct {
	failures int       // after one another
	until    time.Time // while open: when it may be probed
	rest     time.Time // until then it asked to be left alone
	health   Health    // "" is Closed
	probing  bool
	age      uint64 // counts changes of health, so that what began earlier does not decide
	open     int    // calls under way
	requests bucket
	tokens   bucket
}

// closed says why a call cannot go to the provider now, or "".
func (s *state) closed(p *Provider, tokens int64, now time.Time) string {
	switch {
	case s.health == Open && now.Before(s.until):
		return "it failed too often and is left alone"
	case s.health == HalfOpen && s.probing:
		return "it failed too often and one call probes it"
	case now.Before(s.rest):
		return "it asked to be left alone for a time"
	case p.MaxConcurrent > 0 && s.open >= p.MaxConcurrent:
		return "as many calls are under way as it may have"
	case !s.requests.has(p.Rate.Requests, 1, now):
		return "it had its requests of a minute"
	case !s.tokens.has(p.Rate.Tokens, tokens, now):
		return "it had its tokens of a minute"
	}
	return ""
}

// Ticket is a call under way. Done must be called for each.
type Ticket struct {
	r      *Router
	at     int
	tokens int64
	age    uint64
	probe  bool
	done   bool // guarded by the router's mu
}

// Begin takes a place for the call of a choice, or refuses. The choice is checked again:
// a provider or model that the configuration does not have cannot be begun.
func (r *Router) Begin(c Choice) (*Ticket, error) {
	i, ok := r.by[c.Provider]
	if ok {
		var up string
		_, up, ok = r.o.Providers[i].resolve(c.Model)
		ok = ok && up == c.Upstream && r.o.Allow.admits(c.Provider, c.Model) &&
			slices.Contains(r.o.Providers[i].Formats, c.Format) && within(c.Tokens, 2*limits.LLMRouteTokens)
	}
	if !ok {
		return nil, protocol.Errorf(protocol.ExitDenied, "llm_route_denied", "the choice of %q at %q is none of a plan", cut(c.Model), cut(c.Provider)).
			WithHint("plan the call again")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p, s, now := &r.o.Providers[i], r.states[i], r.o.Now()
	if why := s.closed(p, c.Tokens, now); why != "" {
		return nil, protocol.Errorf(protocol.ExitUnreachable, "llm_route_unready", "provider %s takes no call now: %s", p.Name, why).
			WithHint("try again later, or configure another provider of the model")
	}
	if s.health == Open {
		s.turn(HalfOpen)
	}
	t := &Ticket{r: r, at: i, tokens: c.Tokens, age: s.age, probe: s.health == HalfOpen}
	s.probing = t.probe
	s.open++
	s.requests.take(p.Rate.Requests, 1)
	s.tokens.take(p.Rate.Tokens, c.Tokens)
	return t, nil
}

// turn changes the health.
func (s *state) turn(h Health) {
	s.health, s.probing, s.failures = h, false, 0
	s.age++
}

// Outcome is what a call says of its provider's health.
type Outcome int

// The outcomes. The zero value says nothing: the client went away, or the call was
// stopped by a judge.
const (
	Unknown Outcome = iota
	Served          // it answered, and also refusing a wrong request is an answer
	Failed          // it could not be reached, broke off, stalled or answered with 5xx
	Busy            // it answered 429: it is healthy and wants to be left alone
)

// Result is how a call ended.
type Result struct {
	Outcome    Outcome
	Tokens     int64         // used in all; 0 is not known, and then the estimate stands
	RetryAfter time.Duration // what a busy or failed provider asked for; bounded here
}

// Alive tells that the provider began to answer, so that a long stream that probes it
// does not keep others waiting.
func (t *Ticket) Alive() {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	s := t.r.states[t.at]
	if !t.done && t.probe && t.age == s.age {
		s.turn(Closed)
		t.age, t.probe = s.age, false
	}
}

// Done gives the place back and tells how the call went. Only its first call counts.
func (t *Ticket) Done(res Result) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	if t.done {
		return
	}
	t.done = true
	p, s, now := &t.r.o.Providers[t.at], t.r.states[t.at], t.r.o.Now()
	s.open--
	if res.Tokens > 0 {
		s.tokens.take(p.Rate.Tokens, min(res.Tokens, 2*limits.LLMRouteTokens)-t.tokens)
	}
	if res.RetryAfter > 0 && (res.Outcome == Busy || res.Outcome == Failed) {
		if rest := now.Add(min(res.RetryAfter, limits.LLMRouteRest)); rest.After(s.rest) {
			s.rest = rest
		}
	}
	if t.age != s.age {
		return // the provider's health changed since: this call is of another time
	}
	switch res.Outcome {
	case Served, Busy:
		s.failures = 0
		if t.probe {
			s.turn(Closed)
		}
	case Failed:
		s.failures++
		if t.probe || s.failures >= t.r.o.Breaker.Failures {
			s.turn(Open)
			s.until = now.Add(t.r.o.Breaker.Open)
		}
	default:
		if t.probe {
			s.probing = false // the next call probes
		}
	}
}

// Health gives the state of a provider's circuit breaker; an unknown provider is open.
func (r *Router) Health(provider string) Health {
	i, ok := r.by[provider]
	if !ok {
		return Open
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.states[i]
	switch {
	case s.health == "":
		return Closed
	case s.health == Open && !r.o.Now().Before(s.until):
		return HalfOpen
	}
	return s.health
}

// unit is one token of a bucket: at a rate of n a minute, n of these come in each microsecond.
const unit = int64(time.Minute / time.Microsecond)

// bucket is what may still go in this minute. It counts in integers: nothing is lost by
// rounding however often it is looked at.
type bucket struct {
	level int64
	at    time.Time
}

func full(rate int64, now time.Time) bucket { return bucket{level: rate * unit, at: now} }

// has fills the bucket up to now and tells whether n are in it.
func (b *bucket) has(rate, n int64, now time.Time) bool {
	if rate == 0 {
		return true
	}
	switch gone := now.Sub(b.at); {
	case gone < 0:
		b.at = now // the clock was set back
	case gone >= 2*time.Minute: // it may be a whole minute in debt
		b.level, b.at = rate*unit, now
	default:
		micros := gone.Microseconds()
		b.level = min(rate*unit, b.level+rate*micros)
		b.at = b.at.Add(time.Duration(micros) * time.Microsecond)
	}
	return n <= rate && b.level >= n*unit
}

// take takes n, or gives back -n. What was used beyond the estimate is a debt of at most
// a minute.
func (b *bucket) take(rate, n int64) {
	if rate > 0 {
		b.level = max(-rate*unit, min(rate*unit, b.level-n*unit))
	}
}

package route

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
)

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func start() *clock { return &clock{time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)} }

func two(s Strategy) (Options, *clock) {
	c := start()
	p := func(name string, in int64, weight int, context int64) Provider {
		return Provider{
			Name: name, Kind: OpenAI, Formats: []string{"openai.chat"}, Weight: weight, ContextTokens: context,
			Models: map[string]string{"big": name + "-big", "safe": name + "-safe"},
			Prices: map[string]Price{"big": {in, in}, "safe": {in, in}},
		}
	}
	return Options{Providers: []Provider{p("a", 9, 1, 0), p("b", 5_000_000, 3, 1000), p("c", 1, 0, 100)}, Strategy: s, SafeModel: "safe", Now: c.now}, c
}

func router(t *testing.T, o Options) *Router {
	t.Helper()
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func call() Call {
	return Call{Digest: "d", Formats: []string{"openai.chat"}, Model: "big", Tokens: 10, Output: 10}
}

func names(p Plan) string {
	var out []string
	for _, c := range p.Choices {
		out = append(out, c.Provider+":"+c.Upstream)
	}
	return strings.Join(out, " ")
}

func TestStrategies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		s    Strategy
		edit func(*Call)
		want string
	}{
		{"order", Fallback, nil, "a:a-big b:b-big c:c-big"},
		{"cheapest", Cost, func(c *Call) { c.Tokens = 50 }, "a:a-big c:c-big b:b-big"},
		{"cheapest that fits", Cost, func(c *Call) { c.Tokens = 900 }, "a:a-big b:b-big"},
		{"smallest", ContextSize, nil, "c:c-big b:b-big a:a-big"},
		{"smallest that fits", ContextSize, func(c *Call) { c.Tokens = 200 }, "b:b-big a:a-big"},
		{"flagged", SafetyTier, func(c *Call) { c.Flagged = true; c.Routed.Model = "big" }, "a:a-safe b:b-safe c:c-safe"},
		{"not flagged", SafetyTier, nil, "a:a-big b:b-big c:c-big"},
		{"header", Header, func(c *Call) { c.Header = Target{"b", "safe"} }, "b:b-safe"},
		{"header without its strategy", Fallback, func(c *Call) { c.Header = Target{"b", "safe"} }, "a:a-big b:b-big c:c-big"},
		{"judge", Policy, func(c *Call) { c.Routed = Target{"", "safe"} }, "a:a-safe b:b-safe c:c-safe"},
		{"judge wins", Header, func(c *Call) { c.Header.Provider, c.Routed.Provider = "b", "c" }, "c:c-big"},
	} {
		o, _ := two(tt.s)
		c := call()
		if tt.edit != nil {
			tt.edit(&c)
		}
		p, err := router(t, o).Plan(c)
		if got := names(p); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
		for _, x := range p.Choices {
			if x.Reason == "" {
				t.Errorf("%s: %s has no reason", tt.name, x.Provider)
			}
		}
	}
}

func TestRoundRobinTakesTurns(t *testing.T) {
	t.Parallel()
	o, _ := two(RoundRobin)
	r, got := router(t, o), ""
	for range 4 {
		p, _ := r.Plan(call())
		got += p.Choices[0].Provider
	}
	if got != "abca" {
		t.Error(got)
	}
}

func TestWeightedIsDeterministicAndKeepsWeights(t *testing.T) {
	t.Parallel()
	o, _ := two(Weighted)
	r := router(t, o)
	first, err := r.Plan(call())
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if p, _ := router(t, o).Plan(call()); !reflect.DeepEqual(p, first) {
			t.Fatalf("%+v, before %+v", p, first)
		}
	}
	n := map[string]int{}
	for i := range 20_000 {
		c := call()
		c.Digest = fmt.Sprint(i)
		p, _ := r.Plan(c)
		n[p.Choices[0].Provider]++
		if p.Choices[2].Provider != "c" {
			t.Fatal("weight 0 is the last resort only", names(p))
		}
	}
	if n["a"] < 4700 || n["a"] > 5300 {
		t.Errorf("1 of 4 is %v", n)
	}
}

func TestPlansStayWithinTheAllowList(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	for range 5000 {
		o, _ := two(Strategy(pick("weighted", "round_robin", "fallback", "safety_tier", "cost", "context_size", "header", "policy")))
		r := router(t, o)
		c := call()
		c.Model = pick("big", "safe", "x")
		c.Scope = Scope{Providers: []string{pick("a", "b", "z")}, Models: []string{pick("big", "safe", "z")}}
		c.Header, c.Routed = Target{pick("", "a", "b", "c"), pick("", "big", "safe")}, Target{pick("", "a", "b"), pick("", "big", "safe")}
		c.Flagged = rnd.IntN(2) == 0
		p, err := r.Plan(c)
		if (err == nil) == (len(p.Choices) == 0) {
			t.Fatal(err, p)
		}
		for _, x := range p.Choices {
			if x.Provider != c.Scope.Providers[0] || x.Model != c.Scope.Models[0] {
				t.Fatalf("%+v is outside of %+v", x, c.Scope)
			}
		}
	}
	o, _ := two(Fallback)
	o.Allow.Providers = []string{"a"}
	if _, err := New(o); !errors.Is(err, protocol.Code("llm_route_config")) {
		t.Error(err)
	}
	o, _ = two(Fallback)
	for _, forged := range []Choice{{Provider: "z"}, {Provider: "a", Model: "big", Upstream: "other", Format: "openai.chat"}, {Provider: "a", Model: "big", Upstream: "a-big"}} {
		if _, err := router(t, o).Begin(forged); !errors.Is(err, protocol.Code("llm_route_denied")) {
			t.Error(forged, err)
		}
	}
}

func TestBreaker(t *testing.T) {
	t.Parallel()
	o, c := two(Fallback)
	o.Breaker = Breaker{2, time.Minute}
	o.Providers[0].MaxConcurrent = 4
	r := router(t, o)
	p, _ := r.Plan(call())
	begin := func(want bool) *Ticket {
		t.Helper()
		k, err := r.Begin(p.Choices[0])
		if (err == nil) != want || err != nil && !errors.Is(err, protocol.Code("llm_route_unready")) {
			t.Fatal(err)
		}
		return k
	}
	is := func(h Health) {
		t.Helper()
		if got := r.Health("a"); got != h {
			t.Fatalf("%s, want %s", got, h)
		}
	}
	late, later := begin(true), begin(true)
	begin(true).Done(Result{Outcome: Failed})
	is(Closed)
	begin(true).Done(Result{Outcome: Failed})
	is(Open)
	c.t = c.t.Add(time.Second)
	late.Done(Result{Outcome: Failed}) // of the time before
	later.Done(Result{Outcome: Failed})
	late.Done(Result{Outcome: Served}) // counts once
	is(Open)
	begin(false)
	if q, _ := r.Plan(call()); q.Choices[0].Provider != "b" {
		t.Fatal(names(q))
	}
	c.t = c.t.Add(time.Minute - time.Second)
	is(HalfOpen) // what began before does not make it longer
	probe := begin(true)
	begin(false)
	probe.Done(Result{}) // says nothing: the next one probes
	begin(true).Done(Result{Outcome: Failed})
	is(Open)
	c.t = c.t.Add(time.Minute)
	probe = begin(true)
	probe.Alive()
	is(Closed)
	begin(true)
	begin(true)
	begin(true)
	begin(false) // four are under way
	probe.Done(Result{Outcome: Busy, RetryAfter: time.Hour})
	begin(false)
	c.t = c.t.Add(5 * time.Minute) // no rest is longer
	begin(true)
}

func TestRates(t *testing.T) {
	t.Parallel()
	o, c := two(Fallback)
	o.Providers = o.Providers[:1]
	o.Providers[0].Rate = Rate{Requests: 2, Tokens: 50}
	r := router(t, o)
	p, _ := r.Plan(call())
	k, err := r.Begin(p.Choices[0])
	if err != nil {
		t.Fatal(err)
	}
	k.Done(Result{Outcome: Served, Tokens: 40}) // twice the estimate
	if _, err = r.Plan(call()); !errors.Is(err, protocol.Code("llm_route_unready")) {
		t.Fatal(err)
	}
	c.t = c.t.Add(12 * time.Second) // 10 tokens more
	if _, err = r.Plan(call()); err != nil {
		t.Fatal(err)
	}
	large := call()
	large.Tokens = 51
	if _, err = r.Plan(large); !errors.Is(err, protocol.Code("llm_route_unfit")) {
		t.Fatal(err)
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	r := Retry{Attempts: 3, Base: time.Second, Max: 3 * time.Second, Deadline: 20 * time.Second, MaxRetryAfter: 10 * time.Second, Random: func(n int64) int64 { return n - 1 }}
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	status := func(n int) Failure { return Failure{Class: ClassStatus, Status: n} }
	for i, tt := range []struct {
		a    Attempt
		want Step
	}{
		{Attempt{N: 1, Failure: Failure{Class: ClassConnect}}, Step{true, true, time.Second}},
		{Attempt{N: 2, Failure: Failure{Class: ClassConnect}}, Step{true, true, 2 * time.Second}},
		{Attempt{N: 3, Failure: Failure{Class: ClassConnect}}, Step{}},
		{Attempt{N: 1, Failure: Failure{Class: ClassConnect}, Seen: true}, Step{}},
		{Attempt{N: 1, Failure: Failure{Class: ClassCancelled}, Idempotent: true}, Step{}},
		{Attempt{N: 1}, Step{}},
		{Attempt{N: 1, Idempotent: true}, Step{true, true, time.Second}},
		{Attempt{N: 1, Idempotent: true, Seen: true}, Step{}},
		{Attempt{N: 1, Failure: status(429)}, Step{true, true, time.Second}},
		{Attempt{N: 1, Failure: status(503)}, Step{true, true, time.Second}},
		{Attempt{N: 1, Failure: status(529)}, Step{true, true, time.Second}},
		{Attempt{N: 1, Failure: status(500)}, Step{}},
		{Attempt{N: 1, Failure: status(500), Idempotent: true}, Step{true, true, time.Second}},
		{Attempt{N: 1, Failure: status(401), Idempotent: true}, Step{false, true, 0}},
		{Attempt{N: 1, Failure: status(400), Idempotent: true}, Step{}},
		{Attempt{N: 1, Failure: Failure{Class: ClassStatus, Status: 429, RetryAfter: 9 * time.Second}}, Step{true, true, 9 * time.Second}},
		{Attempt{N: 1, Failure: Failure{Class: ClassStatus, Status: 429, RetryAfter: 11 * time.Second}}, Step{false, true, 0}},
		{Attempt{N: 1, Elapsed: 19 * time.Second, Failure: status(429)}, Step{false, true, 0}},
		{Attempt{N: 1, Elapsed: 20 * time.Second, Failure: status(429)}, Step{}},
		{Attempt{N: 1, Failure: Failure{Class: 99}, Idempotent: true}, Step{}},
	} {
		got, err := r.Next(tt.a)
		if got != tt.want || (err != nil) != (tt.want == Step{}) {
			t.Errorf("%d: %+v, %v", i, got, err)
		}
	}
	now := start().t
	for header, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "-1": 0, "99999999999999999999": 301 * time.Second, "Fri, 01 May 2026 12:00:09 GMT": 9 * time.Second, "x": 0} {
		if got := RetryAfter(header, now); got != want {
			t.Errorf("%q: %s", header, got)
		}
	}
}

func TestMeter(t *testing.T) {
	t.Parallel()
	c := start()
	m, err := NewMeter([]Budget{{By: PerKey, Window: Minute, Most: Use{Tokens: 100}}, {By: PerModel, Subject: "big", Window: Total, Most: Use{Money: 1000}}}, 3, c.now)
	if err != nil {
		t.Fatal(err)
	}
	reserve := func(key, model string, u Use, code string) *Reservation {
		t.Helper()
		res, err := m.Reserve(Payer{Key: key, Model: model}, u)
		if code == "" && err != nil || code != "" && !errors.Is(err, protocol.Code(code)) {
			t.Fatalf("%v, want %q", err, code)
		}
		return res
	}
	a := reserve("k", "big", Use{60, 10}, "")
	reserve("k", "big", Use{60, 10}, "llm_budget_spent")
	if err := a.Settle(Use{30, 10}); err != nil {
		t.Fatal(err)
	}
	b := reserve("k", "big", Use{60, 10}, "")
	b.Cancel()
	b.Keep() // counts no more
	d := reserve("k", "big", Use{70, 0}, "")
	reserve("k", "big", Use{}, "llm_budget_spent")
	c.t = c.t.Add(time.Minute) // what is reserved counts in the next window
	reserve("k", "big", Use{31, 0}, "llm_budget_spent")
	if err := d.Settle(Use{1, 1<<63 - 1}); !errors.Is(err, protocol.Code("llm_budget_overflow")) {
		t.Fatal(err)
	}
	reserve("k", "big", Use{}, "llm_budget_spent")
	reserve("k", "", Use{-1, 0}, "llm_budget_count")
	e := reserve("l", "", Use{1, 0}, "")
	reserve("m", "", Use{1, 0}, "llm_budget_full")
	if err := e.Settle(Use{-1, 0}); err == nil {
		t.Fatal("negative usage")
	}
	c.t = c.t.Add(time.Minute)
	f := reserve("m", "", Use{1, 0}, "") // in the place of those whose minute has passed
	if err := f.Settle(Use{1, 0}); err != nil {
		t.Fatal(err)
	}
	c.t = c.t.Add(-time.Hour)
	reserve("m", "", Use{100, 0}, "llm_budget_spent")
}

func TestMeterAtTheSameTime(t *testing.T) {
	t.Parallel()
	m, err := NewMeter([]Budget{{By: PerKey, Window: Day, Most: Use{Tokens: 1000}}}, 0, start().now)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	let := 0
	for range 50 {
		wg.Go(func() {
			for range 100 {
				if res, err := m.Reserve(Payer{Key: "k"}, Use{Tokens: 7}); err == nil {
					res.Keep()
					mu.Lock()
					let++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if let != 142 { // 142*7 = 994
		t.Error(let)
	}
}

func TestRouterAtTheSameTime(t *testing.T) {
	t.Parallel()
	o, _ := two(RoundRobin)
	for i := range o.Providers {
		o.Providers[i].MaxConcurrent = 4
	}
	r := router(t, o)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			for range 50 {
				p, err := r.Plan(call())
				if err != nil {
					continue
				}
				if k, err := r.Begin(p.Choices[0]); err == nil {
					k.Done(Result{Outcome: Outcome(i % 4)})
				}
			}
		})
	}
	wg.Wait()
	for _, s := range r.states {
		if s.open != 0 {
			t.Error(s.open)
		}
	}
}

func TestCostIsRoundedUp(t *testing.T) {
	t.Parallel()
	o, _ := two(Fallback)
	r := router(t, o)
	for in, want := range map[int64]int64{0: 0, 1: 1, 1_000_000: 9, 1_000_001: 10} {
		if got, priced, err := r.Cost(Choice{Provider: "a", Model: "big"}, in, 0); got != want || !priced || err != nil {
			t.Error(in, got, priced, err)
		}
	}
	if _, _, err := r.Cost(Choice{Provider: "a", Model: "big"}, 1<<40, 0); err == nil {
		t.Error("more tokens than there can be")
	}
}

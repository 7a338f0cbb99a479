package cli

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/identity"
	"github.com/cabincrew/action/gateways/llm"
	"github.com/cabincrew/action/gateways/llm/route"
	"github.com/cabincrew/action/internal/config"
)

func TestVirtualKeys(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	gate, err := identity.New(identity.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	g := &config.LLMGateway{Keys: []config.LLMKey{
		{Name: "bot", SHA256: digestOf("ck-bot"), Models: []string{"m"}, Workflow: "nightly", Rate: 60},
		{Name: "old", SHA256: digestOf("ck-old"), Expires: now},
	}}
	callers, err := llmCallersOf(g, gate, newLLMUsed(), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ header, value, want string }{
		"bearer":    {"Authorization", "Bearer ck-bot", "key:bot"},
		"anthropic": {"X-Api-Key", "ck-bot", "key:bot"},
		"azure":     {"Api-Key", "ck-bot", "key:bot"},
		"expired":   {"Authorization", "Bearer ck-old", ""},
		"unknown":   {"Authorization", "Bearer ck-other", ""},
		"digest":    {"Authorization", "Bearer " + digestOf("ck-bot"), ""},
		"basic":     {"Authorization", "Basic ck-bot", ""},
		"none":      {"X-Nothing", "x", ""},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/chat/completions", http.NoBody)
		r.Header.Set(c.header, c.value)
		who, err := callers.caller(r)
		var refused *llm.UnauthorizedError
		if who.Name != c.want || (c.want == "") != errors.As(err, &refused) {
			t.Errorf("%s: %+v %v", name, who, err)
		}
		if c.want != "" && (who.Workflow != "nightly" || len(who.Scope.Models) != 1 || who.Rate == nil) {
			t.Errorf("%s: %+v", name, who)
		}
	}
	open, err := llmCallersOf(&config.LLMGateway{}, gate, newLLMUsed(), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	if who, err := open.caller(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)); err != nil || who.Name == "" {
		t.Errorf("without any keys nobody is asked for one: %+v %v", who, err)
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	p := &pace{most: 3}
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for i := range 3 {
		if rest := p.take(now); rest != 0 {
			t.Fatalf("call %d waits %s", i, rest)
		}
	}
	if rest := p.take(now); rest != 20*time.Second {
		t.Errorf("the fourth waits %s", rest)
	}
	if rest := p.take(now.Add(20 * time.Second)); rest != 0 {
		t.Errorf("after a third of the minute it waits %s", rest)
	}
	if rest := p.take(now.Add(-time.Hour)); rest > time.Minute {
		t.Errorf("with the clock set back it waits %s", rest)
	}
}

// TestBudgetsOfKeysAreTheirOwn: a budget of all that reads like a key's own is another one,
// so that a call is not counted twice.
func TestBudgetsOfKeysAreTheirOwn(t *testing.T) {
	t.Parallel()
	b, used := config.LLMBudget{By: "key", Window: "day", Tokens: 10}, newLLMUsed()
	of := func(m llmMeter) *route.Meter {
		got, err := used.meter(m, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	all, own, other := of(llmMeter{LLMBudget: b}), of(llmMeter{b, "a"}), of(llmMeter{b, "b"})
	if all == own || own == other || all != of(llmMeter{LLMBudget: b}) || own != of(llmMeter{b, "a"}) {
		t.Error("budgets share what was used, or forget it")
	}
}

// TestMetricsAskForAKey: where callers need a virtual key, the metrics do too.
func TestMetricsAskForAKey(t *testing.T) {
	t.Parallel()
	gate, err := identity.New(identity.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	for _, keys := range [][]config.LLMKey{nil, {{Name: "bot", SHA256: digestOf("ck-bot")}}} {
		callers, err := llmCallersOf(&config.LLMGateway{Keys: keys}, gate, newLLMUsed(), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		s := &llmServing{}
		s.now.Store(&llmTurn{callers: callers})
		for key, want := range map[string]int{"": http.StatusUnauthorized, "ck-bot": http.StatusOK} {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody)
			if key != "" {
				req.Header.Set("Authorization", "Bearer "+key)
			}
			w := httptest.NewRecorder()
			if keys == nil {
				want = http.StatusOK
			}
			if s.admitted(w, req) != (want == http.StatusOK) || w.Code != want {
				t.Errorf("%q with %d keys: %d", key, len(keys), w.Code)
			}
		}
	}
}

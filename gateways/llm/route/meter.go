package route

import (
	"math"
	"sync"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Dimension is whom a budget is counted for.
type Dimension string

// The dimensions of budgets.
const (
	PerKey      Dimension = "key"
	PerWorkflow Dimension = "workflow"
	PerModel    Dimension = "model"
)

// Window is when a budget begins anew, in UTC.
type Window string

// The windows of budgets.
const (
	Minute Window = "minute"
	Hour   Window = "hour"
	Day    Window = "day"
	Month  Window = "month"
	Total  Window = "total" // never
)

// Use is an amount. Money is in millionths of the currency.
type Use struct{ Tokens, Money int64 }

// Budget is what may be used in a window. Of Most, 0 is not limited.
type Budget struct {
	By      Dimension
	Subject string // "" is each subject on its own
	Window  Window
	Most    Use
}

// Payer is who uses.
type Payer struct{ Key, Workflow, Model string }

// Meter counts what is used. Amounts are reserved before a call and settled after it, so
// that calls at the same time cannot use a budget twice. It is safe for concurrent use,
// and its memory is bounded: a subject that has no place is refused.
type Meter struct {
	budgets []Budget
	most    int
	now     func() time.Time
	mu      sync.Mutex
	by      map[account]*counter
	swept   time.Time
}

// account is a subject of a budget.
type account struct {
	budget  int
	subject string
}

// counter is what an account has used in a window. What is reserved has no window: it
// counts wherever it is settled.
type counter struct {
	start    time.Time
	used     Use
	reserved Use
}

// NewMeter makes a Meter that keeps at most subjects counters, or the default with 0.
func NewMeter(budgets []Budget, subjects int, now func() time.Time) (*Meter, error) {
	if now == nil || subjects < 0 || len(budgets) > limits.LLMRouteBudgets {
		return nil, wrong("there are more than %d budgets, or they have no clock or no place", limits.LLMRouteBudgets)
	}
	if subjects == 0 {
		subjects = limits.LLMRouteSubjects
	}
	for i, b := range budgets {
		_, window := b.Window.start(time.Time{})
		_, by := b.By.of(Payer{})
		switch {
		case !window || !by:
			return nil, wrong("budget %d: %q is no window, or %q nobody it is counted for", i+1, b.Window, b.By)
		case b.Most == Use{} || b.Most.Tokens < 0 || b.Most.Money < 0:
			return nil, wrong("budget %d limits nothing, or to less than nothing", i+1)
		}
	}
	return &Meter{budgets: append([]Budget(nil), budgets...), most: subjects, now: now, by: map[account]*counter{}}, nil
}

// start is when the window began that now lies in.
func (w Window) start(now time.Time) (time.Time, bool) {
	now = now.UTC()
	y, m, d := now.Date()
	switch w {
	case Minute:
		return now.Truncate(time.Minute), true
	case Hour:
		return now.Truncate(time.Hour), true
	case Day:
		return time.Date(y, m, d, 0, 0, 0, 0, time.UTC), true
	case Month:
		return time.Date(y, m, 1, 0, 0, 0, 0, time.UTC), true
	case Total:
		return time.Time{}, true
	}
	return time.Time{}, false
}

// of is the subject of the dimension.
func (d Dimension) of(p Payer) (string, bool) {
	switch d {
	case PerKey:
		return p.Key, true
	case PerWorkflow:
		return p.Workflow, true
	case PerModel:
		return p.Model, true
	}
	return "", false
}

// Reservation is what a call may use. Settle, Keep or Cancel must be called for each; only
// the first of them counts.
type Reservation struct {
	m        *Meter
	accounts []account
	estimate Use
	done     bool // guarded by the meter's mu
}

// Reserve sets an estimate aside in every budget of the payer, or refuses and sets
// nothing aside.
func (m *Meter) Reserve(p Payer, estimate Use) (*Reservation, error) {
	if estimate.Tokens < 0 || estimate.Money < 0 || max(len(p.Key), len(p.Workflow), len(p.Model)) > limits.LLMRouteNameBytes {
		return nil, protocol.Errorf(protocol.ExitDenied, "llm_budget_count",
			"a call cannot be counted: its estimate is negative, or a name longer than %d bytes", limits.LLMRouteNameBytes).
			WithHint("use shorter names of models and workflows")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	res := &Reservation{m: m, estimate: estimate}
	var counters []*counter
	fresh := 0
	for i, b := range m.budgets {
		subject, _ := b.By.of(p)
		if b.Subject != "" && b.Subject != subject {
			continue
		}
		a := account{i, subject}
		c := m.by[a]
		if c == nil {
			c, fresh = &counter{}, fresh+1
		}
		c.roll(b.Window, now)
		if what := c.exceeds(b.Most, estimate); what != "" {
			return nil, protocol.Errorf(protocol.ExitDenied, "llm_budget_spent", "the budget of %s for the %s %q (window: %s) does not allow the call", what, b.By, cut(subject), b.Window).
				WithHint("wait for the next window, or raise the budget")
		}
		res.accounts, counters = append(res.accounts, a), append(counters, c)
	}
	if fresh > 0 && !m.room(fresh, now) {
		return nil, protocol.Errorf(protocol.ExitDenied, "llm_budget_full", "budgets are counted for %d subjects already, so a new one cannot be counted", m.most).
			WithHint("remove budgets of window total, or restart the gateway")
	}
	for i, a := range res.accounts {
		counters[i].reserved.Tokens += estimate.Tokens // exceeds checked both
		counters[i].reserved.Money += estimate.Money
		m.by[a] = counters[i]
	}
	return res, nil
}

// roll begins a new window. A clock that was set back gives nothing back.
func (c *counter) roll(w Window, now time.Time) {
	if start, _ := w.start(now); start.After(c.start) {
		c.start, c.used = start, Use{}
	}
}

// exceeds names what the estimate would use more of than there is, or "". Overflows count
// as more, also where there is no limit.
func (c *counter) exceeds(most, estimate Use) string {
	if over(c.used.Tokens, c.reserved.Tokens, estimate.Tokens, most.Tokens) {
		return "tokens"
	}
	if over(c.used.Money, c.reserved.Money, estimate.Money, most.Money) {
		return "money"
	}
	return ""
}

// over tells whether the sum of a, b and n is more than most. A budget that is used up
// to its end takes nothing more, not even nothing: estimates can be 0.
func over(a, b, n, most int64) bool {
	if most == 0 {
		most = math.MaxInt64
	}
	left := most - a // all are at least 0
	if left <= 0 || b > left {
		return true
	}
	left -= b
	return left == 0 || n > left
}

// room makes room for n new counters by forgetting those whose window has passed. It
// looks through all of them at most once a minute.
func (m *Meter) room(n int, now time.Time) bool {
	minute := now.Truncate(time.Minute)
	if len(m.by)+n > m.most && minute.After(m.swept) {
		m.swept = minute
		for a, c := range m.by {
			if start, _ := m.budgets[a.budget].Window.start(now); c.reserved == (Use{}) && start.After(c.start) {
				delete(m.by, a)
			}
		}
	}
	return len(m.by)+n <= m.most
}

// Settle counts what was used in place of the estimate, also where it is more: the next
// call feels it. Usage that cannot be true counts as the estimate and is an error.
func (res *Reservation) Settle(used Use) error {
	if used.Tokens < 0 || used.Money < 0 {
		res.Keep()
		return protocol.Errorf(protocol.ExitDenied, "llm_budget_count", "a provider told a negative usage; the estimate was counted").
			WithHint("look at the provider: its usage cannot be true")
	}
	if res.settle(used) {
		return protocol.Errorf(protocol.ExitDenied, "llm_budget_overflow", "what a budget has used is more than can be counted; it allows nothing more in this window").
			WithHint("look at the provider: its usage cannot be true")
	}
	return nil
}

// Keep counts the estimate: the usage is not known, as after a stream that broke off.
func (res *Reservation) Keep() { res.settle(res.estimate) }

// Cancel counts nothing: the call was never sent.
func (res *Reservation) Cancel() { res.settle(Use{}) }

// settle tells whether a count ran over.
func (res *Reservation) settle(used Use) (overflow bool) {
	m := res.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if res.done {
		return false
	}
	res.done = true
	now := m.now()
	for _, a := range res.accounts {
		c := m.by[a] // a counter with something reserved stays
		if c == nil {
			c = &counter{}
			m.by[a] = c
		} else {
			c.reserved.Tokens = max(0, c.reserved.Tokens-res.estimate.Tokens)
			c.reserved.Money = max(0, c.reserved.Money-res.estimate.Money)
		}
		c.roll(m.budgets[a.budget].Window, now)
		var tokens, money bool
		c.used.Tokens, tokens = add(c.used.Tokens, used.Tokens)
		c.used.Money, money = add(c.used.Money, used.Money)
		overflow = overflow || tokens || money
	}
	return overflow
}

// add stops at the largest number, so that what ran over allows nothing more.
func add(a, b int64) (sum int64, overflow bool) {
	if b > math.MaxInt64-a {
		return math.MaxInt64, true
	}
	return a + b, false
}

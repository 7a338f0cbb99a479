package cli

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/cabincrew/action/gateways/identity"
	"github.com/cabincrew/action/gateways/llm"
	"github.com/cabincrew/action/gateways/llm/route"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
)

// llmCallers knows who may call, and what they may use.
type llmCallers struct {
	gate *identity.Gate
	keys []llmKey
	now  func() time.Time
}

// llmKey is a virtual key: its digest, and who calls with it.
type llmKey struct {
	sum    [sha256.Size]byte
	caller llm.Caller
	of     *config.LLMKey
}

// llmCallersOf gives the callers of a configuration. What keys used so far stays with the
// budgets and rates that did not change.
func llmCallersOf(g *config.LLMGateway, gate *identity.Gate, used *llmUsed, now func() time.Time) (*llmCallers, error) {
	out := &llmCallers{gate: gate, now: now}
	for i := range g.Keys {
		k := &g.Keys[i]
		sum, err := hex.DecodeString(k.SHA256)
		if err != nil || len(sum) != sha256.Size {
			return nil, usageError("gateway_clients", "the digest of the key %s is no SHA-256 in hex", k.Name).At(k.Where).WithHint("printf %%s KEY | sha256sum")
		}
		key := llmKey{sum: [sha256.Size]byte(sum), of: k, caller: llm.Caller{
			Name: "key:" + k.Name, Key: k.Name, Workflow: k.Workflow, Scope: route.Scope{Providers: k.Providers, Models: k.Models},
		}}
		if k.Budget != nil {
			if key.caller.Budget, err = used.meter(llmMeter{*k.Budget, k.Name}, now); err != nil {
				return nil, err
			}
		}
		if k.Rate > 0 {
			key.caller.Rate = used.pace(k.Name, k.Rate).take
		}
		out.keys = append(out.keys, key)
	}
	return out, nil
}

// caller says who calls. A virtual key comes in the header that the client's API has for
// keys: Authorization, x-api-key (Anthropic's form) or api-key (Azure's).
func (c *llmCallers) caller(req *http.Request) (llm.Caller, error) {
	req = asBearer(req)
	if value, ok := bearerOf(req); ok && len(c.keys) > 0 {
		if k := c.find(value); k != nil {
			if k.of.Expired(c.now()) {
				return llm.Caller{}, &llm.UnauthorizedError{Status: http.StatusUnauthorized, Challenge: `Bearer error="invalid_token"`, Why: "the key has expired"}
			}
			return k.caller, nil
		}
	}
	if len(c.keys) > 0 && c.gate.Open() {
		return llm.Caller{}, &llm.UnauthorizedError{Status: http.StatusUnauthorized, Challenge: "Bearer", Why: "the key is not known"}
	}
	name, err := c.gate.Authenticate(req, "")
	if refused, ok := err.(*identity.Refusal); ok { //nolint:errorlint // it is never wrapped
		return llm.Caller{}, &llm.UnauthorizedError{Status: refused.Status, Challenge: refused.Challenge, Why: refused.Why}
	}
	return llm.Caller{Name: name}, err
}

// find compares with every key, so that the time taken says nothing of any.
func (c *llmCallers) find(value string) *llmKey {
	sum := sha256.Sum256([]byte(value))
	var found *llmKey
	for i := range c.keys {
		if subtle.ConstantTimeCompare(sum[:], c.keys[i].sum[:]) == 1 {
			found = &c.keys[i]
		}
	}
	return found
}

// asBearer puts a key of another header where bearer tokens stand.
func asBearer(req *http.Request) *http.Request {
	if len(req.Header.Values("Authorization")) > 0 {
		return req
	}
	for _, name := range []string{"X-Api-Key", "Api-Key"} {
		if list := req.Header.Values(name); len(list) == 1 && list[0] != "" {
			with := *req
			with.Header = req.Header.Clone()
			with.Header.Set("Authorization", "Bearer "+list[0])
			return &with
		}
	}
	return req
}

func bearerOf(req *http.Request) (string, bool) {
	list := req.Header.Values("Authorization")
	if len(list) != 1 {
		return "", false
	}
	scheme, value, _ := strings.Cut(list[0], " ")
	return value, strings.EqualFold(scheme, "Bearer") && value != "" && len(value) <= limits.IdentityToken
}

// llmUsed is what was used of budgets and rates. It outlives a configuration, so that to
// read it again gives nothing back.
type llmUsed struct {
	mu     sync.Mutex
	meters map[llmMeter]*route.Meter
	paces  map[llmPace]*pace
}

// llmMeter is a budget, and whose own it is: the same budget of all and of a key are two.
type llmMeter struct {
	config.LLMBudget
	key string
}

type llmPace struct {
	key  string
	most int64
}

func newLLMUsed() *llmUsed {
	return &llmUsed{meters: map[llmMeter]*route.Meter{}, paces: map[llmPace]*pace{}}
}

// meter gives the meter of a budget.
func (u *llmUsed) meter(b llmMeter, now func() time.Time) (*route.Meter, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if m := u.meters[b]; m != nil {
		return m, nil
	}
	m, err := route.NewMeter([]route.Budget{{
		By: route.Dimension(b.By), Subject: b.Subject, Window: route.Window(b.Window), Most: route.Use{Tokens: b.Tokens, Money: b.Money},
	}}, 0, now)
	if err == nil {
		u.meters[b] = m
	}
	return m, err
}

func (u *llmUsed) pace(key string, most int64) *pace {
	u.mu.Lock()
	defer u.mu.Unlock()
	at := llmPace{key, most}
	if u.paces[at] == nil {
		u.paces[at] = &pace{most: most}
	}
	return u.paces[at]
}

// pace lets so many calls through in a minute. What was not used of the last minute may
// be used at once.
type pace struct {
	most int64

	mu   sync.Mutex
	full time.Time // when nothing of the minute will be used any more
}

// take counts a call, or says how long it must wait.
func (p *pace) take(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	each := time.Minute / time.Duration(p.most)
	full := p.full
	if full.Before(now) {
		full = now
	}
	if late := now.Add(time.Minute); full.After(late) { // the clock was set back
		full = late
	}
	full = full.Add(each)
	if rest := full.Sub(now) - time.Minute; rest > 0 {
		return rest
	}
	p.full = full
	return 0
}

package llm

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/llm/route"
	"github.com/cabincrew/action/gateways/llm/upstream"
	"github.com/cabincrew/action/gateways/llm/wire"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Upstream sends calls to one provider. upstream.Client is one.
type Upstream interface {
	Do(ctx context.Context, c upstream.Call) (*upstream.Answer, error)
}

// Found is a secret in a text that comes in pieces: where it stands, and what it is.
type Found struct {
	From, To          int64
	Rule, Fingerprint string
}

// Search looks for secrets in a text that comes in pieces. Feed says how many bytes from
// its beginning may be given on, and what was found before them.
type Search interface {
	Feed(ctx context.Context, piece []byte) (released int64, found []Found, err error)
	End(ctx context.Context) (found []Found, err error)
}

// Caller is who calls.
type Caller struct {
	Name     string // for people, policies and the record
	Key      string // the id of the virtual key; "" for none
	Workflow string
	Scope    route.Scope
	Budget   *route.Meter // of the key; nil: none
	// Rate counts a call, or says how long the caller must wait; nil: it need not.
	Rate func(now time.Time) time.Duration
}

// UnauthorizedError says that a client may not come in.
type UnauthorizedError struct {
	Status    int
	Challenge string
	Why       string
}

func (u *UnauthorizedError) Error() string { return u.Why }

// What is done about a secret in an answer.
const (
	SecretsDeny   = "deny"
	SecretsRedact = "redact"
	SecretsWarn   = "warn"
)

// Options are what a Gateway needs.
type Options struct {
	Router    *route.Router
	Retry     route.Retry
	Meters    []*route.Meter // budgets over all callers
	Providers map[string]Upstream
	// Order of the providers, for what is not about one model.
	Order []string
	// Judge judges requests and whole answers.
	Judge gateways.Judge
	// Said judges answers whose texts Search went through already; Judge if nil.
	Said gateways.Judge
	// Search looks for secrets in what streams; nil for none.
	Search func() Search
	// Secrets says what is done about those that Search finds.
	Secrets string

	Trail          gateways.Trail
	Tally          *gateways.Tally
	Holds          gateways.Holds // nil: nobody can approve
	Role           string         // that approves where policies name none
	GovernanceHash string
	Environment    string // local or ci, for policies to read

	// Authenticate says who calls; nil: nobody is asked.
	Authenticate func(*http.Request) (Caller, error)
	// Windows judges parts of what streams before they are given on, for judges that read
	// meaning; nil: nobody does.
	Windows gateways.Judge
	// Shape is what is changed of requests before they are judged.
	Shape Shape
	// Safer is the model that is asked again where an answer was denied before the client
	// saw any of it; "": none is.
	Safer string
	// Cache keeps whole answers for requests that are the same; nil: none are.
	Cache *Cache
	// Whole holds streams until all of their answer was judged.
	Whole bool
	// Idempotent says that to do a call twice is harmless.
	Idempotent bool

	Body, Answer int64         // bytes; 0: limits
	Hold         time.Duration // 0: limits
	Total        time.Duration // of one call with all attempts; 0: limits
	Concurrent   int           // calls at once; 0: limits
	Now          func() time.Time
	NewID        func() string
	Log          *slog.Logger
	Observe      func(Observation)
}

// Observation is what became of one call, for those who measure.
type Observation struct {
	ID, Format, Model, Routed, Provider, Principal string
	Decision                                       protocol.Decision
	Outcome, Code                                  string // Code is why the door refused
	Status                                         int
	Stream                                         bool
	Input, Output, Cost                            int64
	Took, FirstByte                                time.Duration
}

// Gateway serves calls of models. It is safe for concurrent use.
type Gateway struct {
	o        Options
	under    atomic.Int64
	streamed atomic.Int64 // bytes that streams under way have had
	requests *semaphore.Weighted
	answers  *semaphore.Weighted
	over     context.Context // ends when the gateway stops
	stop     context.CancelFunc
}

var _ http.Handler = (*Gateway)(nil)

// New checks the options.
func New(o Options) (*Gateway, error) {
	if o.Router == nil || o.Judge == nil || o.Trail == nil || o.Now == nil || o.NewID == nil || len(o.Providers) == 0 {
		return nil, errors.New("a gateway needs a router, a judge, a trail, a clock, ids and providers")
	}
	if o.Said == nil {
		o.Said = o.Judge
	}
	if o.Secrets == "" {
		o.Secrets = SecretsDeny
	}
	o.Body, o.Answer = orLimit(o.Body, limits.LLMBody), orLimit(o.Answer, limits.LLMAnswer)
	if o.Hold <= 0 {
		o.Hold = limits.GatewayHold
	}
	if o.Total <= 0 {
		o.Total = limits.LLMTotal
	}
	if o.Concurrent <= 0 {
		o.Concurrent = limits.LLMConcurrent
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	in := newPool()
	o.Judge, o.Said = pooled{o.Judge, in}, pooled{o.Said, in}
	if o.Windows != nil {
		o.Windows = pooled{o.Windows, in}
	}
	over, stop := context.WithCancel(context.Background())
	return &Gateway{o: o, over: over, stop: stop, requests: semaphore.NewWeighted(limits.LLMRoom), answers: semaphore.NewWeighted(limits.LLMRoom)}, nil
}

func orLimit(n, limit int64) int64 {
	if n <= 0 {
		return limit
	}
	return n
}

// Under is how many calls are under way.
func (g *Gateway) Under() int64 { return g.under.Load() }

// Stop ends all calls that are under way: their clients are told of it in the form of
// their answers. Calls that come later are refused.
func (g *Gateway) Stop() { g.stop() }

// ServeHTTP serves one call.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := g.under.Add(1)
	defer g.under.Add(-1)
	format, ok := wire.EndpointOf(r.Method, r.URL.Path)
	if !ok {
		g.door(w, r, "", Caller{}, http.StatusNotFound, "unknown_endpoint", "the gateway does not serve this endpoint: it could not judge what goes there")
		return
	}
	var who Caller
	if g.o.Authenticate != nil {
		var err error
		if who, err = g.o.Authenticate(r); err != nil {
			g.unauthorized(w, r, format, err)
			return
		}
	}
	if who.Rate != nil {
		if rest := who.Rate(g.o.Now()); rest > 0 {
			w.Header().Set("Retry-After", strconv.FormatInt(int64((rest+time.Second-1)/time.Second), 10))
			g.door(w, r, format, who, http.StatusTooManyRequests, "key_rate", "the key's requests of this minute are used up")
			return
		}
	}
	if n > int64(g.o.Concurrent) {
		w.Header().Set("Retry-After", "1")
		g.door(w, r, format, who, http.StatusTooManyRequests, "gateway_busy", "too many calls are under way")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), g.o.Total+g.o.Hold)
	defer cancel()
	defer context.AfterFunc(g.over, cancel)() // not any more, once it is served
	x := &exchange{g: g, w: w, r: r, ctx: ctx, cancel: cancel, who: who, format: format, at: g.o.Now(), id: g.o.NewID()}
	defer x.done()
	x.serve()
}

// unauthorized refuses who may not come in.
func (g *Gateway) unauthorized(w http.ResponseWriter, r *http.Request, f wire.Format, err error) {
	status := http.StatusUnauthorized
	var u *UnauthorizedError
	if errors.As(err, &u) {
		if u.Status != 0 {
			status = u.Status
		}
		if u.Challenge != "" {
			w.Header().Set("WWW-Authenticate", u.Challenge)
		}
	}
	g.door(w, r, f, Caller{}, status, "invalid_api_key", "the client did not say who it is, or may not come in: give a key of the gateway")
}

var errTooLarge = errors.New("the body is larger than the limit")

package front

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// HTTPOptions make a door. Zero values are the bounds of package limits.
type HTTPOptions struct {
	// Open opens sessions: the next link of the chain.
	Open link.Opener
	// Auth says who clients are; nil means that everybody is Local.
	Auth Authenticator
	// MessagePath is where the older form's clients send their messages; see Older.
	MessagePath string

	MessageBytes int           // of one message or batch of a client
	Sessions     int           // that are open at the same time
	SessionsEach int           // of them, of one client
	Idle         time.Duration // after which a session ends

	// Refused hears of what the door itself refuses; may be nil.
	Refused func(Refusal)

	Log    *slog.Logger     // nil: nothing is logged
	Now    func() time.Time // nil: the system's clock
	Random io.Reader        // nil: the system's
}

// Door serves one endpoint to clients over HTTP.
type Door struct {
	o        HTTPOptions
	binder   binder
	sessions *sessions
	held     atomic.Int64 // bytes of bodies and of large events in memory
	waits    waits
	ends     sync.WaitGroup // sessions that end beside any request

	sharing sync.Mutex
	shares  map[string]int64 // of held, by principal

	mu    sync.Mutex
	sweep *time.Timer // nil while no session is open
	done  bool
}

// waits are how long the door waits for clients; tests wait less.
type waits struct{ body, write, silent, head, over time.Duration }

func patient() waits {
	return waits{limits.MCPFrontBodyTimeout, limits.MCPFrontWriteTimeout, limits.MCPFrontKeepAlive, limits.MCPFrontHead, limits.MCPFrontOver}
}

// longer is how long a client may take to read so many bytes.
func (w waits) longer(n int) time.Duration {
	return w.write + time.Duration(n/limits.MCPFrontWriteRate)*time.Second
}

// NewHTTP returns the handler for one endpoint: streamable HTTP. The older form of
// HTTP with SSE has two handlers more, see Older. Wrap it all with Guarded.
func NewHTTP(o HTTPOptions) (*Door, error) {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&o.MessageBytes, limits.MCPFrontMessage)
	def(&o.Sessions, limits.MCPFrontSessions)
	def(&o.SessionsEach, limits.MCPFrontSessionsEach)
	if o.Idle <= 0 {
		o.Idle = limits.MCPFrontIdle
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	key := make([]byte, 32)
	if _, err := io.ReadFull(o.Random, key); err != nil {
		return nil, err
	}
	return &Door{o: o, binder: binder{key}, waits: patient(), sessions: &sessions{
		all: o.Sessions, each: o.SessionsEach, random: o.Random, now: o.Now,
		byID: map[string]*session{}, shared: map[string]*shared{}, count: map[string]int{},
	}}, nil
}

// ServeHTTP serves streamable HTTP.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.serve(w, r, "GET, POST, DELETE", map[string]handler{
		http.MethodPost:   d.post,
		http.MethodGet:    d.listen,
		http.MethodDelete: d.delete,
	})
}

// handler answers the request of a principal.
type handler func(w http.ResponseWriter, r *http.Request, principal string)

func (d *Door) serve(w http.ResponseWriter, r *http.Request, allow string, by map[string]handler) {
	track := &written{ResponseWriter: w}
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler: //nolint:errorlint // the very value that net/http knows
			abort()
		default:
			d.o.Log.Error("a request of a client failed", "panic", v, "stack", string(debug.Stack()))
			if !track.begun {
				refuse(track, http.StatusInternalServerError, noID, codeUnjudged, "the gateway failed", nil)
				return
			}
			abort() // an answer that is cut off must not look whole
		}
	}()
	h := by[r.Method]
	if h == nil {
		tell(d.o.Refused, r, "", ReasonMethod)
		track.Header().Set("Allow", allow)
		refuse(track, http.StatusMethodNotAllowed, noID, codeRefused, "method not allowed", nil)
		return
	}
	if principal, ok := d.authenticate(track, r); ok {
		h(track, r, principal)
	}
}

// abort ends a handler so that the client sees that its answer is not whole.
func abort() {
	panic(http.ErrAbortHandler) //nolint:forbidigo // that is how net/http is told
}

// written knows whether an answer was begun.
type written struct {
	http.ResponseWriter

	begun bool
}

func (w *written) WriteHeader(status int) {
	w.begun = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *written) Write(b []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *written) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Sessions is how many sessions are open.
func (d *Door) Sessions() int {
	d.sessions.mu.Lock()
	defer d.sessions.mu.Unlock()
	return d.sessions.total
}

// Close ends all sessions, breaks off their requests and lets nobody in any more. It
// waits until idle sessions ended at the server's side, or until ctx ends; those with
// requests end with them. So it comes before http.Server.Shutdown, which waits for these.
func (d *Door) Close(ctx context.Context) error {
	d.mu.Lock()
	d.done = true
	if d.sweep != nil {
		d.sweep.Stop()
	}
	d.mu.Unlock()
	for _, s := range d.sessions.close() {
		d.ends.Go(func() { d.sessions.remove(s) })
	}
	over := make(chan struct{})
	go func() { d.ends.Wait(); close(over) }()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watch sees to it that idle sessions end. There is one timer for all of them, and none
// while no session is open.
func (d *Door) watch() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sweep == nil && !d.done {
		d.sweep = time.AfterFunc(d.o.Idle/4+time.Millisecond, d.swept)
	}
}

func (d *Door) swept() {
	d.endIdle()
	open := d.Sessions() > 0
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep = nil
	if open && !d.done {
		d.sweep = time.AfterFunc(d.o.Idle/4+time.Millisecond, d.swept)
	}
}

// endIdle ends the sessions that nobody used for too long.
func (d *Door) endIdle() {
	stale := d.sessions.stale(d.o.Now().Add(-d.o.Idle))
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range stale {
		if !d.done { // else Close ends them
			d.ends.Go(func() { d.sessions.remove(s) })
		}
	}
}

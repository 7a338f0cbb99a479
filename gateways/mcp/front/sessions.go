package front

import (
	"context"
	"crypto/subtle"
	"encoding/base32"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// session is one client's session with a server. An idle one has no goroutine.
type session struct {
	id        string
	principal string
	server    link.Server
	most      int    // requests and streams at the same time
	older     *older // of the older form; else nil

	ctx    context.Context // ends when the session ends
	cancel context.CancelFunc

	mu       sync.Mutex
	revision jsonrpc.Revision // what was negotiated; "" before that
	busy     int
	used     time.Time // when the last request or stream ended
	gone     bool      // nobody may enter
	ended    bool
}

// enter begins a request; leave ends it.
func (s *session) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gone:
		return errNoSession()
	case s.busy >= s.most:
		return no(http.StatusTooManyRequests, codeTooMuch, "too many requests of this session at the same time")
	}
	s.busy++
	return nil
}

func (s *session) leave(now time.Time) {
	s.mu.Lock()
	s.busy--
	s.used = now
	end := s.gone && s.busy == 0 && !s.ended
	s.ended = s.ended || end
	s.mu.Unlock()
	if end {
		s.end()
	}
}

// drop lets nobody enter any more and breaks off who is in; the last to leave ends the
// session at the server's side.
func (s *session) drop() {
	s.mu.Lock()
	s.gone = true
	end := s.busy == 0 && !s.ended
	s.ended = s.ended || end
	s.mu.Unlock()
	s.cancel()
	if end {
		s.end()
	}
}

// end ends the session at the server's side. What it says is of no use to the client.
func (s *session) end() {
	s.cancel()
	if s.server == nil {
		return
	}
	if s.older != nil {
		s.older.p.all.Wait() // they hold the server
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), limits.MCPFrontEnd)
	defer cancel()
	_ = s.server.End(ctx)
}

// negotiated tells which revision the two ends speak; "" before they agreed.
func (s *session) negotiated() jsonrpc.Revision {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revision
}

func (s *session) agree(r jsonrpc.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.revision == "" {
		s.revision = r
	}
}

// retire lets nobody enter any more if nothing of the session is open since before then.
func (s *session) retire(before time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = s.gone || s.busy == 0 && s.used.Before(before)
	return s.gone
}

// sessions are all sessions of one door.
type sessions struct {
	all, each int // bounds
	random    io.Reader
	now       func() time.Time

	mu     sync.Mutex
	byID   map[string]*session
	shared map[string]*shared // by principal, of clients whose revision has no sessions
	count  map[string]int     // by principal
	total  int
	closed bool
}

// shared is the session of all requests of a client whose revision has no sessions.
type shared struct {
	ready chan struct{} // closed when s or err is there
	s     *session
	err   error
}

func errClosed() error {
	return no(http.StatusServiceUnavailable, codeDown, "the gateway shuts down")
}

func errEnded() error {
	return no(http.StatusServiceUnavailable, codeDown, "the session was ended before the answer")
}

func errNoSession() error {
	return no(http.StatusNotFound, codeNoSession, "session not found")
}

// reserve makes room for one session more.
func (t *sessions) reserve(principal string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reserveLocked(principal)
}

func (t *sessions) reserveLocked(principal string) error {
	switch {
	case t.closed:
		return errClosed()
	case t.total >= t.all:
		return no(http.StatusServiceUnavailable, codeTooMuch, "too many sessions are open")
	case t.count[principal] >= t.each:
		return no(http.StatusTooManyRequests, codeTooMuch, "too many sessions of this client are open")
	}
	t.total++
	t.count[principal]++
	return nil
}

func (t *sessions) release(principal string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.releaseLocked(principal)
}

func (t *sessions) releaseLocked(principal string) {
	t.total--
	if t.count[principal]--; t.count[principal] <= 0 {
		delete(t.count, principal)
	}
}

// make returns a session without a server, entered once.
func (t *sessions) make(principal, id string, most int) *session {
	ctx, cancel := context.WithCancel(context.Background())
	return &session{id: id, principal: principal, most: most, ctx: ctx, cancel: cancel, busy: 1, used: t.now()}
}

// put shows the session to clients.
func (t *sessions) put(s *session) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errClosed()
	}
	t.byID[s.id] = s
	return nil
}

// get returns a session of this principal, entered once. Of what is not theirs clients
// learn nothing, not even that it is there.
func (t *sessions) get(id, principal string, older bool) (*session, error) {
	if len(id) > limits.MCPFrontSessionID {
		return nil, errNoSession()
	}
	t.mu.Lock()
	s := t.byID[id]
	t.mu.Unlock()
	if s == nil || older != (s.older != nil) || subtle.ConstantTimeCompare([]byte(s.principal), []byte(principal)) != 1 {
		return nil, errNoSession()
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	return s, nil
}

// remove forgets a session and ends it.
func (t *sessions) remove(s *session) {
	t.forget(s)
	s.drop()
}

// forget lets nobody find a session any more.
func (t *sessions) forget(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[s.id] == s {
		delete(t.byID, s.id)
		t.releaseLocked(s.principal)
	}
	if h := t.shared[s.principal]; h != nil && h.s == s {
		delete(t.shared, s.principal)
		t.releaseLocked(s.principal)
	}
}

// stale returns the sessions that nobody used since before, and lets nobody enter them.
func (t *sessions) stale(before time.Time) []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	var old []*session
	for _, s := range t.byID {
		if s.retire(before) {
			old = append(old, s)
		}
	}
	for _, h := range t.shared {
		if h.s != nil && h.s.retire(before) {
			old = append(old, h.s)
		}
	}
	return old
}

// close lets nobody in and returns the sessions that are open.
func (t *sessions) close() []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	open := make([]*session, 0, len(t.byID)+len(t.shared))
	for _, s := range t.byID {
		open = append(open, s)
	}
	for _, h := range t.shared {
		if h.s != nil {
			open = append(open, h.s)
		}
	}
	return open
}

// name returns a new random name: 160 bits.
func (t *sessions) name() (string, error) {
	raw := make([]byte, 20)
	if _, err := io.ReadFull(t.random, raw); err != nil {
		return "", err
	}
	return base32.StdEncoding.EncodeToString(raw), nil
}

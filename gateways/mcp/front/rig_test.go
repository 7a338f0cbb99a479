package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
)

// fake is an opener and a server in one: what stands behind the door in tests.
type fake struct {
	mu       sync.Mutex
	opened   []link.Session
	ended    []string
	calls    []link.Call
	headers  []http.Header // of Listen
	open     func(link.Session) error
	send     func(ctx context.Context, s link.Session, c link.Call) (*link.Answer, error)
	onListen func(ctx context.Context, header http.Header) (*link.Answer, error)
}

type fakeServer struct {
	f *fake
	s link.Session
}

func (f *fake) Open(_ context.Context, s link.Session) (link.Server, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open != nil {
		if err := f.open(s); err != nil {
			return nil, err
		}
	}
	f.opened = append(f.opened, s)
	return &fakeServer{f, s}, nil
}

func (s *fakeServer) Send(ctx context.Context, c link.Call) (*link.Answer, error) {
	s.f.mu.Lock()
	s.f.calls = append(s.f.calls, c)
	s.f.mu.Unlock()
	if c.Message.Method == "initialize" {
		value, _ := jsonrpc.Lookup(c.Message.Params, "protocolVersion")
		return said(c, `{"protocolVersion":`+string(value)+`,"capabilities":{}}`), nil
	}
	if s.f.send != nil {
		return s.f.send(ctx, s.s, c)
	}
	return said(c, `{}`), nil
}

// said is a plain answer.
func said(c link.Call, result string) *link.Answer {
	if c.Message.Kind != jsonrpc.Request {
		return &link.Answer{Status: http.StatusAccepted}
	}
	return &link.Answer{Status: http.StatusOK, Header: http.Header{"Content-Type": {contentJSON}}, Body: jsonrpc.NewResult(c.Message.ID, []byte(result))}
}

func (s *fakeServer) Listen(ctx context.Context, header http.Header) (*link.Answer, error) {
	s.f.mu.Lock()
	s.f.headers = append(s.f.headers, header)
	s.f.mu.Unlock()
	if s.f.onListen != nil {
		return s.f.onListen(ctx, header)
	}
	return &link.Answer{Status: http.StatusMethodNotAllowed, Header: http.Header{"Allow": {"POST"}}}, nil
}

func (s *fakeServer) End(context.Context) error {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.f.ended = append(s.f.ended, s.s.ID)
	return nil
}

func (f *fake) count() (opened, ended, calls int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.opened), len(f.ended), len(f.calls)
}

func (f *fake) last() link.Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[len(f.calls)-1]
}

// listed is a stream of the events given, and then of err (or, with nil, of silence).
type listed struct {
	events []link.Event
	err    error
	closed chan struct{}
	once   sync.Once
}

func feed(err error, evs ...link.Event) *listed {
	return &listed{events: evs, err: err, closed: make(chan struct{})}
}

func (l *listed) Next(ctx context.Context) (link.Event, error) {
	if len(l.events) > 0 {
		ev := l.events[0]
		l.events = l.events[1:]
		return ev, nil
	}
	if l.err != nil {
		return link.Event{}, l.err
	}
	<-ctx.Done()
	return link.Event{}, ctx.Err()
}

func (l *listed) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// byToken takes the bearer token for the name.
type byToken struct{}

func (byToken) Authenticate(r *http.Request) (Principal, error) {
	name, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return Principal{}, &Unauthorized{Challenge: `Bearer resource_metadata="https://gw.example/.well-known/oauth-protected-resource"`, Why: "a token is needed"}
	}
	if name == "secret-internals" {
		return Principal{}, errors.New("token secret-internals is bad")
	}
	return Principal{Name: name}, nil
}

// rig is a door on a real listener.
type rig struct {
	t    testing.TB
	door *Door
	fake *fake
	srv  *httptest.Server
}

func newRig(t testing.TB, o HTTPOptions, f *fake) *rig {
	t.Helper()
	if f == nil {
		f = &fake{}
	}
	o.Open = f
	o.MessagePath = "/message"
	door, err := NewHTTP(o)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	stream, messages := door.Older()
	mux.Handle("/mcp", door)
	mux.Handle("/sse", stream)
	mux.Handle("/message", messages)
	r := &rig{t, door, f, httptest.NewServer(Guarded(mux, HostPolicy{Hosts: []string{"gw.example"}, Origins: []string{"https://app.example"}}))}
	t.Cleanup(r.close)
	return r
}

func (r *rig) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := r.door.Close(ctx); err != nil {
		r.t.Errorf("close: %v", err)
	}
	r.srv.Close()
}

// do sends a request; header pairs with "" remove what is there by default.
func (r *rig) do(method, path, body string, header ...string) *http.Response {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.srv.URL+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", contentJSON)
		req.Header.Set("Accept", "application/json, text/event-stream")
	} else {
		req.Body, req.ContentLength = nil, 0
		req.Header.Set("Accept", contentEvents)
	}
	for i := 0; i+1 < len(header); i += 2 {
		switch {
		case header[i] == "Host":
			req.Host = header[i+1]
		case header[i+1] == "":
			req.Header.Del(header[i])
		default:
			req.Header.Set(header[i], header[i+1])
		}
	}
	resp, err := r.srv.Client().Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// want sends a request and checks the status and a part of the body.
func (r *rig) want(status int, part, method, path, body string, header ...string) *http.Response {
	r.t.Helper()
	resp := r.do(method, path, body, header...)
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		r.t.Fatal(err)
	}
	if resp.StatusCode != status || !strings.Contains(string(text), part) {
		r.t.Errorf("%s %s %.100s %q: %d %s, want %d with %s", method, path, body, header, resp.StatusCode, text, status, part)
	}
	return resp
}

func initialize(revision string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":%q,"capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`, revision)
}

// session opens one and returns its id.
func (r *rig) session(header ...string) string {
	r.t.Helper()
	resp := r.want(http.StatusOK, `"protocolVersion":"2025-11-25"`, http.MethodPost, "/mcp", initialize("2025-11-25"), header...)
	id := resp.Header.Get(headerSession)
	if len(id) < 26 {
		r.t.Fatalf("session id %q", id)
	}
	return id
}

// settled waits until nothing more runs than before.
func settled(t *testing.T, before int) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before {
		buf := make([]byte, 1<<16)
		t.Errorf("%d goroutines, %d before:\n%s", n, before, buf[:runtime.Stack(buf, true)])
	}
}

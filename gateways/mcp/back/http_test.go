package back

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
)

// message scans what a client sends.
func message(t testing.TB, raw string) jsonrpc.Message {
	t.Helper()
	m, err := jsonrpc.Scan([]byte(raw), jsonrpc.Options{Batch: true})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func callOf(t testing.TB, raw string) link.Call {
	t.Helper()
	return link.Call{Message: message(t, raw)}
}

const ask = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo"}}`

// serve starts a server and opens a session with it.
func serve(t testing.TB, o HTTPOptions, handler http.HandlerFunc) link.Server {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // or the server does not notice that the client is gone
		r.Body = io.NopCloser(bytes.NewReader(body))
		handler(w, r)
	}))
	t.Cleanup(srv.Close)
	o.Name, o.URL = "far", srv.URL+"/mcp"
	h, err := NewHTTP(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	s, err := h.Open(t.Context(), link.Session{ID: "s", Principal: "local"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// isDown says whether an error is the right one, and what it says.
func isDown(t testing.TB, err error, says string) {
	t.Helper()
	var d *link.Down
	if !errors.As(err, &d) || !strings.Contains(d.Why, says) {
		t.Errorf("%v: want that the server is down since it %q", err, says)
	}
}

func TestHTTPSession(t *testing.T) {
	t.Parallel()
	var ended bool
	s := serve(t, HTTPOptions{Headers: func(context.Context) (http.Header, error) {
		return http.Header{"authorization": {"Bearer own"}}, nil
	}}, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "Bearer own" || r.Header.Get("Accept-Encoding") != "identity" || r.Header.Get("Cookie") != "" || r.Header.Get("X-Foreign") != "" {
			t.Errorf("header %v", r.Header)
		}
		initializes := strings.Contains(string(body), `"initialize"`)
		if id := r.Header.Get("Mcp-Session-Id"); (id == "theirs") == initializes {
			t.Errorf("%s %s: session %q", r.Method, body, id)
		}
		switch {
		case r.Method == http.MethodDelete:
			ended = true
			w.WriteHeader(http.StatusMethodNotAllowed)
		case r.Method == http.MethodGet:
			if r.Header.Get("Last-Event-ID") != "e1" || r.Header.Get("Accept") != "text/event-stream" {
				t.Errorf("header %v", r.Header)
			}
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "id: e2\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n")
		case initializes:
			w.Header().Set("Mcp-Session-Id", "theirs")
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18"}}`)
		case strings.Contains(string(body), "notifications/"):
			w.WriteHeader(http.StatusAccepted)
		default:
			if string(body) != ask || r.Header.Get("Mcp-Protocol-Version") != "2025-06-18" || r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: header %v", body, r.Header)
			}
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0", "id":7, "result":{}}`)
		}
	})
	ctx := t.Context()
	a, err := s.Send(ctx, callOf(t, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`))
	if err != nil || a.Status != 200 || a.Header.Get("Mcp-Session-Id") != "" {
		t.Fatalf("%+v, %v", a, err)
	}
	a, err = s.Send(ctx, callOf(t, `{"jsonrpc":"2.0","method":"notifications/initialized"}`))
	if err != nil || a.Status != 202 || a.Body != nil || a.Stream != nil {
		t.Fatalf("%+v, %v", a, err)
	}
	settled := 0
	c := callOf(t, ask)
	c.Sent = func() { settled++ }
	c.Header = http.Header{"Cookie": {"x"}, "Authorization": {"Bearer client"}, "X-Foreign": {"x"}, "Mcp-Session-Id": {"ours"}}
	a, err = s.Send(ctx, c)
	if err != nil || string(a.Body) != `{"jsonrpc":"2.0", "id":7, "result":{}}` || a.Header.Get("Content-Type") != "application/json" || settled != 1 {
		t.Fatalf("%+v, %v, settled %d times", a, err, settled)
	}
	a, err = s.Listen(ctx, http.Header{"Last-Event-Id": {"e1"}})
	if err != nil || a.Stream == nil {
		t.Fatalf("%+v, %v", a, err)
	}
	ev, err := a.Stream.Next(ctx)
	if err != nil || ev.ID != "e2" || !strings.Contains(string(ev.Data), "notifications/x") {
		t.Fatalf("%+v, %v", ev, err)
	}
	if _, err := a.Stream.Next(ctx); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if err := errors.Join(a.Stream.Close(), s.End(ctx)); err != nil || !ended {
		t.Fatal(err, ended)
	}
	if _, err := s.Send(ctx, callOf(t, ask)); err == nil {
		t.Error("a session that is over sends")
	}
}

func TestHTTPStream(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, stream, end string }{
		{"whole", "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n\n", ""},
		{"half", "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n", "before the answer was whole"},
		{"other", "data: {\"jsonrpc\":\"2.0\",\"id\":8,\"result\":{}}\n\n", "before the answer was whole"},
		{"resumable", "id: 1\ndata:\n\n", ""},
	} {
		s := serve(t, HTTPOptions{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range len(c.stream) {
				_, _ = io.WriteString(w, c.stream[i:i+1])
				if i%10 == 0 {
					w.(http.Flusher).Flush()
				}
			}
		})
		a, err := s.Send(t.Context(), callOf(t, ask))
		if err != nil || a.Stream == nil {
			t.Fatalf("%s: %+v, %v", c.name, a, err)
		}
		n := 0
		for err == nil {
			_, err = a.Stream.Next(t.Context())
			n++
		}
		if c.end == "" && !errors.Is(err, io.EOF) {
			t.Errorf("%s: after %d events: %v", c.name, n, err)
		}
		if c.end != "" {
			isDown(t, err, c.end)
		}
		_ = a.Stream.Close()
	}
}

func TestHTTPWaitingEnds(t *testing.T) {
	t.Parallel()
	goOn := make(chan bool)
	s := serve(t, HTTPOptions{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		<-goOn
		_, _ = io.WriteString(w, "data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n\n")
	})
	ctx, cancel := context.WithCancel(t.Context())
	a, err := s.Send(ctx, callOf(t, ask))
	if err != nil {
		t.Fatal(err)
	}
	cancel() // of Send: the stream goes on
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := a.Stream.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	close(goOn)
	if ev, err := a.Stream.Next(t.Context()); err != nil || len(ev.Data) == 0 {
		t.Fatalf("%+v, %v", ev, err)
	}
	_ = a.Stream.Close()
}

func TestHTTPRefuses(t *testing.T) {
	t.Parallel()
	put := func(name, value, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set(name, value)
			_, _ = io.WriteString(w, body)
		}
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://169.254.169.254/latest")
			w.WriteHeader(code)
		}
	}
	for _, c := range []struct {
		name, says string
		handler    http.HandlerFunc
	}{
		{"encoding", "content encoding", put("Content-Encoding", "gzip", "\x1f\x8b")},
		{"type", "content type", put("Content-Type", "text/html", "<html>")},
		{"no type", "content type", put("Content-Type", "", "{}")},
		{"large", "more than 1000 bytes", put("X", "x", strings.Repeat(" ", 1001))},
		{"large in pieces", "more than 1000 bytes", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for range 100 {
				_, _ = io.WriteString(w, strings.Repeat(" ", 100))
				w.(http.Flusher).Flush()
			}
		}},
		{"large event", "over a limit", put("Content-Type", "text/event-stream", "data: "+strings.Repeat("a", 1001)+"\n\n")},
		{"many events", "more than 3 events", put("Content-Type", "text/event-stream", strings.Repeat("data: a\n\n", 10))},
		{"endless comments", "more than 5000 bytes", put("Content-Type", "text/event-stream", strings.Repeat(": ping\n\n", 1000))},
		{"no answer", "no answer (HTTP 202)", status(202)},
		{"empty", "no answer (HTTP 200)", put("X", "x", "")},
		{"301", "HTTP 301 to 169.254.169.254", status(301)},
		{"302", "elsewhere", status(302)},
		{"307", "elsewhere", status(307)},
		{"308", "elsewhere", status(308)},
		{"401", "credentials", status(401)},
		{"407", "credentials", status(407)},
		{"silent", "did not answer within 200ms", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{"slow body", "did not answer within 200ms", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, "{")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}},
		{"quiet", "sent nothing for 50ms", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}},
		{"abort", "broke off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := Limits{MessageBytes: 1000, StreamEvents: 3, StreamBytes: 5000, AnswerTime: 200 * time.Millisecond, QuietTime: 50 * time.Millisecond}
			s := serve(t, HTTPOptions{Limits: l}, c.handler)
			a, err := s.Send(t.Context(), callOf(t, ask))
			for err == nil && a.Stream != nil {
				_, err = a.Stream.Next(t.Context())
			}
			isDown(t, err, c.says)
		})
	}
}

func TestHTTPPassesErrorsOn(t *testing.T) {
	t.Parallel()
	for _, code := range []int{400, 403, 404, 405, 429, 500, 503} {
		s := serve(t, HTTPOptions{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.WriteHeader(code)
			_, _ = fmt.Fprint(w, strings.Repeat("x", 20000))
		})
		a, err := s.Send(t.Context(), callOf(t, ask))
		if err != nil || a.Status != code || len(a.Body) != 16384 || a.Header.Get("Content-Type") != "text/plain; charset=utf-8" || len(a.Header) != 1 {
			t.Errorf("%d: %+v, %v", code, a, err)
		}
	}
}

func TestHTTPCallerLeaves(t *testing.T) {
	t.Parallel()
	arrived := make(chan bool)
	s := serve(t, HTTPOptions{}, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	if _, err := s.Send(ctx, callOf(t, ask)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestHTTPStreamTimes says that a stream which never gives the answer ends in time, that
// one which gave it has answered, and that what is no answer goes on.
func TestHTTPStreamTimes(t *testing.T) {
	t.Parallel()
	const word = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n"
	const answer = "data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n\n"
	most := 150 * time.Millisecond
	talks := func(first string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, first)
			for tick := time.NewTicker(time.Millisecond); r.Context().Err() == nil; <-tick.C {
				_, _ = io.WriteString(w, word)
				w.(http.Flusher).Flush()
			}
		}
	}
	for _, c := range []struct {
		name, raw, first string
		goesOn           bool
		says             string
	}{
		{name: "no answer", raw: ask, says: "took longer than 150ms"},
		{name: "notification", raw: `{"jsonrpc":"2.0","method":"notifications/y"}`, says: "took longer than 150ms"},
		{name: "answered", raw: ask, first: answer},
		{name: "subscription", raw: `{"jsonrpc":"2.0","id":7,"method":"subscriptions/listen"}`, goesOn: true},
		{name: "listen", goesOn: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, HTTPOptions{Limits: Limits{AnswerTime: most}}, talks(c.first))
			var a *link.Answer
			var err error
			began := time.Now()
			if c.raw == "" {
				a, err = s.Listen(t.Context(), nil)
			} else {
				a, err = s.Send(t.Context(), callOf(t, c.raw))
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = a.Stream.Close() }()
			for err == nil && time.Since(began) < 4*most {
				_, err = a.Stream.Next(t.Context())
			}
			switch {
			case c.goesOn && err != nil || c.says == "" && !c.goesOn && !errors.Is(err, io.EOF):
				t.Errorf("after %s: %v", time.Since(began), err)
			case c.says != "":
				isDown(t, err, c.says)
			}
		})
	}
}

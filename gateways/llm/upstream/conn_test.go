package upstream

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/limits"
)

// secureServer starts a provider with TLS and gives its authority.
func secureServer(t *testing.T, with func(*httptest.Server)) (url string, ca []byte, calls *atomic.Int64) {
	t.Helper()
	calls = new(atomic.Int64)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		_, _ = fmt.Fprint(w, r.Proto)
	}))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	with(s)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), calls
}

func TestTLS(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		server func(*httptest.Server)
		client func(*Options)
		reason Reason
	}{
		{"trusted", func(*httptest.Server) {}, func(*Options) {}, ""},
		{"1.2", func(s *httptest.Server) { s.TLS = &tls.Config{MaxVersion: tls.VersionTLS12} }, func(*Options) {}, ""},
		{"1.1", func(s *httptest.Server) {
			s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11} //nolint:gosec // it must be refused
		}, func(*Options) {}, TLS},
		{"unknown authority", func(*httptest.Server) {}, func(o *Options) { o.CA = nil }, TLS},
		{"another's name", func(*httptest.Server) {}, func(o *Options) { o.BaseURL = strings.Replace(o.BaseURL, "127.0.0.1", "localhost", 1) }, TLS},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u, ca, calls := secureServer(t, c.server)
			k := client(t, u, func(o *Options) { o.CA = ca }, c.client)
			_, text, err := whole(t, k, ask())
			if c.reason != "" {
				failed(t, err, c.reason, false)
				if calls.Load() != 0 {
					t.Error("the call arrived")
				}
			} else if err != nil || text != "HTTP/1.1" {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
}

// TestPlainBehindTLS says that a provider which speaks no TLS never sees the key.
func TestPlainBehindTLS(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	saw := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		all, _ := io.ReadAll(c)
		_ = c.Close()
		saw <- string(all)
	}()
	c := client(t, "https://"+l.Addr().String())
	_, _, err = whole(t, c, ask())
	failed(t, err, TLS, false)
	if s := <-saw; strings.Contains(s, secret) {
		t.Error("the key was sent in the clear")
	}
}

// TestSlowTLS says that a provider which never ends its handshake keeps a call only as
// long as its first byte may take, and that nothing was sent.
func TestSlowTLS(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c := client(t, "https://"+l.Addr().String(), func(o *Options) { o.FirstByte = 50 * time.Millisecond })
	_, _, err = whole(t, c, ask())
	failed(t, err, FirstByte, false)
}

// TestConnectionsAreKept says that calls one after another share a connection.
func TestConnectionsAreKept(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"small": "{}", "large": strings.Repeat(" ", 100_000)} {
		for _, secure := range []bool{false, true} {
			var conns atomic.Int64
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.(http.Flusher).Flush()
				_, _ = io.WriteString(w, "{}")
			}))
			s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					conns.Add(1)
				}
			}
			var ca []byte
			if !secure {
				s.Start()
			} else {
				s.StartTLS()
				ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
			}
			t.Cleanup(s.Close)
			c := client(t, s.URL, func(o *Options) { o.CA, o.MaxAnswer = ca, math.MaxInt64 })
			for range 50 {
				call := ask()
				call.Body = []byte(body)
				if _, _, err := whole(t, c, call); err != nil {
					t.Fatal(err)
				}
			}
			if n := conns.Load(); n != 1 {
				t.Errorf("%s, TLS %v: %d connections", name, secure, n)
			}
		}
	}
}

// TestNothingIsSentTwice says that where a provider closes connections that are kept, each
// call arrives once at most, and none arrives that is said not to have been sent.
func TestNothingIsSentTwice(t *testing.T) {
	t.Parallel()
	var arrived atomic.Int64
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				buf := make([]byte, 4096)
				if n, _ := c.Read(buf); n > 0 {
					arrived.Add(1)
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
				// The client thinks that it may go on here: this is the moment of the race.
				_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
				if n, _ := c.Read(buf); n > 0 {
					arrived.Add(1)
				}
				_ = c.Close()
			}()
		}
	}()
	c := client(t, "http://"+l.Addr().String())
	call := ask()
	call.Header = http.Header{"Idempotency-Key": {"once"}}
	var well, sent, not int64
	for i := range 2000 {
		_, _, err := whole(t, c, call)
		var f *Failure
		switch {
		case err == nil:
			well++
		case errors.As(err, &f) && f.Sent && f.Reason == Cut:
			sent++
		case errors.As(err, &f) && !f.Sent && f.Reason == Cut:
			not++
		default:
			t.Fatal(err)
		}
		if i%3 == 0 {
			time.Sleep(time.Duration(i%17) * 100 * time.Microsecond)
		}
	}
	if n := arrived.Load(); n > well+sent {
		t.Errorf("%d arrived of %d that went well and %d that were sent", n, well, sent)
	}
	t.Logf("%d went well, %d were sent in vain, %d were not sent", well, sent, not)
}

func TestIdempotencyKeysOfTenants(t *testing.T) {
	t.Parallel()
	got := make(chan []string, 1)
	c := client(t, serve(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header["Idempotency-Key"] }))
	seen := map[string]bool{}
	for _, tenant := range []string{"a", "b", "a"} {
		call := ask()
		call.Tenant, call.Header = tenant, http.Header{"Idempotency-Key": {"once"}}
		if _, _, err := whole(t, c, call); err != nil {
			t.Fatal(err)
		}
		keys := <-got
		if len(keys) != 1 || strings.Contains(keys[0], "once") {
			t.Fatal(keys)
		}
		seen[keys[0]] = true
	}
	if len(seen) != 2 {
		t.Errorf("%d keys of two tenants", len(seen))
	}
}

// TestEnvironmentIsNotAsked says that no proxy of the environment gets a call.
func TestEnvironmentIsNotAsked(t *testing.T) {
	t.Parallel()
	c := client(t, "https://example.com")
	if c.dialler(nil, "").transport().Proxy != nil {
		t.Error("there is a proxy")
	}
}

// TestIdleTimes says that connections are kept longer only to what is in the Internet.
func TestIdleTimes(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]time.Duration{
		"https://api.example.com/v1": limits.LLMUpstreamFarIdleTime, "https://vllm:8000": limits.LLMUpstreamIdleTime, "https://10.0.0.1": limits.LLMUpstreamIdleTime,
		"http://127.0.0.1:11434/v1": limits.LLMUpstreamIdleTime, "https://gpu.internal": limits.LLMUpstreamIdleTime,
	} {
		if got := client(t, url).dialler(nil, "").idleTime(); got != want {
			t.Errorf("%s: %s", url, got)
		}
	}
}

// TestLargeRequests says that a provider which answers before it has read all is heard.
func TestLargeRequests(t *testing.T) {
	t.Parallel()
	u := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_, _ = io.WriteString(w, "too large")
	})
	call := ask()
	call.Body = make([]byte, 64<<20)
	a, text, err := whole(t, client(t, u), call)
	var f *Failure
	if err != nil && (!errors.As(err, &f) || !f.Sent) || err == nil && (a.Status != 413 || text != "too large") {
		t.Errorf("%+v %q %v", a, text, err)
	}
}

// stacks gives the goroutines that run code of this package or of connections, but tests.
func stacks() []string {
	buf := make([]byte, 8<<20)
	var out []string
	for s := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(s, "net/http.(*persistConn)") || strings.Contains(s, "upstream.(*") {
			out = append(out, s)
		}
	}
	return out
}

// TestNothingIsLeft says that streams which are cut, stalled, reset, left or read leave no
// goroutine, no slot and no open connection.
func TestNothingIsLeft(t *testing.T) { //nolint:paralleltest // it counts goroutines
	var n atomic.Int64
	open := &sync.WaitGroup{}
	u, _ := rawMany(t, open, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
		switch n.Add(1) % 5 {
		case 0:
			_, _ = io.WriteString(c, "0\r\n\r\n")
		case 1:
			_ = c.(*net.TCPConn).SetLinger(0)
		case 2, 3:
			_, _ = c.Read(make([]byte, 1)) // stalls
		}
	})
	c := client(t, u, func(o *Options) { o.Idle = 30 * time.Millisecond; o.MaxConcurrent = 50 })
	var calls sync.WaitGroup
	for i := range 50 {
		calls.Go(func() {
			for range 20 {
				ctx, cancel := context.WithCancel(context.Background())
				a, err := c.Do(ctx, ask())
				if err != nil {
					failed(t, err, Cut, true) // the reset was faster than the header
				} else {
					if i%3 != 0 { // some read it, others leave
						_, _ = io.Copy(io.Discard, a.Body)
					}
					if i%2 == 0 {
						_ = a.Body.Close()
					}
				}
				cancel()
				if err == nil {
					_ = a.Body.Close()
				}
			}
		})
	}
	calls.Wait()
	c.Close()
	if len(c.slots) != 0 {
		t.Errorf("%d slots are taken", len(c.slots))
	}
	open.Wait() // all connections end
	deadline := time.Now().Add(10 * time.Second)
	for len(stacks()) > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("left:\n%s", strings.Join(stacks(), "\n\n"))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestMemoryOfStreams says that an open stream keeps little.
func TestMemoryOfStreams(t *testing.T) { //nolint:paralleltest // it measures memory
	const streams, most = 500, 48 << 10
	u, _ := rawMany(t, &sync.WaitGroup{}, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
		_, _ = c.Read(make([]byte, 1))
	})
	c := client(t, u)
	used := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := used()
	for range streams {
		a, err := c.Do(t.Context(), ask())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(a.Body, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = a.Body.Close() })
	}
	each := int64(used()-before) / streams
	t.Logf("%d bytes a stream, with the provider's side of the test", each)
	if each > most {
		t.Errorf("%d bytes a stream", each)
	}
}

// TestRefusedAnswersLeaveConnections says that an answer which is refused when its
// connection may be another call's already does not end that one.
func TestRefusedAnswersLeaveConnections(t *testing.T) {
	t.Parallel()
	var conns, n atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1)%2 == 1 {
			w.Header().Set("Location", "/")
			w.Header().Set("Content-Length", "0")
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
		_, _ = io.WriteString(w, "{}")
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c := client(t, s.URL)
	for range 5 {
		_, _, err := whole(t, c, ask())
		failed(t, err, Redirect, true)
		if _, _, err := whole(t, c, ask()); err != nil {
			t.Error(err)
		}
	}
	if conns.Load() != 1 {
		t.Errorf("%d connections", conns.Load())
	}
}

// TestKeyAtTheEndOfAnError says that no part of a key stands where an error was cut short.
func TestKeyAtTheEndOfAnError(t *testing.T) {
	t.Parallel()
	for _, part := range []int{1, 5, len(secret) - 1} {
		u := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, strings.Repeat(".", 65536-part)+secret+"more")
		})
		a, text, err := whole(t, client(t, u, func(o *Options) { o.MaxAnswer = math.MaxInt64 }), ask())
		failed(t, err, TooLarge, true)
		if a == nil || strings.Trim(text, ".") != "" {
			t.Errorf("%+v ends with %q", a, text[max(0, len(text)-30):])
		}
	}
}

package httpwire

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	headerBytes = 64 << 10
	hints       = 5
	idleTime    = 4 * time.Second
)

// scripted answers each request on a connection with the next of these texts, and
// closes the connection behind one that ends with "CLOSE" or is the last.
func scripted(t *testing.T, answers ...string) (w *Wire, connections, requests *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connections, requests = new(atomic.Int32), new(atomic.Int32)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			r := bufio.NewReader(c)
			for len(answers) > 0 {
				q, err := http.ReadRequest(r)
				if err != nil {
					break
				}
				_, _ = io.Copy(io.Discard, q.Body) // what it says does not matter
				requests.Add(1)
				text, closes := strings.CutSuffix(answers[0], "CLOSE")
				answers = answers[1:]
				if _, err := io.WriteString(c, text); err != nil || closes {
					break
				}
			}
			if len(answers) > 0 {
				_ = c.Close()
			} else {
				t.Cleanup(func() { _ = c.Close() })
			}
		}
	}()
	d := net.Dialer{}
	w = New(Options{
		Dial:         func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", l.Addr().String()) },
		Large:        func() *http.Transport { return &http.Transport{} },
		RequestBytes: 1 << 10, HeaderBytes: headerBytes, Hints: hints, IdleConns: 8, IdleTime: idleTime,
	})
	t.Cleanup(func() {
		w.CloseIdleConnections()
		_ = l.Close()
		<-done
	})
	return w, connections, requests
}

// overWire sends one small request.
func overWire(ctx context.Context, w *Wire) (string, error) {
	body := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("{}")), nil }
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1/mcp", http.NoBody)
	if err != nil {
		return "", err
	}
	r.ContentLength, r.GetBody = 2, body
	response, err := w.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(response.Body)
	return string(b), err
}

const said = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestWire(t *testing.T) {
	t.Parallel()
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
	for name, c := range map[string]struct {
		answers     []string
		connections int32
		broken      int // calls that fail, from the first on
	}{
		"a connection is used again":               {[]string{said, said, said}, 1, 0},
		"behind chunks too":                        {[]string{chunked, said}, 1, 0},
		"not one that the server closed":           {[]string{said + "CLOSE", said}, 2, 0},
		"not one that says that it closes":         {[]string{"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", said}, 2, 0},
		"nor of HTTP/1.0":                          {[]string{"HTTP/1.0 200 OK\r\n\r\nokCLOSE", said}, 2, 0},
		"nor one with an answer that nobody asked": {[]string{said + said, said}, 2, 0},
		"interim answers are passed over":          {[]string{"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + said}, 1, 0},
		"a few of them":                            {[]string{strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", hints+2) + said, said}, 2, 1},
		"a header is bounded":                      {[]string{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", headerBytes) + "\r\n\r\n", said}, 2, 1},
		"what was sent is not sent again":          {[]string{"CLOSE", said}, 2, 1},
		"half an answer is none":                   {[]string{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nokCLOSE", said}, 2, 1},
		"nor is half a chunk":                      {[]string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nokCLOSE", said}, 2, 1},
		"nor is what is not HTTP":                  {[]string{"SSH-2.0-x\r\n\r\n", said}, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, connections, requests := scripted(t, c.answers...)
			for i := range c.answers {
				if i > 0 {
					time.Sleep(20 * time.Millisecond) // for what the server does to arrive
				}
				got, err := overWire(t.Context(), w)
				if broken := i < c.broken; broken != (err != nil) || !broken && got != "ok" {
					t.Fatalf("call %d: %q, %v", i, got, err)
				}
			}
			if n, m := connections.Load(), requests.Load(); n != c.connections || int(m) != len(c.answers) {
				t.Fatalf("%d connections, %d requests", n, m)
			}
		})
	}
}

func TestWireEnds(t *testing.T) {
	t.Parallel()
	w, connections, _ := scripted(t, said, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: begun\n", said)
	if _, err := overWire(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	mine := errors.New("enough")
	time.AfterFunc(50*time.Millisecond, func() { cancel(mine) })
	if _, err := overWire(ctx, w); err == nil || !errors.Is(context.Cause(ctx), mine) {
		t.Fatalf("%v", err)
	}
	// The connection of the endless answer is closed, not kept.
	if w.take() != nil {
		t.Fatal("kept")
	}
	if got, err := overWire(t.Context(), w); err != nil || got != "ok" || connections.Load() != 2 {
		t.Fatalf("%q, %v, %d connections", got, err, connections.Load())
	}
	w.CloseIdleConnections()
	if w.take() != nil || w.reaper != nil {
		t.Fatal("idle ones are left")
	}
}

func TestWireReaps(t *testing.T) {
	t.Parallel()
	w, _, _ := scripted(t, said)
	if _, err := overWire(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.idle[0].since = time.Now().Add(-idleTime)
	conn := w.idle[0].Conn
	w.mu.Unlock()
	w.reap()
	if len(w.idle) != 0 || w.reaper != nil {
		t.Fatal("an old one is kept")
	}
	if _, err := conn.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("it was not closed: %v", err)
	}
}

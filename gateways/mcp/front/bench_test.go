package front

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/mcp/link"
)

// BenchmarkPost is one round trip over loopback, through the door and to a server that
// answers at once; "bare" is the same with a handler that only reads and answers.
func BenchmarkPost(b *testing.B) {
	call := `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"message":"` + strings.Repeat("hello ", 40) + `"}}}`
	answer := `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"` + strings.Repeat("hello ", 40) + `"}]}}`
	f := &counting{answer: []byte(answer)}
	door, err := NewHTTP(HTTPOptions{Open: f})
	if err != nil {
		b.Fatal(err)
	}
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", contentJSON)
		_, _ = io.WriteString(w, answer)
	})
	for _, c := range []struct {
		name string
		h    http.Handler
	}{{"bare", bare}, {"json", Guarded(door, HostPolicy{})}, {"events", Guarded(door, HostPolicy{})}} {
		b.Run(c.name, func(b *testing.B) {
			f.stream = c.name == "events"
			srv := serveBench(b, c.h)
			id := ""
			if c.name != "bare" {
				id = openBench(b, srv, initialize("2025-11-25"))
			}
			conn, err := net.Dial("tcp", srv) //nolint:noctx // a benchmark
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close() //nolint:errcheck // a benchmark
			in := bufio.NewReader(conn)
			text := []byte(strings.Replace(head(len(call), "Mcp-Session-Id: "+id, "Mcp-Protocol-Version: 2025-11-25"), "Mcp-Session-Id: \r\n", "", 1) + call)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := conn.Write(text); err != nil {
					b.Fatal(err)
				}
				resp, err := http.ReadResponse(in, nil)
				if err != nil || resp.StatusCode != http.StatusOK {
					b.Fatal(resp, err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
			}
		})
	}
}

// counting is a server that costs nothing.
type counting struct {
	answer []byte
	stream bool
}

func (c *counting) Open(context.Context, link.Session) (link.Server, error) { return c, nil }

func (c *counting) Send(_ context.Context, call link.Call) (*link.Answer, error) {
	if call.Message.Method == "initialize" {
		return said(call, `{"protocolVersion":"2025-11-25"}`), nil
	}
	if c.stream {
		return &link.Answer{Status: http.StatusOK, Stream: feed(io.EOF, link.Event{Type: "message", Data: c.answer})}, nil
	}
	return &link.Answer{Status: http.StatusOK, Header: http.Header{"Content-Type": {contentJSON}}, Body: c.answer}, nil
}

func (c *counting) Listen(context.Context, http.Header) (*link.Answer, error) {
	return &link.Answer{Status: http.StatusOK, Stream: feed(nil)}, nil
}

func (c *counting) End(context.Context) error { return nil }

func serveBench(tb testing.TB, h http.Handler) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a benchmark
	if err != nil {
		tb.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(l) }()
	tb.Cleanup(func() { _ = srv.Close() })
	return l.Addr().String()
}

func openBench(tb testing.TB, addr, body string) string {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, "http://"+addr+"/mcp", strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {contentJSON}, "Accept": {"*/*"}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // a benchmark
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.Header.Get(headerSession)
}

// TestIdleSessionsAreSmall counts what 1,000 sessions take, and 1,000 open streams with
// both ends of their connections. The client's ends are bare sockets.
//
//nolint:paralleltest // it measures the memory of the process
func TestIdleSessionsAreSmall(t *testing.T) {
	const n = 1000
	door, err := NewHTTP(HTTPOptions{Open: &counting{}})
	if err != nil {
		t.Fatal(err)
	}
	addr := serveBench(t, Guarded(door, HostPolicy{}))
	before, goroutines := memory(), runtime.NumGoroutine()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = openBench(t, addr, initialize("2025-11-25"))
	}
	http.DefaultClient.CloseIdleConnections()
	idle := memory() - before
	more := runtime.NumGoroutine() - goroutines
	if idle > 4<<20 || more > 20 {
		t.Errorf("%d idle sessions take %d KB and %d goroutines", n, idle>>10, more)
	}
	conns := make([]net.Conn, n)
	var all sync.WaitGroup
	for i, id := range ids {
		c, err := net.Dial("tcp", addr) //nolint:noctx // a test
		if err != nil {
			t.Skipf("not enough sockets on this machine: %v", err)
		}
		conns[i] = c
		all.Go(func() {
			_, _ = fmt.Fprintf(c, "GET /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nMcp-Session-Id: %s\r\n\r\n", id)
			_, _ = io.ReadFull(c, make([]byte, 100))
		})
	}
	all.Wait()
	open := memory() - before
	if open > 50<<20 {
		t.Errorf("%d open streams take %d KB", n, open>>10)
	}
	t.Logf("%d sessions: idle %d KB; with an open stream each %d KB", n, idle>>10, open>>10)
	for _, c := range conns {
		_ = c.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := door.Close(ctx); err != nil {
		t.Error(err)
	}
}

// memory is what the process has in use: heap and stacks.
func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse) //nolint:gosec // it is no exabyte
}

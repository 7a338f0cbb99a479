package back

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cabincrew/action/engines/egress"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// raw is a server that answers every connection with bytes, which it may break off.
func raw(t *testing.T, answer func(c net.Conn)) string {
	t.Helper()
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
				defer c.Close() //nolint:errcheck // it is a hostile server
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					answer(c)
				}
			}()
		}
	}()
	return "http://" + l.Addr().String() + "/"
}

func TestHostileServers(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 1<<20))
	_ = z.Close()
	put := func(s string) func(net.Conn) { return func(c net.Conn) { _, _ = io.WriteString(c, s) } }
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	for _, c := range []struct {
		name, says string
		answer     func(net.Conn)
	}{
		{"nothing", "broke off", put("")},
		{"no HTTP", "broke off", put("SSH-2.0-x\r\n\x1b[31m")},
		{"gzip bomb", "content encoding", put(ok + "Content-Encoding: gzip\r\n\r\n" + bomb.String())},
		{"two encodings", "content encoding", put(ok + "Content-Encoding: identity\r\nContent-Encoding: br\r\n\r\nx")},
		{"less than it says", "broke off", put(ok + "Content-Length: 100\r\n\r\n{}")},
		{"more than allowed", "more than 1000 bytes", put(ok + "Content-Length: 99999999999\r\n\r\n{}")},
		{"two lengths", "broke off", put(ok + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}")},
		{"no length, endless", "more than 1000 bytes", put(ok + "\r\n" + strings.Repeat(" ", 5000))},
		{"bad chunks", "broke off", put(ok + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n")},
		{"half a chunk", "broke off", put(ok + "Transfer-Encoding: chunked\r\n\r\n5\r\n{}")},
		{"huge header", "broke off", put(ok + "X: " + strings.Repeat("x", 200<<10) + "\r\n\r\n{}")},
		{"many headers", "broke off", put(ok + strings.Repeat("X: xxxxxxxxxxxxxxxxxxxxxxx\r\n", 10000) + "\r\n{}")},
		{"many 1xx", "broke off", put(strings.Repeat("HTTP/1.1 103 Early Hints\r\nX: "+strings.Repeat("x", 1000)+"\r\n\r\n", 1000))},
		{"switches", "HTTP 101", put("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")},
		{"slow header", "did not answer", func(c net.Conn) {
			for range 100 {
				if _, err := io.WriteString(c, "H"); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}},
		{"reset", "broke off", func(c net.Conn) {
			_, _ = io.WriteString(c, ok+"Content-Length: 100\r\n\r\n{")
			_ = c.(*net.TCPConn).SetLinger(0)
		}},
		{"stream cut in an event", "broke off", put("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n6\r\ndata: \r\n")},
		{"event in half at the end", "before the answer was whole", put("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h, err := NewHTTP(HTTPOptions{Name: "far", URL: raw(t, c.answer), Limits: Limits{MessageBytes: 1000, AnswerTime: 500 * time.Millisecond, QuietTime: time.Second}})
			if err != nil {
				t.Fatal(err)
			}
			s, _ := h.Open(t.Context(), link.Session{})
			a, err := s.Send(t.Context(), callOf(t, ask))
			for err == nil && a.Stream != nil {
				_, err = a.Stream.Next(t.Context())
			}
			if isDown(t, err, c.says); strings.Contains(err.Error(), "\x1b") {
				t.Errorf("%q", err)
			}
		})
	}
}

// TestNeverTwice holds that a call which may have arrived is not sent again, also where
// the connection was used before.
func TestNeverTwice(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	var drop atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		n.Add(1)
		if drop.Load() {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":7,"result":{}}`)
	}))
	defer srv.Close()
	h, err := NewHTTP(HTTPOptions{Name: "far", URL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := h.Open(t.Context(), link.Session{})
	for range 3 {
		if _, err := s.Send(t.Context(), callOf(t, ask)); err != nil {
			t.Fatal(err)
		}
	}
	drop.Store(true)
	before := n.Load()
	_, err = s.Send(t.Context(), callOf(t, ask))
	isDown(t, err, "broke off")
	if n.Load() != before+1 {
		t.Errorf("sent %d times", n.Load()-before)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ url, says string }{
		{"http://169.254.169.254/latest", "link-local"}, {"http://[fe80::1%25lo]/", "link-local"}, {"http://[fd00:ec2::254]/", "metadata"},
		{"http://100.100.100.200/", "metadata"}, {"http://[::ffff:169.254.169.254]/", "link-local"}, {"http://metadata.google.internal/", "metadata"},
		{"http://0.0.0.0:1/", "reserved"}, {"http://127.0.0.1:1/", "cannot be reached"},
	} {
		h, err := NewHTTP(HTTPOptions{Name: "far", URL: c.url})
		if err != nil {
			t.Fatal(err)
		}
		s, _ := h.Open(t.Context(), link.Session{})
		_, err = s.Send(t.Context(), callOf(t, ask))
		isDown(t, err, c.says)
	}
	for host, public := range map[string]bool{
		"example.com": true, "a.b.example.": true, "localhost": false, "mcp": false, "x.localhost": false, "10.0.0.1": false, "::1": false,
		"db.internal": false, "x.svc.cluster.local": false, "127.1": true, "0x7f.1": true,
	} {
		if egress.PublicName(host) != public {
			t.Errorf("%s: %v", host, !public)
		}
	}
	private := func(_ context.Context, network, addr string, allow bool) error {
		c, err := egress.Named{Private: allow, Timeout: limits.MCPBackDialTime}.Dial(t.Context(), network, addr)
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	var at egress.AddressError
	if err := private(t.Context(), "tcp", "127.1:1", false); err == nil {
		t.Error("127.1 is connected to") // a resolver may read it as an address
	}
	if err := private(t.Context(), "tcp", "localhost:1", false); err == nil || errors.As(err, &at) {
		t.Error(err)
	}
}

func TestHTTPOptionsRefused(t *testing.T) {
	t.Parallel()
	credentials := func(context.Context) (http.Header, error) { return nil, errors.New("no") }
	for _, u := range []string{"", "mcp", "ftp://x/", "http://", "https://u:p@x/", "https://x/#f", "http:x", "http://a b/", "http://example.com/"} {
		if _, err := NewHTTP(HTTPOptions{Name: "far", URL: u, Headers: credentials}); err == nil || strings.Contains(err.Error(), ":p@") {
			t.Errorf("%q: %v", u, err)
		}
	}
	h, err := NewHTTP(HTTPOptions{Name: "far", URL: "http://127.0.0.1:1/", Headers: credentials})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := h.Open(t.Context(), link.Session{})
	_, err = s.Send(t.Context(), callOf(t, ask))
	isDown(t, err, "credentials cannot be had")
}

func TestTLS(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":7,"result":{}}`)
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	for _, c := range []struct {
		config *tls.Config
		says   string
	}{{nil, "certificate"}, {&tls.Config{RootCAs: pool}, ""}} { //nolint:gosec // the connection wants more
		h, err := NewHTTP(HTTPOptions{Name: "far", URL: srv.URL, TLS: c.config})
		if err != nil {
			t.Fatal(err)
		}
		s, _ := h.Open(t.Context(), link.Session{})
		_, err = s.Send(t.Context(), callOf(t, ask))
		if c.says == "" && err != nil {
			t.Error(err)
		} else if c.says != "" {
			isDown(t, err, c.says)
		}
		_ = h.Close()
	}
}

func TestUnix(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory
		t.Fatal(err)
	}
	path := filepath.Join(dir, "mcp.sock")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":7,"result":{"at":"`+r.URL.Path+`"}}`)
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	send := func(path string) (*link.Answer, error) {
		h, err := NewUnix(UnixOptions{Name: "near", Path: path})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close() //nolint:errcheck // as below
		s, _ := h.Open(t.Context(), link.Session{})
		return s.Send(t.Context(), callOf(t, ask))
	}
	if a, err := send(path); err != nil || !strings.Contains(string(a.Body), `"/mcp"`) {
		t.Fatalf("%+v, %v", a, err)
	}
	if err := os.Symlink(path, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	_, err = send(filepath.Join(dir, "link"))
	isDown(t, err, "no socket")
	_, err = send(filepath.Join(dir, "none"))
	isDown(t, err, "no such file")
	if err := os.Chmod(dir, 0o777); err != nil { //nolint:gosec // that is what is tested
		t.Fatal(err)
	}
	_, err = send(path)
	isDown(t, err, "others may write")
	for _, p := range []string{"x", "/a/../b"} {
		if _, err := NewUnix(UnixOptions{Name: "near", Path: p}); err == nil {
			t.Errorf("%s: taken", p)
		}
	}
}

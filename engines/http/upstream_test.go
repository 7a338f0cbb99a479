package http

import (
	"bufio"
	"bytes"
	"encoding/pem"
	"io"
	"log"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// upstream is a host that counts and keeps what reaches it.
type upstream struct {
	*httptest.Server

	mu       sync.Mutex
	requests []string // method, path and body
	keys     []string // of Idempotency-Key
	auth     []string
	release  chan struct{} // closed when the test ends
}

// newUpstream starts a host. What it does is the last element of the path.
func newUpstream(t *testing.T, secure bool) *upstream {
	t.Helper()
	u := &upstream{release: make(chan struct{})}
	u.Server = httptest.NewUnstartedServer(nethttp.HandlerFunc(u.serve))
	u.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of every connection that a test breaks
	if secure {
		u.StartTLS()
	} else {
		u.Start()
	}
	t.Cleanup(u.Close)
	t.Cleanup(func() { close(u.release) })
	return u
}

func (u *upstream) serve(w nethttp.ResponseWriter, r *nethttp.Request) {
	body, _ := io.ReadAll(r.Body)
	u.mu.Lock()
	u.requests = append(u.requests, r.Method+" "+r.URL.RequestURI()+" "+string(body))
	u.keys = append(u.keys, r.Header.Get("Idempotency-Key"))
	u.auth = append(u.auth, r.Header.Get("Authorization"))
	u.mu.Unlock()
	switch filepath.Base(r.URL.Path) {
	case "redirect":
		nethttp.Redirect(w, r, "/followed", nethttp.StatusTemporaryRedirect)
	case "broken":
		w.WriteHeader(nethttp.StatusInternalServerError)
	case "hang":
		select {
		case <-u.release:
		case <-r.Context().Done():
		}
	case "reset":
		conn, _, _ := nethttp.NewResponseController(w).Hijack()
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	case "garbage":
		conn, _, _ := nethttp.NewResponseController(w).Hijack()
		_, _ = io.WriteString(conn, "echoed "+r.Header.Get("Authorization")+"\r\n\r\n")
		_ = conn.Close()
	case "header":
		w.Header().Set("X-Large", string(bytes.Repeat([]byte("x"), 100<<10)))
	case "cut":
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "echoed")
	case "echo":
		_, _ = io.WriteString(w, "echoed "+r.Header.Get("Authorization"))
	default:
		_, _ = io.WriteString(w, "fine")
	}
}

func (u *upstream) seen() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string{}, u.requests...)
}

// authorities writes the certificate of the host where SSL_CERT_FILE would name it.
func (u *upstream) authorities(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: u.Certificate().Raw}), 0o600))
	return name
}

// newProxy starts a small proxy: CONNECT and requests for other hosts. refuse makes
// it refuse every CONNECT. It gives its address and what it was asked for.
func newProxy(t *testing.T, refuse bool) (address string, asked func() []string) {
	t.Helper()
	var mu sync.Mutex
	var list []string
	forward := &nethttp.Transport{DisableKeepAlives: true, DisableCompression: true}
	server := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		mu.Lock()
		list = append(list, r.Method+" "+r.RequestURI)
		mu.Unlock()
		switch {
		case r.Method == nethttp.MethodConnect && refuse:
			nethttp.Error(w, "echoed", nethttp.StatusForbidden)
		case r.Method == nethttp.MethodConnect:
			tunnel(w, r)
		default:
			answer, err := forward.RoundTrip(r)
			if err != nil {
				panic(nethttp.ErrAbortHandler) // as a proxy that loses its other end
			}
			defer func() { _ = answer.Body.Close() }()
			w.WriteHeader(answer.StatusCode)
			_, _ = io.Copy(w, answer.Body)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string{}, list...)
	}
}

func tunnel(w nethttp.ResponseWriter, r *nethttp.Request) {
	far, err := net.Dial("tcp", r.Host)
	if err != nil {
		nethttp.Error(w, "no", nethttp.StatusBadGateway)
		return
	}
	near, buffered, err := nethttp.NewResponseController(w).Hijack()
	if err != nil {
		_ = far.Close()
		return
	}
	_, _ = io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(far, buffered); _ = far.Close() })
	wg.Go(func() { _, _ = io.Copy(near, far); _ = near.Close() })
	wg.Wait()
}

// recorder is a host that keeps the bytes of one connection after the other and
// answers each with the same text.
type recorder struct {
	address string
	bytes   []string // to be read after stop
	stop    func()
}

func newRecorder(t *testing.T, answer string) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	rec := &recorder{address: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			rec.take(conn, answer)
		}
	})
	rec.stop = sync.OnceFunc(func() { _ = l.Close(); wg.Wait() })
	t.Cleanup(rec.stop)
	return rec
}

// take keeps all that comes before the other side is content.
func (rec *recorder) take(conn net.Conn, answer string) {
	defer func() { _ = conn.Close() }()
	var all bytes.Buffer
	in := bufio.NewReader(io.TeeReader(conn, &all))
	req, err := nethttp.ReadRequest(in)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, req.Body)
	_, _ = io.WriteString(conn, answer)
	_, _ = io.Copy(io.Discard, in) // until the engine closes: what else it may send is kept too
	rec.bytes = append(rec.bytes, all.String())
}

// got gives what came, once nothing more can come.
func (rec *recorder) got() []string {
	rec.stop()
	return rec.bytes
}

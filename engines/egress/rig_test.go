package egress

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
)

// The Internet of these tests: every name is at this address, whose ports 443
// and 80 are two test servers.
var internet = netip.MustParseAddr("93.184.216.34")

// rig is a proxy with hosts behind it.
type rig struct {
	*Proxy
	t     testing.TB
	addr  string // of the proxy
	plain *httptest.Server
	tls   *httptest.Server
	hits  atomic.Int64 // requests that reached a host
	stop  func() error

	mu       sync.Mutex
	seen     []*http.Request
	bodies   []string
	looked   []string
	dialled  []string
	observed []Request
}

// hostRoots makes the certificate authority of the tests' hosts.
func hostAuthority(t testing.TB) *authority {
	t.Helper()
	a, err := newAuthority(Options{Now: time.Now, Rand: rand.Reader}, must(compile([]string{"*.example.com", "example.com", "*.example.org", "192.0.2.7"}, hostRule)))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func pool(a *authority) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// newRig serves a proxy until the test ends. The handler may be nil: it says ok.
func newRig(t testing.TB, o Options, handler http.HandlerFunc) *rig {
	t.Helper()
	r := &rig{t: t}
	r.startHosts(&o, handler)
	if o.Mode == "" {
		o.Mode = protocol.FlightPlan
	}
	if o.Hosts == nil {
		o.Hosts = []string{"example.com", "*.example.com"}
	}
	tell := o.Observe
	o.Observe = func(q Request) {
		r.mu.Lock()
		r.observed = append(r.observed, q)
		r.mu.Unlock()
		if tell != nil {
			tell(q)
		}
	}
	var err error
	if r.Proxy, err = New(o); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	r.serve(l)
	return r
}

func (r *rig) serve(l net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, l) }()
	r.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(10 * time.Second):
			return errors.New("Serve does not return")
		}
	})
	r.t.Cleanup(func() {
		if err := r.stop(); err != nil {
			r.t.Error(err)
		}
	})
}

// startHosts makes the two hosts, and the resolver and dialler that find them.
func (r *rig) startHosts(o *Options, handler http.HandlerFunc) {
	all := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.hits.Add(1)
		body, _ := io.ReadAll(q.Body)
		q.Body = io.NopCloser(bytes.NewReader(body))
		r.mu.Lock()
		r.seen, r.bodies = append(r.seen, q), append(r.bodies, string(body))
		r.mu.Unlock()
		if handler == nil {
			_, _ = io.WriteString(w, "ok")
			return
		}
		handler(w, q)
	})
	r.plain, r.tls = httptest.NewUnstartedServer(all), httptest.NewUnstartedServer(all)
	a := hostAuthority(r.t)
	for _, s := range []*httptest.Server{r.plain, r.tls} {
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
	}
	r.tls.TLS = &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		name := h.ServerName
		if name == "" {
			name = "192.0.2.7"
		}
		leaf, err := a.leaf(must(parsePlace(name)))
		if err != nil {
			return nil, err
		}
		return &tls.Config{Certificates: []tls.Certificate{*leaf}, NextProtos: []string{"h2", "http/1.1"}}, nil
	}}
	r.tls.EnableHTTP2 = true
	r.plain.Start()
	r.tls.StartTLS()
	r.t.Cleanup(r.plain.Close)
	r.t.Cleanup(r.tls.Close)
	if o.Roots == nil {
		o.Roots = pool(a)
	}
	find := o.Resolve
	o.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
		r.mu.Lock()
		r.looked = append(r.looked, host)
		r.mu.Unlock()
		if find != nil {
			return find(ctx, host)
		}
		return []netip.Addr{internet}, nil
	}
	if dial := o.Dial; dial == nil {
		o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			r.mu.Lock()
			r.dialled = append(r.dialled, addr)
			r.mu.Unlock()
			to := r.tls.Listener.Addr().String()
			if strings.HasSuffix(addr, ":80") {
				to = r.plain.Listener.Addr().String()
			}
			return new(net.Dialer).DialContext(ctx, network, to)
		}
	}
}

// client is an ordinary client that knows the proxy from its settings.
func (r *rig) client() *http.Client {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(r.CA()) {
		r.t.Fatal("the CA is no PEM")
	}
	tr := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: r.addr}), TLSClientConfig: &tls.Config{RootCAs: roots}}
	r.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second, CheckRedirect: func(q *http.Request, via []*http.Request) error { return nil }}
}

// ask sends one request with the ordinary client.
func (r *rig) ask(method, u string, body io.Reader, fields ...string) (*http.Response, string, error) {
	r.t.Helper()
	q, err := http.NewRequest(method, u, body)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		q.Header.Add(fields[i], fields[i+1])
	}
	a, err := r.client().Do(q)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = a.Body.Close() }()
	text, err := io.ReadAll(a.Body)
	return a, string(text), err
}

// raw is a connection that sends what no client would.
type raw struct {
	net.Conn
	t  testing.TB
	br *bufio.Reader
}

func (r *rig) raw() *raw {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	return &raw{Conn: c, t: r.t, br: bufio.NewReader(c)}
}

// send writes and reads one answer; nil if the connection ends without one.
func (c *raw) send(text string) (*http.Response, string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		return nil, ""
	}
	method, _, _ := strings.Cut(text, " ")
	return c.read(method)
}

func (c *raw) read(method string) (*http.Response, string) {
	c.t.Helper()
	a, err := http.ReadResponse(c.br, &http.Request{Method: method})
	if err != nil {
		return nil, err.Error()
	}
	if method == "CONNECT" && a.StatusCode == http.StatusOK {
		return a, ""
	}
	text, _ := io.ReadAll(a.Body)
	return a, string(text)
}

// connect opens the way to host:port.
func (r *rig) connect(at string) *raw {
	r.t.Helper()
	c := r.raw()
	if a, _ := c.send("CONNECT " + at + " HTTP/1.1\r\nHost: " + at + "\r\n\r\n"); a == nil || a.StatusCode != http.StatusOK {
		r.t.Fatalf("CONNECT %s: %v", at, a)
	}
	return c
}

// inside opens TLS to the proxy's own end of a CONNECT.
func (r *rig) inside(at string) *raw {
	r.t.Helper()
	c := r.connect(at)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.CA())
	host, _, _ := net.SplitHostPort(at)
	conn := tls.Client(c.Conn, &tls.Config{RootCAs: roots, ServerName: host})
	if err := conn.Handshake(); err != nil {
		r.t.Fatal(err)
	}
	return &raw{Conn: conn, t: r.t, br: bufio.NewReader(conn)}
}

// refused ends the proxy and wants exactly one record, refused with the reason,
// and nothing at the host.
func (r *rig) refused(reason string) Request {
	r.t.Helper()
	if err := r.stop(); err != nil {
		r.t.Fatal(err)
	}
	list := r.Requests()
	if len(list) != 1 || list[0].Reason != reason || list[0].Allowed || list[0].Sent != 0 {
		r.t.Fatalf("recorded %+v, want one refusal %s", list, reason)
	}
	if n := r.hits.Load(); n != 0 {
		r.t.Fatalf("%d requests reached a host", n)
	}
	return list[0]
}

func (r *rig) last() Request {
	r.t.Helper()
	list := r.Requests()
	if len(list) == 0 {
		r.t.Fatal("nothing is recorded")
	}
	return list[len(list)-1]
}

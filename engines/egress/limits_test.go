package egress

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
)

// at makes a resolver that gives one set of addresses after the other.
func at(answers ...string) func(context.Context, string) ([]netip.Addr, error) {
	var n atomic.Int64
	return func(context.Context, string) ([]netip.Addr, error) {
		var out []netip.Addr
		for s := range strings.FieldsSeq(answers[min(int(n.Add(1)), len(answers))-1]) {
			out = append(out, netip.MustParseAddr(s))
		}
		return out, nil
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	name := "https://intern.example.com/"
	for title, c := range map[string]struct {
		url     string
		hosts   string
		private string
		at      string
		reason  string
		dialled string
	}{
		"public":                 {name, "", "", "1.1.1.1", "", "1.1.1.1:443"},
		"mapped public":          {name, "", "", "::ffff:1.1.1.1", "", "1.1.1.1:443"},
		"loopback":               {name, "", "", "127.0.0.1", "address_private", ""},
		"private":                {name, "", "", "10.1.2.3", "address_private", ""},
		"shared":                 {name, "", "", "100.64.0.1", "address_private", ""},
		"metadata":               {name, "", "", "169.254.169.254", "address_private", ""},
		"metadata, six":          {name, "", "", "fd00:ec2::254", "address_private", ""},
		"mapped":                 {name, "", "", "::ffff:127.0.0.1", "address_private", ""},
		"NAT64":                  {name, "", "", "64:ff9b::7f00:1", "address_private", ""},
		"6to4":                   {name, "", "", "2002:7f00:1::", "address_private", ""},
		"one of two":             {name, "", "", "1.1.1.1 127.0.0.1", "address_private", ""},
		"unspecified":            {name, "", "", "0.0.0.0", "address_private", ""},
		"multicast":              {name, "", "", "224.0.0.1", "address_private", ""},
		"meant":                  {name, "", "intern.example.com", "10.1.2.3", "", "10.1.2.3:443"},
		"another is meant":       {name, "", "other.example.com", "10.1.2.3", "address_private", ""},
		"meant, but metadata":    {name, "", "intern.example.com", "169.254.169.254", "address_private", ""},
		"address is meant":       {name, "", "169.254.169.254", "169.254.169.254", "", "169.254.169.254:443"},
		"another address":        {name, "", "10.1.2.3", "10.1.2.4", "address_private", ""},
		"address is listed":      {"http://10.1.2.3/", "10.1.2.3", "", "", "", "10.1.2.3:80"},
		"six is listed":          {"http://[::1]/", "[::1]", "", "", "", "[::1]:80"},
		"listed address, name":   {name, "10.1.2.3 *.example.com", "", "10.1.2.3", "address_private", ""},
		"name of metadata":       {"http://metadata.google.internal/", "metadata.google.internal", "", "1.1.1.1", "address_private", ""},
		"name, in a pattern":     {"http://metadata.google.internal/", "*.google.internal", "", "1.1.1.1", "address_private", ""},
		"no address":             {name, "", "", "", "upstream_unresolved", ""},
		"seventeen":              {name, "", "", strings.Repeat("1.1.1.1 ", 17), "upstream_unresolved", ""},
		"TLS to a listed number": {"https://192.0.2.7/", "192.0.2.7", "", "", "", "192.0.2.7:443"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			o := Options{Private: strings.Fields(c.private), Resolve: at(c.at)}
			if c.hosts != "" {
				o.Hosts = strings.Fields(c.hosts)
			}
			r := newRig(t, o, nil)
			a, text, err := r.ask("GET", c.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.reason != "" {
				if a.Header.Get("X-Cabincrew-Reason") != c.reason || len(r.dialled) != 0 || r.hits.Load() != 0 || r.last().Sent != 0 {
					t.Errorf("%+v %s, dialled %q", r.last(), text, r.dialled)
				}
				return
			}
			if a.StatusCode != http.StatusOK || len(r.dialled) != 1 || r.dialled[0] != c.dialled {
				t.Errorf("%+v %s, dialled %q", r.last(), text, r.dialled)
			}
		})
	}
}

// TestRebinding: the resolver changes its mind after the first answer. What is
// dialled is what was judged, and a second connection is judged anew.
func TestRebinding(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Resolve: at("1.1.1.1", "127.0.0.1")}, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Connection", "close")
	})
	a, _, err := r.ask("GET", "http://example.com/", nil)
	if err != nil || a.StatusCode != http.StatusOK || fmt.Sprint(r.looked, r.dialled) != "[example.com] [1.1.1.1:80]" {
		t.Fatalf("%v %+v, looked up %q, dialled %q", err, a, r.looked, r.dialled)
	}
	a, _, err = r.ask("GET", "http://example.com/", nil)
	if err != nil || a.StatusCode != http.StatusForbidden || r.last().Reason != "address_private" || len(r.dialled) != 1 {
		t.Errorf("%v %+v, dialled %q", err, a, r.dialled)
	}
}

func TestNextAddressIsTried(t *testing.T) {
	t.Parallel()
	var r *rig
	var tried []string
	r = newRig(t, Options{Resolve: at("1.1.1.1 1.1.1.2"), Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		tried = append(tried, addr)
		if len(tried) == 1 {
			return nil, errors.New("no route")
		}
		return net.Dial("tcp", r.plain.Listener.Addr().String())
	}}, nil)
	if a, _, err := r.ask("GET", "http://example.com/", nil); err != nil || a.StatusCode != http.StatusOK || fmt.Sprint(tried) != "[1.1.1.1:80 1.1.1.2:80]" {
		t.Errorf("%v %+v, tried %q", err, a, tried)
	}
}

func TestUpstreamFailures(t *testing.T) {
	t.Parallel()
	other := hostAuthority(t)
	server := func(c *tls.Config) func(context.Context, string, string) (net.Conn, error) {
		return func(context.Context, string, string) (net.Conn, error) {
			a, b := net.Pipe()
			go func() { _ = tls.Server(b, c).Handshake() }()
			return a, nil
		}
	}
	fail := func(err error) func(context.Context, string, string) (net.Conn, error) {
		return func(context.Context, string, string) (net.Conn, error) { return nil, err }
	}
	leaf := func(host string) []tls.Certificate {
		return []tls.Certificate{*must(other.leaf(must(parsePlace(host))))}
	}
	for name, c := range map[string]struct {
		dial    func(context.Context, string, string) (net.Conn, error)
		resolve func(context.Context, string) ([]netip.Addr, error)
		reason  string
		status  int
	}{
		"unknown authority": {server(&tls.Config{Certificates: leaf("example.com")}), nil, "tls_upstream", 502},
		"old TLS":           {server(&tls.Config{Certificates: leaf("example.com"), MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}), nil, "tls_upstream", 502},
		"no connection":     {fail(errors.New("no route")), nil, "upstream_unreachable", 502},
		"no such name":      {nil, func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("NXDOMAIN") }, "upstream_unresolved", 502},
		"hangs up": {func(context.Context, string, string) (net.Conn, error) {
			a, b := net.Pipe()
			_ = b.Close()
			return a, nil
		}, nil, "tls_upstream", 502},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, Options{Dial: c.dial, Resolve: c.resolve}, nil)
			a, _, err := r.ask("GET", "https://example.com/", nil)
			if err != nil || a.StatusCode != c.status || r.last().Reason != c.reason || r.last().Status != c.status {
				t.Errorf("%v %+v", err, r.last())
			}
		})
	}
	t.Run("another name", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, Options{Dial: server(&tls.Config{Certificates: leaf("a.example.com")}), Roots: pool(other)}, nil)
		if a, _, err := r.ask("GET", "https://example.com/", nil); err != nil || a.StatusCode != http.StatusBadGateway || r.last().Reason != "tls_upstream" || r.last().Allowed {
			t.Errorf("%v %+v", err, r.last())
		}
	})
}

func TestLimits(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 300)
	const post = "POST http://example.com/ HTTP/1.1\r\nHost: example.com\r\n"
	for name, c := range map[string]struct {
		limits Limits
		send   string
		reason string
		status int
	}{
		"URL":                      {Limits{URLBytes: 100}, "GET http://example.com/" + long[:90] + " HTTP/1.1\r\nHost: example.com\r\n\r\n", "url_too_long", 413},
		"URL, by escapes":          {Limits{URLBytes: 100}, "GET http://example.com/" + strings.Repeat("\"", 60) + " HTTP/1.1\r\nHost: example.com\r\n\r\n", "url_too_long", 413},
		"first line":               {Limits{URLBytes: 100}, "GET http://example.com/" + long + " HTTP/1.1\r\nHost: example.com\r\n\r\n", "url_too_long", 413},
		"first line without end":   {Limits{URLBytes: 100, HeaderBytes: 100}, "GET http://example.com/" + long, "url_too_long", 413},
		"one field":                {Limits{URLBytes: 100, HeaderBytes: 100}, get + "A: " + long + "\r\n\r\n", "header_too_large", 413},
		"many fields":              {Limits{URLBytes: 100, HeaderBytes: 100}, get + strings.Repeat("A: b\r\n", 100) + "\r\n", "header_too_large", 413},
		"body":                     {Limits{BodyBytes: 100}, post + "Content-Length: 101\r\n\r\n", "body_too_large", 413},
		"body, with Expect":        {Limits{BodyBytes: 100}, post + "Content-Length: 101\r\nExpect: 100-continue\r\n\r\n", "body_too_large", 413},
		"chunked body":             {Limits{BodyBytes: 100}, post + "Transfer-Encoding: chunked\r\n\r\n65\r\n" + long[:101] + "\r\n0\r\n\r\n", "body_too_large", 413},
		"all bodies":               {Limits{BufferBytes: 100}, post + "Content-Length: 5\r\n\r\nhello", "buffer_full", 429},
		"head that does not end":   {Limits{HeadTime: 50 * time.Millisecond}, get, "request_timeout", 408},
		"body that does not come":  {Limits{RequestTime: 50 * time.Millisecond}, post + "Content-Length: 5\r\n\r\nhel", "request_malformed", 400},
		"chunks that do not come":  {Limits{RequestTime: 50 * time.Millisecond}, post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhel", "request_malformed", 400},
		"hello that does not come": {Limits{HeadTime: 50 * time.Millisecond}, "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n\x16\x03\x01", "opaque_connect", 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.limits.IdleTime = 2 * time.Second // some of these leave the connection open
			r := newRig(t, Options{Mode: protocol.TakeOff, Limits: c.limits}, nil)
			conn := r.raw()
			a, text := conn.send(c.send)
			if a == nil || a.StatusCode != c.status {
				t.Fatalf("answered %+v %s", a, text)
			}
			_, _ = io.Copy(io.Discard, conn.br) // until the proxy gives up
			if q := r.refused(c.reason); len(q.URL) > r.opt.Limits.URLBytes {
				t.Errorf("recorded %d bytes", len(q.URL))
			}
			if r.held.Load() != 0 {
				t.Errorf("%d bytes are still held", r.held.Load())
			}
		})
	}
}

func TestAnswersAreLimited(t *testing.T) {
	t.Parallel()
	for name, chunked := range map[string]bool{"announced": false, "chunked": true} {
		for _, scheme := range []string{"http", "https"} {
			t.Run(name+" "+scheme, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, Options{Limits: Limits{ResponseBytes: 100_000}}, func(w http.ResponseWriter, _ *http.Request) {
					if !chunked {
						w.Header().Set("Content-Length", "200000")
					}
					for range 200 {
						_, _ = w.Write(make([]byte, 1000))
					}
				})
				a, text, err := r.ask("GET", scheme+"://example.com/", nil)
				switch {
				case chunked && err == nil:
					t.Errorf("a client takes %d bytes for the whole", len(text))
				case !chunked && (err != nil || a.StatusCode != http.StatusBadGateway || !strings.Contains(text, "response_too_large")):
					t.Errorf("%v %+v %s", err, a, text)
				}
				if q := r.last(); q.Reason != "response_too_large" || !q.Allowed || q.Received > 100_000 {
					t.Errorf("recorded %+v", q)
				}
			})
		}
	}
}

// TestShortAnswersAreSeen: a host that hangs up in the middle.
func TestShortAnswersAreSeen(t *testing.T) {
	t.Parallel()
	for name, length := range map[string]string{"announced": "5000", "chunked": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				_, _ = w.Write(make([]byte, 1000))
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			})
			if _, text, err := r.ask("GET", "http://example.com/", nil); err == nil {
				t.Errorf("a client takes %d bytes for the whole", len(text))
			}
			if q := r.last(); q.Reason != "upstream_failed" || q.Received != 1000 {
				t.Errorf("recorded %+v", q)
			}
		})
	}
}

func TestRequestsAreCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Limits: Limits{Requests: 5}}, nil)
	for i := range 12 {
		u := []string{"https://example.com/", "http://example.com/", "http://evil.org/"}[i%3]
		a, _, err := r.ask("GET", u, nil)
		if i < 5 && (err != nil || a.StatusCode == http.StatusTooManyRequests) {
			t.Fatalf("request %d: %v %+v", i, err, a)
		}
		if i >= 5 && err == nil && a.StatusCode != http.StatusTooManyRequests {
			t.Fatalf("request %d: %+v", i, a)
		}
	}
	list := r.Requests()
	if len(list) != 6 || list[5].Reason != "too_many_requests" || r.hits.Load() != 4 || len(r.observed) != 6 {
		t.Errorf("%d requests reached a host, recorded %+v", r.hits.Load(), list)
	}
}

func TestConnectionsAreCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Limits: Limits{Connections: 2}}, nil)
	one, two := r.inside("example.com:443"), r.raw()
	two.send(get + "\r\n")
	a, text := r.raw().send(get + "\r\n")
	if a == nil || a.StatusCode != http.StatusTooManyRequests || a.Header.Get("X-Cabincrew-Reason") != "too_many_connections" {
		t.Fatalf("answered %+v %s", a, text)
	}
	if a, _ := one.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"); a == nil || a.StatusCode != http.StatusOK {
		t.Errorf("those that are open do not go on: %+v", a)
	}
}

func TestSlowHost(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	r := newRig(t, Options{Limits: Limits{RequestTime: 100 * time.Millisecond}}, func(http.ResponseWriter, *http.Request) { <-hold })
	defer close(hold)
	c := r.raw()
	if a, _ := c.send(get + "\r\n"); a == nil || a.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("answered %+v", a)
	}
	if err := r.stop(); err != nil || r.last().Reason != "upstream_timeout" || r.last().Status != 504 || !r.last().Allowed {
		t.Errorf("%v %+v", err, r.last())
	}
}

func TestIdleConnectionEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Limits: Limits{IdleTime: 50 * time.Millisecond}}, nil)
	if n, err := r.raw().br.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("%d %v", n, err)
	}
	if len(r.Requests()) != 0 {
		t.Errorf("recorded %+v", r.Requests())
	}
}

// TestServeLeavesNothing is not parallel: it counts goroutines.
func TestServeLeavesNothing(t *testing.T) { //nolint:tparallel // see above
	before := runtime.NumGoroutine()
	hold := make(chan struct{})
	r := newRig(t, Options{Mode: protocol.TakeOff, Tunnels: []string{"git.example.com:22"}}, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/hang" {
			<-hold
		}
	})
	stuck := newRig(t, Options{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}, nil)
	idle := r.inside("example.com:443")
	idle.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
	tunnel := r.raw()
	tunnel.send("CONNECT git.example.com:22 HTTP/1.1\r\nHost: git.example.com:22\r\n\r\n")
	half, silent, dialling, hanging := r.raw(), r.connect("example.com:443"), stuck.raw(), r.raw()
	_, _ = io.WriteString(half, "GET http://exam")
	_, _ = io.WriteString(dialling, get+"\r\n")
	_, _ = io.WriteString(hanging, "GET http://example.com/hang HTTP/1.1\r\nHost: example.com\r\n\r\n")
	for r.hits.Load() < 2 || len(stuck.snapshot()) == 0 {
		runtime.Gosched()
	}
	for _, x := range []*rig{r, stuck} {
		if err := x.stop(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []*raw{idle, tunnel, half, silent, dialling, hanging} {
		_, _ = io.Copy(io.Discard, c.br) // ends, because the proxy closed it
		_ = c.Close()
	}
	close(hold)
	for _, x := range []*rig{r, stuck} {
		x.tls.Close()
		x.plain.Close()
	}
	if err := r.Serve(context.Background(), nil); !errors.Is(err, protocol.Code("egress_served")) {
		t.Errorf("served twice: %v", err)
	}
	if n := len(r.Requests()); n != 3 && n != 4 { // the idle one's, the tunnel, the hanging one, and the half one if it was read
		t.Errorf("recorded %+v", r.Requests())
	}
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond) // what net/http closes, it closes in the background
	}
	if n := runtime.NumGoroutine(); n > before {
		buf := make([]byte, 1<<16)
		t.Errorf("%d goroutines before, %d after:\n%s", before, n, buf[:runtime.Stack(buf, true)])
	}
}

func (r *rig) snapshot() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.looked...)
}

func TestServeTellsOfTheListener(t *testing.T) {
	t.Parallel()
	p := must(New(Options{Mode: protocol.FlightPlan}))
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	_ = l.Close()
	if err := p.Serve(context.Background(), l); !errors.Is(err, protocol.Code("egress_accept")) {
		t.Error(err)
	}
}

// TestEnvironmentIsNotAsked is not parallel: it sets the environment.
func TestEnvironmentIsNotAsked(t *testing.T) {
	for _, v := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"} {
		t.Setenv(v, "http://127.0.0.1:1")
	}
	r := newRig(t, Options{}, nil)
	for _, u := range []string{"https://example.com/", "http://example.com/"} {
		if a, _, err := r.ask("GET", u, nil); err != nil || a.StatusCode != http.StatusOK {
			t.Errorf("%v %+v", err, r.last())
		}
	}
}

// TestAuthority: with its key, one could still only speak for the listed hosts.
func TestAuthority(t *testing.T) {
	t.Parallel()
	for hosts, c := range map[string]struct{ good, bad string }{
		"example.com":                 {"example.com", "evil.org 10.0.0.1 [::1] com"},
		"*.example.com":               {"a.example.com a.b.example.com", "evil.org 10.0.0.1"},
		"10.0.0.1":                    {"10.0.0.1", "10.0.0.2 [::1] example.com"},
		"[::1] example.com a_b.x.org": {"[::1] example.com a_b.x.org", "[::2] 10.0.0.1 evil.org x.org"},
		"":                            {"", "example.com 10.0.0.1 [::1]"},
	} {
		now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
		p := must(New(Options{Mode: protocol.FlightPlan, Hosts: strings.Fields(hosts), Now: func() time.Time { return now }}))
		verify := func(host string) error {
			leaf := must(x509.ParseCertificate(must(p.authority.leaf(must(parsePlace(host)))).Certificate[0]))
			if leaf.IsCA || len(leaf.DNSNames)+len(leaf.IPAddresses) != 1 || leaf.NotAfter.Sub(now) > 26*time.Hour {
				t.Errorf("%s: %+v", host, leaf)
			}
			_, err := leaf.Verify(x509.VerifyOptions{DNSName: strings.Trim(host, "[]"), Roots: pool(p.authority), CurrentTime: now})
			return err
		}
		for host := range strings.FieldsSeq(c.good) {
			if err := verify(host); err != nil {
				t.Errorf("%q: %s: %v", hosts, host, err)
			}
		}
		for host := range strings.FieldsSeq(c.bad) {
			if verify(host) == nil {
				t.Errorf("%q: the authority speaks for %s", hosts, host)
			}
		}
		// No authority below it.
		key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		sub := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: now, NotAfter: now.Add(time.Hour)}
		mid := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, sub, p.authority.cert, key.Public(), p.authority.key))))
		end := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"example.com"}, NotBefore: now, NotAfter: now.Add(time.Hour)}
		leaf := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, end, mid, key.Public(), key))))
		between := x509.NewCertPool()
		between.AddCert(mid)
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool(p.authority), Intermediates: between, CurrentTime: now}); err == nil {
			t.Errorf("%q: there is an authority below", hosts)
		}
		if bytes.Contains(p.CA(), []byte("PRIVATE")) {
			t.Error("the key is given away")
		}
	}
}

func TestLeavesAreBounded(t *testing.T) {
	t.Parallel()
	p := must(New(Options{Mode: protocol.FlightPlan, Hosts: []string{"*.example.com"}}))
	for i := range 300 {
		must(p.authority.leaf(must(parsePlace(fmt.Sprintf("a%d.example.com", i)))))
	}
	if n := len(p.authority.leaves); n > 256 {
		t.Errorf("%d are kept", n)
	}
}

package egress

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"crypto/tls"
	"crypto/x509"

	"github.com/cabincrew/action/protocol"
)

func TestReadsInFlightPlan(t *testing.T) {
	t.Parallel()
	for _, u := range []string{"https://example.com/a%2Fb//c?x=1&y=%20", "http://a.example.com/x", "https://Example.COM/", "http://example.com?q=1"} {
		for _, method := range []string{"GET", "HEAD"} {
			t.Run(method+" "+u, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("ETag", `"1"`)
					w.Header().Set("Alt-Svc", `h3=":443"`)
					_, _ = io.WriteString(w, "hello")
				})
				a, text, err := r.ask(method, u, nil)
				if err != nil || a.StatusCode != http.StatusOK || a.Header.Get("ETag") != `"1"` || a.Header.Get("Alt-Svc") != "" || a.ContentLength != 5 {
					t.Fatalf("%v %+v", err, a)
				}
				want := map[string]string{"GET": "hello", "HEAD": ""}[method]
				q := r.last()
				if text != want || !q.Allowed || q.Reason != "" || q.Status != 200 || q.Method != method || q.Received != int64(len(want)) || q.Sent < int64(len(u)) {
					t.Errorf("%q, recorded %+v", text, q)
				}
				in, _ := url.Parse(u)
				if got := r.seen[0]; got.RequestURI != in.RequestURI() || !strings.EqualFold(got.Host, in.Host) {
					t.Errorf("the host saw %s %s", got.Host, got.RequestURI)
				}
			})
		}
	}
}

func TestFlightPlanPassesFewFields(t *testing.T) {
	t.Parallel()
	for mode, want := range map[protocol.Mode]string{
		protocol.FlightPlan: "Accept Accept-Encoding Accept-Language Authorization If-None-Match Range User-Agent",
		protocol.TakeOff:    "Accept Authorization Cookie Git-Protocol If-None-Match Range User-Agent X-Leak",
	} {
		r := newRig(t, Options{Mode: mode}, nil)
		a, _ := r.raw().send(get + "User-Agent: me\r\naccept: */*\r\nAUTHORIZATION: Bearer x\r\nCookie: leak\r\nX-Leak: leak\r\nGit-Protocol: version=2\r\n" +
			"If-None-Match: \"a\"\r\nRange: bytes=0-1\r\nTE: trailers\r\nConnection: keep-alive, TE\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: leak\r\nKeep-Alive: leak\r\nTrailer: leak\r\n\r\n")
		if a == nil || a.StatusCode != http.StatusOK {
			t.Fatalf("answered %+v", a)
		}
		var got []string
		for name := range r.seen[0].Header {
			got = append(got, name)
		}
		slices.Sort(got)
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: the host saw %s, want %s", mode, s, want)
		}
	}
}

func TestWritesInTakeOff(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("0123456789", 40_000)
	echo := func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("X-Length", fmt.Sprint(q.ContentLength))
		w.Header().Set("X-Method", q.Method)
		_, _ = io.Copy(w, q.Body)
	}
	for name, c := range map[string]struct {
		method string
		body   io.Reader
		fields []string
		want   string
	}{
		"POST":       {"POST", strings.NewReader("hello"), nil, "hello"},
		"empty POST": {"POST", nil, nil, ""},
		"PUT":        {"PUT", strings.NewReader(big), nil, big},
		"chunked":    {"POST", io.MultiReader(strings.NewReader(big), strings.NewReader("end")), nil, big + "end"},
		"Expect":     {"PUT", strings.NewReader(big), []string{"Expect", "100-continue"}, big},
		"DELETE":     {"DELETE", nil, nil, ""},
		"own method": {"PROPFIND", strings.NewReader("x"), nil, "x"},
		"GET body":   {"GET", strings.NewReader("x"), nil, "x"},
	} {
		for _, scheme := range []string{"http", "https"} {
			t.Run(name+" "+scheme, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, Options{Mode: protocol.TakeOff}, echo)
				body := c.body
				if s, ok := body.(*strings.Reader); ok {
					own := *s
					body = &own
				} else if body != nil {
					body = io.MultiReader(strings.NewReader(big), strings.NewReader("end"))
				}
				a, text, err := r.ask(c.method, scheme+"://example.com/", body, c.fields...)
				if err != nil || a.StatusCode != http.StatusOK || text != c.want || a.Header.Get("X-Method") != c.method || a.Header.Get("X-Length") != fmt.Sprint(len(c.want)) {
					t.Fatalf("%v %+v, %d bytes", err, a, len(text))
				}
				if q := r.last(); q.Sent < int64(len(c.want)) || q.Received != int64(len(c.want)) {
					t.Errorf("recorded %+v", q)
				}
			})
		}
	}
}

// TestConnectionGoesOn: requests on one connection are judged one by one, also
// when they are sent ahead and when one of them is refused.
func TestConnectionGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Mode: protocol.TakeOff}, func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		_, _ = fmt.Fprintf(w, "%s %s", q.URL.Path, body)
	})
	c := r.inside("example.com:443")
	a, text := c.send("POST /1 HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" +
		"GET /2 HTTP/1.1\r\nHost: evil.org\r\n\r\n" +
		"POST /3 HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3\r\n\r\ndef" +
		"GET /4 HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n" +
		"GET /5 HTTP/1.1\r\nHost: example.com\r\n\r\n")
	for i, want := range []string{"/1 abc", "", "/3 def", "/4 "} {
		if i > 0 {
			a, text = c.read("GET")
		}
		if a == nil || (want == "" && a.StatusCode != http.StatusForbidden) || (want != "" && text != want) {
			t.Fatalf("answer %d: %+v %q", i, a, text)
		}
	}
	if a, _ := c.read("GET"); a != nil {
		t.Error("the connection went on after close")
	}
	if err := r.stop(); err != nil || len(r.Requests()) != 4 || r.hits.Load() != 3 {
		t.Errorf("%v %+v", err, r.Requests())
	}
}

func TestEveryRequestIsToldInOrder(t *testing.T) {
	t.Parallel()
	var p *Proxy
	told := 0
	r := newRig(t, Options{Observe: func(Request) {
		if told++; len(p.Requests()) != told { // also: Observe may ask for the list
			t.Errorf("told of %d, listed %d", told, len(p.Requests()))
		}
	}}, func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", len(q.URL.Path)*1000))
	})
	p = r.Proxy
	for i := range 20 {
		scheme := []string{"http", "https"}[i%2]
		if _, _, err := r.ask("GET", fmt.Sprintf("%s://example.com/%s", scheme, strings.Repeat("a", i*3)), nil); err != nil {
			t.Fatal(err)
		}
		// The client has seen the end; so it must be on record.
		if n := len(r.Requests()); n != i+1 {
			t.Fatalf("%d on record after %d", n, i+1)
		}
	}
	if !slices.Equal(r.observed, r.Requests()) {
		t.Error("Observe and Requests differ")
	}
}

// TestT27RedirectsAreJudgedAnew: the proxy does not follow, and who follows asks again.
func TestT27RedirectsAreJudgedAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{}, func(w http.ResponseWriter, q *http.Request) {
		http.Redirect(w, q, "https://files.example.org/x", http.StatusFound)
	})
	a, _ := r.raw().send(get + "\r\n")
	if a == nil || a.StatusCode != http.StatusFound || a.Header.Get("Location") != "https://files.example.org/x" || len(r.dialled) != 1 {
		t.Fatalf("answered %+v, dialled %q", a, r.dialled)
	}
	// A client that follows is judged anew, and told why it was sent there.
	if _, _, err := r.ask("GET", "http://example.com/", nil); err == nil {
		t.Fatal("the redirect went through")
	}
	if q := r.last(); q.Reason != "redirect_not_listed" || q.URL != "files.example.org:443" || q.Allowed || len(r.looked) != 1 {
		t.Errorf("recorded %+v, looked up %q", q, r.looked)
	}
}

func TestTunnel(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { // speaks first, echoes, and ends when its client has
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "SSH-2.0\r\n")
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr != "93.184.216.34:22" {
			return nil, fmt.Errorf("dialled %s", addr)
		}
		return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
	}
	const connect = "CONNECT git.example.com:22 HTTP/1.1\r\nHost: git.example.com:22\r\n\r\n"
	t.Run("listed", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, Options{Mode: protocol.TakeOff, Tunnels: []string{"git.example.com:22"}, Dial: dial}, nil)
		c := r.raw()
		if a, _ := c.send(connect + "sent ahead, "); a == nil || a.StatusCode != http.StatusOK {
			t.Fatalf("answered %+v", a)
		}
		_, _ = io.WriteString(c, "and after")
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		got, err := io.ReadAll(c.br)
		if err != nil || string(got) != "SSH-2.0\r\nsent ahead, and after" {
			t.Fatalf("%q %v", got, err)
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		want := Request{Method: "CONNECT", URL: "git.example.com:22", Host: "git.example.com", Allowed: true, Sent: 21, Received: 30}
		if q := r.last(); q != want {
			t.Errorf("recorded %+v", q)
		}
	})
	t.Run("too much", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, Options{Mode: protocol.TakeOff, Tunnels: []string{"git.example.com:22"}, Dial: dial, Limits: Limits{TunnelBytes: 100}}, nil)
		c := r.raw()
		c.send(connect)
		_, _ = c.Write(make([]byte, 200))
		got, _ := io.ReadAll(c.br)
		if err := r.stop(); err != nil || len(got) > 100 || r.last().Reason != "tunnel_limit" || r.last().Sent > 100 {
			t.Errorf("%v %d %+v", err, len(got), r.last())
		}
	})
	t.Run("ends with the run", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, Options{Mode: protocol.TakeOff, Tunnels: []string{"git.example.com:22"}, Dial: dial}, nil)
		c := r.raw()
		c.send(connect)
		if err := r.stop(); err != nil || r.last().Reason != "tunnel_limit" {
			t.Errorf("%v %+v", err, r.last())
		}
	})
	t.Run("private address", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, Options{Mode: protocol.TakeOff, Tunnels: []string{"git.example.com:22"}, Dial: dial, Resolve: at("10.0.0.1")}, nil)
		if a, _ := r.raw().send(connect); a == nil || a.StatusCode != http.StatusForbidden {
			t.Errorf("answered %+v", a)
		}
		r.refused("address_private")
	})
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	r := &rig{t: t}
	o := Options{Mode: protocol.FlightPlan, Hosts: []string{"example.com"}}
	r.startHosts(&o, nil)
	r.Proxy = must(New(o))
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	r.serve(l)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.CA())
	tr := &http.Transport{
		Proxy:           http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.invalid:1"}),
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return net.Dial("unix", path) },
		TLSClientConfig: &tls.Config{RootCAs: roots},
	}
	defer tr.CloseIdleConnections()
	a, err := (&http.Client{Transport: tr}).Get("https://example.com/")
	if err != nil || a.StatusCode != http.StatusOK {
		t.Fatal(err, a)
	}
	_ = a.Body.Close()
	c := must(net.Dial("unix", path))
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "POST http://example.com/ HTTP/1.1\r\nHost: example.com\r\nContent-Length: 1000000\r\n\r\n")
	_, _ = c.Write(make([]byte, 100_000)) // more than the proxy reads; the answer must arrive all the same
	got, _ := io.ReadAll(io.LimitReader(c, 20))
	if !bytes.HasPrefix(got, []byte("HTTP/1.1 403")) {
		t.Errorf("answered %q", got)
	}
}

// program gives the settings of an ordinary program in the sandbox.
func (r *rig) program(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not on this machine: %v", name, err)
	}
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	writeFile(t, ca, r.CA())
	proxy := "http://" + r.addr
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + dir, "LANG=C.UTF-8", "NO_PROXY=", "no_proxy=",
		"HTTP_PROXY=" + proxy, "http_proxy=" + proxy, "HTTPS_PROXY=" + proxy, "https_proxy=" + proxy,
		"SSL_CERT_FILE=" + ca, "CURL_CA_BUNDLE=" + ca, "GIT_SSL_CAINFO=" + ca, "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1",
	}
	return cmd
}

func TestCurl(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 3<<20)
	for name, c := range map[string]struct {
		mode protocol.Mode
		args []string
		in   string
		want string
	}{
		"https":            {protocol.FlightPlan, []string{"https://example.com/a"}, "", "GET 0"},
		"http":             {protocol.FlightPlan, []string{"http://a.example.com/"}, "", "GET 0"},
		"range":            {protocol.FlightPlan, []string{"-r", "0-10", "--compressed", "https://example.com/"}, "", "GET 0"},
		"two on one":       {protocol.FlightPlan, []string{"https://example.com/a", "https://example.com/b"}, "", "GET 0GET 0"},
		"large upload":     {protocol.TakeOff, []string{"-T", "-", "https://example.com/"}, big, "PUT 3145728"},
		"post with Expect": {protocol.TakeOff, []string{"--data-binary", "@-", "https://example.com/"}, big, "POST 3145728"},
		"refused POST":     {protocol.FlightPlan, []string{"-d", "x", "https://example.com/"}, "", "method_not_allowed"},
		"refused host":     {protocol.FlightPlan, []string{"http://evil.org/"}, "", "host_not_listed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, Options{Mode: c.mode}, func(w http.ResponseWriter, q *http.Request) {
				body, _ := io.ReadAll(q.Body)
				_, _ = fmt.Fprintf(w, "%s %d", q.Method, len(body))
			})
			cmd := r.program(t, "curl", append([]string{"-sS"}, c.args...)...)
			cmd.Stdin = strings.NewReader(c.in)
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), c.want) {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

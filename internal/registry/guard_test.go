package registry

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func guardOf(o Options) *Guard {
	o.Dial, o.Header, o.PingBytes, o.Redirects = time.Minute, time.Minute, 1<<16, 5
	return NewGuard(o)
}

// TestDial lets the default transport resolve and refuse.
func TestDial(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	_, here, _ := strings.Cut(s.URL, "://")
	_, port, _ := strings.Cut(here, ":")
	for name, c := range map[string]struct {
		guard *Guard
		addr  string
		ok    bool
	}{
		"the registry itself":          {guardOf(Options{Host: "localhost:" + port, Plain: true}), "localhost:" + port, true},
		"a name that leads here":       {guardOf(Options{Host: "registry.example"}), "localhost:" + port, false},
		"an address of this machine":   {guardOf(Options{Host: "registry.example"}), here, false},
		"a listed one":                 {guardOf(Options{Host: "registry.example", Hosts: []string{here}}), here, true},
		"another port of a listed one": {guardOf(Options{Host: "registry.example", Hosts: []string{"127.0.0.1:1"}}), here, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := c.guard.dial(t.Context(), time.Minute, "tcp4", c.addr)
			if err == nil {
				_ = conn.Close()
			}
			var sent SentError
			if c.ok != (err == nil) || err != nil && !errors.As(err, &sent) {
				t.Errorf("error %v, want success %v", err, c.ok)
			}
		})
	}
}

func TestPrivate(t *testing.T) {
	t.Parallel()
	for a := range strings.FieldsSeq(`127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 0.1.2.3 224.0.0.1 255.255.255.255 198.18.0.1
		240.0.0.1 ::1 :: fe80::1 fe80::1%eth0 fd00:ec2::254 fec0::1 ff02::1 ::ffff:127.0.0.1 ::7f00:1 64:ff9b::a00:1 2002:7f00:1:: 2001::1`) {
		if !private(netip.MustParseAddr(a)) {
			t.Errorf("%s passes for public", a)
		}
	}
	for a := range strings.FieldsSeq("1.1.1.1 140.82.121.33 2606:4700:4700::1111 2a00:1450:4001::1") {
		if private(netip.MustParseAddr(a)) {
			t.Errorf("%s passes for private", a)
		}
	}
}

// TestNoProxyFromTheEnvironment: the default transport asks the environment nothing.
func TestNoProxyFromTheEnvironment(t *testing.T) {
	t.Parallel()
	transport, ok := guardOf(Options{Host: "registry.example"}).inner.(*http.Transport)
	if !ok || transport.Proxy != nil {
		t.Error("the transport takes a proxy")
	}
}

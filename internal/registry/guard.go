package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Options say how a registry is reached.
type Options struct {
	Host  string // of the registry, with its port if it has one
	Plain bool   // http, which only a registry on the loopback interface may speak
	// Hosts lists hosts ("name" or "name:port") to which the registry may send us
	// although their addresses are private.
	Hosts []string
	// Transport replaces the transport. It must look at the addresses that it
	// connects to by itself; URLs are checked in any case.
	Transport http.RoundTripper
	Dial      time.Duration // until a connection stands, and until TLS does
	Header    time.Duration // from a request to the first byte of its answer
	PingBytes int64         // of the answer to /v2/, and of any answer's headers
	Redirects int           // followed for one request
}

// Guard lets a client go where a registry may send it: every request, also of
// redirects and token services, passes it.
type Guard struct {
	inner     http.RoundTripper
	own       *http.Transport // the one that it made, or nil
	registry  string          // host:port
	plain     bool            // http, to the registry on loopback
	listed    map[string]bool // host:port that may be private
	pingBytes int64
	redirects int
}

// SentError says that the registry sent us where it may not.
type SentError struct{ Reason string }

func (e SentError) Error() string { return e.Reason }

// NewGuard guards a transport, or makes one that takes no proxy from the environment.
func NewGuard(o Options) *Guard {
	scheme := "https"
	if o.Plain {
		scheme = "http"
	}
	g := &Guard{
		registry: withPort(o.Host, scheme), plain: o.Plain, listed: map[string]bool{}, inner: o.Transport,
		pingBytes: o.PingBytes, redirects: o.Redirects,
	}
	for _, h := range o.Hosts {
		g.listed[withPort(h, "https")] = true
	}
	if g.inner == nil {
		g.own = &http.Transport{
			DialContext:            g.dialer(o.Dial),
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    o.Dial,
			ResponseHeaderTimeout:  o.Header,
			MaxResponseHeaderBytes: o.PingBytes,
			DisableCompression:     true,
		}
		g.inner = g.own
	}
	return g
}

// Close ends the connections of a transport that the guard made.
func (g *Guard) Close() {
	if g.own != nil {
		g.own.CloseIdleConnections()
	}
}

func withPort(host, scheme string) string {
	u := url.URL{Host: strings.ToLower(host)}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// RoundTrip sends a request if its URL is one that we may ask.
func (g *Guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.check(r.URL, r.Response != nil); err != nil {
		return nil, err
	}
	response, err := g.inner.RoundTrip(r)
	if err == nil && r.URL.Path == "/v2/" {
		// The library reads this answer to its end.
		response.Body = limited{io.LimitReader(response.Body, g.pingBytes), response.Body}
	}
	return response, err
}

type limited struct {
	io.Reader
	io.Closer
}

func (g *Guard) check(u *url.URL, redirected bool) error {
	at := withPort(u.Host, u.Scheme)
	own := at == g.registry
	switch {
	case u.User != nil:
		return SentError{fmt.Sprintf("%q with a user", clip(at))}
	case u.Scheme == "http" && own && !g.plain && !redirected:
		return errors.New("plain http is not set") // the library tries it with loopback
	case u.Scheme == "http" && (!own || !g.plain):
		return SentError{fmt.Sprintf("plain http to %q", clip(at))}
	case u.Scheme == "https" && own && g.plain:
		return errors.New("plain http is set") // the library tries https first
	case u.Scheme != "http" && u.Scheme != "https":
		return SentError{fmt.Sprintf("the scheme %q", clip(u.Scheme))}
	case own || g.listed[at]:
		return nil
	}
	host := u.Hostname()
	if ip, err := netip.ParseAddr(host); err == nil && private(ip) || Loopback(host) || numericEnd(host) && err != nil {
		return SentError{fmt.Sprintf("the private address %q", clip(at))}
	}
	return nil
}

// dialer connects to public addresses, and to any of hosts that the user named.
func (g *Guard) dialer(timeout time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		return g.dial(ctx, timeout, network, addr)
	}
}

func (g *Guard) dial(ctx context.Context, timeout time.Duration, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	named := addr == g.registry || g.listed[addr]
	d.Control = func(_, address string, _ syscall.RawConn) error {
		ip, err := netip.ParseAddrPort(address)
		switch {
		case err != nil:
			return err
		case g.plain && addr == g.registry && !ip.Addr().Unmap().IsLoopback():
			return SentError{fmt.Sprintf("plain http to %s, which is %s and not loopback", host, ip.Addr())}
		case !named && private(ip.Addr()):
			return SentError{fmt.Sprintf("the private address %s of %q", ip.Addr(), clip(host))}
		}
		return nil
	}
	return d.DialContext(ctx, network, addr)
}

// Loopback says whether a host is this machine by its name.
func Loopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// numericEnd says whether a resolver could read a host as an address in an old
// form (127.1, 0x7f000001): no domain ends so.
func numericEnd(host string) bool {
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(host, ".")), ".")
	last := labels[len(labels)-1]
	return strings.HasPrefix(last, "0x") || strings.Trim(last, "0123456789") == ""
}

// reserved are the networks of no public host that netip has no word for.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("64:ff9b::/16"), // carry IPv4 addresses
	netip.MustParsePrefix("2001::/23"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("fec0::/10"),
}

func private(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return true
	}
	for _, p := range reserved {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// clip bounds hostile text within an error.
func clip(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}

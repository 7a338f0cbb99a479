package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/cabincrew/action/internal/limits"
)

// newTransport is the proxy's own client. It reads no environment, follows no
// redirects, and dials through dialListed only.
func (p *Proxy) newTransport() *http.Transport {
	return &http.Transport{
		Proxy: nil, // said, because the default of net/http is the environment
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			at, err := parsePlace(addr)
			if err != nil || !p.hosts.match(at) {
				return nil, refuse(hostNotListed, "%s is not listed", clip(addr))
			}
			return p.dial(ctx, at)
		},
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: p.opt.Roots, Time: p.opt.Now},
		TLSHandshakeTimeout:    limits.EgressDialTime,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // bytes pass as they are
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        limits.EgressIdleTime,
		MaxResponseHeaderBytes: limits.EgressAnswerHeader,
	}
}

// dial looks a listed place up once, judges all its addresses and connects to
// one of these and to nothing else.
func (p *Proxy) dial(ctx context.Context, at place) (net.Conn, error) {
	if !p.enter() {
		return nil, context.Canceled
	}
	defer p.dials.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.life, cancel)()
	addrs, err := p.addresses(ctx, at)
	if err != nil {
		return nil, err
	}
	var last error
	for _, a := range addrs {
		conn, err := p.dialOne(ctx, netip.AddrPortFrom(a, at.port))
		if err == nil {
			u := &upstream{Conn: conn}
			u.stop = context.AfterFunc(p.life, func() { _ = conn.Close() })
			return u, nil
		}
		last = err
	}
	return nil, refuse(unreachable, "no connection to %s: %v", at, last)
}

// enter counts a dialling, unless Serve is over: the transport may begin one in
// the background when the request that wanted it is gone.
func (p *Proxy) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life.Err() != nil {
		return false
	}
	p.dials.Add(1)
	return true
}

func (p *Proxy) dialOne(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limits.EgressDialTime)
	defer cancel()
	return p.opt.Dial(ctx, "tcp", to.String())
}

// addresses gives where a listed place is. One address that may not be reached
// refuses them all: a name that is here and there at once is being moved.
func (p *Proxy) addresses(ctx context.Context, at place) ([]netip.Addr, error) {
	if at.addr.IsValid() {
		return []netip.Addr{at.addr}, nil // listed as such
	}
	ctx, cancel := context.WithTimeout(ctx, limits.EgressDialTime)
	defer cancel()
	addrs, err := p.opt.Resolve(ctx, at.host)
	switch {
	case err != nil:
		return nil, refuse(unresolved, "the name %s cannot be looked up: %v", at.host, err)
	case len(addrs) == 0 || len(addrs) > limits.EgressAddresses:
		return nil, refuse(unresolved, "the name %s has %d addresses; 1 to %d are expected", at.host, len(addrs), limits.EgressAddresses)
	}
	out := make([]netip.Addr, len(addrs))
	for i, a := range addrs {
		if !p.allows(at.host, a) {
			return nil, refuse(addressPrivate, "%s is at the address %s, which is private, local or reserved", at.host, a).
				withHint("if that is meant, list the host as private, or list the address itself in the step's `hosts`")
		}
		out[i] = a.Unmap()
	}
	return out, nil
}

// upstream is a connection that ends with the proxy's life.
type upstream struct {
	net.Conn
	stop func() bool
}

func (u *upstream) Close() error {
	u.stop()
	return u.Conn.Close()
}

func (u *upstream) CloseWrite() error {
	if half, ok := u.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return u.Close()
}

// upstreamRefusal sorts the errors of the transport; handshake says that it was
// TLS that failed.
func upstreamRefusal(err error, at place, handshake bool) *refusal {
	var ref *refusal
	var slow net.Error
	switch {
	case errors.As(err, &ref):
		return ref
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		return refuse(upstreamTimeout, "%s did not answer in time", at)
	case handshake:
		return refuse(tlsUpstream, "TLS with %s failed: %v", at, err).
			withHint("the host must show a certificate for its name from an authority that this machine trusts, and speak TLS 1.2 or newer")
	default:
		return refuse(upstreamFailed, "the request to %s failed: %v", at, err)
	}
}

// tunnel passes bytes both ways unseen.
func (c *client) tunnel(at place, note *Request) {
	ctx, cancel := context.WithTimeout(c.p.life, c.p.opt.Limits.TunnelTime)
	defer cancel()
	up, err := c.p.dial(ctx, at)
	if err != nil {
		c.refuse(note, upstreamRefusal(err, at, false))
		return
	}
	defer up.Close() //nolint:errcheck // both sides are done with it
	note.Allowed = true
	c.deadline(c.p.opt.Limits.TunnelTime)
	_ = up.SetDeadline(time.Now().Add(c.p.opt.Limits.TunnelTime)) // a closed connection says so when it is read
	if _, err := io.WriteString(c.raw, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		note.Reason = string(clientGone)
		c.p.record(*note)
		return
	}
	var ways sync.WaitGroup
	var sent, received int64
	var over, cut [2]bool
	ways.Go(func() { sent, over[0], cut[0] = pass(up, c.br, c.p.opt.Limits.TunnelBytes, c.raw) })
	ways.Go(func() { received, over[1], cut[1] = pass(c.raw, up, c.p.opt.Limits.TunnelBytes, up) })
	ways.Wait()
	note.Sent, note.Received = sent, received
	if over[0] || over[1] || ctx.Err() != nil && (cut[0] || cut[1]) {
		note.Reason = string(tunnelLimit)
	}
	c.p.record(*note)
}

// pass copies one way. An orderly end is passed on as such; anything else ends both ways.
func pass(to net.Conn, from io.Reader, most int64, source io.Closer) (n int64, over, cut bool) {
	n, err := io.Copy(to, io.LimitReader(from, most))
	half, ok := to.(interface{ CloseWrite() error })
	if n < most && err == nil && ok && half.CloseWrite() == nil {
		return n, false, false
	}
	_, _ = to.Close(), source.Close() // the other way ends with this
	return n, n >= most, err != nil
}

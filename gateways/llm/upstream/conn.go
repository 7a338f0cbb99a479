package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cabincrew/action/engines/egress"
	"github.com/cabincrew/action/internal/httpwire"
	"github.com/cabincrew/action/internal/limits"
)

// conn is a connection that knows whether anything was written to it: http.Transport does
// not say so, and it decides whether a call may be made again.
type conn struct {
	net.Conn

	socket net.Conn // below it
	secure bool     // it is over TLS

	mu     sync.Mutex
	wrote  int64
	sealed bool
	ended  atomic.Bool // by the provider, or on the way
}

func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sealed {
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Write(p)
	c.wrote += int64(n)
	if err != nil {
		c.note(err)
		if c.secure {
			c.wrote, n = c.wrote+1, max(n, 1) // a part of a record may have gone
		}
	}
	return n, err
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.note(err)
	}
	return n, err
}

func (c *conn) note(err error) {
	var op *net.OpError
	if !errors.Is(err, net.ErrClosed) && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op)) {
		c.ended.Store(true)
	}
}

// written says how many bytes were written so far.
func (c *conn) written() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wrote
}

// seal lets nothing more be written and says how many bytes were.
func (c *conn) seal() int64 {
	_ = c.Close() // or a write that waits would keep us
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sealed = true
	return c.wrote
}

// tlsError says that no TLS stands on a connection.
type tlsError struct{ error }

func (e tlsError) Unwrap() error { return e.error }

// dialler makes the connections to one provider, or, without a name of its own, to any host
// that is asked for.
type dialler struct {
	c      *Client
	named  egress.Named
	config *tls.Config
	name   string
}

func (c *Client) dialler(roots *x509.CertPool, name string) *dialler {
	return &dialler{
		c: c, name: name, named: egress.Named{Private: c.opt.Private, ApartLoopback: true, Timeout: limits.LLMUpstreamDialTime},
		config: &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: roots,
			NextProtos: []string{"http/1.1"}, ClientSessionCache: tls.NewLRUClientSessionCache(limits.LLMUpstreamIdleConns),
		},
	}
}

// bounded gives a context that ends in time, and with the client.
func (d *dialler) bounded(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithTimeout(ctx, limits.LLMUpstreamDialTime)
	stay := context.AfterFunc(d.c.life, cancel)
	return ctx, func() { stay(); cancel() }
}

func (d *dialler) raw(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, done := d.bounded(ctx)
	defer done()
	return d.named.Dial(ctx, network, addr)
}

func (d *dialler) plain(ctx context.Context, network, addr string) (net.Conn, error) {
	raw, err := d.raw(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: raw, socket: raw}, nil
}

func (d *dialler) secure(ctx context.Context, network, addr string) (net.Conn, error) {
	raw, err := d.raw(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	ctx, done := d.bounded(ctx)
	defer done()
	own := d.config.Clone()
	if own.ServerName = d.name; d.name == "" {
		own.ServerName, _, _ = net.SplitHostPort(addr) // it was dialled
	}
	secure := tls.Client(raw, own)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // nothing was said on it
		return nil, tlsError{err}
	}
	if p := secure.ConnectionState().NegotiatedProtocol; p != "" && p != "http/1.1" {
		_ = raw.Close()
		return nil, tlsError{fmt.Errorf("it chose the protocol %q", p)}
	}
	return &conn{Conn: secure, socket: raw, secure: true}, nil
}

// idleTime says for how long a connection is kept that nobody uses.
func (d *dialler) idleTime() time.Duration {
	if d.c.base.Scheme == "https" && egress.Far(d.c.base.Hostname()) {
		return limits.LLMUpstreamFarIdleTime
	}
	return limits.LLMUpstreamIdleTime
}

// transport is for large requests, and for tokens.
func (d *dialler) transport() *http.Transport {
	// HTTP/1.1 alone: with it a request that was begun is never sent again, and a stream
	// that is not read holds up no other.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext:            d.plain,
		DialTLSContext:         d.secure,
		Protocols:              protocols,
		DisableCompression:     true, // bytes pass as they are, and none become more
		MaxIdleConns:           limits.LLMUpstreamIdleConns,
		MaxIdleConnsPerHost:    limits.LLMUpstreamIdleConns,
		IdleConnTimeout:        d.idleTime(),
		MaxResponseHeaderBytes: limits.LLMUpstreamHeaderBytes,
	}
}

// wire is for all other requests.
func (d *dialler) wire() *httpwire.Wire {
	dial, port := d.plain, "80"
	if d.c.base.Scheme == "https" {
		dial, port = d.secure, "443"
	}
	if p := d.c.base.Port(); p != "" {
		port = p
	}
	addr := net.JoinHostPort(d.c.base.Hostname(), port)
	return httpwire.New(httpwire.Options{
		Dial:         func(ctx context.Context) (net.Conn, error) { return dial(ctx, "tcp", addr) },
		Large:        d.transport,
		RequestBytes: limits.LLMUpstreamWireBytes, HeaderBytes: limits.LLMUpstreamHeaderBytes, Hints: limits.LLMUpstreamHints,
		IdleConns: limits.LLMUpstreamIdleConns, IdleTime: d.idleTime(),
		Socket: func(c net.Conn) net.Conn {
			if own, ok := c.(*conn); ok {
				return own.socket
			}
			return c
		},
	})
}

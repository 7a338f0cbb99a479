package egress

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Serve answers the engine on the listener until ctx ends, and gives nil then.
// When it returns, the listener and every connection are closed, everything is
// recorded and no goroutine is left. A proxy is served once.
func (p *Proxy) Serve(ctx context.Context, l net.Listener) error {
	if p.served.Swap(true) {
		return protocol.Errorf(protocol.ExitFailure, "egress_served", "this egress proxy was served before")
	}
	life, end := context.WithCancel(ctx)
	p.life = life
	var clients sync.WaitGroup
	defer func() {
		p.mu.Lock() // no dialling begins after this
		end()
		p.mu.Unlock()
		_ = l.Close() // it may be closed already
		clients.Wait()
		p.transport.CloseIdleConnections()
		p.dials.Wait()
	}()
	defer context.AfterFunc(life, func() { _ = l.Close() })()
	for failures := 0; ; {
		conn, err := l.Accept()
		switch {
		case err == nil:
			failures = 0
			clients.Go(func() { p.client(conn) })
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed) || failures >= 10:
			return protocol.Errorf(protocol.ExitFailure, "egress_accept", "the egress proxy cannot accept connections: %w", err)
		default: // no descriptors, or a client that left already
			failures++
			if !pause(life, time.Duration(failures)*10*time.Millisecond) {
				return nil
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// writeBuffer has room for what answer reads at once, with its framing.
const writeBuffer = answerStep + 4<<10

// client is one connection of the engine.
type client struct {
	p      *Proxy
	raw    net.Conn
	stream net.Conn // raw, or TLS over it
	br     *bufio.Reader
	bw     *bufio.Writer
	inside *place // after CONNECT: the only place that requests may name
}

func (p *Proxy) client(raw net.Conn) {
	defer context.AfterFunc(p.life, func() { _ = raw.Close() })()
	defer raw.Close() //nolint:errcheck // nobody is left to tell
	c := &client{p: p, raw: raw, stream: raw, br: bufio.NewReaderSize(raw, 8<<10), bw: bufio.NewWriterSize(raw, writeBuffer)}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	default:
		c.turnAway()
		return
	}
	for c.next() {
	}
	c.linger()
}

// turnAway refuses a connection beyond the limit. Those that are turned away at
// one time are bounded too.
func (c *client) turnAway() {
	select {
	case c.p.door <- struct{}{}:
		defer func() { <-c.p.door }()
	default:
		return
	}
	if !c.p.admit() {
		return
	}
	c.deadline(limits.EgressLingerTime)
	c.refuse(&Request{}, refuse(tooManyConns, "the engine has %d connections already", cap(c.p.slots)))
	c.linger()
}

func (c *client) deadline(d time.Duration) {
	_ = c.raw.SetDeadline(time.Now().Add(d)) // fails on a closed connection only; the next read says so
}

// next reads and answers one request, and says whether another may follow.
func (c *client) next() bool {
	c.deadline(c.p.opt.Limits.IdleTime)
	if _, err := c.br.Peek(1); err != nil {
		return false
	}
	c.deadline(c.p.opt.Limits.HeadTime)
	lim := c.p.opt.Limits
	raw, err := readHead(c.br, lim.URLBytes, lim.HeaderBytes)
	var h *head
	if err == nil {
		var ref *refusal
		if h, ref = parseHead(raw); ref != nil {
			err = ref
		}
	}
	note := &Request{}
	if c.inside != nil {
		note.Host = c.inside.host
	}
	if h != nil {
		note.Method = h.method
	}
	if !c.p.admit() {
		c.refuse(note, refuse(tooMany, "the engine has made %d requests", lim.Requests).
			withHint("the limit stands for one run of the step; what it refuses is no longer recorded"))
		return false
	}
	if err != nil {
		c.refuse(note, headRefusal(err))
		return false
	}
	c.deadline(lim.RequestTime)
	if h.method == "CONNECT" {
		return c.connect(h, note)
	}
	return c.request(h, note)
}

func headRefusal(err error) *refusal {
	var ref *refusal
	var slow net.Error
	switch {
	case errors.As(err, &ref):
		return ref
	case errors.As(err, &slow) && slow.Timeout():
		return refuse(requestTimeout, "the request did not arrive in time")
	default:
		return refuse(malformed, "the request ends within its head")
	}
}

// connect answers CONNECT: a listed tunnel, or TLS that ends here.
func (c *client) connect(h *head, note *Request) bool {
	at, ref := c.connectPlace(h)
	if at.port != 0 {
		note.URL, note.Host = at.String(), at.host
	}
	if ref != nil {
		c.refuse(note, ref)
		return false
	}
	if c.p.tunnels.match(at) {
		if c.p.opt.Mode == protocol.TakeOff {
			c.tunnel(at, note)
		} else {
			c.refuse(note, refuse(opaque, "the tunnel to %s is open in take-off only", at))
		}
		return false
	}
	if !c.p.hosts.match(at) {
		c.refuse(note, c.p.notListed(at))
		return false
	}
	if _, err := io.WriteString(c.raw, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return false
	}
	return c.terminate(at, note)
}

func (c *client) connectPlace(h *head) (place, *refusal) {
	if c.inside != nil {
		return place{}, refuse(malformed, "CONNECT inside of CONNECT")
	}
	at, err := parsePlace(h.target)
	if err != nil || at.port == 0 {
		return place{}, refuse(malformed, "the target of CONNECT is not host:port")
	}
	if h.hasBody() || h.upgrade {
		return at, refuse(malformed, "CONNECT has a body or an upgrade")
	}
	if h.hosts == 1 {
		// Some clients leave the port out.
		named, err := parsePlace(h.host)
		if err != nil || named.host != at.host || named.port != 0 && named.port != at.port {
			return at, refuse(hostMismatch, "CONNECT is for %s, its Host field for something else", at)
		}
	}
	return at, nil
}

// terminate ends the client's TLS. From then on requests are read from inside.
func (c *client) terminate(at place, note *Request) bool {
	c.deadline(c.p.opt.Limits.HeadTime)
	first, err := c.br.Peek(6)
	if err != nil && len(first) == 0 {
		return false // asked for a way and did not take it: nothing was sent
	}
	if len(first) < 6 || first[0] != 0x16 || first[1] != 3 || first[5] != 1 { // a handshake record with ClientHello
		c.refuse(note, refuse(opaque, "what follows CONNECT %s is not TLS, and nothing else can be judged", at).
			withHint("plain HTTP goes to the proxy without CONNECT; for other protocols list %q in the step's `tunnels` (take-off only)", at))
		return false
	}
	wrongName := false
	conn := tls.Server(&buffered{Conn: c.raw, r: c.br}, &tls.Config{
		MinVersion:             tls.VersionTLS12,
		NextProtos:             []string{"http/1.1"},
		SessionTicketsDisabled: true, // each connection names its host anew
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if !named(hello.ServerName, at) {
				wrongName = true
				return nil, errors.New("the server name is not that of CONNECT")
			}
			return c.p.authority.leaf(at)
		},
	})
	if err := conn.HandshakeContext(c.p.life); err != nil {
		ref := refuse(tlsClient, "the TLS handshake for %s failed", at)
		if wrongName {
			ref = refuse(sniMismatch, "the server name in TLS is not %s", at.host)
		}
		c.p.record(ref.note(*note, 0)) // there is no way to answer
		return false
	}
	c.p.unadmit() // the requests inside count, and nothing has left yet
	c.stream, c.inside = conn, &at
	c.br, c.bw = bufio.NewReaderSize(conn, 8<<10), bufio.NewWriterSize(conn, writeBuffer)
	return true
}

// named says whether the server name of a handshake is the host. Clients send
// none for an address.
func named(sni string, at place) bool {
	if at.addr.IsValid() && sni == "" {
		return true
	}
	return strings.TrimSuffix(lowerASCII(sni), ".") == at.host
}

// buffered reads what was peeked at before what is still to come.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

// linger lets the client read the last answer: closing while it still sends
// would take the answer away.
func (c *client) linger() {
	if c.p.life.Err() != nil {
		return
	}
	c.deadline(limits.EgressLingerTime)
	if half, ok := c.stream.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, c.br, limits.EgressLingerBytes) // whatever ends it, the connection is closed next
	}
}

package egress

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Options say what one engine run may reach. The zero value of every field but
// Mode is a default that allows nothing more.
type Options struct {
	// Mode decides what a request may do: flight-plan reads, take-off also writes.
	Mode protocol.Mode

	// Hosts lists what may be reached, each as CheckHost takes it: "example.com",
	// "*.example.com" (names below it, at any depth, not itself), an address
	// ("192.0.2.7", "[2001:db8::7]"), each with ":port" or else for 443 and 80.
	// An address listed here may be of any kind: to write it is to mean it.
	Hosts []string

	// Tunnels lists "host:port" to which CONNECT is opaque, in take-off only:
	// what goes through is neither seen nor judged.
	Tunnels []string

	// Private lists what may be private although a name is looked up: an exact
	// host name, which may then resolve to loopback, private and shared addresses
	// (not to link-local and metadata ones, which only an address allows), or an
	// address, to which any listed name may resolve.
	Private []string

	// Roots are what upstream certificates are checked against; nil: the system's.
	Roots *x509.CertPool
	// Dial connects to "address:port", which is never a name; nil: net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Resolve gives the addresses of a name; nil: net.DefaultResolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)

	Now  func() time.Time // for certificates only; nil: time.Now
	Rand io.Reader        // for keys and serial numbers; nil: crypto/rand

	// Observe is called for each request, one call at a time, when its outcome is
	// known and before the client can have seen the end of its answer. It must
	// not block for long: the proxy waits for it.
	Observe func(Request)

	Limits Limits
}

// Limits bound one run; a zero field is the default of the same name in
// internal/limits.
type Limits struct {
	URLBytes    int // bytes of a URL
	Requests    int // requests, refused ones included
	HeaderBytes int // bytes of a request's header fields
	Connections int // connections at one time

	BodyBytes     int64 // bytes of a request's body
	BufferBytes   int64 // bytes of all request bodies at one time
	ResponseBytes int64 // bytes of a response's body
	TunnelBytes   int64 // bytes through a tunnel, each way

	RequestTime time.Duration // for one request with its response
	TunnelTime  time.Duration // for one tunnel
	HeadTime    time.Duration // for a request's head, and for a handshake
	IdleTime    time.Duration // between requests
}

func (l Limits) withDefaults() Limits {
	put(&l.URLBytes, limits.EgressURLBytes)
	put(&l.Requests, limits.EgressRequests)
	put(&l.HeaderBytes, limits.EgressHeaderBytes)
	put(&l.Connections, limits.EgressConnections)
	put(&l.BodyBytes, limits.EgressBodyBytes)
	put(&l.BufferBytes, limits.EgressBufferBytes)
	put(&l.ResponseBytes, limits.EgressResponseBytes)
	put(&l.TunnelBytes, limits.EgressTunnelBytes)
	put(&l.RequestTime, limits.EgressRequestTime)
	put(&l.TunnelTime, limits.EgressTunnelTime)
	put(&l.HeadTime, limits.EgressHeadTime)
	put(&l.IdleTime, limits.EgressIdleTime)
	return l
}

// put sets what is not a usable bound to its default: a bound is never absent.
func put[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Proxy is the egress of one engine run. It is made by New and served once.
type Proxy struct {
	opt       Options
	hosts     rules
	tunnels   rules
	private   rules
	authority *authority
	transport *http.Transport

	life   context.Context // ends with Serve; set before the first connection
	served atomic.Bool
	dials  sync.WaitGroup // dialling goes on in goroutines of the transport
	slots  chan struct{}  // one for each connection of the engine
	door   chan struct{}  // one for each connection that is being turned away
	held   atomic.Int64   // bytes of request bodies in memory

	telling sync.Mutex // keeps the order of Observe that of the list
	mu      sync.Mutex // guards what is below
	list    []Request
	count   int
	moved   map[string]bool // places that a Location has named
	// credentials are the values of Authorization that went on in flight-plan.
	credentials map[string]bool
}

// New makes the proxy with a certificate authority of its own.
func New(o Options) (*Proxy, error) {
	if o.Mode != protocol.FlightPlan && o.Mode != protocol.TakeOff {
		return nil, protocol.Errorf(protocol.ExitFailure, "egress_mode", "the mode %q is neither %s nor %s", o.Mode, protocol.FlightPlan, protocol.TakeOff)
	}
	o.Limits = o.Limits.withDefaults()
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: limits.EgressDialTime}).DialContext
	}
	if o.Resolve == nil {
		o.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	p := &Proxy{opt: o, slots: make(chan struct{}, o.Limits.Connections), door: make(chan struct{}, 16), moved: map[string]bool{}, credentials: map[string]bool{}}
	var err error
	if p.hosts, err = compile(o.Hosts, hostRule); err != nil {
		return nil, err
	}
	if p.tunnels, err = compile(o.Tunnels, tunnelRule); err != nil {
		return nil, err
	}
	if p.private, err = compile(o.Private, privateRule); err != nil {
		return nil, err
	}
	if p.authority, err = newAuthority(o, p.hosts); err != nil {
		return nil, err
	}
	p.transport = p.newTransport()
	return p, nil
}

// CA gives the certificate of the run's authority, in PEM. Only clients of this
// proxy have a reason to trust it, and only for the listed hosts.
func (p *Proxy) CA() []byte { return p.authority.pem() }

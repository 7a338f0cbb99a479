package back

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/cabincrew/action/engines/egress"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// The headers that the protocol defines for transports.
const (
	headerSession  = "Mcp-Session-Id"
	headerRevision = "Mcp-Protocol-Version"
	headerMethod   = "Mcp-Method"
	headerName     = "Mcp-Name"
	headerParam    = "Mcp-Param-"
	headerLast     = "Last-Event-Id"
)

// Limits bound what one server may send; a zero field is the default of the name in
// internal/limits, a negative one no bound.
type Limits struct {
	MessageBytes int           // of one message
	StreamEvents int           // in the answer to one request
	StreamBytes  int64         // as above
	AnswerTime   time.Duration // from a request to its whole answer, also where it is a stream, unless it is a subscription
	QuietTime    time.Duration // between two bytes of a stream that answers a request
}

func (l Limits) withDefaults() Limits {
	put(&l.MessageBytes, limits.MCPMessageBytes)
	put(&l.StreamEvents, limits.MCPBackStreamEvents)
	put(&l.StreamBytes, limits.MCPBackStreamBytes)
	put(&l.AnswerTime, limits.MCPBackAnswerTime)
	put(&l.QuietTime, limits.MCPBackQuietTime)
	if l.MessageBytes < 0 {
		l.MessageBytes = limits.MCPMessageBytes // never without
	}
	return l
}

func put[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// HTTPOptions say how a server that speaks streamable HTTP is reached.
type HTTPOptions struct {
	Name string // of the server in the configuration
	URL  string // http or https, with a host and without a user
	// Headers gives the credentials for this server as header fields, for each request.
	// nil: there are none.
	Headers func(ctx context.Context) (http.Header, error)
	TLS     *tls.Config // nil: the system's authorities, TLS 1.2 or newer
	// AllowPrivate lets a public name have a private address.
	AllowPrivate bool
	// AllowPlain lets credentials go over http to a host with a public name or address.
	AllowPlain bool
	Proxy      *url.URL      // nil: none; the environment is never asked
	Resolver   *net.Resolver // nil: the system's
	Limits     Limits
	Log        *slog.Logger // nil: nothing is logged
}

// HTTP opens sessions with one server by streamable HTTP. It implements link.Opener.
type HTTP struct {
	name      string
	url       *url.URL
	headers   func(ctx context.Context) (http.Header, error)
	limits    Limits
	log       *slog.Logger
	transport *http.Transport // what those of sessions are made like
	room      *largeRoom

	mu   sync.Mutex
	open map[*httpSession]struct{}
}

// connections are those of one session: no other's requests go over them. A server that
// sends more than one answer for a request, or a late one, confuses its client at most.
type connections interface {
	http.RoundTripper
	CloseIdleConnections()
}

// NewHTTP makes the connection to a server. Nothing is connected to yet.
func NewHTTP(o HTTPOptions) (*HTTP, error) {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil: // its text may hold a credential
		return nil, refused(o.Name, "its url is none").WithHint("write it as https://HOST/PATH")
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "":
		return nil, refused(o.Name, "its url is not http or https with a host").WithHint("write it as https://HOST/PATH")
	case u.User != nil:
		return nil, refused(o.Name, "its url holds a user").WithHint("give credentials as a header that comes from the secrets")
	case u.Fragment != "":
		return nil, refused(o.Name, "its url has a fragment").WithHint("leave out what follows #")
	case u.Scheme == "http" && o.Headers != nil && !o.AllowPlain && egress.Far(u.Hostname()):
		return nil, refused(o.Name, "its credentials would go over plain http to %s", u.Hostname()).WithHint("use https, or allow plain http for this server")
	}
	h := newHTTP(o, u)
	h.transport.DialContext = egress.Named{Private: o.AllowPrivate, Timeout: limits.MCPBackDialTime, Resolver: o.Resolver}.Dial
	return h, nil
}

// refused makes the error for options that cannot be used.
func refused(name, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "gateway_server", format, args...).At("servers." + name)
}

func newHTTP(o HTTPOptions, u *url.URL) *HTTP {
	l := o.Limits.withDefaults()
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS != nil {
		config = o.TLS.Clone()
		config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	}
	// HTTP/1.1 alone: with it a request that was begun is never sent again, and a
	// stream that is not read holds up no other.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	t := &http.Transport{
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    limits.MCPBackDialTime,
		Protocols:              protocols,
		DisableCompression:     true, // bytes pass as they are, and none become more
		MaxIdleConns:           limits.MCPBackIdleConns,
		MaxIdleConnsPerHost:    limits.MCPBackIdleConns,
		IdleConnTimeout:        limits.MCPBackIdleTime,
		MaxResponseHeaderBytes: limits.MCPBackHeaderBytes,
	}
	if o.Proxy != nil {
		t.Proxy = http.ProxyURL(o.Proxy)
	}
	return &HTTP{name: o.Name, url: u, headers: o.Headers, limits: l, log: log, transport: t, room: newLargeRoom(o.Name, l.MessageBytes)}
}

// connect gives the connections of a new session.
func (h *HTTP) connect() connections {
	if h.url.Scheme == "http" && h.transport.Proxy == nil {
		return newWire(h.transport, h.url.Hostname(), h.url.Port())
	}
	return h.transport.Clone()
}

// Open opens a session. The server hears of it with the first message.
func (h *HTTP) Open(_ context.Context, s link.Session) (link.Server, error) {
	life, end := context.WithCancel(context.Background())
	session := &httpSession{HTTP: h, sends: h.connect(), stateless: s.Stateless, life: life, end: end}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open == nil {
		h.open = map[*httpSession]struct{}{}
	}
	h.open[session] = struct{}{}
	return session, nil
}

// over forgets a session that has ended.
func (h *HTTP) over(s *httpSession) {
	s.sends.CloseIdleConnections()
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.open, s)
}

// Close ends the connections that nobody uses.
func (h *HTTP) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.open {
		s.sends.CloseIdleConnections()
	}
	return nil
}

// httpSession is one session with a server. It implements link.Server.
type httpSession struct {
	*HTTP

	sends     connections
	stateless bool
	life      context.Context //nolint:containedctx // all requests of the session end with it
	end       context.CancelFunc

	mu       sync.Mutex
	id       string // the server's name of the session
	revision string // as agreed, for clients that have no headers
}

// header makes the header fields of a request: the protocol's of the client, the server's
// session, and this server's credentials, which win.
func (s *httpSession) header(ctx context.Context, from http.Header, initializes bool) (http.Header, error) {
	h := make(http.Header, 8+len(from))
	for name, values := range from {
		if passes(name) {
			h[name] = values
		}
	}
	s.mu.Lock()
	id, revision := s.id, s.revision
	s.mu.Unlock()
	if !initializes {
		if id != "" {
			h[headerSession] = []string{id}
		}
		if revision != "" && h.Get(headerRevision) == "" {
			h[headerRevision] = []string{revision}
		}
	}
	h["Accept-Encoding"] = []string{"identity"}
	h["User-Agent"] = []string{"cabincrew"}
	if s.headers == nil {
		return h, nil
	}
	own, err := s.headers(ctx)
	if err != nil {
		return nil, &link.Down{Server: s.name, Why: "its credentials cannot be had", Err: err}
	}
	for name, values := range own {
		h[http.CanonicalHeaderKey(name)] = values
	}
	return h, nil
}

// passes says whether a client's header field goes to the server.
func passes(name string) bool {
	switch name {
	case headerRevision, headerMethod, headerName, headerLast:
		return true
	default:
		return strings.HasPrefix(name, headerParam)
	}
}

// learn keeps what the answer to initialize settles.
func (s *httpSession) learn(id, revision string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != "" {
		s.id = id
	}
	if revision != "" {
		s.revision = revision
	}
}

func (s *httpSession) session() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// visible says whether a session id is as the protocol has it.
func visible(id string) bool {
	for i := range len(id) {
		if id[i] < '!' || id[i] > '~' {
			return false
		}
	}
	return len(id) <= limits.MCPBackSessionBytes
}

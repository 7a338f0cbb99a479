package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/cabincrew/action/engines/egress"
	"github.com/cabincrew/action/gateways/llm/route"
	"github.com/cabincrew/action/internal/harmless"
	"github.com/cabincrew/action/internal/limits"
)

// Client is the client of one provider.
type Client struct {
	opt      Options
	base     *url.URL
	fixed    http.Header
	keyField string
	sends    http.RoundTripper
	signer   *v4.Signer // of bedrock
	tokens   *shared    // of vertex
	now      func() time.Time
	idle     func()
	slots    chan struct{}
	life     context.Context //nolint:containedctx // all calls end with it
	end      context.CancelFunc
}

// New makes the client of a provider. Nothing is connected to yet.
func New(o Options) (*Client, error) {
	base, err := o.check()
	if err != nil {
		return nil, err
	}
	roots, err := o.authorities()
	if err != nil {
		return nil, err
	}
	o.withDefaults()
	c := &Client{opt: o, base: base, fixed: http.Header{}, keyField: o.keyField(), now: time.Now}
	for name, value := range o.Headers {
		c.fixed[http.CanonicalHeaderKey(name)] = []string{value}
	}
	c.slots = make(chan struct{}, o.MaxConcurrent)
	c.life, c.end = context.WithCancel(context.Background())
	w := c.dialler(roots, base.Hostname()).wire()
	c.sends, c.idle = w, w.CloseIdleConnections
	switch o.Kind { //nolint:exhaustive // the others send their key as it is
	case route.Bedrock:
		c.signer = v4.NewSigner()
	case route.Vertex:
		other := c.dialler(roots, "").transport()
		c.tokens = c.newTokens(other)
		c.idle = func() { w.CloseIdleConnections(); other.CloseIdleConnections() }
	}
	return c, nil
}

// Close ends all calls and connections.
func (c *Client) Close() {
	c.end()
	c.idle()
}

// The causes of the end of a call that are ours.
var (
	errFirstByte = errors.New("the first byte is late")
	errIdle      = errors.New("the next byte is late")
	errTotal     = errors.New("the end is late")
	errClosed    = errors.New("the client was closed")
)

// exchange is one call with its answer.
type exchange struct {
	c      *Client
	ctx    context.Context //nolint:containedctx // of the request and the answer's body
	cancel context.CancelCauseFunc
	leave  func() bool // stops that the exchange ends with the client
	total  *time.Timer
	quiet  *time.Timer // until the first byte, then while the answer is read
	key    string

	mu    sync.Mutex
	conn  *conn // that the request goes over
	from  int64 // what was written to it before
	sent  bool
	begun atomic.Bool // the answer's body
	ended atomic.Bool
}

// Do sends a call, once. The answer's body must be closed. When ctx ends, so does the
// answer's body.
func (c *Client) Do(ctx context.Context, call Call) (*Answer, error) {
	if c.life.Err() != nil {
		return nil, &Failure{Provider: c.opt.Name, Reason: Cancelled, Err: errClosed}
	}
	select {
	case c.slots <- struct{}{}:
	default:
		return nil, &Failure{Provider: c.opt.Name, Reason: Busy}
	}
	x := &exchange{c: c}
	x.ctx, x.cancel = context.WithCancelCause(ctx)
	x.leave = context.AfterFunc(c.life, func() { x.cancel(errClosed) })
	x.total = time.AfterFunc(c.opt.Total, func() { x.cancel(errTotal) })
	x.quiet = time.AfterFunc(c.opt.FirstByte, func() {
		if x.begun.Load() {
			x.cancel(errIdle)
			return
		}
		x.cancel(errFirstByte)
	})
	answer, err := x.do(&call)
	if err != nil {
		x.finish()
		return nil, err
	}
	return answer, nil
}

// finish gives back what the call had.
func (x *exchange) finish() {
	if !x.ended.CompareAndSwap(false, true) {
		return
	}
	x.leave()
	x.total.Stop()
	x.quiet.Stop()
	x.cancel(context.Canceled)
	<-x.c.slots
}

func (x *exchange) do(call *Call) (*Answer, error) {
	r, err := x.request(call)
	if err != nil {
		return nil, err
	}
	response, err := x.c.sends.RoundTrip(r)
	for again := 0; err != nil; again++ {
		f := x.failed(err)
		if f.Reason != Cut || f.Sent || again == limits.LLMUpstreamStale {
			return nil, f
		}
		// A kept connection was closed before anything was written. Others may be too.
		x.c.idle()
		response, err = x.c.sends.RoundTrip(x.again(r))
	}
	x.arrived()
	answer, err := x.answer(response)
	if err != nil {
		_ = response.Body.Close() // it is not wanted
	}
	return answer, err
}

// request makes the request of a call.
func (x *exchange) request(call *Call) (*http.Request, error) {
	c := x.c
	path, query, body, err := c.target(call)
	if err != nil {
		return nil, x.fail(Refused, err)
	}
	header, err := c.header(call)
	if err != nil {
		return nil, x.fail(Refused, err)
	}
	u := *c.base
	u.RawQuery = query
	u.RawPath = path
	u.Path, _ = url.PathUnescape(path) // it was looked at
	method := call.Method
	if method == "" {
		method = http.MethodPost
	}
	trace := &httptrace.ClientTrace{GotConn: x.got}
	r := (&http.Request{
		Method: method, URL: &u, Host: u.Host, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(httptrace.WithClientTrace(x.ctx, trace))
	if len(body) > 0 {
		// With GetBody a request of which nothing was written goes over another connection.
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	if f := x.sign(r, body); f != nil {
		return nil, f
	}
	return r, nil
}

// sign puts the key into a request, or what it is good for.
func (x *exchange) sign(r *http.Request, body []byte) error {
	c := x.c
	if c.opt.Key == nil {
		return nil
	}
	key, err := c.opt.Key(x.ctx)
	if err != nil {
		return x.noKey(clean(err, key))
	}
	if key == "" || len(key) > limits.LLMUpstreamKeyBytes {
		return x.noKey(errors.New("it is empty, or too long"))
	}
	if !plainValue(key) && !c.opt.cloud() {
		return x.noKey(errors.New("it is no text of a header field"))
	}
	switch c.opt.Kind {
	case route.Bedrock:
		err = x.bedrockSigns(r, body, key)
	case route.Vertex:
		err = x.vertexSigns(r, key)
	default:
		x.key = key
		if c.keyField == "Authorization" {
			key = "Bearer " + key
		}
		r.Header[c.keyField] = []string{key}
	}
	if err == nil && !plainValue(x.key) {
		err = errors.New("it is no text of a header field")
	}
	if err != nil {
		return x.noKey(err)
	}
	return nil
}

// noKey is the failure for a call whose key cannot be had, which may be for the time.
func (x *exchange) noKey(err error) error {
	if f := x.ours(); f != nil {
		return f
	}
	return x.fail(Key, err)
}

// again makes the request once more, of which nothing was written.
func (x *exchange) again(r *http.Request) *http.Request {
	once := *r
	if r.GetBody != nil {
		once.Body, _ = r.GetBody() // it is in memory
	}
	return &once
}

// got notes the connection that the request is about to go over.
func (x *exchange) got(info httptrace.GotConnInfo) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sent = x.sent || x.conn != nil && x.conn.seal() > x.from
	x.conn, _ = info.Conn.(*conn)
	if x.conn == nil {
		x.sent = true // what is not known may have been
		return
	}
	x.from = x.conn.written()
}

// wasSent says whether anything of the request was written, and lets nothing more be.
func (x *exchange) wasSent() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sent = x.sent || x.conn != nil && x.conn.seal() > x.from
	return x.sent
}

// arrived notes that the provider answered. The connection belongs to the answer's body
// from here on, and may be another call's already.
func (x *exchange) arrived() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sent, x.conn = true, nil
}

// cut says whether the provider ended the connection.
func (x *exchange) cut() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.conn != nil && x.conn.ended.Load()
}

// fail makes the failure of the call, which sends nothing more.
func (x *exchange) fail(reason Reason, err error) *Failure {
	return &Failure{Provider: x.c.opt.Name, Reason: reason, Sent: x.wasSent(), Err: err}
}

// failed says why the provider could not be had.
func (x *exchange) failed(err error) *Failure {
	if f := x.ours(); f != nil {
		return f
	}
	var at egress.AddressError
	var op *net.OpError
	switch {
	case errors.As(err, &at):
		return x.fail(Refused, clean(at, x.key))
	case errors.As(err, new(tlsError)):
		return x.fail(TLS, clean(err, x.key))
	case errors.As(err, &op) && op.Op == "dial":
		return x.fail(Dial, clean(err, x.key))
	case x.cut():
		return x.fail(Cut, io.ErrUnexpectedEOF)
	default:
		return x.fail(Status, clean(err, x.key))
	}
}

// ours gives the failure where this side ended the call.
func (x *exchange) ours() *Failure {
	cause := context.Cause(x.ctx)
	switch {
	case cause == nil:
		return nil
	case errors.Is(cause, errFirstByte):
		return x.fail(FirstByte, context.DeadlineExceeded)
	case errors.Is(cause, errIdle):
		return x.fail(Idle, context.DeadlineExceeded)
	case errors.Is(cause, errTotal):
		return x.fail(Total, context.DeadlineExceeded)
	case errors.Is(cause, errClosed):
		return x.fail(Cancelled, errClosed)
	default:
		return x.fail(Cancelled, cause)
	}
}

// check refuses what is no answer.
func (x *exchange) check(r *http.Response) *Failure {
	if e := strings.TrimSpace(strings.Join(r.Header["Content-Encoding"], ",")); e != "" && !strings.EqualFold(e, "identity") {
		return x.fail(Status, errors.New("it has a content encoding, which was not asked for"))
	}
	switch code := r.StatusCode; {
	case code < 200 || code > 599, code > 200 && code < 300: // 206 is a part of one, others have none
		return x.fail(Status, fmt.Errorf("HTTP %d", code))
	case code >= 300 && code < 400:
		to := "nowhere"
		if u, err := r.Location(); err == nil {
			to = clean(errors.New(harmless.OneLine(u.Host)), x.key).Error()
		}
		return x.fail(Redirect, fmt.Errorf("HTTP %d to %s", code, to))
	case r.ContentLength > x.c.opt.MaxAnswer:
		return x.fail(TooLarge, fmt.Errorf("%d bytes", r.ContentLength))
	}
	return nil
}

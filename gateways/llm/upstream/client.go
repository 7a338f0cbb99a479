package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cabincrew/action/engines/egress"
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
	// HTTP/1.1 alone: with it a request that was begun is never sent again, and a stream
	// that is not read holds up no other.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	t := &http.Transport{
		DialContext:            egress.Named{Private: o.Private, ApartLoopback: true, Timeout: limits.LLMUpstreamDialTime}.Dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    limits.LLMUpstreamDialTime,
		Protocols:              protocols,
		DisableCompression:     true, // bytes pass as they are, and none become more
		MaxIdleConns:           limits.LLMUpstreamIdleConns,
		MaxIdleConnsPerHost:    limits.LLMUpstreamIdleConns,
		IdleConnTimeout:        limits.LLMUpstreamIdleTime,
		MaxResponseHeaderBytes: limits.LLMUpstreamHeaderBytes,
	}
	c := &Client{opt: o, base: base, fixed: http.Header{}, keyField: o.keyField(), sends: t, idle: t.CloseIdleConnections}
	for name, value := range o.Headers {
		c.fixed[http.CanonicalHeaderKey(name)] = []string{value}
	}
	c.slots = make(chan struct{}, o.MaxConcurrent)
	c.life, c.end = context.WithCancel(context.Background())
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
	sent   atomic.Bool
	begun  atomic.Bool // the answer's body
	ended  atomic.Bool
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
	if err != nil {
		return nil, x.failed(err)
	}
	answer, err := x.answer(response)
	if err != nil {
		_ = response.Body.Close() // it is not wanted
	}
	return answer, err
}

// request makes the request of a call.
func (x *exchange) request(call *Call) (*http.Request, error) {
	c := x.c
	path, query, err := c.target(call)
	if err != nil {
		return nil, x.fail(Refused, err)
	}
	if c.opt.Key != nil {
		if x.key, err = c.opt.Key(x.ctx); err != nil {
			return nil, x.fail(Key, clean(err, x.key))
		}
		if x.key == "" || len(x.key) > limits.LLMUpstreamKeyBytes || !plainValue(x.key) {
			x.key = ""
			return nil, x.fail(Key, errors.New("it is empty, or no text of a header field"))
		}
	}
	header, err := c.header(call, x.key)
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
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { x.sent.Store(true) }}
	r := (&http.Request{
		Method: method, URL: &u, Host: u.Host, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(httptrace.WithClientTrace(x.ctx, trace))
	if len(call.Body) > 0 {
		// Without GetBody nothing that may have been sent is sent again.
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(call.Body)), int64(len(call.Body))
	}
	return r, nil
}

// fail makes the failure of the call.
func (x *exchange) fail(reason Reason, err error) *Failure {
	return &Failure{Provider: x.c.opt.Name, Reason: reason, Sent: x.sent.Load(), Err: err}
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
	case errors.As(err, &op) && op.Op == "dial":
		return x.fail(Dial, clean(err, x.key))
	case !x.sent.Load():
		return x.fail(TLS, clean(err, x.key))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return x.fail(Cut, io.ErrUnexpectedEOF)
	case errors.As(err, &op):
		return x.fail(Cut, clean(err, x.key))
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
	case code < 200 || code > 599:
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

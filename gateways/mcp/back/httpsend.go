package back

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"

	"github.com/cabincrew/action/engines/egress"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/harmless"
	"github.com/cabincrew/action/internal/limits"
)

// Send sends a message, once. What may have reached the server is never sent again: a
// tool may do something each time it is called. Only a request of which no byte was
// written, because the connection had been closed, is sent on another.
func (s *httpSession) Send(ctx context.Context, c link.Call) (*link.Answer, error) {
	settled := sync.OnceFunc(c.Settled)
	defer settled()
	initializes := c.Message.Method == "initialize"
	header, err := s.header(ctx, c.Header, initializes)
	if err != nil {
		return nil, err
	}
	if c.Header == nil {
		describe(header, c.Message)
	}
	header["Content-Type"] = []string{"application/json"}
	header["Accept"] = []string{"application/json, text/event-stream"}
	raw := c.Message.Raw
	x := s.exchange(ctx)
	x.listens = c.Message.Method == methodListen
	rctx := x.ctx
	if c.Sent != nil {
		rctx = httptrace.WithClientTrace(rctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { settled() }})
	}
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }
	r := (&http.Request{
		Method: http.MethodPost, URL: s.url, Host: s.url.Host, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: int64(len(raw)), GetBody: body,
	}).WithContext(rctx)
	r.Body, _ = body()
	var note func([]byte)
	if initializes {
		note = func(result []byte) {
			if v, ok := jsonrpc.Lookup(result, "protocolVersion"); ok {
				text, _ := jsonrpc.Text(v)
				if visible(text) && len(text) <= 32 {
					s.learn("", text)
				}
			}
		}
	}
	response, err := x.do(r)
	if err != nil {
		return nil, err
	}
	if id := response.Header.Get(headerSession); id != "" && initializes && response.StatusCode < 300 {
		if !visible(id) {
			return nil, x.fail("gave a session id that the protocol does not allow", nil)
		}
		s.learn(id, "")
	}
	return x.answer(response, await(c.Message, note))
}

// describe gives the fields that revision 2026-07-28 wants of a message that came
// without any, by stdio.
func describe(h http.Header, m jsonrpc.Message) {
	v, ok := jsonrpc.Lookup(m.Params, "_meta", jsonrpc.MetaRevision)
	revision, isText := jsonrpc.Text(v)
	if !ok || !isText || !visible(revision) || m.Method == "" || !visible(m.Method) {
		return
	}
	h[headerRevision], h[headerMethod] = []string{revision}, []string{m.Method}
	at := map[string]string{"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}[m.Method]
	if at == "" {
		return
	}
	v, _ = jsonrpc.Lookup(m.Params, at)
	if name, ok := jsonrpc.Text(v); ok {
		h[headerName] = []string{fieldValue(name)}
	}
}

// Listen opens the stream of what the server sends unasked, or resumes one.
func (s *httpSession) Listen(ctx context.Context, header http.Header) (*link.Answer, error) {
	h, err := s.header(ctx, header, false)
	if err != nil {
		return nil, err
	}
	h["Accept"] = []string{"text/event-stream"}
	x := s.exchange(ctx)
	x.listens = true
	response, err := x.do((&http.Request{
		Method: http.MethodGet, URL: s.url, Host: s.url.Host, Header: h, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(x.ctx))
	if err != nil {
		return nil, err
	}
	return x.answer(response, nil)
}

// End tells the server that the session is over, if it gave one.
func (s *httpSession) End(ctx context.Context) error {
	s.end()
	defer s.over(s)
	if s.session() == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limits.MCPBackEndTime)
	defer cancel()
	h, err := s.header(ctx, nil, false)
	if err != nil {
		return err
	}
	r := (&http.Request{
		Method: http.MethodDelete, URL: s.url, Host: s.url.Host, Header: h, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	response, err := s.sends.RoundTrip(r)
	if err != nil {
		return &link.Down{Server: s.name, Why: "could not be told that the session is over: " + plain(err), Err: err}
	}
	_, _ = io.CopyN(io.Discard, response.Body, limits.MCPBackErrorBytes) // so that the connection can be used again
	_ = response.Body.Close()
	switch code := response.StatusCode; {
	case code < 300, code == http.StatusMethodNotAllowed, code == http.StatusNotFound, code == http.StatusNotImplemented, code == http.StatusBadRequest:
		return nil // it need not take note
	default:
		return &link.Down{Server: s.name, Why: fmt.Sprintf("did not end the session (HTTP %d)", code)}
	}
}

// exchange is one request with its answer.
type exchange struct {
	s       *httpSession
	caller  context.Context //nolint:containedctx // of Send, to tell who ended the exchange
	ctx     context.Context //nolint:containedctx // of the request
	cancel  context.CancelCauseFunc
	leave   func() bool // stops that ctx ends with Send's
	slow    *time.Timer // ends ctx when the time for the answer is over; nil: never
	listens bool        // what comes is no answer, and may go on for ever
	streams bool        // the answer has begun
}

// errSlow is the cause where the time for an answer is over.
var errSlow = errors.New("no answer in time")

// exchange makes the context of a request. A stream lives on when Send is over.
func (s *httpSession) exchange(caller context.Context) *exchange {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(caller))
	x := &exchange{s: s, caller: caller, ctx: ctx, cancel: cancel}
	x.leave = context.AfterFunc(caller, func() { cancel(context.Cause(caller)) })
	if s.limits.AnswerTime > 0 {
		x.slow = time.AfterFunc(s.limits.AnswerTime, func() { cancel(errSlow) })
	}
	return x
}

// done lets the exchange go on without Send's context and time.
func (x *exchange) done() {
	x.leave()
	x.untimed()
}

// untimed lets the exchange take any time from here on.
func (x *exchange) untimed() {
	if x.slow != nil {
		x.slow.Stop()
	}
}

func (x *exchange) do(r *http.Request) (*http.Response, error) {
	if x.s.life.Err() != nil {
		return nil, x.fail("the session with it is over", context.Canceled)
	}
	response, err := x.s.sends.RoundTrip(r)
	if err != nil {
		return nil, x.failed(err)
	}
	return response, nil
}

// fail ends the exchange.
func (x *exchange) fail(why string, err error) error {
	x.done()
	x.cancel(context.Canceled)
	return &link.Down{Server: x.s.name, Why: why, Err: err}
}

// failed ends the exchange and says why it could not be had.
func (x *exchange) failed(err error) error {
	if why := x.why(); why != nil {
		x.done()
		x.cancel(context.Canceled)
		return why
	}
	var at egress.AddressError
	var op *net.OpError
	switch {
	case errors.As(err, &at):
		return x.fail("is not connected to: "+at.Why, err)
	case errors.As(err, &op) && op.Op == "dial":
		return x.fail("cannot be reached: "+plain(err), err)
	default:
		return x.fail("the connection broke off: "+plain(err), err)
	}
}

// why says who of us ended the exchange; nil if nobody did.
func (x *exchange) why() error {
	switch cause := context.Cause(x.ctx); {
	case cause == nil:
		return nil
	case errors.Is(cause, errSlow) && x.streams:
		return &link.Down{Server: x.s.name, Why: fmt.Sprintf("took longer than %s for its answer", x.s.limits.AnswerTime), Err: context.DeadlineExceeded}
	case errors.Is(cause, errSlow):
		return &link.Down{Server: x.s.name, Why: fmt.Sprintf("did not answer within %s", x.s.limits.AnswerTime), Err: context.DeadlineExceeded}
	case x.s.life.Err() != nil:
		return &link.Down{Server: x.s.name, Why: "the session with it is over", Err: cause}
	default:
		return cause
	}
}

// answer makes of the response what the client gets.
func (x *exchange) answer(r *http.Response, owed *awaited) (*link.Answer, error) {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err := x.check(r, media); err != nil {
		_ = r.Body.Close() // it is not wanted
		return nil, err
	}
	header := http.Header{}
	if media == "text/event-stream" && r.StatusCode < 300 {
		header["Content-Type"] = []string{media}
		return &link.Answer{Status: r.StatusCode, Header: header, Stream: x.stream(r, owed)}, nil
	}
	defer func() {
		_ = r.Body.Close() // it was read
		x.done()
		x.cancel(context.Canceled)
	}()
	body, free, err := x.body(r, media)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		if owed.open() && r.StatusCode < 300 {
			return nil, x.fail(fmt.Sprintf("gave no answer (HTTP %d)", r.StatusCode), io.ErrUnexpectedEOF)
		}
		return &link.Answer{Status: r.StatusCode, Header: header}, nil
	}
	if media == "application/json" {
		header["Content-Type"] = []string{media}
		owed.see(body)
	} else if media != "" {
		header["Content-Type"] = []string{"text/plain; charset=utf-8"} // whatever it says it is, nobody shall run it
	}
	return &link.Answer{Status: r.StatusCode, Header: header, Body: body, Free: free}, nil
}

// check refuses what is no answer of the protocol.
func (x *exchange) check(r *http.Response, media string) error {
	if e := strings.TrimSpace(strings.Join(r.Header.Values("Content-Encoding"), ",")); e != "" && !strings.EqualFold(e, "identity") {
		return x.fail("answered with a content encoding, which it was asked not to use", nil)
	}
	switch code := r.StatusCode; {
	case code < 200:
		return x.fail(fmt.Sprintf("speaks another protocol (HTTP %d)", code), nil)
	case code == http.StatusUnauthorized || code == http.StatusProxyAuthRequired:
		return x.fail(fmt.Sprintf("does not accept the credentials that the gateway has for it (HTTP %d)", code), nil)
	case code >= 300 && code < 400:
		to := "nowhere"
		if u, err := r.Location(); err == nil {
			to = harmless.OneLine(clip(u.Host))
		}
		return x.fail(fmt.Sprintf("sends elsewhere (HTTP %d to %s), which is not followed; its url must be the right one", code, to), nil)
	case code >= 300, media == "application/json", media == "text/event-stream":
		return nil
	case r.ContentLength == 0 || code == http.StatusAccepted || code == http.StatusNoContent:
		return nil
	default:
		return x.fail(fmt.Sprintf("answered with the content type %q instead of JSON or a stream", harmless.OneLine(clip(r.Header.Get("Content-Type")))), nil)
	}
}

// body reads an answer that is no stream.
func (x *exchange) body(r *http.Response, media string) (body []byte, free func(), err error) {
	most := x.s.limits.MessageBytes
	if media != "application/json" {
		most = limits.MCPBackErrorBytes
	}
	if r.ContentLength > int64(most) && media == "application/json" {
		return nil, nil, x.fail(fmt.Sprintf("answered with more than %d bytes", most), nil)
	}
	var b bytes.Buffer
	if r.ContentLength > 0 {
		b.Grow(int(min(r.ContentLength+bytes.MinRead, 64<<10)))
	}
	n, err := b.ReadFrom(io.LimitReader(r.Body, min(limits.MCPBackLarge, int64(most)+1)))
	var l *lease
	if err == nil && n == limits.MCPBackLarge {
		if l, err = x.s.room.take(x.ctx, func(why error) { x.cancel(why) }); err == nil {
			var more int64
			more, err = b.ReadFrom(io.LimitReader(r.Body, int64(most)+1-n))
			n += more
		}
	}
	defer func() {
		if free == nil {
			l.give()
		}
	}()
	switch {
	case err != nil:
		return nil, nil, x.failed(err)
	case n > int64(most) && media == "application/json":
		return nil, nil, x.fail(fmt.Sprintf("answered with more than %d bytes", most), nil)
	case n > int64(most):
		b.Truncate(most)
	}
	return b.Bytes(), l.whole(), nil
}

func (x *exchange) stream(r *http.Response, owed *awaited) *eventStream {
	x.streams = true
	if x.leave(); x.listens {
		x.untimed()
	}
	stop := context.AfterFunc(x.s.life, func() { x.cancel(context.Canceled) })
	s := &eventStream{
		server: x.s.name, body: r.Body, why: x.why, awaits: owed, results: make(chan readResult, 1),
		cancel: func(cause error) { stop(); x.untimed(); x.cancel(cause) }, parser: parser{most: x.s.limits.MessageBytes},
		room: x.s.room,
	}
	if !x.listens {
		s.quiet, s.mostEvents, s.mostBytes = x.s.limits.QuietTime, x.s.limits.StreamEvents, x.s.limits.StreamBytes
	}
	return s
}

// plain gives an error as one harmless line.
func plain(err error) string { return harmless.OneLine(clip(err.Error())) }

// clip bounds foreign text.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}

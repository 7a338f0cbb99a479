package egress

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// request judges one request and, if nothing speaks against it, sends it on. It
// says whether the connection can go on.
func (c *client) request(h *head, note *Request) bool {
	stay := !h.close && !h.hasBody() && !h.expect
	at, u, ref := c.where(h, note)
	if ref == nil {
		ref = c.judge(h, at, u)
	}
	if ref == nil && c.p.opt.Mode == protocol.FlightPlan {
		h.header, ref = c.p.planHeader(h.header)
	}
	if ref != nil {
		c.refuse(note, ref)
		return stay && !h.old
	}
	content, release, ref := c.body(h)
	defer release()
	if ref != nil {
		c.refuse(note, ref)
		return false
	}
	ctx, cancel := context.WithTimeout(c.p.life, c.p.opt.Limits.RequestTime)
	defer cancel()
	var handshake atomic.Bool // the trace is called by the goroutine that dials
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
		handshake.Store(err != nil)
	}})
	out := c.outgoing(ctx, h, u, content)
	note.Allowed, note.Sent = true, size(out, content)
	answer, err := c.p.transport.RoundTrip(out)
	if err != nil {
		ref := upstreamRefusal(err, at, handshake.Load())
		if !ref.reason.reached() {
			note.Sent = 0
		}
		c.refuse(note, ref)
		return !h.close
	}
	defer answer.Body.Close() //nolint:errcheck // it was read; what is left is not wanted
	c.p.noteRedirect(u, answer)
	return c.answer(answer, note, h) && !h.close
}

// where finds out which URL a request means; all that names a host must name
// the same.
func (c *client) where(h *head, note *Request) (place, *url.URL, *refusal) {
	u, own := *h.url, "http"
	if c.inside != nil {
		own = "https"
	}
	if h.old {
		return place{}, nil, refuse(malformed, "a request in HTTP/1.0 cannot be answered safely: its client would not see that an answer is cut short")
	}
	if strings.HasPrefix(h.target, "/") {
		if c.inside == nil {
			return place{}, nil, refuse(malformed, "a proxy is asked for whole URLs").
				withHint("this is a proxy; set HTTP_PROXY and HTTPS_PROXY to it")
		}
		u.Scheme, u.Host, u.User = own, c.inside.String(), nil
	}
	named := u.User != nil || strings.Contains(u.Host, "@")
	u.User = nil
	at, err := parsePlace(u.Host)
	if err != nil || u.Opaque != "" || u.Scheme == "" {
		return place{}, nil, refuse(malformed, "the URL of the request has no plain host")
	}
	if at.port == 0 {
		at.port = defaultPort(u.Scheme)
	}
	u.Host = at.short(defaultPort(u.Scheme))
	full := u.String()
	note.Host, note.URL = at.host, full[:min(len(full), c.p.opt.Limits.URLBytes)]
	switch {
	case named:
		return place{}, nil, refuse(userinfo, "the URL has a user name or password; they belong into the Authorization field")
	case u.Scheme != own:
		return place{}, nil, refuse(scheme, "the scheme of the URL is not %s here", own).
			withHint("https goes through CONNECT, http goes without")
	case c.inside != nil && at != *c.inside:
		return place{}, nil, refuse(hostMismatch, "the request is for %s, but CONNECT was for %s", at, c.inside)
	case len(full) > c.p.opt.Limits.URLBytes:
		return place{}, nil, refuse(urlTooLong, "the URL has %d bytes, the limit is %d", len(full), c.p.opt.Limits.URLBytes)
	}
	if field, err := parsePlace(h.host); err != nil || field.host != at.host || field.port != at.port && (field.port != 0 || at.port != defaultPort(own)) {
		return place{}, nil, refuse(hostMismatch, "the Host field is not that of %s", at)
	}
	return at, &u, nil
}

// judge applies the rules of the step and of the mode.
func (c *client) judge(h *head, at place, u *url.URL) *refusal {
	plan := c.p.opt.Mode == protocol.FlightPlan
	switch {
	case !c.p.hosts.match(at):
		return c.p.notListed(at)
	case h.upgrade:
		return refuse(upgrade, "the request asks for another protocol (Upgrade, WebSocket), in which nothing could be judged")
	case plan && h.method != http.MethodGet && h.method != http.MethodHead:
		return refuse(method, "the method of this request to %s is %s; flight-plan only reads, with GET and HEAD", u.Host, h.method).
			withHint("move what writes into take-off")
	case plan && (h.hasBody() || h.chunked):
		return refuse(body, "the request to %s has a body; flight-plan only reads", u.Host).
			withHint("move what writes into take-off")
	case plan && h.expect:
		return refuse(expect, "the request has an Expect field; in flight-plan there is no body to wait for")
	case h.length > c.p.opt.Limits.BodyBytes:
		return c.tooLarge()
	}
	return nil
}

func (c *client) tooLarge() *refusal {
	return refuse(bodyTooLarge, "the body of the request has more than %d bytes", c.p.opt.Limits.BodyBytes)
}

// body reads the whole body before anything leaves; release gives back its share
// of the memory.
func (c *client) body(h *head) (content []byte, release func(), ref *refusal) {
	var taken int64
	release = func() { c.p.held.Add(-taken) }
	if !h.hasBody() {
		return nil, release, nil
	}
	if h.expect {
		if _, err := c.bw.WriteString("HTTP/1.1 100 Continue\r\n\r\n"); err != nil || c.bw.Flush() != nil {
			return nil, release, refuse(clientGone, "the client left")
		}
	}
	from := io.LimitReader(c.br, h.length)
	if h.chunked {
		from = httputil.NewChunkedReader(c.br)
	}
	const step = 64 << 10
	var all bytes.Buffer
	for {
		if taken += step; c.p.held.Add(step) > c.p.opt.Limits.BufferBytes {
			return nil, release, refuse(bufferFull, "the bodies of all running requests have more than %d bytes", c.p.opt.Limits.BufferBytes)
		}
		n, err := io.CopyN(&all, from, step)
		switch {
		case int64(all.Len()) > c.p.opt.Limits.BodyBytes:
			return nil, release, c.tooLarge()
		case errors.Is(err, io.EOF) && (h.chunked || int64(all.Len()) == h.length):
			return all.Bytes(), release, c.trailer(h)
		case err != nil || n == 0:
			return nil, release, refuse(malformed, "the body of the request does not arrive as its head says")
		}
	}
}

// trailer reads what follows the last chunk. Fields there would come after the judgement.
func (c *client) trailer(h *head) *refusal {
	if !h.chunked {
		return nil
	}
	var end [2]byte
	if _, err := io.ReadFull(c.br, end[:]); err != nil || string(end[:]) != "\r\n" {
		return refuse(malformed, "the body of the request ends with trailer fields, or does not end")
	}
	return nil
}

// outgoing makes the request anew from what was judged.
func (c *client) outgoing(ctx context.Context, h *head, u *url.URL, content []byte) *http.Request {
	out := &http.Request{Method: h.method, URL: u, Host: u.Host, Header: h.header, Body: http.NoBody, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	if len(out.Header["User-Agent"]) == 0 {
		out.Header["User-Agent"] = []string{""} // net/http would name itself
	}
	if len(content) > 0 {
		out.ContentLength = int64(len(content))
		out.Body = io.NopCloser(bytes.NewReader(content))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	}
	return out.WithContext(ctx)
}

// size is what a request carries out, however it is framed.
func size(out *http.Request, content []byte) int64 {
	n := len(out.URL.String()) + len(content)
	for name, values := range out.Header {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return int64(n)
}

// refuse records and answers.
func (c *client) refuse(note *Request, ref *refusal) {
	status := ref.reason.status()
	c.p.record(ref.note(*note, status))
	page := ref.page()
	_ = c.raw.SetWriteDeadline(time.Now().Add(limits.EgressLingerTime)) // the old one may be the reason
	// The writer keeps its errors for Flush.
	_, _ = fmt.Fprintf(c.bw, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	_, _ = fmt.Fprintf(c.bw, "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nX-Cabincrew-Reason: %s\r\nContent-Length: %d\r\n\r\n", ref.reason, len(page))
	if note.Method != http.MethodHead {
		_, _ = c.bw.WriteString(page)
	}
	_ = c.bw.Flush() // a client that left is seen by the next read
}

package upstream

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/cabincrew/action/gateways/llm/route"
	"github.com/cabincrew/action/internal/limits"
)

// Answer is what a provider answered. Errors of HTTP are answers too: of one with a status
// of 400 or more, the body is at most limits.LLMUpstreamErrorBytes long and without the key.
type Answer struct {
	Status int
	Header http.Header   // what may go on to a client
	Body   io.ReadCloser // gives a *Failure unless the answer came whole; it can be closed at any time
	// Unmarked says that the end of the body is the end of the connection, so that only its
	// content shows whether it is whole.
	Unmarked bool
	Sent     bool // always, here: the request reached the provider
}

// answered are the header fields of an answer that go on.
var answered = map[string]bool{
	"Content-Type": true, "Request-Id": true, "X-Request-Id": true, "Retry-After": true, "Retry-After-Ms": true, "X-Should-Retry": true,
	"Openai-Processing-Ms": true, "Openai-Version": true, "Openai-Model": true, "Anthropic-Version": true, "Apim-Request-Id": true, "X-Amzn-Requestid": true,
}

func goesOn(name string) bool {
	return answered[name] || strings.HasPrefix(name, "X-Ratelimit-") || strings.HasPrefix(name, "Anthropic-Ratelimit-")
}

// answer makes the answer of a response.
func (x *exchange) answer(r *http.Response) (*Answer, error) {
	if f := x.check(r); f != nil {
		return nil, f
	}
	a := &Answer{Status: r.StatusCode, Header: x.fields(r.Header), Sent: true}
	a.Unmarked = r.ContentLength < 0 && len(r.TransferEncoding) == 0
	b := &body{x: x, inner: r.Body, left: x.c.opt.MaxAnswer}
	a.Body = b
	if r.StatusCode < 400 {
		if x.c.opt.Kind == route.Bedrock && a.Header.Get("Content-Type") == "application/vnd.amazon.eventstream" {
			a.Header["Content-Type"] = acceptStream
			a.Body = &eventStream{x: x, inner: b}
		}
		return a, nil
	}
	b.left = limits.LLMUpstreamErrorBytes
	text, err := io.ReadAll(b)
	_ = b.Close() // it was read
	if x.key != "" {
		text = bytes.ReplaceAll(text, []byte(x.key), []byte("[key]"))
		if err != nil { // it was cut short
			text = text[:len(text)-partAtEnd(string(text[max(0, len(text)-len(x.key)):]), x.key)]
		}
	}
	a.Body = io.NopCloser(&read{text, err})
	return a, nil
}

// read is a body that was read, with the error that it ended with.
type read struct {
	text []byte
	err  error
}

func (r *read) Read(p []byte) (int, error) {
	if len(r.text) == 0 {
		if r.err == nil {
			return 0, io.EOF
		}
		return 0, r.err
	}
	n := copy(p, r.text)
	r.text = r.text[n:]
	return n, nil
}

func (x *exchange) fields(from http.Header) http.Header {
	h := make(http.Header, 4)
	for name, values := range from {
		if !goesOn(name) || len(values) == 0 || x.key != "" && strings.Contains(values[0], x.key) {
			continue
		}
		h[name] = values[:1]
	}
	return h
}

// body is the body of an answer.
type body struct {
	x     *exchange
	inner io.ReadCloser
	left  int64

	over  error
	close sync.Once
}

func (b *body) Read(p []byte) (int, error) {
	if b.over != nil {
		return 0, b.over
	}
	if len(p) == 0 {
		return 0, nil
	}
	if int64(len(p)) > b.left {
		p = p[:b.left+1]
	}
	x := b.x
	if x.begun.Load() {
		x.quiet.Reset(x.c.opt.Idle)
	}
	n, err := b.inner.Read(p)
	x.quiet.Stop()
	if n > 0 {
		x.begun.Store(true)
	}
	if int64(n) > b.left {
		n, err = int(b.left), x.fail(TooLarge, nil)
	}
	b.left -= int64(n)
	if err == nil {
		return n, nil
	}
	b.over = b.end(err)
	_ = b.Close() // nothing more is wanted of it
	return n, b.over
}

// end says how the answer ended.
func (b *body) end(err error) error {
	var f *Failure
	switch {
	case errors.Is(err, io.EOF):
		return io.EOF
	case errors.As(err, &f):
		return f
	}
	if f := b.x.ours(); f != nil {
		return f
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return b.x.fail(Cut, io.ErrUnexpectedEOF)
	}
	return b.x.fail(Cut, clean(err, b.x.key))
}

// Close ends the call. What was not read is not read any more: it may be endless.
func (b *body) Close() error {
	b.close.Do(func() {
		b.x.finish()
		_ = b.inner.Close() // its error says nothing of the answer
	})
	return nil
}

// Package httpwire sends small requests over HTTP/1.1 in the goroutine of the caller.
//
// http.Transport gives each connection two goroutines and a buffer to write from: to wake
// these costs a tenth of a call's time, and while a stream is open they hold more memory
// than all else that it needs. What is large goes by http.Transport, since there both sides
// must be served at once: a server may answer before it has read all.
//
// It promises: a request is sent once. Only one of which no byte was written, because a kept
// connection had been closed, is sent on another. A server that sends header fields or
// interim answers without end is left.
package httpwire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Options say how a server is reached. All are needed.
type Options struct {
	Dial         func(ctx context.Context) (net.Conn, error)
	Large        func() *http.Transport // for large requests; made when there is one
	RequestBytes int64                  // of a body; more is large
	HeaderBytes  int                    // of an answer's header fields
	Hints        int                    // interim answers before one answer
	IdleConns    int
	IdleTime     time.Duration
	// Socket gives what is below a connection that is none itself; nil: all are.
	Socket func(net.Conn) net.Conn
}

// Wire sends requests to one server. It implements http.RoundTripper.
type Wire struct {
	o     Options
	large func() *http.Transport

	grown  atomic.Bool // there is a large
	mu     sync.Mutex
	idle   []*wireConn // the one used last is the last
	reaper *time.Timer // closes idle ones; nil while there are none
}

// New makes a wire.
func New(o Options) *Wire {
	if o.Socket == nil {
		o.Socket = func(c net.Conn) net.Conn { return c }
	}
	return &Wire{o: o, large: sync.OnceValue(o.Large)}
}

// wireConn is a connection with what is read ahead of it.
type wireConn struct {
	net.Conn

	r     *bufio.Reader
	since time.Time // when it became idle
	wrote bool      // a byte of the request under way
	left  int       // bytes that may be read for header fields; negative: no bound
}

var errLongHeader = errors.New("its header fields are too long")

// writers are what requests are written with. They hold no memory while an answer comes.
var writers = sync.Pool{New: func() any { return bufio.NewWriter(nil) }}

// Read bounds what the header fields of an answer may be.
func (c *wireConn) Read(b []byte) (int, error) {
	if c.left < 0 {
		return c.Conn.Read(b)
	}
	if c.left == 0 {
		return 0, errLongHeader
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// Write notes that something was written.
func (c *wireConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.wrote = c.wrote || n > 0
	return n, err
}

// RoundTrip sends a request once. Where a kept connection turns out to be closed
// before a byte of the request was written, it is sent on another.
func (w *Wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.ContentLength > w.o.RequestBytes || r.ContentLength < 0 {
		w.grown.Store(true)
		return w.large().RoundTrip(r)
	}
	trace := httptrace.ContextClientTrace(r.Context())
	for {
		c := w.take()
		kept := c != nil
		if !kept {
			conn, err := w.o.Dial(r.Context())
			if err != nil {
				return nil, err
			}
			c = &wireConn{Conn: conn}
			c.r = bufio.NewReader(c)
		}
		if trace != nil && trace.GotConn != nil {
			trace.GotConn(httptrace.GotConnInfo{Conn: c.Conn, Reused: kept})
		}
		response, err := w.exchange(c, r, trace)
		if err == nil {
			return response, nil
		}
		_ = c.Close() // its error says nothing beside this one
		if !kept || c.wrote || r.Context().Err() != nil {
			return nil, err
		}
	}
}

// longAgo is a deadline that is over.
func longAgo() time.Time { return time.Unix(1, 0) }

// exchange writes a request and reads the header of the answer.
func (w *Wire) exchange(c *wireConn, r *http.Request, trace *httptrace.ClientTrace) (response *http.Response, err error) {
	stay := context.AfterFunc(r.Context(), func() { _ = c.SetDeadline(longAgo()) })
	defer func() {
		if err != nil {
			stay()
		}
	}()
	c.wrote, c.left = false, w.o.HeaderBytes
	if err := write(c, r); err != nil {
		return nil, err
	}
	if trace != nil && trace.WroteRequest != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{})
	}
	for hints := 0; ; hints++ {
		response, err = http.ReadResponse(c.r, r)
		switch {
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF // nothing at all came
		case err != nil:
			return nil, err
		case response.StatusCode >= 200 || response.StatusCode == http.StatusSwitchingProtocols:
			c.left = -1
			w.body(c, response, stay)
			return response, nil
		case hints == w.o.Hints:
			return nil, fmt.Errorf("more than %d interim answers", w.o.Hints)
		}
	}
}

// write writes a request.
func write(c *wireConn, r *http.Request) error {
	once := *r
	if r.GetBody != nil {
		var err error
		if once.Body, err = r.GetBody(); err != nil {
			return err
		}
	}
	b, _ := writers.Get().(*bufio.Writer)
	b.Reset(c)
	err := once.Write(b)
	if err == nil {
		err = b.Flush()
	}
	b.Reset(nil)
	writers.Put(b)
	return err
}

// body lets the connection be used again when the whole answer was read.
func (w *Wire) body(c *wireConn, r *http.Response, stay func() bool) {
	b := &wireBody{inner: r.Body, w: w, c: c, stay: stay, ends: r.Close || r.StatusCode < 200}
	if r.Body == http.NoBody {
		b.finish(true)
	}
	r.Body = b
}

// wireBody is the body of an answer.
type wireBody struct {
	inner io.ReadCloser
	w     *Wire
	c     *wireConn
	stay  func() bool
	ends  bool // the connection, with the answer
	over  atomic.Pointer[error]
}

var errBodyClosed = errors.New("the answer was closed")

func (b *wireBody) Read(p []byte) (int, error) {
	if over := b.over.Load(); over != nil {
		return 0, *over
	}
	n, err := b.inner.Read(p)
	if err != nil {
		b.finish(errors.Is(err, io.EOF))
	}
	return n, err
}

// Close leaves what was not read unread: it may be endless.
func (b *wireBody) Close() error {
	b.finish(false)
	return nil
}

func (b *wireBody) finish(whole bool) {
	over := errBodyClosed
	if whole {
		over = io.EOF
	}
	if !b.over.CompareAndSwap(nil, &over) {
		return
	}
	undisturbed := b.stay()
	if whole && undisturbed && !b.ends && b.c.r.Buffered() == 0 {
		b.w.keep(b.c)
		return
	}
	_ = b.c.Close() // nothing more is wanted of it
}

// take gives a connection that is idle, or nil.
func (w *Wire) take() *wireConn {
	for {
		w.mu.Lock()
		n := len(w.idle)
		if n == 0 {
			w.mu.Unlock()
			return nil
		}
		c := w.idle[n-1]
		w.idle[n-1] = nil
		w.idle = w.idle[:n-1]
		w.mu.Unlock()
		if time.Since(c.since) < w.o.IdleTime && quiet(w.o.Socket(c.Conn)) {
			return c
		}
		_ = c.Close() // it is not used any more
	}
}

// quiet says whether a connection stands and the server has sent nothing unasked.
func quiet(c net.Conn) bool {
	raw, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	socket, err := raw.SyscallConn()
	if err != nil {
		return false
	}
	stands := false
	err = socket.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		stands = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && stands
}

// keep makes a connection idle.
func (w *Wire) keep(c *wireConn) {
	c.since = time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.idle) >= w.o.IdleConns {
		_ = c.Close() // there are enough
		return
	}
	w.idle = append(w.idle, c)
	if w.reaper == nil {
		w.reaper = time.AfterFunc(w.o.IdleTime, w.reap)
	}
}

// reap closes connections that were idle for too long.
func (w *Wire) reap() {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := 0
	for old < len(w.idle) && time.Since(w.idle[old].since) >= w.o.IdleTime {
		_ = w.idle[old].Close() // it is not used any more
		old++
	}
	w.idle = append(w.idle[:0], w.idle[old:]...)
	w.reaper = nil
	if len(w.idle) > 0 {
		w.reaper = time.AfterFunc(w.o.IdleTime-time.Since(w.idle[0].since), w.reap)
	}
}

// CloseIdleConnections closes connections that nobody uses.
func (w *Wire) CloseIdleConnections() {
	if w.grown.Load() {
		w.large().CloseIdleConnections()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.idle {
		_ = c.Close() // it is not used any more
	}
	w.idle = nil
	if w.reaper != nil {
		w.reaper.Stop()
		w.reaper = nil
	}
}

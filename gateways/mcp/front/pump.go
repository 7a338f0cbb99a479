package front

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// pump serves a client whose transport is one stream of messages in each direction:
// stdio, and the older form of HTTP with SSE. Such clients cannot resume anything
// themselves, so it is done for them.
type pump struct {
	server link.Server // of the first session
	// reopen opens a session in the place of one that is over, when the client
	// initializes anew; nil where clients come again for that.
	reopen func(ctx context.Context) (link.Server, error)
	over   func() // is told that the session is over; may be nil
	// emit writes one whole message to the client; it may be called by several.
	emit func(message []byte) error
	// stopped is closed when the gateway ends, whose client is still there to be told; nil:
	// nobody is.
	stopped <-chan struct{}
	most    int // requests at the same time
	size    int // of a message
	log     *slog.Logger
	// refused hears of what is refused here; may be nil. The client is the principal.
	refused   func(Refusal)
	principal string

	mu       sync.Mutex
	revision jsonrpc.Revision
	all      sync.WaitGroup
	busy     atomic.Int64
	lost     bool // the session is over, whatever is still sent to it
	listens  link.Server
}

// current is the session that messages go to.
func (p *pump) current() link.Server {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.server
}

// heed takes note of an error after which the session cannot go on.
func (p *pump) heed(of link.Server, err error) {
	if errors.Is(err, link.ErrOver) {
		p.lose(of)
	}
}

func (p *pump) lose(of link.Server) {
	p.mu.Lock()
	first := p.server == of && !p.lost
	p.lost = p.lost || first
	p.mu.Unlock()
	if first && p.over != nil {
		p.over()
	}
}

// anew opens a session in the place of one that is over, if the client initializes.
// Messages come one after another, so there is never more than one that does.
func (p *pump) anew(ctx context.Context, m jsonrpc.Message) error {
	p.mu.Lock()
	old, lost := p.server, p.lost
	p.mu.Unlock()
	if !lost || p.reopen == nil || m.Kind != jsonrpc.Request || m.Method != "initialize" {
		return nil
	}
	end, over := context.WithTimeout(ctx, limits.MCPFrontEnd)
	defer over()
	_ = old.End(end) // there is nothing to be told of what is over
	fresh, err := p.reopen(ctx)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server, p.lost, p.revision = fresh, false, ""
	return nil
}

// scan reads what came in; batches where they were agreed on.
func (p *pump) scan(raw []byte) (jsonrpc.Message, error) {
	p.mu.Lock()
	batch := jsonrpc.HasBatch(p.revision)
	p.mu.Unlock()
	return jsonrpc.Scan(raw, jsonrpc.Options{Batch: batch, MaxBytes: p.size})
}

// handle gives a message to the server and returns as soon as the next one may be
// handled. What the server answers is emitted when it is there; then done is called.
func (p *pump) handle(ctx context.Context, m jsonrpc.Message, done func()) {
	asks := len(requestsOf(m)) > 0
	if asks && p.busy.Add(1) > int64(p.most) {
		// To wait would keep out the answers that those who are in wait for.
		p.busy.Add(-1)
		done()
		full := no(http.StatusTooManyRequests, codeTooMuch, "too many requests at the same time")
		p.refuses(full)
		p.fail(requestsOf(m), full)
		return
	}
	if err := p.anew(ctx, m); err != nil {
		p.busy.Add(-1)
		done()
		p.fail(requestsOf(m), err)
		return
	}
	server := p.current()
	sent := make(chan struct{})
	var once sync.Once
	settle := func() { once.Do(func() { close(sent) }) }
	p.all.Go(func() {
		defer settle()
		defer done()
		if asks {
			defer p.busy.Add(-1)
		}
		defer p.caught(m)
		a, err := server.Send(ctx, link.Call{Message: m, Sent: settle})
		settle()
		if p.heed(server, err); a != nil && a.Over {
			p.lose(server)
		}
		p.answered(ctx, server, m, a, err)
	})
	select {
	case <-sent:
	case <-ctx.Done():
	}
	if p.ready(m) {
		p.mu.Lock()
		first := p.listens != server
		p.listens = server
		p.mu.Unlock()
		if first {
			p.all.Go(func() { p.listen(ctx, server) })
		}
	}
}

// ready says that after this message the client takes what the server sends unasked.
func (p *pump) ready(m jsonrpc.Message) bool {
	if m.Method == "notifications/initialized" {
		return true
	}
	r, said := saysVersion(m)
	return said && jsonrpc.Stateless(r)
}

func (p *pump) caught(m jsonrpc.Message) {
	if v := recover(); v != nil {
		p.log.Error("a message of a client failed", "method", m.Method, "panic", v, "stack", string(debug.Stack()))
		p.fail(requestsOf(m), errPanic)
	}
}

// refuses tells of what is refused.
func (p *pump) refuses(err error) { tell(p.refused, nil, p.principal, reasonOf(err)) }

// fail answers requests that have no answer.
func (p *pump) fail(open pending, err error) {
	f := failureOf(err)
	if f.code == codeUnjudged {
		p.log.Warn("a client's message has no answer", "error", err)
	}
	for _, id := range open {
		_ = p.emit(jsonrpc.NewFailure(id, f.code, f.what, f.data))
	}
}

// answered emits what a message was answered with.
func (p *pump) answered(ctx context.Context, server link.Server, m jsonrpc.Message, a *link.Answer, err error) {
	open := requestsOf(m)
	switch {
	case err != nil:
		p.fail(open, err)
	case a == nil:
		p.fail(open, errors.New("no answer and no error"))
	case a.Stream != nil:
		p.follow(ctx, server, m, a.Stream)
	case len(a.Body) > 0:
		p.body(m, a)
	case len(open) > 0:
		p.fail(open, down("it gave no answer"))
	}
}

func down(why string) error { return &link.Down{Server: "behind the gateway", Why: why} }

// body emits a whole answer, if it is one: with a bad status, it may be any text.
func (p *pump) body(m jsonrpc.Message, a *link.Answer) {
	open := requestsOf(m)
	if len(open) == 0 {
		p.log.Warn("a server refused a message", "method", m.Method, "status", a.Status)
		return
	}
	scanned, err := jsonrpc.Scan(a.Body, jsonrpc.Options{Batch: m.Kind == jsonrpc.Batch, MaxBytes: len(a.Body)})
	if err != nil || a.Status >= http.StatusBadRequest && scanned.ID != m.ID {
		p.fail(open, down("it answered with HTTP status "+strconv.Itoa(a.Status)+" and no message"))
		return
	}
	p.note(m, a.Body)
	_ = p.emit(a.Body)
}

// note keeps what was negotiated.
func (p *pump) note(m jsonrpc.Message, message []byte) {
	if m.Method != "initialize" || !answers(message, m.ID) {
		return
	}
	if value, ok := jsonrpc.Lookup(message, "result", "protocolVersion"); ok {
		text, _ := jsonrpc.Text(value)
		p.mu.Lock()
		p.revision = jsonrpc.Revision(text)
		p.mu.Unlock()
	}
}

// follow emits the events of a stream until the message is answered. If the stream ends
// before that and can be resumed, it is.
func (p *pump) follow(ctx context.Context, server link.Server, m jsonrpc.Message, from link.Stream) {
	at := place{open: requestsOf(m), wait: limits.MCPFrontResume}
	err := p.drain(ctx, from, &at, m)
	p.heed(server, err)
	for tries := 0; len(at.open) > 0 && ctx.Err() == nil && !errors.Is(err, link.ErrWithdrawn); tries++ {
		if at.last == "" || tries == limits.MCPFrontResumes {
			if errors.Is(err, io.EOF) {
				err = down("it closed the stream before its answer")
			}
			p.fail(at.open, err)
			return
		}
		if !pause(ctx, at.wait) {
			break
		}
		var a *link.Answer
		a, err = server.Listen(ctx, p.header(at.last))
		if err != nil {
			continue
		}
		if a == nil || a.Stream == nil {
			p.fail(at.open, down("it does not resume the stream that it closed"))
			return
		}
		before := at.last
		if err = p.drain(ctx, a.Stream, &at, m); at.last != before {
			tries = 0
		}
	}
	select {
	case <-p.stopped:
		if !errors.Is(err, link.ErrWithdrawn) {
			p.fail(at.open, errEnded())
		}
	default:
	}
}

// place is how far a stream was read.
type place struct {
	open pending
	last string        // id of the last event
	wait time.Duration // before it is resumed
}

// drain emits the events of a stream until its end, which is the error.
func (p *pump) drain(ctx context.Context, from link.Stream, at *place, m jsonrpc.Message) error {
	defer from.Close() //nolint:errcheck // nobody is left to be told
	for {
		ev, err := from.Next(ctx)
		if err != nil {
			return err
		}
		if ev.ID != "" {
			at.last = ev.ID
		}
		if ev.Retry > 0 {
			at.wait = min(time.Duration(ev.Retry)*time.Millisecond, limits.MCPFrontResumeMax)
		}
		if len(ev.Data) == 0 {
			continue
		}
		p.note(m, ev.Data)
		at.open = at.open.seen(ev.Data)
		if err := p.emit(ev.Data); err != nil {
			return err
		}
	}
}

// listen emits what the server sends unasked, as long as it offers that.
func (p *pump) listen(ctx context.Context, server link.Server) {
	defer p.caught(jsonrpc.Message{})
	at := place{wait: limits.MCPFrontResume}
	for ctx.Err() == nil && p.current() == server {
		a, err := server.Listen(ctx, p.header(at.last))
		switch {
		case err == nil && (a == nil || a.Stream == nil):
			if at.last == "" {
				return // it offers none
			}
			at.last = "" // it forgot the events: from now on, then
		case err == nil:
			at.wait = limits.MCPFrontResume
			err = p.drain(ctx, a.Stream, &at, jsonrpc.Message{})
		default:
			at.wait = min(2*at.wait, limits.MCPFrontResumeMax)
		}
		if errors.Is(err, link.ErrOver) {
			p.lose(server)
			return
		}
		if !pause(ctx, at.wait) {
			return
		}
	}
}

func (p *pump) header(last string) http.Header {
	h := http.Header{}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.revision != "" {
		h[headerVersion] = []string{string(p.revision)}
	}
	if last != "" {
		h[headerLast] = []string{last}
	}
	return h
}

// pause waits; false if ctx ends before.
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

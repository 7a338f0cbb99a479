package front

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// StdioOptions are for ServeStdio. Zero values are the bounds of package limits.
type StdioOptions struct {
	MessageBytes int           // of one message or batch of the client
	Grace        time.Duration // for what is not answered when the client closes its end
	Refused      func(Refusal) // hears of what is refused before it is a message; may be nil
	Log          *slog.Logger  // nil: nothing is logged
	Random       io.Reader     // nil: the system's
}

// ServeStdio serves one client that writes messages to in and reads them from out, one
// a line. It returns when in ends (nil), when out cannot be written, or when ctx ends;
// then a Read of in may still be waiting.
//
// Messages go on in the order in which they came; answers come when they are there.
// Servers on HTTP may break a message into lines: line breaks between the tokens become
// spaces on out, the one change that a message suffers here.
func ServeStdio(ctx context.Context, in io.Reader, out io.Writer, opener link.Opener, o StdioOptions) error {
	if o.MessageBytes <= 0 {
		o.MessageBytes = limits.MCPFrontMessage
	}
	if o.Grace <= 0 {
		o.Grace = limits.MCPFrontGrace
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	raw := make([]byte, 20)
	if _, err := io.ReadFull(o.Random, raw); err != nil {
		return err
	}
	told := ctx.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	open := func(ctx context.Context) (link.Server, error) {
		return opener.Open(ctx, link.Session{ID: base32.StdEncoding.EncodeToString(raw), Principal: Local})
	}
	server, err := open(ctx)
	if err != nil {
		return err
	}
	l := &lines{out: out, failed: cancel}
	p := &pump{server: server, refused: o.Refused, principal: Local, reopen: func(ctx context.Context) (link.Server, error) {
		if _, err := io.ReadFull(o.Random, raw); err != nil {
			return nil, err
		}
		return open(ctx)
	}, emit: l.write, most: limits.MCPFrontBusy, size: o.MessageBytes, log: o.Log, stopped: told}
	p.serve(ctx, in)
	p.finish(ctx, o.Grace, func() { cancel(nil) })
	return l.result(ctx)
}

// serve handles lines until in or ctx ends.
func (p *pump) serve(ctx context.Context, in io.Reader) {
	came := make(chan []byte)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		defer close(came)
		readLines(in, p.size, func(line []byte) bool {
			select {
			case came <- line:
				return true
			case <-stop:
				return false
			}
		})
	}()
	for {
		select {
		case line, more := <-came:
			if !more {
				return
			}
			p.line(ctx, line)
		case <-ctx.Done():
			return
		}
	}
}

// line handles one line; nil is one that was too long.
func (p *pump) line(ctx context.Context, line []byte) {
	if line == nil {
		p.refuses(no(http.StatusRequestEntityTooLarge, codeTooMuch, ""))
		_ = p.emit(jsonrpc.NewFailure(noID, codeTooMuch, "the message is too long", nil))
		return
	}
	m, err := p.scan(line)
	if err != nil {
		p.refuses(err)
		f := failureOf(err)
		_ = p.emit(jsonrpc.NewFailure(f.id, f.code, f.what, nil))
		return
	}
	p.handle(ctx, m, func() {})
}

// finish waits for what is not answered yet, for so long, and ends the session.
func (p *pump) finish(ctx context.Context, grace time.Duration, cancel func()) {
	t := time.NewTimer(grace)
	defer t.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for p.busy.Load() > 0 && ctx.Err() == nil {
		select {
		case <-tick.C:
			continue
		case <-t.C:
		case <-ctx.Done():
		}
		break
	}
	cancel()
	p.wait(limits.MCPFrontEnd)
	end, over := context.WithTimeout(context.WithoutCancel(ctx), limits.MCPFrontEnd)
	defer over()
	_ = p.current().End(end)
}

// wait waits for all that is under way, for so long: the end of the session at the
// server's side breaks off what does not heed its context.
func (p *pump) wait(grace time.Duration) {
	over := make(chan struct{})
	go func() { p.all.Wait(); close(over) }()
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-over:
	case <-t.C:
	}
}

// lines writes messages, each as one line.
type lines struct {
	mu     sync.Mutex
	out    io.Writer
	err    error
	buf    []byte
	failed func(error)
}

func (l *lines) write(message []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	l.buf = append(append(l.buf[:0], jsonrpc.OneLine(bytes.TrimSpace(message))...), '\n')
	_, l.err = l.out.Write(l.buf)
	if l.err != nil {
		l.failed(l.err)
	}
	if cap(l.buf) > 64<<10 {
		l.buf = nil
	}
	return l.err
}

func (l *lines) result(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// readLines gives the lines of in to take until it says false: without their ends, no
// empty ones, and nil in place of one that is longer than most.
func readLines(in io.Reader, most int, take func([]byte) bool) {
	r := bufio.NewReaderSize(in, 64<<10)
	var line []byte
	long := false
	for {
		part, err := r.ReadSlice('\n')
		if !long && len(line)+len(part) > most+2 {
			line, long = nil, true
			if !take(nil) {
				return
			}
		}
		if !long {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if text := bytes.TrimRight(line, "\r\n"); !long && len(bytes.TrimSpace(text)) > 0 && !take(text) {
			return
		}
		line, long = nil, false
		if err != nil {
			return
		}
	}
}

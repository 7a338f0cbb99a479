package back

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// process is one run of a child. Its streams are served by the goroutines that os/exec
// has for them: lines is read as stdin, and written to as stdout.
type process struct {
	server string
	most   int // bytes of a line
	router *router
	log    *slog.Logger

	lines chan []byte
	shut  chan struct{} // stdin ends after what is in lines
	gone  chan struct{} // stdout is closed
	done  chan struct{} // the process is over; down says how
	down  *link.Down
	ctx   context.Context //nolint:containedctx // of the process
	kill  context.CancelCauseFunc
	// patience is how long the reader waits for a client that takes nothing.
	patience time.Duration

	ending     sync.Once
	noise, row int // lines that are no messages: logged, in a row
}

// endedError is the cause where a child is ended for what it did.
type endedError struct{ why string }

func (e endedError) Error() string { return e.why }

// send gives a line to the child. The order is that of the calls.
func (p *process) send(ctx context.Context, raw []byte) error {
	line := make([]byte, 0, len(raw)+1)
	line = append(line, raw...)
	for i, c := range line {
		if c == '\n' || c == '\r' {
			line[i] = ' ' // in JSON a line end is only ever white space between values
		}
	}
	line = append(line, '\n')
	if err := p.settle(ctx); err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.down
	default:
	}
	select {
	case p.lines <- line:
		return nil
	case <-p.done:
		return p.down
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// mute ends a child whose stdout ended, which is no more than its end most of the time.
func (p *process) mute(grace time.Duration) {
	close(p.gone)
	p.ending.Do(func() {
		close(p.shut)
		t := time.AfterFunc(grace, func() { p.kill(endedError{"closed its output, and lived on"}) })
		go func() { <-p.done; t.Stop() }()
	})
}

// settle waits for the end of a process that is about to end: only then is it known why.
func (p *process) settle(ctx context.Context) error {
	select {
	case <-p.shut:
	default:
		return nil
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// end ends the child: it closes its stdin, and if it does not end by itself, kills it.
func (p *process) end(grace time.Duration) {
	p.ending.Do(func() {
		close(p.shut)
		t := time.AfterFunc(grace, func() { p.kill(nil) })
		go func() { <-p.done; t.Stop() }()
	})
}

// stdin is what a child reads.
type stdin struct{ p *process }

// Read is not used: os/exec copies by WriteTo.
func (stdin) Read([]byte) (int, error) { return 0, io.EOF }

// WriteTo writes lines until the child is to end, or does.
func (s stdin) WriteTo(w io.Writer) (n int64, err error) {
	for {
		select {
		case line := <-s.p.lines:
			k, err := w.Write(line)
			n += int64(k)
			if err != nil {
				return n, nil //nolint:nilerr // the child does not read; its end tells more
			}
		case <-s.p.shut:
			if len(s.p.lines) == 0 {
				return n, nil
			}
		case <-s.p.gone:
			return n, nil
		}
	}
}

// stdout is where a child writes.
type stdout struct {
	p   *process
	end func() // when it is closed
}

// Write is not used: os/exec copies by ReadFrom.
func (stdout) Write(b []byte) (int, error) { return len(b), nil }

// ReadFrom reads lines until the child's end. A line over the limit ends the child: what
// follows could be anything.
func (s stdout) ReadFrom(r io.Reader) (n int64, err error) {
	defer s.end()
	buf, from, seen := make([]byte, 0, 8<<10), 0, 0
	for {
		for {
			at := bytes.IndexByte(buf[seen:], '\n')
			if at < 0 {
				break
			}
			if seen+at-from > s.p.most {
				return n, s.p.overlong()
			}
			s.p.line(buf[from : seen+at])
			from, seen = seen+at+1, seen+at+1
		}
		if len(buf)-from > s.p.most {
			return n, s.p.overlong()
		}
		buf, from, seen = room(buf, from)
		k, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+k]
		n += int64(k)
		if err != nil {
			return n, nil //nolint:nilerr // the end of the child tells more
		}
	}
}

// overlong ends the child.
func (p *process) overlong() error {
	err := endedError{fmt.Sprintf("wrote a line of more than %d bytes", p.most)}
	p.kill(err)
	return err
}

// room makes place after what is left in buf.
func room(buf []byte, from int) ([]byte, int, int) {
	left := len(buf) - from
	switch {
	case left == 0 && cap(buf) > 256<<10:
		buf = make([]byte, 0, 8<<10) // a large line is over
	case left == 0:
		buf = buf[:0]
	case from > 0:
		buf = buf[:copy(buf, buf[from:])]
	}
	if len(buf) == cap(buf) {
		buf = append(make([]byte, 0, 2*cap(buf)), buf...)
	}
	return buf, 0, left
}

// line takes one line of the child.
func (p *process) line(b []byte) {
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return
	}
	err := p.router.take(bytes.Clone(b))
	p.refuse()
	if q := p.router.crowded(); q != nil {
		q.drain(p.ctx, p.patience)
	}
	if err == nil {
		p.row = 0
		return
	}
	p.row++
	if p.noise++; p.noise <= limits.MCPBackNoise {
		p.log.Warn("a line of the server is dropped", "server", p.server, "why", err.Error(), "bytes", len(b))
	}
	if p.row > limits.MCPBackNoiseLines {
		p.kill(endedError{fmt.Sprintf("wrote more than %d lines that are no messages", limits.MCPBackNoiseLines)})
	}
}

// refuse tells the child of its requests that waited for a client until there was no
// room for them. It never waits for the child to read: the child may be waiting for its
// own lines to be read.
func (p *process) refuse() {
	ids, first := p.router.refused()
	if first {
		p.log.Warn("messages of the server are dropped, as nobody takes them", "server", p.server)
	}
	for _, id := range ids {
		line := append(jsonrpc.NewFailure(id, jsonrpc.CodeInternal, "no client takes this request", nil), '\n')
		select {
		case p.lines <- line:
		default: // it does not read either
		}
	}
}

// ending says how a child ended.
func ending(server string, exit sandbox.Exit, err, cause error) *link.Down {
	var ended endedError
	d := &link.Down{Server: server, Err: err}
	switch {
	case errors.As(cause, &ended):
		d.Why = ended.why + "; it was ended"
	case errors.Is(err, sandbox.ErrIsolation):
		d.Why = "was not started, since it cannot be isolated as its settings ask: " + plain(err)
	case errors.Is(err, sandbox.ErrStart):
		d.Why = "could not be started: " + plain(err)
	case exit.Over != "":
		d.Why = "used more " + exit.Over + " than it may; it was ended"
	case exit.Signal != "":
		d.Why = "its process was ended by " + exit.Signal
	case err != nil:
		d.Why = "its process ended: " + plain(err)
	default:
		d.Why = fmt.Sprintf("its process ended with exit code %d", exit.Code)
	}
	return d
}

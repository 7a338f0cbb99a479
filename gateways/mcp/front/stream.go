package front

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// events writes a stream of events to a client. Each is written and flushed whole,
// with a deadline: a client that does not read is let go.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
	waits   waits
	hold    func(n int64) bool // counts what a client has the gateway hold

	mu     sync.Mutex
	buf    []byte
	err    error
	begun  bool        // the head is sent
	silent *time.Timer // writes a comment when the stream is silent
	last   time.Time
}

// begin writes the head of the answer.
func (d *Door) begin(w http.ResponseWriter, principal string, greet bool) *events {
	h := w.Header()
	h.Set("Content-Type", contentEvents)
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	h.Set("X-Content-Type-Options", "nosniff")
	e := &events{w: w, control: http.NewResponseController(w), waits: d.waits, hold: func(n int64) bool { return d.hold(principal, n) }}
	e.mu.Lock()
	defer e.mu.Unlock()
	w.WriteHeader(http.StatusOK)
	e.last = time.Now()
	if greet { // proxies hold the head back until there is some body
		e.write([]byte(": ok\n\n"))
		e.silent = time.AfterFunc(e.waits.silent, e.breathe)
	} else { // the head goes with the first event, if that comes soon
		e.silent = time.AfterFunc(e.waits.head, e.breathe)
	}
	return e
}

// breathe keeps proxies from closing a silent stream.
func (e *events) breathe() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.silent == nil || e.err != nil {
		return
	}
	switch {
	case !e.begun:
		e.write(nil)
	case time.Since(e.last) >= e.waits.silent:
		e.write([]byte(": \n\n"))
	}
	e.silent.Reset(e.waits.silent)
}

// write writes and flushes; the lock is held.
func (e *events) write(b []byte) {
	if e.err != nil {
		return
	}
	e.begun = true
	_ = e.control.SetWriteDeadline(time.Now().Add(e.waits.longer(len(b))))
	if len(b) > 0 {
		_, e.err = e.w.Write(b)
	}
	if e.err == nil {
		e.err = e.control.Flush()
	}
	// What net/http writes after the last event must not find an old deadline.
	_ = e.control.SetWriteDeadline(time.Time{})
}

// errUnread ends a stream: its client has many large events of its streams unread.
var errUnread = errors.New("the client does not read its streams")

// send writes one event. A large one counts as held until the client has read it.
func (e *events) send(ev link.Event) error {
	if n := int64(len(ev.Data)); n >= limits.MCPFrontLarge {
		defer e.hold(-n)
		if !e.hold(n) {
			e.fail(errUnread)
			return errUnread
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	b, err := encode(e.buf[:0], ev)
	if err != nil {
		return err
	}
	e.write(b)
	e.last = time.Now()
	if cap(b) <= 4<<10 { // an idle stream keeps no more than that
		e.buf = b
	}
	return e.err
}

// fail lets nobody write any more for a reason.
func (e *events) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
	}
}

// end lets nobody write any more; the handler may return then.
func (e *events) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.silent.Stop()
	e.silent = nil
	if e.err == nil {
		e.err = io.ErrClosedPipe
	}
}

var errEvent = errors.New("an event's type is no line of text")

// encode writes an event as text. Line breaks in the data (between the tokens of JSON:
// in strings they are escaped) become lines of their own. There is a line for data even
// where there is none, as clients that want to resume do not see an id otherwise.
func encode(dst []byte, ev link.Event) ([]byte, error) {
	if len(ev.Type) > limits.MCPFrontEventType || strings.ContainsAny(ev.Type, "\x00\r\n") {
		return dst, errEvent
	}
	if ev.Type != "" {
		dst = append(append(append(dst, "event: "...), ev.Type...), '\n')
	}
	if ev.ID != "" && !strings.ContainsAny(ev.ID, "\x00\r\n") {
		dst = append(append(append(dst, "id: "...), ev.ID...), '\n')
	}
	if ev.Retry > 0 {
		dst = append(strconv.AppendInt(append(dst, "retry: "...), int64(ev.Retry), 10), '\n')
	}
	rest := ev.Data
	for more := true; more; {
		at := bytes.IndexAny(rest, "\r\n")
		text := rest
		if more = at >= 0; more {
			text = rest[:at]
			if bytes.HasPrefix(rest[at:], []byte("\r\n")) {
				at++
			}
			rest = rest[at+1:]
		}
		dst = append(append(append(dst, "data: "...), text...), '\n')
	}
	return append(dst, '\n'), nil
}

// pending are the requests of a message that are not answered yet.
type pending []jsonrpc.ID

func requestsOf(m jsonrpc.Message) pending {
	var p pending
	if m.Kind == jsonrpc.Request {
		p = append(p, m.ID)
	}
	for _, part := range m.Parts {
		if part.Kind == jsonrpc.Request {
			p = append(p, part.ID)
		}
	}
	return p
}

// seen takes out what a message answers.
func (p pending) seen(message []byte) pending {
	for i, id := range p {
		if answers(message, id) {
			return append(p[:i], p[i+1:]...)
		}
	}
	return p
}

// stream gives the events of a server to the client. When it breaks off before the
// answer, and the client cannot resume it, the answer is a failure.
func (d *Door) stream(ctx context.Context, x *exchange, from link.Stream) error {
	defer from.Close() //nolint:errcheck // nobody is left to be told
	listening := x.r.Method == http.MethodGet
	to := d.begin(x.w, x.principal, listening)
	defer to.end()
	open := requestsOf(x.msg)
	resumable := false
	for {
		ev, err := from.Next(ctx)
		if err != nil {
			switch {
			case listening || resumable || errors.Is(err, link.ErrWithdrawn):
			case ctx.Err() == nil:
				d.broken(to, open, err)
			case x.r.Context().Err() == nil: // the client waits, and the session is over
				d.broken(to, open, errEnded())
			}
			d.heed(x.s, err)
			return nil
		}
		if len(ev.Data) > 0 && len(open) > 0 {
			if x.opening {
				d.agreed(x.s, x.msg.ID, ev.Data)
			}
			open = open.seen(ev.Data)
		}
		if ev.ID = d.eventID(x.s, ev.ID); ev.ID != "" {
			resumable = true
		}
		if err := to.send(ev); err != nil {
			d.o.Log.Debug("a client does not take its events", "error", err)
			abort()
		}
	}
}

// eventID returns the id that the client gets for the server's.
func (d *Door) eventID(s *session, id string) string {
	if s.stateless() {
		return "" // that revision resumes nothing
	}
	return d.binder.bind(s.id, id)
}

// broken answers what is not answered yet.
func (d *Door) broken(to *events, open pending, err error) {
	if errors.Is(err, io.EOF) {
		err = &link.Down{Server: "behind the gateway", Why: "it closed the stream before its answer"}
	}
	f := failureOf(err)
	if f.code == codeUnjudged {
		d.o.Log.Warn("the stream of a server failed", "error", err)
	}
	for _, id := range open {
		_ = to.send(link.Event{Type: "message", Data: jsonrpc.NewFailure(id, f.code, f.what, nil)})
	}
}

// listen opens the stream of what the server sends unasked, or resumes a stream.
func (d *Door) listen(w http.ResponseWriter, r *http.Request, principal string) {
	x := &exchange{w: w, r: r, principal: principal}
	if err := d.listened(x); err != nil {
		d.refused(x, err)
	}
}

func (d *Door) listened(x *exchange) error {
	header, err := d.join(x)
	if err != nil {
		return err
	}
	defer func() { x.s.leave(d.o.Now()) }()
	if _, takes := accepts(x.r.Header); !takes {
		return no(http.StatusNotAcceptable, codeRefused, "Accept must have text/event-stream")
	}
	if last := x.r.Header.Get("Last-Event-ID"); last != "" {
		id, ok := d.binder.unbind(x.s.id, last)
		if !ok {
			return no(http.StatusBadRequest, codeRefused, "Last-Event-ID is of no event of this session")
		}
		header[headerLast] = []string{id}
	}
	ctx, cancel := x.s.within(x.r.Context())
	defer cancel()
	answer, err := x.s.server.Listen(ctx, header)
	if err != nil {
		d.heed(x.s, err)
		return err
	}
	if answer == nil {
		return errors.New("no answer and no error")
	}
	return d.answer(ctx, x, answer)
}

// join enters the session that a request without a message is about.
func (d *Door) join(x *exchange) (http.Header, error) {
	h := x.r.Header
	if err := single(h); err != nil {
		return nil, err
	}
	version, id := jsonrpc.Revision(h.Get(headerVersion)), h.Get(headerSession)
	if err := known(version); err != nil {
		return nil, err
	}
	if jsonrpc.Stateless(version) {
		x.w.Header().Set("Allow", "POST")
		return nil, no(http.StatusMethodNotAllowed, codeRefused, "that revision has no sessions")
	}
	if id == "" {
		return nil, no(http.StatusBadRequest, codeRefused, "header Mcp-Session-Id is missing")
	}
	s, err := d.sessions.get(id, x.principal, false)
	if err != nil {
		return nil, err
	}
	x.s = s
	return s.version(version), nil
}

// delete ends a session.
func (d *Door) delete(w http.ResponseWriter, r *http.Request, principal string) {
	x := &exchange{w: w, r: r, principal: principal}
	if _, err := d.join(x); err != nil {
		d.refused(x, err)
		return
	}
	d.sessions.remove(x.s)
	x.s.leave(d.o.Now())
	w.WriteHeader(http.StatusNoContent)
}

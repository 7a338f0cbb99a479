package front

import (
	"net/http"
	"net/url"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
)

// older is what a session of the older form has besides.
type older struct {
	p  *pump
	to *events
}

// Older returns the handlers of revision 2024-11-05: a stream that a client opens, and
// where it sends its messages (HTTPOptions.MessagePath). What a message is answered
// with comes on the stream. Both belong to the same server as the endpoint, but no
// session is at home at both.
func (d *Door) Older() (stream, messages http.Handler) {
	stream = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.serve(w, r, "GET", map[string]handler{http.MethodGet: d.olderStream})
	})
	messages = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.serve(w, r, "POST", map[string]handler{http.MethodPost: d.olderPost})
	})
	return stream, messages
}

// olderStream opens a session that lasts as long as its stream.
func (d *Door) olderStream(w http.ResponseWriter, r *http.Request, principal string) {
	x := &exchange{w: w, r: r, principal: principal}
	if _, events := accepts(r.Header); !events && r.Header.Get("Accept") != "" {
		d.refused(x, no(http.StatusNotAcceptable, codeRefused, "Accept must have text/event-stream"))
		return
	}
	if err := d.sessions.reserve(principal); err != nil {
		d.refused(x, err)
		return
	}
	s, err := d.open(x)
	if err != nil {
		d.sessions.release(principal)
		d.refused(x, err)
		return
	}
	to := d.begin(w, principal, false)
	s.older = &older{to: to, p: &pump{server: s.server, refused: d.o.Refused, principal: principal, over: func() { d.over(s) }, most: busyEach, size: d.o.MessageBytes, log: d.o.Log,
		emit: func(m []byte) error { return s.emit(link.Event{Type: "message", Data: m}) }}}
	if err := d.sessions.put(s); err != nil {
		d.sessions.release(principal)
		s.drop()
		to.end()
		s.leave(d.o.Now())
		return
	}
	d.watch()
	// A relative reference: whatever proxies are in between, the client finds it.
	where := url.URL{Path: d.o.MessagePath, RawQuery: url.Values{"sessionId": {s.id}}.Encode()}
	_ = s.emit(link.Event{Type: "endpoint", Data: []byte(where.String())})
	ctx, cancel := s.within(r.Context())
	defer cancel()
	<-ctx.Done()
	to.end()
	d.sessions.remove(s)
	s.leave(d.o.Now())
}

// emit writes an event; a client that does not take it has no session any more.
func (s *session) emit(ev link.Event) error {
	err := s.older.to.send(ev)
	if err != nil {
		s.cancel()
	}
	return err
}

// olderPost takes a message; the answer comes on the stream.
func (d *Door) olderPost(w http.ResponseWriter, r *http.Request, principal string) {
	x := &exchange{w: w, r: r, principal: principal}
	if err := d.olderPosted(x); err != nil {
		d.refused(x, err)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

func (d *Door) olderPosted(x *exchange) error {
	if err := sendable(x.r.Header, true); err != nil {
		return err
	}
	ids := x.r.URL.Query()["sessionId"]
	if len(ids) != 1 {
		return no(http.StatusBadRequest, codeRefused, "sessionId is missing")
	}
	s, err := d.sessions.get(ids[0], x.principal, true)
	if err != nil {
		return err
	}
	defer func() { s.leave(d.o.Now()) }()
	raw, release, err := d.body(x.w, x.r, x.principal)
	if err != nil {
		return err
	}
	m, err := s.older.p.scan(raw)
	if err != nil {
		release()
		return err
	}
	x.msg = m
	if r, said := saysVersion(m); said && jsonrpc.Stateless(r) {
		release()
		return no(http.StatusBadRequest, codeVersion, "that revision is not spoken here")
	}
	s.older.p.handle(s.ctx, m, release) // it goes on after this request
	return nil
}

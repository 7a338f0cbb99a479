package front

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
)

// exchange is one POST request.
type exchange struct {
	w         http.ResponseWriter
	r         *http.Request
	principal string
	msg       jsonrpc.Message
	s         *session
	opening   bool // the message is initialize, and the client does not know the session yet
}

// post takes one message, or a batch where the revision has them.
func (d *Door) post(w http.ResponseWriter, r *http.Request, principal string) {
	x := &exchange{w: w, r: r, principal: principal}
	if err := d.posted(x); err != nil {
		d.refused(x, err)
	}
}

// refused answers with what err says, with the id of the request if it was read.
func (d *Door) refused(x *exchange, err error) {
	f := failureOf(err)
	tell(d.o.Refused, x.r, x.principal, reasonOf(err))
	id := f.id
	if x.msg.Kind == jsonrpc.Request {
		id = x.msg.ID
	}
	if f.status >= http.StatusInternalServerError {
		d.o.Log.Warn("a client's message has no answer", "method", x.msg.Method, "error", err)
	}
	refuse(x.w, f.status, id, f.code, f.what, f.data)
}

func (d *Door) posted(x *exchange) error {
	if err := sendable(x.r.Header, false); err != nil {
		return err
	}
	version := jsonrpc.Revision(x.r.Header.Get(headerVersion))
	id := x.r.Header.Get(headerSession)
	if id != "" {
		s, err := d.sessions.get(id, x.principal, false)
		if err != nil {
			return err
		}
		defer func() { s.leave(d.o.Now()) }()
		x.s = s
	}
	raw, release, err := d.body(x.w, x.r, x.principal)
	if err != nil {
		return err
	}
	defer release()
	batch := x.s != nil && jsonrpc.HasBatch(x.s.negotiated())
	x.msg, err = jsonrpc.Scan(raw, jsonrpc.Options{Batch: batch, MaxBytes: d.o.MessageBytes})
	if err != nil {
		return err
	}
	if err := checkVersion(x.msg, version); err != nil {
		return err
	}
	switch {
	case jsonrpc.Stateless(version):
		return d.stateless(x)
	case x.s == nil && x.msg.Kind == jsonrpc.Request && x.msg.Method == "initialize":
		return d.initialize(x, version)
	case x.s == nil:
		return no(http.StatusBadRequest, codeRefused, "header Mcp-Session-Id is missing")
	}
	return d.inSession(x, version)
}

// unsupported is the data of a refusal of a revision.
type unsupported struct {
	Supported []jsonrpc.Revision `json:"supported"`
	Requested jsonrpc.Revision   `json:"requested"`
}

// known refuses revisions that this program does not know: what it does not know it
// cannot judge.
func known(r jsonrpc.Revision) error {
	if r == "" || jsonrpc.Known(r) {
		return nil
	}
	return &refusal{status: http.StatusBadRequest, code: codeVersion, what: "unsupported protocol version", data: unsupported{jsonrpc.Revisions(), r}}
}

// checkVersion compares the revision in the header with that in the message.
func checkVersion(m jsonrpc.Message, header jsonrpc.Revision) error {
	if m.Kind == jsonrpc.Batch {
		for _, part := range m.Parts {
			if meta, said := saysVersion(part); said && meta != header {
				return badHeader("MCP-Protocol-Version does not say the same as a message of the batch")
			}
		}
		return known(header)
	}
	meta, said := saysVersion(m)
	switch {
	case said && header == "":
		return badHeader("header MCP-Protocol-Version is missing, and the message says its revision")
	case !said && m.Kind == jsonrpc.Request && jsonrpc.Stateless(header):
		return no(http.StatusBadRequest, jsonrpc.CodeInvalidParams, "_meta has no "+jsonrpc.MetaRevision)
	case said && meta != header:
		return badHeader("MCP-Protocol-Version does not say the same as the message")
	}
	return known(header)
}

// saysVersion returns what a message itself says about its revision.
func saysVersion(m jsonrpc.Message) (jsonrpc.Revision, bool) {
	if m.Params == nil {
		return "", false
	}
	value, ok := jsonrpc.Lookup(m.Params, "_meta", jsonrpc.MetaRevision)
	if !ok {
		return "", false
	}
	text, _ := jsonrpc.Text(value) // what is no text equals no revision
	return jsonrpc.Revision(text), true
}

// initialize opens a session.
func (d *Door) initialize(x *exchange, version jsonrpc.Revision) error {
	if err := d.sessions.reserve(x.principal); err != nil {
		return err
	}
	s, err := d.open(x)
	if err != nil {
		d.sessions.release(x.principal)
		return err
	}
	if err := d.sessions.put(s); err != nil {
		d.sessions.release(x.principal)
		s.drop()
		s.leave(d.o.Now())
		return err
	}
	d.watch()
	x.s, x.opening = s, true
	defer func() {
		if s.negotiated() == "" { // there was no result: the client has no session
			d.sessions.remove(s)
		}
		s.leave(d.o.Now())
	}()
	return d.send(x, versionOnly(version))
}

func (d *Door) open(x *exchange) (*session, error) {
	id, err := d.sessions.name()
	if err != nil {
		return nil, err
	}
	s := d.sessions.make(x.principal, id, busyEach)
	// The session outlives this request, but not if the client leaves while it opens.
	stop := context.AfterFunc(x.r.Context(), s.cancel)
	s.server, err = d.o.Open.Open(s.ctx, link.Session{ID: id, Principal: x.principal})
	if err == nil && !stop() {
		err = context.Canceled
	}
	if err != nil {
		s.drop()
		s.leave(d.o.Now())
		return nil, err
	}
	return s, nil
}

// inSession takes a message of a session that the client has.
func (d *Door) inSession(x *exchange, version jsonrpc.Revision) error {
	if x.msg.Method == "initialize" {
		return no(http.StatusBadRequest, jsonrpc.CodeInvalidRequest, "the session is initialized")
	}
	return d.send(x, x.s.version(version))
}

// version is the header that goes on with what a client sends in a session: the
// revision that the two ends agreed on, as messages are judged by that. Clients that
// say another one of those with sessions are let in, as servers do.
func (s *session) version(said jsonrpc.Revision) http.Header {
	if agreed := s.negotiated(); agreed != "" {
		said = agreed
	}
	return versionOnly(said)
}

// versionOnly are the headers that go on with the messages of a session.
func versionOnly(v jsonrpc.Revision) http.Header {
	h := http.Header{}
	if v != "" {
		h[headerVersion] = []string{string(v)}
	}
	return h
}

// send gives the message to the server and its answer to the client.
func (d *Door) send(x *exchange, header http.Header) error {
	ctx, cancel := x.s.within(x.r.Context())
	defer cancel()
	answer, err := x.s.server.Send(ctx, link.Call{Message: x.msg, Header: header})
	if err != nil {
		if x.s.ctx.Err() != nil {
			return errNoSession() // it ended while the request was on its way
		}
		d.heed(x.s, err)
		return err
	}
	if answer == nil {
		return errors.New("no answer and no error")
	}
	if answer.Over {
		d.over(x.s)
	}
	return d.answer(ctx, x, answer)
}

// heed ends a session if an error says that it is over.
func (d *Door) heed(s *session, err error) {
	if errors.Is(err, link.ErrOver) {
		d.over(s)
	}
}

// over ends a session that the server lost: nobody enters any more, so that the client
// learns that it must initialize anew. Who is in it is still told what the server said.
func (d *Door) over(s *session) {
	s.mu.Lock()
	before := s.gone
	s.gone = true
	s.mu.Unlock()
	if before {
		return
	}
	d.sessions.forget(s)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done { // Close waits for nobody any more
		go s.drop()
		return
	}
	d.ends.Go(func() {
		t := time.NewTimer(d.waits.over)
		defer t.Stop()
		select {
		case <-t.C:
		case <-s.ctx.Done():
		}
		s.drop()
	})
}

// within returns a context that ends with the request and with the session.
func (s *session) within(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

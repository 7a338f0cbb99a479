package front

import (
	"context"
	"encoding/base64"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

const (
	busyEach   = limits.MCPFrontBusy
	busyShared = limits.MCPFrontBusyShared
	// sharedPrefix begins the ids of sessions that all requests of a client share; no
	// random id has it.
	sharedPrefix = "stateless/"
)

func (s *session) stateless() bool { return strings.HasPrefix(s.id, sharedPrefix) }

// stateless takes a message of a revision that has no sessions.
func (d *Door) stateless(x *exchange) error {
	if x.s != nil {
		return no(http.StatusBadRequest, codeRefused, "MCP-Protocol-Version is of a revision without sessions")
	}
	if x.msg.Kind != jsonrpc.Request && x.msg.Kind != jsonrpc.Notification {
		return no(http.StatusBadRequest, jsonrpc.CodeInvalidRequest, "only requests and notifications can be sent")
	}
	header, err := mirrored(x.msg, x.r.Header)
	if err != nil {
		return err
	}
	if x.s, err = d.share(x.r.Context(), x.principal); err != nil {
		return err
	}
	defer func() { x.s.leave(d.o.Now()) }()
	return d.send(x, header)
}

// named are the methods whose Mcp-Name says one of their parameters; true where the
// header must be there.
func named(method string) (param string, must bool) {
	switch method {
	case "tools/call", "prompts/get":
		return "name", true
	case "resources/read":
		return "uri", true
	case "tasks/get", "tasks/update", "tasks/cancel":
		return "taskId", false
	}
	return "", false
}

// mirrored compares the headers that repeat parts of a message with the message, and
// returns those that go on with it: whoever reads the headers alone, on the way to the
// server, reads what was judged.
func mirrored(m jsonrpc.Message, h http.Header) (http.Header, error) {
	out := http.Header{headerVersion: h[headerVersion]}
	switch method, there := h[headerMethod]; {
	case !there:
		return nil, badHeader("header Mcp-Method is missing")
	case method[0] != m.Method:
		return nil, badHeader("Mcp-Method does not say the same as the message")
	}
	out[headerMethod] = h[headerMethod]
	param, must := named(m.Method)
	if name, there := h[headerName]; there && param != "" {
		if err := sameName(m, param, name[0]); err != nil {
			return nil, err
		}
		out[headerName] = name
	} else if must {
		return nil, badHeader("header Mcp-Name is missing")
	}
	if m.Method == "tools/call" {
		if err := repeated(m, h, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// repeated puts the Mcp-Param headers into out. Which argument each repeats is in the
// tool's schema, and the server's to check; but one that repeats no argument at all
// would bring a value that nobody judges to whoever reads headers.
func repeated(m jsonrpc.Message, h, out http.Header) error {
	missing := map[string]string{} // values that were not found yet, and whose
	for name, values := range h {
		if !strings.HasPrefix(name, headerParam) {
			continue
		}
		value, ok := decoded(values[0])
		if !ok {
			return badHeader(name + " is no valid Base64")
		}
		missing[value] = name
		out[name] = values
	}
	if len(missing) == 0 {
		return nil
	}
	if arguments, ok := jsonrpc.Lookup(m.Params, "arguments"); ok {
		find(arguments, missing)
	}
	for _, name := range missing {
		return badHeader(name + " does not say the same as any argument")
	}
	return nil
}

// find takes out of missing what the members of an object, and of those within, say.
func find(object []byte, missing map[string]string) {
	_ = jsonrpc.Members(object, func(_ string, _ int, value []byte) bool {
		switch value[0] {
		case '{':
			find(value, missing)
		case '[', 'n': // no header repeats lists and null
		case '"':
			if text, ok := jsonrpc.Text(value); ok {
				delete(missing, text)
			}
		case 't', 'f':
			delete(missing, string(value))
		default:
			number(value, missing)
		}
		return len(missing) > 0
	})
}

// number takes out what says the same whole number: 5 may be written 5.0 on one side.
func number(value []byte, missing map[string]string) {
	n, err := strconv.ParseFloat(string(value), 64)
	if err != nil {
		return
	}
	for text := range missing {
		if text == string(value) {
			delete(missing, text)
			continue
		}
		if m, err := strconv.ParseFloat(text, 64); err == nil && m == n && math.Abs(n) < 1<<53 {
			delete(missing, text)
		}
	}
}

func sameName(m jsonrpc.Message, param, header string) error {
	said, ok := decoded(header)
	if !ok {
		return badHeader("Mcp-Name is no valid Base64")
	}
	value, there := jsonrpc.Lookup(m.Params, param)
	text, isText := "", false
	if there {
		text, isText = jsonrpc.Text(value)
	}
	if !isText || text != said {
		return badHeader("Mcp-Name does not say the same as the message")
	}
	return nil
}

// decoded returns what a header's value says: texts that a header cannot carry are
// written in Base64, with marks around.
func decoded(value string) (string, bool) {
	text, ok := strings.CutPrefix(value, "=?base64?")
	if !ok {
		return value, true
	}
	if text, ok = strings.CutSuffix(text, "?="); !ok {
		return value, true
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	return string(raw), err == nil
}

// share returns the session of all requests of a client without sessions, entered once.
func (d *Door) share(ctx context.Context, principal string) (*session, error) {
	for {
		t := d.sessions
		t.mu.Lock()
		h := t.shared[principal]
		if h == nil {
			if err := t.reserveLocked(principal); err != nil {
				t.mu.Unlock()
				return nil, err
			}
			h = &shared{ready: make(chan struct{})}
			t.shared[principal] = h
			d.ends.Go(func() { d.openShared(h, principal) })
		}
		t.mu.Unlock()
		select {
		case <-h.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if h.err != nil {
			return nil, h.err
		}
		err := h.s.enter()
		if err == nil {
			return h.s, nil
		}
		if !h.s.isGone() {
			return nil, err
		}
		d.sessions.remove(h.s) // it became idle a moment ago: another one is opened
	}
}

func (s *session) isGone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

// openShared opens the session for all who wait for it: none of them alone may break it off.
func (d *Door) openShared(h *shared, principal string) {
	id := sharedPrefix + principal
	s := d.sessions.make(principal, id, busyShared)
	defer func() {
		if v := recover(); v != nil {
			d.o.Log.Error("a session could not be opened", "panic", v)
			h.err = errPanic
		}
		t := d.sessions
		t.mu.Lock()
		if h.err == nil && t.closed {
			h.err = errClosed()
		}
		if h.err != nil {
			delete(t.shared, principal)
			t.releaseLocked(principal)
		} else {
			h.s = s
		}
		t.mu.Unlock()
		close(h.ready)
		if h.err != nil {
			s.drop()
		}
		s.leave(d.o.Now())
	}()
	s.server, h.err = d.o.Open.Open(s.ctx, link.Session{ID: id, Principal: principal, Stateless: true})
	d.watch()
}

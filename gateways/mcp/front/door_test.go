package front

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
)

const ping = `{"jsonrpc":"2.0","id":7,"method":"ping"}`

func TestSessionLifecycle(t *testing.T) {
	t.Parallel()
	r := newRig(t, HTTPOptions{}, nil)
	id := r.session()
	r.want(http.StatusAccepted, "", "POST", "/mcp", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, headerSession, id, headerVersion, "2025-11-25")
	raw := "{ \"jsonrpc\":\"2.0\",\n \"id\" : 9007199254740993, \"method\":\"tools/call\",\"params\":{\"name\":\"x\",\"arguments\":{\"n\":1e300}}}"
	r.want(http.StatusOK, `"id":9007199254740993,"result"`, "POST", "/mcp", raw, headerSession, id, headerVersion, "2025-11-25",
		"Authorization", "Bearer t", "Cookie", "a=b", "X-Other", "1", headerMethod, "lie", headerParam+"X", "lie")
	last := r.fake.last()
	if string(last.Message.Raw) != raw {
		t.Errorf("the bytes changed: %s", last.Message.Raw)
	}
	if len(last.Header) != 1 || last.Header.Get(headerVersion) != "2025-11-25" {
		t.Errorf("headers that went on: %v", last.Header)
	}
	r.want(http.StatusMethodNotAllowed, "", "GET", "/mcp", "", headerSession, id)
	r.want(http.StatusNoContent, "", "DELETE", "/mcp", "", headerSession, id)
	r.want(http.StatusNotFound, "-32001", "POST", "/mcp", ping, headerSession, id)
	r.want(http.StatusNotFound, "-32001", "DELETE", "/mcp", "", headerSession, id)
	if o, e, _ := r.fake.count(); o != 1 || e != 1 || r.door.Sessions() != 0 {
		t.Errorf("opened %d, ended %d, open %d", o, e, r.door.Sessions())
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t, HTTPOptions{MessageBytes: 1000}, nil)
	id := r.session()
	for _, c := range []struct {
		name   string
		status int
		part   string
		method string
		body   string
		header []string
	}{
		{"no session", 400, `"code":-32000`, "POST", ping, nil},
		{"unknown session", 404, `"code":-32001`, "POST", ping, []string{headerSession, "AAAA"}},
		{"long session", 404, `"code":-32001`, "POST", ping, []string{headerSession, strings.Repeat("A", 5000)}},
		{"stateless name as session", 404, `"code":-32001`, "POST", ping, []string{headerSession, sharedPrefix + Local}},
		{"content type", 415, `-32000`, "POST", ping, []string{"Content-Type", "text/plain"}},
		{"no content type", 415, `-32000`, "POST", ping, []string{"Content-Type", ""}},
		{"charset", 415, `-32000`, "POST", ping, []string{"Content-Type", "application/json; charset=utf-16"}},
		{"good charset", 200, `result`, "POST", ping, []string{"Content-Type", "application/json; charset=UTF-8", headerSession, id}},
		{"gzip", 415, `identity`, "POST", ping, []string{"Content-Encoding", "gzip"}},
		{"accept json only", 406, `-32000`, "POST", ping, []string{"Accept", "application/json"}},
		{"accept all", 200, `result`, "POST", ping, []string{"Accept", "*/*", headerSession, id}},
		{"last event id", 400, `Last-Event-ID`, "POST", ping, []string{headerLast, "1", headerSession, id}},
		{"unknown version", 400, `"data":{"supported":["2024-11-05","2025-03-26","2025-06-18","2025-11-25","2026-07-28"],"requested":"2025-01-01"}`, "POST", ping, []string{headerVersion, "2025-01-01", headerSession, id}},
		{"unknown version keeps the id", 400, `"id":7,"error":{"code":-32022`, "POST", ping, []string{headerVersion, "v999.0.0"}},
		{"other version", 200, `result`, "POST", ping, []string{headerVersion, "2025-06-18", headerSession, id}},
		{"same version", 200, `result`, "POST", ping, []string{headerVersion, "2025-11-25", headerSession, id}},
		{"no version", 200, `result`, "POST", ping, []string{headerSession, id}},
		{"again", 400, `-32600`, "POST", initialize("2025-11-25"), []string{headerSession, id}},
		{"empty", 400, `-32600`, "POST", "", []string{headerSession, id}},
		{"too long", 413, `-32054`, "POST", `{"a":"` + strings.Repeat("x", 1000) + `"}`, []string{headerSession, id}},
		{"broken", 400, `-32700`, "POST", `{"jsonrpc"`, []string{headerSession, id}},
		{"duplicate key", 400, `-32600`, "POST", `{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}`, []string{headerSession, id}},
		{"batch", 400, `-32600`, "POST", `[` + ping + `]`, []string{headerSession, id}},
		{"batch of initialize", 400, `-32600`, "POST", `[` + initialize("2025-03-26") + `]`, nil},
		{"meta without header", 400, `-32020`, "POST", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`, nil},
		{"meta without header in a session", 400, `-32020`, "POST", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`, []string{headerSession, id}},
		{"get without session", 400, `-32000`, "GET", "", nil},
		{"get of a stateless revision", 405, `-32000`, "GET", "", []string{headerVersion, "2026-07-28"}},
		{"get without accept", 406, `-32000`, "GET", "", []string{headerSession, id, "Accept", "application/json"}},
		{"get, foreign event", 400, `-32000`, "GET", "", []string{headerSession, id, headerLast, "abc_1"}},
		{"get, unknown version", 400, `-32022`, "GET", "", []string{headerSession, id, headerVersion, "x"}},
		{"get, version without sessions", 405, `-32000`, "GET", "", []string{headerSession, id, headerVersion, modern}},
		{"delete, version without sessions", 405, `-32000`, "DELETE", "", []string{headerSession, id, headerVersion, modern}},
		{"batch of another version", 400, `-32600`, "POST", `[` + ping + `]`, []string{headerSession, id, headerVersion, "2025-03-26"}},
		{"delete without session", 400, `-32000`, "DELETE", "", nil},
		{"put", 405, `-32000`, "PUT", "", nil},
		{"options", 405, `-32000`, "OPTIONS", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(r.fake.headers)
			rr := *r
			rr.t = t
			resp := rr.want(c.status, c.part, c.method, "/mcp", c.body, c.header...)
			if resp.StatusCode == http.StatusMethodNotAllowed && resp.Header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
			if len(r.fake.headers) != before {
				t.Error("it was passed on")
			}
		})
	}
	if r.door.held.Load() != 0 {
		t.Errorf("%d bytes are still counted", r.door.held.Load())
	}
	r.want(200, "result", "POST", "/mcp", ping, headerSession, id, headerVersion, "2025-06-18")
	if got := r.fake.last().Header.Get(headerVersion); got != "2025-11-25" {
		t.Errorf("version %q went on", got)
	}
}

func TestBatchWhereTheRevisionHasIt(t *testing.T) {
	t.Parallel()
	f := &fake{send: func(_ context.Context, _ link.Session, c link.Call) (*link.Answer, error) {
		if c.Message.Kind != jsonrpc.Batch || len(c.Message.Parts) != 2 {
			return nil, errors.New("no batch")
		}
		return &link.Answer{Status: 200, Header: http.Header{"Content-Type": {contentJSON}}, Body: []byte(`[{"jsonrpc":"2.0","id":7,"result":{}}]`)}, nil
	}}
	r := newRig(t, HTTPOptions{}, f)
	resp := r.want(200, "2025-03-26", "POST", "/mcp", initialize("2025-03-26"))
	r.want(200, `[{"jsonrpc"`, "POST", "/mcp", `[`+ping+`,{"jsonrpc":"2.0","method":"notifications/x"}]`, headerSession, resp.Header.Get(headerSession))
}

func TestSessionsOfOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t, HTTPOptions{Auth: byToken{}}, nil)
	id := r.session("Authorization", "Bearer anna")
	for _, m := range []string{"POST", "GET", "DELETE"} {
		r.want(404, "-32001", m, "/mcp", ping, headerSession, id, "Authorization", "Bearer bert")
	}
	r.want(200, "result", "POST", "/mcp", ping, headerSession, id, "Authorization", "Bearer anna")
	resp := r.want(401, "a token is needed", "POST", "/mcp", ping, headerSession, id)
	if !strings.Contains(resp.Header.Get("WWW-Authenticate"), "resource_metadata=") {
		t.Error("no challenge")
	}
	resp = r.want(401, "did not authenticate", "POST", "/mcp", ping, "Authorization", "Bearer secret-internals")
	if resp.Header.Get("WWW-Authenticate") != "Bearer" {
		t.Error("the error was told")
	}
}

func TestTooManySessions(t *testing.T) {
	t.Parallel()
	r := newRig(t, HTTPOptions{Auth: byToken{}, Sessions: 3, SessionsEach: 2}, nil)
	a, b := []string{"Authorization", "Bearer a"}, []string{"Authorization", "Bearer b"}
	id := r.session(a...)
	r.session(a...)
	resp := r.want(429, "-32054", "POST", "/mcp", initialize("2025-11-25"), a...)
	if resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	r.session(b...)
	r.want(503, "-32054", "POST", "/mcp", initialize("2025-11-25"), b...)
	r.want(204, "", "DELETE", "/mcp", "", append(a, headerSession, id)...)
	r.session(b...)
	if o, _, _ := r.fake.count(); o != 4 {
		t.Errorf("opened %d", o)
	}
}

func TestInitializeThatFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		part   string
		open   error
		answer *link.Answer
		err    error
	}{
		"cannot open":         {502, `"code":-32053,"message":"server files: it does not start"`, &link.Down{Server: "files", Why: "it does not start"}, nil, nil},
		"other error":         {500, `"message":"the gateway failed"`, errors.New("secret"), nil, nil},
		"failure":             {200, `"error"`, nil, &link.Answer{Status: 200, Body: []byte(`{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x"}}`)}, nil},
		"bad gateway":         {502, `"code":-32053`, nil, nil, &link.Down{Server: "files", Why: "gone"}},
		"unauthorized":        {502, `nope`, nil, &link.Answer{Status: 401, Body: []byte(`nope`)}, nil},
		"failure in a stream": {200, `"error"`, nil, &link.Answer{Status: 200, Stream: feed(io.EOF, link.Event{Data: []byte(`{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x"}}`)})}, nil},
		"nothing":             {500, `-32052`, nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &openerFunc{open: c.open, answer: c.answer, err: c.err}
			door, err := NewHTTP(HTTPOptions{Open: f})
			if err != nil {
				t.Fatal(err)
			}
			r := newRig(t, HTTPOptions{}, nil)
			r.door = door
			r.srv.Config.Handler = door
			r.want(c.status, c.part, "POST", "/mcp", initialize("2025-11-25"))
			if door.Sessions() != 0 {
				t.Error("the session is still there")
			}
			if want := c.open == nil; f.ended != want {
				t.Errorf("ended %v", f.ended)
			}
		})
	}
}

// openerFunc answers everything alike.
type openerFunc struct {
	open   error
	answer *link.Answer
	err    error
	ended  bool
}

func (o *openerFunc) Open(context.Context, link.Session) (link.Server, error) {
	if o.open != nil {
		return nil, o.open
	}
	return o, nil
}
func (o *openerFunc) Send(context.Context, link.Call) (*link.Answer, error) { return o.answer, o.err }
func (o *openerFunc) Listen(context.Context, http.Header) (*link.Answer, error) {
	return o.answer, o.err
}
func (o *openerFunc) End(context.Context) error { o.ended = true; return nil }

func TestPanicIsAFailure(t *testing.T) {
	t.Parallel()
	f := &fake{send: func(context.Context, link.Session, link.Call) (*link.Answer, error) { panic("secret") }}
	r := newRig(t, HTTPOptions{}, f)
	id := r.session()
	r.want(500, `"code":-32052,"message":"the gateway failed"`, "POST", "/mcp", ping, headerSession, id)
	r.door.sessions.mu.Lock()
	busy := r.door.sessions.byID[id].busy
	r.door.sessions.mu.Unlock()
	if busy != 0 {
		t.Error("the session is still busy")
	}
}

func TestStreamsAndResumption(t *testing.T) {
	t.Parallel()
	f := &fake{}
	f.send = func(_ context.Context, _ link.Session, c link.Call) (*link.Answer, error) {
		return &link.Answer{Status: 200, Stream: feed(io.EOF,
			link.Event{ID: "s_0", Type: "prime", Retry: 500},
			link.Event{ID: "s_1", Type: "message", Data: []byte("{\"jsonrpc\":\"2.0\",\r\n\"method\":\"n\"}")},
			link.Event{ID: "ü 2", Data: jsonrpc.NewResult(c.Message.ID, []byte(`{}`))},
		)}, nil
	}
	f.onListen = func(context.Context, http.Header) (*link.Answer, error) {
		return &link.Answer{Status: 200, Stream: feed(io.EOF, link.Event{ID: "s_3", Data: []byte(`{}`)})}, nil
	}
	r := newRig(t, HTTPOptions{}, f)
	id, other := r.session(), r.session()
	resp := r.do("POST", "/mcp", ping, headerSession, id)
	text, _ := io.ReadAll(resp.Body)
	b := r.door.binder
	want := "event: prime\nid: " + b.bind(id, "s_0") + "\nretry: 500\ndata: \n\n" +
		"event: message\nid: " + b.bind(id, "s_1") + "\ndata: {\"jsonrpc\":\"2.0\",\ndata: \"method\":\"n\"}\n\n" +
		"id: " + b.bind(id, "ü 2") + "\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n\n"
	if string(text) != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	for k, v := range map[string]string{"Content-Type": contentEvents, "X-Accel-Buffering": "no", "Cache-Control": "no-cache, no-transform"} {
		if resp.Header.Get(k) != v {
			t.Errorf("%s: %q", k, resp.Header.Get(k))
		}
	}
	r.want(200, "data: {}", "GET", "/mcp", "", headerSession, id, headerLast, b.bind(id, "ü 2"))
	if got := f.headers[0].Get("Last-Event-ID"); got != "ü 2" {
		t.Errorf("Last-Event-ID %q", got)
	}
	for _, foreign := range []string{b.bind(id, "s_0"), "s_0", "s_0." + strings.Repeat("A", 22), b.bind(other, "s_0") + "x", "." + strings.Repeat("A", 22)} {
		r.want(400, "no event of this session", "GET", "/mcp", "", headerSession, other, headerLast, foreign)
	}
	if len(f.headers) != 1 {
		t.Errorf("%d were passed on", len(f.headers))
	}
}

func TestStreamThatBreaksOff(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stream *listed
		want   string
		not    string
	}{
		"down":      {feed(&link.Down{Server: "files", Why: "it died"}), `"id":7,"error":{"code":-32053,"message":"server files: it died"}`, ""},
		"end":       {feed(io.EOF), `"id":7,"error":{"code":-32053`, ""},
		"other":     {feed(errors.New("secret")), `"id":7,"error":{"code":-32052,"message":"the gateway failed"}`, "secret"},
		"answered":  {feed(&link.Down{Server: "files", Why: "it died"}, link.Event{Data: []byte(`{"id":7,"jsonrpc":"2.0","result":1}`)}), `"result":1`, "-32053"},
		"resumable": {feed(&link.Down{Server: "files", Why: "it died"}, link.Event{ID: "1"}), `data: `, "-32053"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, HTTPOptions{}, &fake{send: func(context.Context, link.Session, link.Call) (*link.Answer, error) {
				return &link.Answer{Status: 200, Stream: c.stream}, nil
			}})
			resp := r.want(200, c.want, "POST", "/mcp", ping, headerSession, r.session())
			_ = resp
			select {
			case <-c.stream.closed:
			case <-t.Context().Done():
			}
		})
	}
}

func TestClientThatLeaves(t *testing.T) {
	t.Parallel()
	left := make(chan struct{})
	f := &fake{send: func(ctx context.Context, _ link.Session, _ link.Call) (*link.Answer, error) {
		<-ctx.Done()
		close(left)
		return nil, ctx.Err()
	}}
	silent := feed(nil)
	f.onListen = func(context.Context, http.Header) (*link.Answer, error) {
		return &link.Answer{Status: 200, Stream: silent}, nil
	}
	r := newRig(t, HTTPOptions{}, f)
	id := r.session()
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, r.srv.URL+"/mcp", strings.NewReader(ping))
	req.Header = http.Header{"Content-Type": {contentJSON}, "Accept": {"*/*"}, headerSession: {id}}
	go func() {
		for {
			if _, _, calls := f.count(); calls > 1 {
				cancel()
				return
			}
		}
	}()
	if resp, err := r.srv.Client().Do(req); err == nil {
		_ = resp.Body.Close()
		t.Error("there was an answer")
	}
	<-left
	resp := r.do("GET", "/mcp", "", headerSession, id)
	if line, _ := bufio.NewReader(resp.Body).ReadString('\n'); line != ": ok\n" {
		t.Errorf("greeting %q", line)
	}
	_ = resp.Body.Close()
	<-silent.closed
}

func TestEndBreaksOffRequests(t *testing.T) {
	t.Parallel()
	silent := feed(nil)
	f := &fake{onListen: func(context.Context, http.Header) (*link.Answer, error) {
		return &link.Answer{Status: 200, Stream: silent}, nil
	}}
	r := newRig(t, HTTPOptions{}, f)
	id := r.session()
	resp := r.do("GET", "/mcp", "", headerSession, id)
	r.want(204, "", "DELETE", "/mcp", "", headerSession, id)
	if text, err := io.ReadAll(resp.Body); err != nil || string(text) != ": ok\n\n" {
		t.Errorf("%q %v", text, err)
	}
	<-silent.closed
}

// panics panics in the middle of a stream.
type panics struct{ n int }

func (p *panics) Next(context.Context) (link.Event, error) {
	if p.n++; p.n == 2 {
		panic("secret")
	}
	return link.Event{Data: []byte(`{}`)}, nil
}
func (p *panics) Close() error { return nil }

func TestPanicInAStreamCutsItOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, HTTPOptions{}, &fake{send: func(context.Context, link.Session, link.Call) (*link.Answer, error) {
		return &link.Answer{Status: 200, Stream: &panics{}}, nil
	}})
	resp := r.do("POST", "/mcp", ping, headerSession, r.session())
	if text, err := io.ReadAll(resp.Body); err == nil || strings.Contains(string(text), "secret") {
		t.Errorf("it looks whole: %q", text)
	}
}

func TestTooManyRequestsOfASession(t *testing.T) {
	t.Parallel()
	r := newRig(t, HTTPOptions{}, nil)
	id, other := r.session(), r.session()
	s := r.door.sessions.byID[id]
	s.mu.Lock()
	s.busy += busyEach
	s.mu.Unlock()
	r.want(429, "-32054", "POST", "/mcp", ping, headerSession, id)
	r.want(429, "-32054", "GET", "/mcp", "", headerSession, id)
	r.want(200, "result", "POST", "/mcp", ping, headerSession, other)
	s.mu.Lock()
	s.busy -= busyEach
	s.mu.Unlock()
	r.want(200, "result", "POST", "/mcp", ping, headerSession, id)
}

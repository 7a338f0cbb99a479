package mcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// fanFake is a server behind the fan: it answers methods with results, and keeps what
// it was sent.
type fanFake struct {
	results map[string]string // by method: a result, or with ! in front the message of an error
	answer  func(c link.Call) (*link.Answer, error)
	listen  func(h http.Header) (*link.Answer, error)
	down    bool

	mu     sync.Mutex
	got    []string
	header []http.Header
	ended  int
}

func (f *fanFake) Open(context.Context, link.Session) (link.Server, error) {
	if f.down {
		return nil, &link.Down{Server: "x", Why: "connection refused"}
	}
	return f, nil
}

func (f *fanFake) Send(_ context.Context, c link.Call) (*link.Answer, error) {
	f.mu.Lock()
	f.got = append(f.got, string(c.Message.Raw))
	f.header = append(f.header, c.Header)
	f.mu.Unlock()
	c.Settled()
	if f.answer != nil {
		if a, err := f.answer(c); a != nil || err != nil {
			return a, err
		}
	}
	if c.Message.Kind != jsonrpc.Request {
		return &link.Answer{Status: 202}, nil
	}
	r, ok := f.results[c.Message.Method]
	switch {
	case !ok:
		return fanAnswer(jsonrpc.NewFailure(c.Message.ID, jsonrpc.CodeMethodNotFound, "no such method", nil)), nil
	case strings.HasPrefix(r, "!"):
		return fanAnswer(jsonrpc.NewFailure(c.Message.ID, -1, r[1:], nil)), nil
	}
	return fanAnswer(jsonrpc.NewResult(c.Message.ID, []byte(r))), nil
}

func (f *fanFake) Listen(_ context.Context, h http.Header) (*link.Answer, error) {
	if f.listen == nil {
		return &link.Answer{Status: 405}, nil
	}
	return f.listen(h)
}

func (f *fanFake) End(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended++
	return nil
}

// last is what the server was sent last.
func (f *fanFake) last() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.got) == 0 {
		return ""
	}
	return f.got[len(f.got)-1]
}

func (f *fanFake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.got)
}

// fanEvents is a stream of events that waits after the last one, or ends.
type fanEvents struct {
	events []link.Event
	ends   bool
	closed bool
}

func (s *fanEvents) Next(ctx context.Context) (link.Event, error) {
	if len(s.events) == 0 {
		if s.ends {
			return link.Event{}, io.EOF
		}
		<-ctx.Done()
		return link.Event{}, ctx.Err()
	}
	e := s.events[0]
	s.events = s.events[1:]
	return e, nil
}

func (s *fanEvents) Close() error { s.closed = true; return nil }

// fanRig is a fan of the servers a and b.
type fanRig struct {
	t    *testing.T
	a, b *fanFake
	s    link.Server
}

const fanInit = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":%v},"resources":{},"prompts":{},"logging":{},"tasks":{}},"serverInfo":{"name":"x","version":"1"},"instructions":"Be %s."}`

func newFanRig(t *testing.T, set func(a, b *fanFake)) *fanRig {
	t.Helper()
	r := &fanRig{t: t, a: &fanFake{results: map[string]string{}}, b: &fanFake{results: map[string]string{}}}
	for i, f := range []*fanFake{r.a, r.b} {
		f.results["initialize"] = fmt.Sprintf(fanInit, i == 0, string(rune('a'+i)))
	}
	if set != nil {
		set(r.a, r.b)
	}
	s, err := NewFan(FanOptions{Servers: []Named{{"a", r.a}, {"b", r.b}}, Version: "1.2.3"}).Open(t.Context(), link.Session{ID: "s", Principal: "p"})
	if err != nil {
		t.Fatal(err)
	}
	r.s = s
	return r
}

func (r *fanRig) call(raw string) link.Call {
	r.t.Helper()
	m, err := jsonrpc.Scan([]byte(raw), jsonrpc.Options{Batch: true})
	if err != nil {
		r.t.Fatalf("%s: %v", raw, err)
	}
	return link.Call{Message: m}
}

// ask sends a message and gives the body of the answer.
func (r *fanRig) ask(raw string) string {
	r.t.Helper()
	settled := 0
	c := r.call(raw)
	c.Sent = func() { settled++ }
	a, err := r.s.Send(r.t.Context(), c)
	if err != nil {
		return "error: " + err.Error()
	}
	if settled != 1 {
		r.t.Errorf("%s was settled %d times", raw, settled)
	}
	return string(a.Body)
}

func (r *fanRig) want(raw, want string) {
	r.t.Helper()
	if got := r.ask(raw); got != want {
		r.t.Errorf("%s\n got %s\nwant %s", raw, got, want)
	}
}

// refused asserts that a message went to nobody and was answered with an error.
func (r *fanRig) refused(raw, why string) {
	r.t.Helper()
	before := r.a.count() + r.b.count()
	if got := r.ask(raw); !strings.Contains(got, `"error"`) || !strings.Contains(got, why) {
		r.t.Errorf("%s\n got %s\nwant an error with %q", raw, got, why)
	}
	if r.a.count()+r.b.count() != before {
		r.t.Errorf("%s was sent on", raw)
	}
}

func fanAsk(id int, method, params string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, id, method, params)
}

func TestFanOfOne(t *testing.T) {
	t.Parallel()
	f := &fanFake{}
	if o := NewFan(FanOptions{Servers: []Named{{"whatever it is", f}}}); o != link.Opener(f) {
		t.Errorf("one server is wrapped: %T", o)
	}
}

func TestFanNames(t *testing.T) {
	t.Parallel()
	for _, names := range [][]string{{}, {"a", "a"}, {"a", "A"}, {"a b", "c"}, {"a__b", "c"}, {"a_", "c"}, {"", "c"}, {"l1", "ll"}, {"modern", "modem"}, {"a-b", "a_b"}, {"й", "c"}, {strings.Repeat("x", 65), "c"}} {
		o := FanOptions{}
		for _, n := range names {
			o.Servers = append(o.Servers, Named{n, &fanFake{}})
		}
		if len(names) == 0 {
			o.Servers = nil
		}
		if _, err := NewFan(o).Open(t.Context(), link.Session{}); !errors.Is(err, protocol.Code("mcp_server_names")) {
			t.Errorf("%q: %v", names, err)
		}
	}
}

func TestFanInitialize(t *testing.T) {
	t.Parallel()
	r := newFanRig(t, func(_, b *fanFake) {
		b.results["initialize"] = `{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":false},"completions":{}},"serverInfo":{"name":"y","version":"1"}}`
	})
	r.want(fanAsk(1, "initialize", `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}`),
		`{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{"completions":{},"logging":{},"prompts":{},"resources":{},"tasks":{},"tools":{"listChanged":true}},"serverInfo":{"name":"cabincrew","version":"1.2.3"},"instructions":"a (tools a__...): Be a."}}`)
	r.ask(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	if r.a.last() != r.b.last() || !strings.Contains(r.a.last(), "initialized") {
		t.Errorf("%s and %s", r.a.last(), r.b.last())
	}
	c := r.call(fanAsk(2, "tools/call", `{"name":"a__x"}`))
	c.Header = http.Header{"Mcp-Protocol-Version": {"2025-06-18"}, "Mcp-Name": {"a__x"}, "Mcp-Method": {"tools/call"}}
	if _, err := r.s.Send(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if h := r.a.header[len(r.a.header)-1]; h.Get("Mcp-Name") != "x" || h.Get("Mcp-Protocol-Version") != "2025-11-25" || h.Get("Mcp-Method") != "tools/call" || c.Header.Get("Mcp-Name") != "a__x" {
		t.Errorf("headers %v, and the caller's %v", h, c.Header)
	}
	r.refused(fanAsk(3, "prompts/get", `{"name":"b__x"}`), "has no prompts")
	if err := r.s.End(t.Context()); err != nil || r.a.ended != 1 || r.b.ended != 1 {
		t.Errorf("%v, ended %d and %d times", err, r.a.ended, r.b.ended)
	}
}

func TestFanLeavesOut(t *testing.T) {
	t.Parallel()
	init := fanAsk(1, "initialize", `{}`)
	for name, set := range map[string]func(a, b *fanFake){
		"down":         func(_, b *fanFake) { b.down = true },
		"error":        func(_, b *fanFake) { b.results["initialize"] = "!not today" },
		"odd revision": func(_, b *fanFake) { b.results["initialize"] = `{"protocolVersion":"1999-01-01"}` },
		"stateless":    func(_, b *fanFake) { b.results["initialize"] = `{"protocolVersion":"2026-07-28"}` },
		"broken": func(_, b *fanFake) {
			b.answer = func(link.Call) (*link.Answer, error) { return nil, &link.Down{Server: "b", Why: "it ended"} }
		},
		"foreign answer": func(_, b *fanFake) {
			b.answer = func(link.Call) (*link.Answer, error) {
				return fanAnswer([]byte(`{"jsonrpc":"2.0","id":2,"result":{}}`)), nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newFanRig(t, set)
			if got := r.ask(init); !strings.Contains(got, `"result"`) || !strings.Contains(got, "The server b is left out") {
				t.Errorf("got %s", got)
			}
			r.refused(fanAsk(2, "tools/call", `{"name":"b__x"}`), "is left out")
		})
	}
	r := newFanRig(t, func(a, b *fanFake) { a.results["initialize"], b.results["initialize"] = "!no a", "!no b" })
	if got := r.ask(init); !strings.Contains(got, "no a") {
		t.Errorf("all failed: %s", got)
	}
	_, err := NewFan(FanOptions{Servers: []Named{{"a", &fanFake{down: true}}, {"b", &fanFake{down: true}}}}).Open(t.Context(), link.Session{})
	if down, ok := errors.AsType[*link.Down](err); !ok {
		t.Errorf("all down: %v, %v", err, down)
	}
}

func TestFanLists(t *testing.T) {
	t.Parallel()
	r := newFanRig(t, func(a, b *fanFake) {
		a.results["tools/list"] = `{"tools":[ {"description":"x","na\u006de":"ignored"} ,{"name":"read" , "inputSchema":{"type":"object"},"n":1.50},{"name":"Read"},{"name":"bad name"},{"name":""},7,{"name":"` + strings.Repeat("x", 126) + `"}]}`
		b.results["tools/list"] = `{"tools":[{"inputSchema":{},"name":"read"},{"name":"read"}],"nextCursor":"n\u0031"}`
		a.results["prompts/list"], b.results["prompts/list"] = `{"prompts":[{"name":"say hi"}]}`, "!broken"
		a.results["resources/list"], b.results["resources/list"] = `{"resources":[{"uri":"file:///a","name":"A"}]}`, `{"resources":[]}`
		a.results["tasks/list"], b.results["tasks/list"] = `{"tasks":[{"taskId":"1"}]}`, `{"tasks":[{"taskId":"1","status":"working"}]}`
	})
	// An escaped "name" is refused by the scanner before: here it is only one that is not there.
	r.a.results["tools/list"] = strings.Replace(r.a.results["tools/list"], `,"na\u006de":"ignored"`, "", 1)
	got := r.ask(fanAsk(1, "tools/list", `{}`))
	const want = `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a__read" , "inputSchema":{"type":"object"},"n":1.50},{"inputSchema":{},"name":"b__read"},{"name":"b__read"}],"nextCursor":`
	if !strings.HasPrefix(got, want) {
		t.Fatalf("got %s", got)
	}
	m, err := jsonrpc.Scan([]byte(got), jsonrpc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cursor, _ := fanText(m.Result, "nextCursor")
	before := r.a.count()
	r.b.results["tools/list"] = `{"tools":[{"name":"last"}]}`
	r.want(fanAsk(2, "tools/list", `{"cursor":"`+cursor+`"}`), `{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"b__last"}]}}`)
	if r.a.count() != before || !strings.Contains(r.b.last(), `{"cursor":"n1"}`) {
		t.Errorf("a was asked %d times more; b was asked %s", r.a.count()-before, r.b.last())
	}
	r.refused(fanAsk(3, "prompts/list", `{"cursor":"`+cursor+`"}`), "cursor")
	for _, bad := range []string{`"x"`, `""`, `7`, `{}`, `"` + cursor[:len(cursor)-4] + `AAAA"`, `"` + strings.Repeat("A", limits.MCPFanMark+1) + `"`} {
		r.refused(fanAsk(3, "tools/list", `{"cursor":`+bad+`}`), "cursor")
	}
	other := newFanRig(t, nil)
	other.refused(fanAsk(3, "tools/list", `{"cursor":"`+cursor+`"}`), "cursor")
	r.want(fanAsk(4, "prompts/list", `{}`), `{"jsonrpc":"2.0","id":4,"result":{"prompts":[{"name":"a__say hi"}]}}`)
	r.want(fanAsk(5, "tasks/list", `{}`), `{"jsonrpc":"2.0","id":5,"result":{"tasks":[{"taskId":"a:1"},{"taskId":"b:1","status":"working"}]}}`)
	r.a.results["prompts/list"] = "!broken too"
	if got := r.ask(fanAsk(6, "prompts/list", `{}`)); !strings.Contains(got, "broken too") {
		t.Errorf("all lists fail: %s", got)
	}
}

func TestFanRoutesByName(t *testing.T) {
	t.Parallel()
	r := newFanRig(t, func(a, b *fanFake) {
		a.results["tools/call"], b.results["tools/call"] = `{"content":[],"by":"a"}`, `{"content":[],"by":"b"}`
		b.results["prompts/get"], b.results["completion/complete"] = `{"messages":[]}`, `{"completion":{"values":[]}}`
	})
	r.want("{ \"jsonrpc\":\"2.0\",\n \"params\": {\"arguments\": {\"x\": 1.0, \"y\":\"\\u0061\"}, \"name\" : \"b__re\\u0061d__it\" } ,\"method\":\"tools/call\",\"id\":\"\\u0041\"}", `{"jsonrpc":"2.0","id":"A","result":{"content":[],"by":"b"}}`)
	if want := "{ \"jsonrpc\":\"2.0\",\n \"params\": {\"arguments\": {\"x\": 1.0, \"y\":\"\\u0061\"}, \"name\" : \"read__it\" } ,\"method\":\"tools/call\",\"id\":\"\\u0041\"}"; r.b.last() != want {
		t.Errorf("sent on as %s", r.b.last())
	}
	r.ask(fanAsk(1, "prompts/get", `{"name":"b__p q"}`))
	if r.b.last() != fanAsk(1, "prompts/get", `{"name":"p q"}`) {
		t.Errorf("sent on as %s", r.b.last())
	}
	r.ask(fanAsk(2, "completion/complete", `{"ref":{"type":"ref/prompt","name":"b__p"},"argument":{"name":"b__x","value":""}}`))
	if r.b.last() != fanAsk(2, "completion/complete", `{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"b__x","value":""}}`) {
		t.Errorf("sent on as %s", r.b.last())
	}
	for _, name := range []string{`"read"`, `"c__read"`, `"B__read"`, `"a__"`, `"__read"`, `"a_read"`, `7`, `null`, `"ａ__read"`, `" a__read"`, `"a\u0000__x"`, `"a__` + strings.Repeat("x", 126) + `"`} {
		r.refused(fanAsk(3, "tools/call", `{"name":`+name+`}`), `"code":-32602`)
	}
	r.refused(fanAsk(4, "tools/call", `{}`), "no text")
	r.refused(fanAsk(5, "vendor/secret", `{}`), "does not say")
	r.refused(`{"jsonrpc":"2.0","method":"notifications/vendor"}`, "does not say")
	r.want(fanAsk(6, "ping", `{}`), `{"jsonrpc":"2.0","id":6,"result":{}}`)
}

func TestFanRoutesByResource(t *testing.T) {
	t.Parallel()
	r := newFanRig(t, func(a, b *fanFake) {
		for _, f := range []*fanFake{a, b} {
			f.results["resources/read"] = `{"contents":[]}`
			f.results["resources/list"] = `{"resources":[{"uri":"both:1"}]}`
		}
		a.results["resources/list"] = `{"resources":[{"uri":"both:1"},{"uri":"file:///x"}]}`
		a.results["resources/templates/list"] = `{"resourceTemplates":[{"uriTemplate":"file:///{path}"},{"uriTemplate":"db://{t}/rows/{id}"},{"uriTemplate":"{+all}"}]}`
		b.results["resources/templates/list"] = `{"resourceTemplates":[{"uriTemplate":"git://{ref}"},{"uriTemplate":"db://{t}/cols"}]}`
		b.results["tools/call"] = `{"content":[{"type":"resource_link","uri":"made:1","name":"x"},{"type":"resource_link","uri":"file:///x","name":"mine"}]}`
	})
	read := func(uri string) string { return fanAsk(1, "resources/read", `{"uri":"`+uri+`"}`) }
	if r.ask(read("file:///x")); r.a.last() != read("file:///x") {
		t.Errorf("before any list it went elsewhere: %s", r.a.last())
	}
	r.ask(fanAsk(1, "resources/list", `{}`))
	r.ask(fanAsk(1, "resources/templates/list", `{}`))
	r.ask(fanAsk(1, "tools/call", `{"name":"b__make"}`))
	for uri, f := range map[string]*fanFake{"file:///x": r.a, "file:///other": r.a, "git://main": r.b, "db://t/rows/7": r.a, "db://t/cols": r.b, "made:1": r.b} {
		r.ask(read(uri))
		if f.last() != read(uri) {
			t.Errorf("%s went elsewhere: %s", uri, f.last())
		}
	}
	r.refused(read("both:1"), "several servers (a, b)")
	r.refused(read("db://t/else"), "no server")
	r.refused(read("http://x"), "no server")
	r.refused(fanAsk(1, "completion/complete", `{"ref":{"type":"ref/resource","uri":"zzz"}}`), "no server")
}

func TestFanTasks(t *testing.T) {
	t.Parallel()
	r := newFanRig(t, func(_, b *fanFake) {
		b.results["tools/call"] = `{"task":{"taskId":"7","status":"working"}}`
		b.results["tasks/get"] = `{"taskId":"7","status":"completed"}`
		b.results["tasks/result"] = `{"content":[],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"7"}}}`
	})
	r.want(fanAsk(1, "tools/call", `{"name":"b__slow","task":{}}`), `{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"b:7","status":"working"}}}`)
	r.want(fanAsk(2, "tasks/get", `{"taskId":"b:7"}`), `{"jsonrpc":"2.0","id":2,"result":{"taskId":"b:7","status":"completed"}}`)
	if r.b.last() != fanAsk(2, "tasks/get", `{"taskId":"7"}`) {
		t.Errorf("sent on as %s", r.b.last())
	}
	r.want(fanAsk(3, "tasks/result", `{"taskId":"b:7"}`), `{"jsonrpc":"2.0","id":3,"result":{"content":[],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"b:7"}}}}`)
	for _, id := range []string{`"7"`, `"c:7"`, `7`, `"B:7"`} {
		r.refused(fanAsk(4, "tasks/cancel", `{"taskId":`+id+`}`), "task")
	}
}

package mcp

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
)

func fanStreams(events ...link.Event) func(http.Header) (*link.Answer, error) {
	return func(http.Header) (*link.Answer, error) {
		return &link.Answer{Status: 200, Stream: &fanEvents{events: slices.Clone(events)}}, nil
	}
}

func TestFanListens(t *testing.T) {
	t.Parallel()
	const changed = `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`
	r := newFanRig(t, func(a, b *fanFake) {
		a.listen = fanStreams(link.Event{ID: "a1", Data: []byte(changed)})
		b.listen = fanStreams(link.Event{ID: "b1", Data: []byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)})
	})
	a, err := r.s.Listen(t.Context(), nil)
	if err != nil || a.Stream == nil {
		t.Fatalf("%+v, %v", a, err)
	}
	first, second := r.event(a.Stream), r.event(a.Stream)
	got := []string{string(first.Data), string(second.Data)}
	slices.Sort(got)
	if !slices.Equal(got, []string{`{"jsonrpc":"2.0","id":"b:1","method":"ping"}`, changed}) {
		t.Errorf("got %q", got)
	}
	if err := a.Stream.Close(); err != nil {
		t.Error(err)
	}
	if _, err := a.Stream.Next(t.Context()); err != io.EOF { //nolint:errorlint // exactly that
		t.Errorf("after the end: %v", err)
	}
	from := map[string]string{}
	for name, f := range map[string]*fanFake{"a": r.a, "b": r.b} {
		f.listen = func(h http.Header) (*link.Answer, error) {
			r.a.mu.Lock()
			defer r.a.mu.Unlock()
			from[name] = h.Get("Last-Event-ID")
			return &link.Answer{Status: 200, Stream: &fanEvents{}}, nil
		}
	}
	a, err = r.s.Listen(t.Context(), http.Header{"Last-Event-Id": {second.ID}})
	if err != nil || from["a"] != "a1" || from["b"] != "b1" {
		t.Errorf("went on from %v: %v", from, err)
	}
	_ = a.Stream.Close()
}

func TestFanListensToWhoCan(t *testing.T) {
	t.Parallel()
	r := newFanRig(t, nil)
	if a, err := r.s.Listen(t.Context(), nil); err != nil || a.Status != http.StatusMethodNotAllowed {
		t.Errorf("%+v, %v", a, err)
	}
	r.b.listen = fanStreams(link.Event{Data: []byte(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}`)})
	a, err := r.s.Listen(t.Context(), nil)
	if err != nil || !strings.Contains(string(r.event(a.Stream).Data), "notifications/message") {
		t.Errorf("%+v, %v", a, err)
	}
	_ = a.Stream.Close()
}

// TestFanListensAgain: a stream that breaks is opened again from where it was, a few
// times; the streams of the others go on.
func TestFanListensAgain(t *testing.T) {
	t.Parallel()
	var from []string
	f := &fanFake{}
	f.listen = func(h http.Header) (*link.Answer, error) {
		from = append(from, h.Get("Last-Event-ID"))
		s := &fanEvents{ends: true}
		if len(from) == 1 {
			s.events = []link.Event{{ID: "x1", Retry: 5}}
		}
		return &link.Answer{Status: 200, Stream: s}, nil
	}
	s, err := NewFan(FanOptions{Servers: []Named{{"a", f}, {"b", &fanFake{}}}, Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}).Open(t.Context(), link.Session{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.Listen(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; err == nil; n++ {
		_, err = a.Stream.Next(t.Context())
	}
	if err != io.EOF || n != 2 || len(from) < 3 || from[0] != "" || from[1] != "x1" || from[len(from)-1] != "x1" { //nolint:errorlint // exactly that
		t.Errorf("%d events, %v, opened from %q", n, err, from)
	}
	_ = a.Stream.Close()
}

// TestFanKeepsWhatIsSaidAside: what a server says while a list is put together goes to
// the stream that listens.
func TestFanKeepsWhatIsSaidAside(t *testing.T) {
	t.Parallel()
	r := newFanRig(t, func(a, b *fanFake) {
		b.results["tools/list"] = `{"tools":[]}`
		b.listen = fanStreams()
		a.answer = func(c link.Call) (*link.Answer, error) {
			return &link.Answer{Status: 200, Stream: &fanEvents{events: []link.Event{
				{Data: []byte(`{"jsonrpc":"2.0","id":3,"method":"ping"}`)}, {Data: []byte(`{"jsonrpc":"2.0","id":77,"result":{}}`)},
				{Data: jsonrpc.NewResult(c.Message.ID, []byte(`{"tools":[{"name":"x"}]}`))},
			}}}, nil
		}
	})
	r.want(fanAsk(1, "tools/list", `{}`), `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a__x"}]}}`)
	a, err := r.s.Listen(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if e := r.event(a.Stream); string(e.Data) != `{"jsonrpc":"2.0","id":"a:3","method":"ping"}` {
		t.Errorf("got %s", e.Data)
	}
	_ = a.Stream.Close()
}

func TestFanBatch(t *testing.T) {
	t.Parallel()
	r := newFanRig(t, func(a, b *fanFake) { a.results["tools/call"], b.results["tools/call"] = `{"content":[]}`, "!no" })
	r.want(`[`+fanAsk(1, "tools/call", `{"name":"a__x"}`)+`,{"jsonrpc":"2.0","method":"notifications/initialized"},`+fanAsk(2, "tools/call", `{"name":"b__x"}`)+`,`+fanAsk(3, "vendor/x", `{}`)+`]`,
		`[{"jsonrpc":"2.0","id":1,"result":{"content":[]}},{"jsonrpc":"2.0","id":2,"error":{"code":-1,"message":"no"}},{"jsonrpc":"2.0","id":3,"error":{"code":-32601,"message":"several servers are behind this endpoint, and the method \"vendor/x\" does not say which of them it is for: use the endpoint of one server"}}]`)
	if got := r.ask(`[{"jsonrpc":"2.0","method":"notifications/initialized"}]`); got != "" {
		t.Errorf("a batch of notifications is answered with %s", got)
	}
	r.a.answer = func(link.Call) (*link.Answer, error) {
		return &link.Answer{Status: 200, Stream: &fanEvents{ends: true, events: []link.Event{{ID: "1", Data: []byte(`{"jsonrpc":"2.0","id":1,"result":{}}`)}}}}, nil
	}
	s := r.stream(`[` + fanAsk(1, "tools/call", `{"name":"a__x"}`) + `,` + fanAsk(2, "ping", `{}`) + `]`)
	got := []string{string(r.event(s).Data), string(r.event(s).Data)}
	slices.Sort(got)
	if !slices.Equal(got, []string{`{"jsonrpc":"2.0","id":1,"result":{}}`, `{"jsonrpc":"2.0","id":2,"result":{}}`}) {
		t.Errorf("got %q", got)
	}
	_ = s.Close()
}

func TestFanSetLevel(t *testing.T) {
	t.Parallel()
	r := newFanRig(t, func(_, b *fanFake) { b.results["logging/setLevel"] = `{}` })
	r.want(fanAsk(1, "logging/setLevel", `{"level":"info"}`), `{"jsonrpc":"2.0","id":1,"result":{}}`)
	if r.a.last() != r.b.last() {
		t.Errorf("a was told %s", r.a.last())
	}
	delete(r.b.results, "logging/setLevel")
	r.want(fanAsk(2, "logging/setLevel", `{"level":"info"}`), `{"jsonrpc":"2.0","id":2,"error":{"code":-32601,"message":"no such method"}}`)
}

func TestFanDiscover(t *testing.T) {
	t.Parallel()
	r := newFanRig(t, func(a, b *fanFake) {
		a.results["server/discover"] = `{"resultType":"complete","supportedVersions":["2026-07-28","2025-11-25","x"],"capabilities":{"tools":{}},"ttlMs":500,"cacheScope":"public"}`
		b.results["server/discover"] = `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"prompts":{}},"ttlMs":100,"cacheScope":"private","instructions":"Be b."}`
	})
	r.want(fanAsk(1, "server/discover", `{}`), `{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2026-07-28"],"capabilities":{"prompts":{},"tools":{}},"instructions":"b (tools b__...): Be b.","resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"cabincrew","version":"1.2.3"}},"ttlMs":100,"cacheScope":"private"}}`)
}

func TestFanSubscribes(t *testing.T) {
	t.Parallel()
	ack := func(what string) link.Event {
		return link.Event{Data: []byte(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":9},"notifications":` + what + `}}`)}
	}
	const changed = `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":9}}}`
	done := link.Event{Data: []byte(`{"jsonrpc":"2.0","id":9,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":9}}}`)}
	r := newFanRig(t, func(a, b *fanFake) {
		a.results["resources/list"], b.results["resources/list"] = `{"resources":[{"uri":"a:1"}]}`, `{"resources":[{"uri":"b:1"}]}`
		a.answer = func(c link.Call) (*link.Answer, error) {
			if c.Message.Method != "subscriptions/listen" {
				return nil, nil
			}
			return &link.Answer{Status: 200, Stream: &fanEvents{ends: true, events: []link.Event{ack(`{"toolsListChanged":true,"resourceSubscriptions":["a:1"]}`), {Data: []byte(changed)}, done}}}, nil
		}
		b.answer = func(c link.Call) (*link.Answer, error) {
			if c.Message.Method != "subscriptions/listen" {
				return nil, nil
			}
			return &link.Answer{Status: 200, Stream: &fanEvents{ends: true, events: []link.Event{ack(`{"promptsListChanged":true}`), done}}}, nil
		}
	})
	r.ask(fanAsk(1, "resources/list", `{}`))
	r.refused(fanAsk(9, "subscriptions/listen", `{"notifications":{"resourceSubscriptions":["c:1"]}}`), "no server")
	s := r.stream(fanAsk(9, "subscriptions/listen", `{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a:1", "b:1"]}}`))
	if !strings.Contains(r.a.last(), `"resourceSubscriptions":["a:1"]`) || !strings.Contains(r.b.last(), `"resourceSubscriptions":["b:1"]`) {
		t.Errorf("asked %s and %s", r.a.last(), r.b.last())
	}
	if e := r.event(s); string(e.Data) != string(ack(`{"promptsListChanged":true,"resourceSubscriptions":["a:1"],"toolsListChanged":true}`).Data) {
		t.Errorf("acknowledged %s", e.Data)
	}
	if e := r.event(s); string(e.Data) != changed {
		t.Errorf("then %s", e.Data)
	}
	if e := r.event(s); string(e.Data) != string(done.Data) {
		t.Errorf("at last %s", e.Data)
	}
	if _, err := s.Next(t.Context()); err != io.EOF { //nolint:errorlint // exactly that
		t.Error(err)
	}
	_ = s.Close()
}

// TestFanLeavesNothing is not parallel: it counts goroutines.
func TestFanLeavesNothing(t *testing.T) { //nolint:paralleltest // see above
	before := runtime.NumGoroutine()
	many := make([]link.Event, 1000)
	for i := range many {
		many[i] = link.Event{Data: []byte(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}`)}
	}
	r := newFanRig(t, func(a, b *fanFake) {
		a.listen, b.listen = fanStreams(many...), fanStreams()
		a.answer = func(c link.Call) (*link.Answer, error) {
			if c.Message.Method == "subscriptions/listen" {
				return fanStreams(many...)(nil)
			}
			return nil, nil
		}
	})
	for range 20 {
		a, err := r.s.Listen(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.event(a.Stream) // and no more: the readers wait with the next ones
		if err := a.Stream.Close(); err != nil {
			t.Fatal(err)
		}
		if err := r.stream(fanAsk(9, "subscriptions/listen", `{"notifications":{}}`)).Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond) // the last of a goroutine is after what says that it ended
	}
	if n := runtime.NumGoroutine(); n > before {
		buf := make([]byte, 1<<16)
		t.Errorf("%d goroutines before, %d after:\n%s", before, n, buf[:runtime.Stack(buf, true)])
	}
	v, _ := r.s.(*fanServer)
	if v.waiting != 0 || len(v.flights) != 0 {
		t.Errorf("%d requests are kept", v.waiting)
	}
}

// BenchmarkFanCall is what routing adds to one tools/call of some 400 bytes.
func BenchmarkFanCall(b *testing.B) {
	f := &fanNothing{}
	s, err := NewFan(FanOptions{Servers: []Named{{"a", f}, {"b", f}}}).Open(b.Context(), link.Session{ID: "s"})
	if err != nil {
		b.Fatal(err)
	}
	m, err := jsonrpc.Scan([]byte(fanAsk(1, "tools/call", `{"name":"a__read","arguments":{"path":"`+strings.Repeat("x", 300)+`"}}`)), jsonrpc.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Send(b.Context(), link.Call{Message: m}); err != nil {
			b.Fatal(err)
		}
	}
}

// fanNothing answers everything with the same bytes.
type fanNothing struct{ fanFake }

func (f *fanNothing) Open(context.Context, link.Session) (link.Server, error) { return f, nil }

func (f *fanNothing) Send(context.Context, link.Call) (*link.Answer, error) {
	return fanAnswer([]byte(`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"done"}]}}`)), nil
}

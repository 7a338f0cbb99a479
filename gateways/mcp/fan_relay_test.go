package mcp

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

func (r *fanRig) stream(raw string) link.Stream {
	r.t.Helper()
	a, err := r.s.Send(r.t.Context(), r.call(raw))
	if err != nil || a.Stream == nil {
		r.t.Fatalf("%s: %+v, %v", raw, a, err)
	}
	return a.Stream
}

func (r *fanRig) event(s link.Stream) link.Event {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	e, err := s.Next(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

// TestFanRelays: what a server says while it answers, and what answers that.
func TestFanRelays(t *testing.T) {
	t.Parallel()
	var in *fanEvents
	r := newFanRig(t, func(a, _ *fanFake) {
		a.answer = func(c link.Call) (*link.Answer, error) {
			if c.Message.Method != "tools/call" {
				return nil, nil
			}
			in = &fanEvents{ends: true, events: []link.Event{
				{ID: "e 1\n"},
				{ID: "2", Data: []byte(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}`)},
				{Data: []byte(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"other","progress":1}}`)},
				{Data: []byte(`{"jsonrpc":"2.0","id":99,"result":{"content":[{"type":"text","text":"of another call"}]}}`)},
				{Data: []byte(`{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}`)},
				{Type: "endpoint", Data: []byte(`/elsewhere`)},
				{Data: []byte(`{"jsonrpc":"2.0","id":5,"method":"roots/list","params":{"_meta":{"progressToken":8}}}`)},
				{Data: []byte(`{"jsonrpc":"2.0","id":"x\"y","method":"sampling/createMessage","params":{"_meta":{"progressToken":"p","io.modelcontextprotocol/related-task":{"taskId":"3"}}}}`)},
				{Data: []byte(`{"jsonrpc":"2.0","id":"` + strings.Repeat("l", 250) + `","method":"roots/list"}`)},
				{Data: []byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}`)},
				{Data: []byte(`{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"3"}}`)},
				{Data: []byte(`{"jsonrpc":"2.0","id":7,"result":{}}`)},
			}}
			return &link.Answer{Status: 200, Stream: in}, nil
		}
	})
	s := r.stream(fanAsk(7, "tools/call", `{"name":"a__x","_meta":{"progressToken":"\u0074"}}`))
	r.ask(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`)
	if !strings.Contains(r.a.last(), "cancelled") || strings.Contains(r.b.last(), "cancelled") {
		t.Errorf("cancelled at a: %s; at b: %s", r.a.last(), r.b.last())
	}
	var got []string
	var ids []string
	for {
		e, err := s.Next(t.Context())
		if err != nil {
			break
		}
		if e.ID != "" {
			ids = append(ids, e.ID)
		}
		if len(e.Data) > 0 {
			got = append(got, string(e.Data))
		}
	}
	want := []string{
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}`,
		`{"jsonrpc":"2.0","id":"a:5","method":"roots/list","params":{"_meta":{"progressToken":"a:8"}}}`,
		`{"jsonrpc":"2.0","id":"a:\"x\\\"y\"","method":"sampling/createMessage","params":{"_meta":{"progressToken":"a:\"p\"","io.modelcontextprotocol/related-task":{"taskId":"a:3"}}}}`,
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a:5"}}`,
		`{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"a:3"}}`,
		`{"jsonrpc":"2.0","id":7,"result":{}}`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if err := s.Close(); err != nil || !in.closed || len(ids) != 2 || strings.ContainsAny(ids[0], " \n") {
		t.Errorf("%v, closed %v, ids %q", err, in.closed, ids)
	}
	if !strings.Contains(r.a.last(), `"error"`) || !strings.Contains(r.a.last(), "lll") {
		t.Errorf("the request with the long id was not answered: %s", r.a.last())
	}

	r.ask(`{"jsonrpc":"2.0","id":"a:\"x\\\"y\"","result":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"a:3"}}}}`)
	if want := `{"jsonrpc":"2.0","id":"x\"y","result":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"3"}}}}`; r.a.last() != want {
		t.Errorf("answered with %s", r.a.last())
	}
	r.ask(`{"jsonrpc":"2.0","id":"a:5","error":{"code":-1,"message":"no"}}`)
	if want := `{"jsonrpc":"2.0","id":5,"error":{"code":-1,"message":"no"}}`; r.a.last() != want {
		t.Errorf("answered with %s", r.a.last())
	}
	r.ask(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"a:\"p\"","progress":1}}`)
	if want := `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1}}`; r.a.last() != want {
		t.Errorf("told %s", r.a.last())
	}
	for _, id := range []string{`5`, `"5"`, `"c:5"`, `"a:"`, `"a:1.0"`, `"a:5,\"x\":1"`, `"a:5,\"error\":{}"`, `"a:null"`, `"a:x"`} {
		r.refused(`{"jsonrpc":"2.0","id":`+id+`,"result":{}}`, "no server has asked")
	}
	r.refused(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":5,"progress":1}}`, "progress token")
	before := r.a.count()
	r.ask(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`)
	if r.a.count() != before {
		t.Error("a request that was answered is cancelled")
	}
	r.resumes(ids[1])
}

// resumes asserts that an event id leads back to the server of the stream.
func (r *fanRig) resumes(id string) {
	r.t.Helper()
	var asked string
	r.a.listen = func(h http.Header) (*link.Answer, error) {
		asked = h.Get("Last-Event-ID")
		return &link.Answer{Status: 200, Stream: &fanEvents{ends: true}}, nil
	}
	a, err := r.s.Listen(r.t.Context(), http.Header{"Last-Event-Id": {id}})
	if err != nil || a.Stream == nil || asked != "2" {
		r.t.Errorf("%+v, %v: asked from %q on", a, err, asked)
	}
	asked = ""
	for _, bad := range []string{"2", "a:2", id[:len(id)-2] + "AA", "AAAA", "~"} {
		if a, err := r.s.Listen(r.t.Context(), http.Header{"Last-Event-Id": {bad}}); err != nil || a.Status != 400 || asked != "" {
			r.t.Errorf("%q: %+v, %v", bad, a, err)
		}
	}
	other := newFanRig(r.t, func(a, _ *fanFake) { a.listen = r.a.listen })
	if a, err := other.s.Listen(r.t.Context(), http.Header{"Last-Event-Id": {id}}); err != nil || a.Status != 400 {
		r.t.Errorf("another session: %+v, %v", a, err)
	}
}

// TestFanOwners: what a server makes known makes nothing of another's forgotten.
func TestFanOwners(t *testing.T) {
	t.Parallel()
	a, b, o := &fanBranch{name: "a"}, &fanBranch{name: "b"}, newFanOwners()
	o.add("file:///mine", a)
	for i := range limits.MCPFanKnown + 100 {
		o.add("file:///"+strconv.Itoa(i), b)
	}
	o.add("file:///mine", b)
	if of := o.of["file:///mine"]; len(of) != 2 || len(o.order[b]) != limits.MCPFanKnown || len(o.of["file:///0"]) != 0 {
		t.Errorf("%d owners, %d kept", len(of), len(o.order[b]))
	}
	for i := range limits.MCPFanKnownBytes / 1000 {
		o.add(strings.Repeat("x", 2000)+strconv.Itoa(i), b)
	}
	if o.bytes[b] > limits.MCPFanKnownBytes || len(o.of["file:///mine"]) != 1 {
		t.Errorf("%d bytes kept", o.bytes[b])
	}
	o.add(strings.Repeat("x", limits.MCPFanCursor+1), a)
	if len(o.order[a]) != 1 {
		t.Error("a name that is too long is kept")
	}
}

// TestFanForgets: streams that the client left do not pile up.
func TestFanForgets(t *testing.T) {
	t.Parallel()
	r := newFanRig(t, func(a, _ *fanFake) {
		a.answer = func(link.Call) (*link.Answer, error) { return fanStreams(link.Event{ID: "1"})(nil) }
	})
	v, _ := r.s.(*fanServer)
	for i := range limits.MCPFanKept + 50 {
		s := r.stream(fanAsk(i, "tools/call", `{"name":"a__x"}`))
		r.event(s)
		_ = s.Close()
		_ = s.Close()
	}
	if v.waiting != limits.MCPFanKept || len(v.flights) != limits.MCPFanKept || len(v.kept) != limits.MCPFanKept {
		t.Errorf("%d requests are kept", v.waiting)
	}
}

// TestFanBusy: too many requests at once are refused.
func TestFanBusy(t *testing.T) {
	t.Parallel()
	r := newFanRig(t, nil)
	v, _ := r.s.(*fanServer)
	v.waiting = limits.MCPFanFlights
	r.refused(fanAsk(1, "tools/call", `{"name":"a__x"}`), `"code":-32054`)
}

// FuzzFanInbound: whatever a server says, the client gets a message or nothing, and no
// answer to what that server was not asked.
func FuzzFanInbound(f *testing.F) {
	for _, s := range []string{
		`{"jsonrpc":"2.0","id":7,"result":{"task":{"taskId":"\u0031"}}}`, `{"jsonrpc":"2.0","id":5,"method":"x","params":{"_meta":{"progressToken":1.5}}}`, `[{"jsonrpc":"2.0","id":"a","method":"x"},{"jsonrpc":"2.0","id":7,"result":{}}]`,
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{}}}`, `{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":["a"]}}`, `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"resource_link","uri":"x"},7]}}`, `x`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a := &fanBranch{name: "a"}
		v := &fanServer{fanOpener: &fanOpener{FanOptions: FanOptions{Log: slog.New(slog.DiscardHandler)}}, tokens: newFanOwners(), uris: newFanOwners(), tasks: newFanOwners(), forms: newFanOwners()}
		in := v.inbound(a, data, func(id jsonrpc.ID) bool { return id == "7" })
		if in.data == nil {
			return
		}
		m, err := jsonrpc.Scan(in.data, jsonrpc.Options{Batch: true, MaxBytes: len(in.data)})
		if err != nil {
			t.Fatalf("%q became %q: %v", data, in.data, err)
		}
		for _, p := range append([]jsonrpc.Message{m}, m.Parts...) {
			switch p.Kind {
			case jsonrpc.Response:
				if p.ID != "7" {
					t.Fatalf("%q answers %s", data, p.ID)
				}
			case jsonrpc.Request:
				if !strings.HasPrefix(string(p.ID), `"a:`) {
					t.Fatalf("%q asks as %s", data, p.ID)
				}
			}
		}
	})
}

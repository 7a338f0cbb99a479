package mcp_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

func TestRewritten(t *testing.T) {
	t.Parallel()
	asked := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{ "name":"echo" , "arguments":{"a~/b":1,"list":[1, 2 ,3],"keep":"\u00e9"}}}`
	for name, c := range map[string]struct {
		changes []gateways.Change
		want    string // arguments that go on; "" is a refusal
	}{
		"value":         {[]gateways.Change{{At: "/params/arguments/keep", Value: "x\"y"}}, `{"a~/b":1,"list":[1, 2 ,3],"keep":"x\"y"}`},
		"escaped":       {[]gateways.Change{{At: "/params/arguments/a~0~1b", Value: 2}}, `{"a~/b":2,"list":[1, 2 ,3],"keep":"\u00e9"}`},
		"first member":  {[]gateways.Change{{At: "/params/arguments/a~0~1b"}}, `{"list":[1, 2 ,3],"keep":"\u00e9"}`},
		"last member":   {[]gateways.Change{{At: "/params/arguments/keep"}}, `{"a~/b":1,"list":[1, 2 ,3]}`},
		"middle":        {[]gateways.Change{{At: "/params/arguments/list"}}, `{"a~/b":1,"keep":"\u00e9"}`},
		"all members":   {[]gateways.Change{{At: "/params/arguments/list"}, {At: "/params/arguments/keep"}, {At: "/params/arguments/a~0~1b"}}, `{}`},
		"elements":      {[]gateways.Change{{At: "/params/arguments/list/0"}, {At: "/params/arguments/list/2"}}, `{"a~/b":1,"list":[2],"keep":"\u00e9"}`},
		"nothing there": {[]gateways.Change{{At: "/params/arguments/other"}}, ""},
		"all":           {[]gateways.Change{{At: "", Value: "x"}}, ""},
		"twice":         {[]gateways.Change{{At: "/params/name", Value: "a"}, {At: "/params/name", Value: "b"}}, ""},
		"the method":    {[]gateways.Change{{At: "/method", Value: "ping"}}, ""},
		"the id":        {[]gateways.Change{{At: "/id", Value: 2}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			first := true
			r.judge.say = func(d gateways.Document) (gateways.Verdict, error) {
				v, err := allow(d)
				if first {
					first, v.Changes = false, c.changes
				}
				return v, err
			}
			text, code := r.one(asked)
			sent := r.server.sent("")
			if c.want == "" {
				if code != -32052 || len(sent) != 0 {
					t.Errorf("%s, sent %q", text, sent)
				}
				return
			}
			if want := strings.Replace(asked, `{"a~/b":1,"list":[1, 2 ,3],"keep":"\u00e9"}`, c.want, 1); len(sent) != 1 || sent[0] != want {
				t.Errorf("sent %q, want %q", sent, want)
			}
			if len(r.judge.docs) != 3 {
				t.Errorf("judged %d times", len(r.judge.docs))
			}
		})
	}
}

func TestRewrittenTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.judge.say = func(d gateways.Document) (gateways.Verdict, error) {
		v, err := allow(d)
		v.Changes = []gateways.Change{{At: "/params/name", Value: "echo"}}
		return v, err
	}
	if text, code := r.one(call("1", "echo", `{}`)); code != -32052 || len(r.server.sent("")) != 0 {
		t.Errorf("%s", text)
	}
}

func TestRewrittenIsJudged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.judge.say = func(d gateways.Document) (gateways.Verdict, error) {
		v, err := when("bad", protocol.Deny)(d)
		if v.Decision == protocol.Allow {
			v.Changes = []gateways.Change{{At: "/params/arguments/a", Value: "bad"}}
		}
		return v, err
	}
	if text, code := r.one(call("1", "echo", `{"a":1}`)); code != -32050 {
		t.Errorf("%s", text)
	}
}

// hide replaces one word.
type hide string

func (h hide) String(text string) string { return strings.ReplaceAll(text, string(h), "[hidden]") }

func TestRedacted(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *mcp.GuardOptions) { o.Redact = hide("hunter2") })
	r.judge.say = when("hunter2", protocol.Deny)
	r.server.answer = func(jsonrpc.Message) (*link.Answer, error) {
		return body(`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"it is h\u0075nter2."}]}}`)
	}
	got, _ := r.one(call("1", "echo", `{"hunter2":"a","b":"my hunter2"}`))
	if want := `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"it is [hidden]."}]}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if sent := r.server.sent(""); len(sent) != 1 || !strings.Contains(sent[0], `{"[hidden]":"a","b":"my [hidden]"}`) {
		t.Errorf("sent %q", sent)
	}
	r.server.answer = func(jsonrpc.Message) (*link.Answer, error) {
		return &link.Answer{Status: 500, Body: []byte("hunter2 is wrong")}, nil
	}
	if a := r.start(call("1", "echo", `{}`)); string(a.Body) != "[hidden] is wrong" {
		t.Errorf("%s", a.Body)
	}
	for _, e := range r.trail.events {
		for _, p := range e.Policy.PolicyEvaluations {
			if strings.Contains(p.Reason, "hunter2") {
				t.Errorf("the record says %q", p.Reason)
			}
		}
	}
}

func TestBatches(t *testing.T) {
	t.Parallel()
	ask := call("1", "echo", `{"a":"ok"}`)
	bad := call(`"2"`, "echo", `{"a":"secret"}`)
	note := `{"jsonrpc":"2.0" ,"method":"notifications/initialized"}`
	badNote := `{"jsonrpc":"2.0","method":"notifications/progress","params":{"message":"secret"}}`
	last := call("3", "echo", `{"a" : 1}`)
	answers := func(jsonrpc.Message) (*link.Answer, error) {
		return body(`[{"jsonrpc":"2.0","id":3,"result":{"secret":1}}, {"jsonrpc":"2.0","id":9,"result":{}},{"jsonrpc":"2.0","id":1,"result":{ }}]`)
	}
	r := newRig(t)
	r.judge.say = when("secret", protocol.Deny)
	r.server.answer = answers
	got := r.send("[" + ask + "," + bad + "," + note + "," + badNote + "," + last + "]")
	if sent := r.server.sent(""); len(sent) != 1 || sent[0] != "["+ask+","+note+","+last+"]" {
		t.Errorf("sent %q", sent)
	}
	if len(got) != 1 {
		t.Fatalf("answered %q", got)
	}
	answer := scan(t, got[0])
	if len(answer.Parts) != 3 || answer.Parts[0].ID != `"2"` || answer.Parts[1].ID != "3" || answer.Parts[1].Kind != jsonrpc.Failure ||
		string(answer.Parts[2].Raw) != `{"jsonrpc":"2.0","id":1,"result":{ }}` {
		t.Errorf("answered %s", got[0])
	}

	// What all may pass goes on as it came.
	r = newRig(t)
	r.server.answer = answers
	whole := "[ " + ask + " , " + last + " ]"
	if r.send(whole); len(r.server.sent("")) != 1 || r.server.sent("")[0] != whole {
		t.Errorf("sent %q", r.server.sent(""))
	}
	r.server.answer = func(jsonrpc.Message) (*link.Answer, error) { return nil, &link.Down{Server: "files", Why: "gone"} }
	if got := r.send(whole); len(got) != 1 || strings.Count(got[0], "-32053") != 2 {
		t.Errorf("a server that is gone: %q", got)
	}
	r.server.answer = func(jsonrpc.Message) (*link.Answer, error) {
		return &link.Answer{Status: 200, Stream: streamOf(`{"jsonrpc":"2.0","id":3,"result":{}}`)}, nil
	}
	if got := r.send(whole); len(got) != 2 || !strings.Contains(got[1], "-32053") {
		t.Errorf("a stream that ends too early: %q", got)
	}
	if got := r.send("[" + note + "]"); got != nil {
		t.Errorf("notifications only: %q", got)
	}
}

func TestBatchWithHeld(t *testing.T) {
	t.Parallel()
	r := held(t)
	r.people.reply <- gateways.Answered{Approved: true}
	r.server.answer = func(m jsonrpc.Message) (*link.Answer, error) {
		if m.Kind == jsonrpc.Batch {
			return body(`[{"jsonrpc":"2.0","id":1,"result":{}}]`)
		}
		return echo(m)
	}
	got := r.send("[" + call("1", "echo", `{}`) + "," + dangerous + "]")
	if len(got) != 2 || !strings.Contains(got[0], `"id":1`) || !strings.Contains(got[1], `"id":5`) || !strings.Contains(got[1], "done") {
		t.Errorf("answered %q", got)
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	r := newRig(t, func(o *mcp.GuardOptions) {
		o.Rate = mcp.Rate{PerSecond: 1, Burst: 2, Concurrent: 1}
		o.Now = func() time.Time { return now }
	})
	for i, want := range []int{0, 0, -32054, -32054} {
		if text, code := r.one(call("1", "echo", `{}`)); code != want {
			t.Errorf("call %d: %s", i, text)
		}
	}
	now = now.Add(5 * time.Second)
	open := streamOf()
	open.open = true
	r.server.answer = func(jsonrpc.Message) (*link.Answer, error) { return &link.Answer{Status: 200, Stream: open}, nil }
	a := r.start(call("1", "echo", `{}`))
	if text, code := r.one(call("2", "echo", `{}`)); code != -32054 || !strings.Contains(text, "wait for their answers") {
		t.Errorf("two at once: %s", text)
	}
	_ = a.Stream.Close()
	r.server.answer = echo
	if text, code := r.one(call("2", "echo", `{}`)); code != 0 {
		t.Errorf("after the first: %s", text)
	}
}

func TestHeadersAgree(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range []struct {
		header http.Header
		code   int
	}{
		{http.Header{"Mcp-Method": {"tools/call"}, "Mcp-Name": {"echo"}}, 0},
		{http.Header{"Mcp-Method": {"ping"}}, -32602},
		{http.Header{"Mcp-Name": {"other"}}, -32602},
		{http.Header{"Mcp-Name": {"=?base64?ZWNobw==?="}}, 0},
	} {
		a, err := r.Send(t.Context(), link.Call{Message: scan(t, call("1", "echo", `{}`)), Header: c.header})
		if err != nil || code(t, string(a.Body)) != c.code {
			t.Errorf("%v: %s, %v", c.header, a.Body, err)
		}
	}
}

func TestHeadersOfWhatWasRewritten(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args   string
		header map[string]string
		want   map[string]string // nil: refused
		change []gateways.Change
	}{
		"redacted":       {`{"q":"my hunter2"}`, map[string]string{"Mcp-Param-Q": "my hunter2"}, map[string]string{"Mcp-Param-Q": "my [hidden]"}, nil},
		"encoded":        {`{"q":"é hunter2"}`, map[string]string{"Mcp-Param-Q": "=?base64?w6kgaHVudGVyMg==?="}, map[string]string{"Mcp-Param-Q": "=?base64?w6kgW2hpZGRlbl0=?="}, nil},
		"nested":         {`{"a":{"q":"hunter2"},"n":5}`, map[string]string{"Mcp-Param-Q": "hunter2", "Mcp-Param-N": "5.0"}, map[string]string{"Mcp-Param-Q": "[hidden]", "Mcp-Param-N": "5"}, nil},
		"removed":        {`{"q":"x","n":1}`, map[string]string{"Mcp-Param-Q": "x"}, map[string]string{"Mcp-Param-Q": ""}, []gateways.Change{{At: "/params/arguments/q"}}},
		"other argument": {`{"q":"x","n":1}`, map[string]string{"Mcp-Param-Q": "x"}, map[string]string{"Mcp-Param-Q": "x"}, []gateways.Change{{At: "/params/arguments/n", Value: 2}}},
		"which of two":   {`{"q":"x","n":"x"}`, map[string]string{"Mcp-Param-Q": "x"}, nil, []gateways.Change{{At: "/params/arguments/n", Value: "y"}}},
		"the tool":       {`{"q":"x"}`, map[string]string{"Mcp-Param-Q": "x"}, nil, []gateways.Change{{At: "/params/name", Value: "other"}}},
		"key is hidden":  {`{"hunter2":"x"}`, map[string]string{"Mcp-Param-Q": "x"}, map[string]string{"Mcp-Param-Q": ""}, nil},
	} {
		for _, held := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " and held"}[held], func(t *testing.T) {
				t.Parallel()
				r := newRig(t, func(o *mcp.GuardOptions) { o.Redact = hide("hunter2") })
				n := 0
				r.judge.say = func(d gateways.Document) (gateways.Verdict, error) {
					v, err := allow(d)
					if d.Phase != gateways.PhaseRequest {
						return v, err
					}
					if held {
						v, err = verdict(protocol.RequireApproval, "look")
					}
					if n++; n == 1 {
						v.Changes = c.change
					}
					return v, err
				}
				h := http.Header{}
				for k, v := range c.header {
					h.Set(k, v)
				}
				r.people.reply <- gateways.Answered{Approved: true, Approver: "ann"}
				a, err := r.Send(t.Context(), link.Call{Message: scan(t, call("1", "echo", c.args)), Header: h})
				if err != nil {
					t.Fatal(err)
				}
				got := r.all(a)
				if c.want == nil {
					if len(got) != 1 || code(t, got[0]) != -32050 || len(r.server.sent("")) != 0 {
						t.Errorf("%q", got)
					}
					return
				}
				if len(r.server.headers) != 1 {
					t.Fatalf("%q", got)
				}
				for k, v := range c.want {
					if is := r.server.headers[0].Get(k); is != v {
						t.Errorf("%s: %q, want %q", k, is, v)
					}
				}
				for k, v := range c.header {
					if h.Get(k) != v {
						t.Errorf("the client's own header %s became %q", k, h.Get(k))
					}
				}
			})
		}
	}
}

func TestWhatIsCalledIsNotRedacted(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *mcp.GuardOptions) { o.Redact = hide("hunter2") })
	if text, code := r.one(call("1", "hunter2", `{}`)); code != -32050 || !strings.Contains(text, "what a request calls") || strings.Contains(text, "hunter2") {
		t.Errorf("%s", text)
	}
	if text, code := r.one(`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"x://hunter2"}}`); code != -32050 {
		t.Errorf("%s", text)
	}
	if sent := r.server.sent(""); len(sent) != 0 {
		t.Errorf("sent %q", sent)
	}
}

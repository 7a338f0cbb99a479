package mcp_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

func TestSameBytes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	asked := `{ "jsonrpc":"2.0", "id":  9007199254740993,"method":"tools\/call","params":{"name":"\u0065cho","arguments":{"n":1.0e2,"é":"\u00e9"}} }`
	answered := `{"jsonrpc" : "2.0","result":{"content":[{"type":"text","text":"\u0064one"}],"n":1.50},"id":9007199254740993}`
	r.server.answer = func(jsonrpc.Message) (*link.Answer, error) { return body(answered) }
	if got := r.send(asked); len(got) != 1 || got[0] != answered {
		t.Errorf("answered %q", got)
	}
	if got := r.server.sent(""); len(got) != 1 || got[0] != asked {
		t.Errorf("sent %q", got)
	}
	if got, want := r.trail.told(), "request decision=allow response=allow"; got != want {
		t.Errorf("recorded %q, want %q", got, want)
	}
	request, response := r.judge.docs[0], r.judge.docs[1]
	about, _ := request.Input["context"].(map[string]any)
	if request.Input["method"] != "tools/call" || about["direction"] != "client_to_server" || about["phase"] != "request" || about["known"] != true {
		t.Errorf("the request was judged as %v", request.Input)
	}
	params, _ := response.Input["params"].(map[string]any)
	about, _ = response.Input["context"].(map[string]any)
	if params["name"] != "echo" || about["result"] == nil || about["direction"] != "client_to_server" {
		t.Errorf("the answer was judged as %v", response.Input)
	}
	want := []gateways.Text{{At: "/params/arguments/é", Value: "é", Kind: "argument"}}
	if got := request.Texts[len(request.Texts)-1:]; got[0] != want[0] {
		t.Errorf("texts %v", request.Texts)
	}
	for _, e := range r.trail.events {
		if strings.Contains(strings.Join([]string{e.Message, e.Gateway.Tool}, " "), "done") {
			t.Errorf("the record holds a payload: %v", e)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		say     func(gateways.Document) (gateways.Verdict, error)
		change  func(*mcp.GuardOptions)
		message string
		code    int
		record  string
		sent    int
	}{
		"denied": {
			say: when("secret", protocol.Deny), message: call("1", "echo", `{"a":"a secret"}`),
			code: -32050, record: "request decision=deny",
		},
		"denied by a key": {
			say: when("secret", protocol.Deny), message: call("1", "echo", `{"secret":1}`),
			code: -32050, record: "request decision=deny",
		},
		"denied answer": {
			say: when("done", protocol.Deny), message: call("1", "echo", `{}`),
			code: -32050, record: "request decision=allow response=deny", sent: 1,
		},
		"judge fails": {
			say:     func(gateways.Document) (gateways.Verdict, error) { return gateways.Verdict{}, errors.New("no policy") },
			message: call("1", "echo", `{}`), code: -32052, record: "request decision=deny",
		},
		"judge panics": {
			say:     func(gateways.Document) (gateways.Verdict, error) { panic("oh") },
			message: call("1", "echo", `{}`), code: -32052, record: "request decision=deny",
		},
		"judge panics on the answer": {
			say: func(d gateways.Document) (gateways.Verdict, error) {
				if d.Phase == gateways.PhaseResponse {
					panic("oh")
				}
				return allow(d)
			},
			message: call("1", "echo", `{}`), code: -32052, record: "request decision=allow response=deny", sent: 1,
		},
		"unknown decision": {
			say:     func(gateways.Document) (gateways.Verdict, error) { return verdict("perhaps", "") },
			message: call("1", "echo", `{}`), code: -32050, record: "request decision=deny",
		},
		"nobody judged": {
			say: func(gateways.Document) (gateways.Verdict, error) {
				return gateways.Verdict{Decision: protocol.Allow}, nil
			},
			message: call("1", "echo", `{}`), code: -32050, record: "request decision=deny",
		},
		"nobody need judge": {
			say:     func(gateways.Document) (gateways.Verdict, error) { return gateways.Verdict{}, nil },
			change:  func(o *mcp.GuardOptions) { o.AllowWithoutPolicies = true },
			message: call("1", "echo", `{}`), record: "request decision=allow response=allow", sent: 1,
		},
		"unknown method": {
			message: `{"jsonrpc":"2.0","id":1,"method":"tools/steal"}`, record: "request decision=warn response=allow", sent: 1,
		},
		"unknown method in CI": {
			change:  func(o *mcp.GuardOptions) { o.Environment = mcp.CI },
			message: `{"jsonrpc":"2.0","id":1,"method":"tools/steal"}`, code: -32050, record: "request decision=deny",
		},
		"method of servers": {
			change:  func(o *mcp.GuardOptions) { o.Environment = mcp.CI },
			message: `{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}`, code: -32050, record: "request decision=deny",
		},
		"too large": {
			change:  func(o *mcp.GuardOptions) { o.MaxBytes = 100 },
			message: call("1", "echo", `{"a":"`+strings.Repeat("x", 100)+`"}`), code: -32054, record: "request decision=deny",
		},
		"nobody to ask": {
			say: when("danger", protocol.RequireApproval), change: func(o *mcp.GuardOptions) { o.Holds = nil },
			message: call("1", "echo", `{"a":"danger"}`), code: -32052, record: "request decision=require_approval decision=deny",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(o *mcp.GuardOptions) {
				if c.change != nil {
					c.change(o)
				}
			})
			if c.say != nil {
				r.judge.say = c.say
			}
			text, got := r.one(c.message)
			if got != c.code {
				t.Errorf("code %d, want %d: %s", got, c.code, text)
			}
			if got := r.trail.told(); got != c.record {
				t.Errorf("recorded %q, want %q", got, c.record)
			}
			if got := len(r.server.sent("")); got != c.sent {
				t.Errorf("%d messages went on, want %d", got, c.sent)
			}
			if !strings.Contains(text, `"id":1`) {
				t.Errorf("not the id of the request: %s", text)
			}
		})
	}
}

func TestDenialAsResult(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *mcp.GuardOptions) { o.DenialsAsResults = true })
	r.judge.say = when("secret", protocol.Deny)
	text, code := r.one(call(`"a"`, "echo", `{"a":"secret"}`))
	want := `{"jsonrpc":"2.0","id":"a","result":{"content":[{"type":"text","text":"denied by the gateway (test): it says secret"}],"isError":true}}`
	if code != 0 || text != want {
		t.Errorf("%s, want %s", text, want)
	}
}

func TestTrailFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fail string
		sent int
	}{"before": {protocol.EventMCPRequest, 0}, "after": {protocol.EventMCPResponse, 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.trail.fail = func(e protocol.AuditEvent) bool { return e.EventType == c.fail }
			text, code := r.one(call("1", "echo", `{}`))
			if code != -32052 || strings.Contains(text, "done") {
				t.Errorf("answered %s", text)
			}
			if got := len(r.server.sent("")); got != c.sent {
				t.Errorf("%d messages went on, want %d", got, c.sent)
			}
		})
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := streamOf()
	first.open = true
	r.server.answer = func(jsonrpc.Message) (*link.Answer, error) {
		return &link.Answer{Status: http.StatusOK, Stream: first}, nil
	}
	a := r.start(call("7", "echo", `{}`))
	r.server.answer = echo
	if text, code := r.one(call("7", "echo", `{}`)); code != -32600 || !strings.Contains(text, `"id":7`) {
		t.Errorf("a second request of the same id: %s", text)
	}
	over, err := r.Send(t.Context(), link.Call{Message: scan(t, call("7", "echo", `{}`))})
	if err != nil || !strings.Contains(string(over.Body), `"id":null`) {
		t.Errorf("over stdio its refusal is %s, %v", over.Body, err)
	}
	_ = a.Stream.Close()
	if _, code := r.one(call("7", "echo", `{}`)); code != 0 {
		t.Errorf("the id is not free after its request ended")
	}
	answer := r.start(`{"jsonrpc":"2.0","id":99,"result":{}}`)
	if answer.Status != http.StatusBadRequest || len(r.server.sent(`"id":99`)) != 0 {
		t.Errorf("an answer to nothing: %d", answer.Status)
	}
}

func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer *link.Answer
		err    error
		want   []string // parts of each message
		code   int
	}{
		"duplicate keys": {answer: &link.Answer{Status: 200, Body: []byte(`{"jsonrpc":"2.0","id":1,"result":{"a":1,"\u0061":2}}`)}, want: []string{"cannot be read"}},
		"another id":     {answer: &link.Answer{Status: 200, Body: []byte(`{"jsonrpc":"2.0","id":2,"result":{}}`)}, want: []string{"answers another request"}},
		"id as text":     {answer: &link.Answer{Status: 200, Body: []byte(`{"jsonrpc":"2.0","id":"1","result":{}}`)}, want: []string{"answers another request"}},
		"a request":      {answer: &link.Answer{Status: 200, Body: []byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)}, want: []string{"answers another request"}},
		"html":           {answer: &link.Answer{Status: 200, Body: []byte(`<html>`)}, want: []string{"cannot be read"}},
		"message with an error status": {
			answer: &link.Answer{Status: 400, Body: []byte("\xef\xbb\xbf{\"jsonrpc\":\"2.0\"}")}, want: []string{"cannot be read"},
		},
		"down": {err: &link.Down{Server: "files", Why: "it is not there"}, want: []string{"server files: it is not there"}},
		"hostile event": {
			answer: &link.Answer{Status: 200, Stream: streamOf(`{"jsonrpc":"2.0","method":"notifications/message","params":{}}`, `{"jsonrpc":"2.0","id":1,"result":{},}`, `{"jsonrpc":"2.0","id":1,"result":{}}`)},
			want:   []string{"notifications/message", "cannot be read"},
		},
		"foreign event": {
			answer: &link.Answer{Status: 200, Stream: &events{list: []link.Event{{Type: "endpoint", Data: []byte("/x")}}, closed: make(chan struct{})}},
			want:   []string{"cannot be read"},
		},
		"no answer": {answer: &link.Answer{Status: 200, Stream: streamOf()}, want: []string{"ended its answer"}},
		"answer of another": {
			answer: &link.Answer{Status: 200, Stream: streamOf(`{"jsonrpc":"2.0","id":2,"result":{}}`, `{"jsonrpc":"2.0","id":1,"result":{"ok":true}}`)},
			want:   []string{`"ok":true`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.server.answer = func(jsonrpc.Message) (*link.Answer, error) { return c.answer, c.err }
			got := r.send(call("1", "echo", `{}`))
			if len(got) != len(c.want) {
				t.Fatalf("%d messages: %q", len(got), got)
			}
			for i := range got {
				if !strings.Contains(got[i], c.want[i]) {
					t.Errorf("%s, want %s", got[i], c.want[i])
				}
			}
			if _, code := r.one(call("1", "echo", `{}`)); code == -32600 {
				t.Errorf("the id is not free after its request ended")
			}
		})
	}
}

func TestStatusOfServer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer *link.Answer
		say    func(gateways.Document) (gateways.Verdict, error)
		status int
		want   string
	}{
		"text":       {answer: &link.Answer{Status: 404, Body: []byte("no such session\n")}, status: 404, want: "no such session\n"},
		"failure":    {answer: &link.Answer{Status: 400, Body: []byte(`{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"no"}}`)}, status: 400, want: "server-error"},
		"empty":      {answer: &link.Answer{Status: 405}, status: 405},
		"poisoned":   {answer: &link.Answer{Status: 500, Body: []byte("ignore all")}, say: when("ignore", protocol.Deny), status: 200, want: "-32050"},
		"bad answer": {answer: &link.Answer{Status: 400, Body: []byte(`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"ignore all"}}`)}, say: when("ignore", protocol.Deny), status: 200, want: "-32050"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			if c.say != nil {
				r.judge.say = c.say
			}
			r.server.answer = func(jsonrpc.Message) (*link.Answer, error) { return c.answer, nil }
			a := r.start(call("1", "echo", `{}`))
			if a.Status != c.status || !strings.Contains(string(a.Body), c.want) {
				t.Errorf("%d %s, want %d %s", a.Status, a.Body, c.status, c.want)
			}
		})
	}
}

func TestEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := r.End(context.Background()); err != nil || !r.server.ended {
		t.Errorf("the session of the server did not end: %v", err)
	}
	_, err := r.Send(t.Context(), link.Call{Message: scan(t, call("1", "echo", `{}`))})
	if down := (*link.Down)(nil); !errors.As(err, &down) {
		t.Errorf("after the end: %v", err)
	}
}

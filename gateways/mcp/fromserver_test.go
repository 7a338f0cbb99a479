package mcp_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

const sampling = `{"jsonrpc":"2.0","id":"s1","method":"sampling/createMessage","params":{"messages":[{"role":"user","content":{"type":"text","text":"hello"}}]}}`

func TestServerAsks(t *testing.T) {
	t.Parallel()
	answer := `{"jsonrpc":"2.0","id":1,"result":{}}`
	for name, c := range map[string]struct {
		say    func(gateways.Document) (gateways.Verdict, error)
		change func(*mcp.GuardOptions)
		asks   []string
		want   []string // what the client sees before the answer
		sent   string   // part of what the server is answered
		person *gateways.Answered
	}{
		"allowed":           {asks: []string{sampling}, want: []string{sampling}},
		"denied":            {asks: []string{sampling}, say: when("hello", protocol.Deny), sent: `"id":"s1","error":{"code":-32050`},
		"approved":          {asks: []string{sampling}, say: when("hello", protocol.RequireApproval), person: &gateways.Answered{Approved: true}, want: []string{sampling}},
		"rejected":          {asks: []string{sampling}, say: when("hello", protocol.RequireApproval), person: &gateways.Answered{}, sent: `"id":"s1","error":{"code":-32051`},
		"told again":        {asks: []string{sampling, sampling}, want: []string{sampling, sampling}},
		"another of its id": {asks: []string{sampling, strings.Replace(sampling, "hello", "goodbye", 1)}, want: []string{sampling}},
		"unknown": {
			asks: []string{`{"jsonrpc":"2.0","id":"s1","method":"shell/run"}`}, change: func(o *mcp.GuardOptions) { o.Environment = mcp.CI },
			sent: `"id":"s1","error":{"code":-32050`,
		},
		"method of clients": {
			asks: []string{`{"jsonrpc":"2.0","id":"s1","method":"tools/call"}`}, change: func(o *mcp.GuardOptions) { o.Environment = mcp.CI },
			sent: `"id":"s1","error":{"code":-32050`,
		},
		"notification":        {asks: []string{`{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"hi"}}`}, want: []string{`{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"hi"}}`}},
		"denied notification": {asks: []string{`{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"hi"}}`}, say: when("hi", protocol.Deny)},
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
			if c.person != nil {
				r.people.reply <- *c.person
			}
			r.server.answer = func(jsonrpc.Message) (*link.Answer, error) {
				return &link.Answer{Status: 200, Stream: streamOf(append(c.asks, answer)...)}, nil
			}
			got := r.send(call("1", "echo", `{}`))
			if want := append(c.want, answer); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("the client saw %q, want %q", got, want)
			}
			if c.sent != "" && len(r.server.sent(c.sent)) != 1 {
				t.Errorf("the server was sent %q", r.server.sent(""))
			}
			if c.sent == "" && len(r.server.sent("error")) != 0 {
				t.Errorf("the server was sent %q", r.server.sent("error"))
			}
		})
	}
}

func TestClientAnswers(t *testing.T) {
	t.Parallel()
	reply := `{"jsonrpc":"2.0","id":"s1","result":{"role":"assistant","content":{"type":"text","text":"my secret"}}}`
	for name, c := range map[string]struct {
		say  func(gateways.Document) (gateways.Verdict, error)
		sent string
	}{
		"allowed": {sent: reply},
		"denied":  {say: when("my secret", protocol.Deny), sent: `"id":"s1","error":{"code":-32050`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			stream := streamOf(sampling)
			stream.open = true
			r.server.listen = stream
			a, err := r.Listen(t.Context(), http.Header{})
			if err != nil {
				t.Fatal(err)
			}
			if ev, err := a.Stream.Next(t.Context()); err != nil || string(ev.Data) != sampling {
				t.Fatalf("%s, %v", ev.Data, err)
			}
			if c.say != nil {
				r.judge.say = c.say
			}
			if got := r.start(reply); got.Status != http.StatusAccepted {
				t.Errorf("status %d", got.Status)
			}
			if got := r.server.sent("s1"); len(got) != 1 || !strings.Contains(got[0], c.sent) {
				t.Errorf("the server was sent %q, want %s", got, c.sent)
			}
			last := r.judge.docs[len(r.judge.docs)-1]
			about, _ := last.Input["context"].(map[string]any)
			if last.Input["method"] != "sampling/createMessage" || about["direction"] != "server_to_client" || last.Phase != gateways.PhaseResponse {
				t.Errorf("judged as %v", last.Input)
			}
			if got := r.start(reply); got.Status != http.StatusBadRequest { // it is answered
				t.Errorf("a second answer: status %d", got.Status)
			}
			_ = a.Stream.Close()
		})
	}
}

func TestNothingToListenTo(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "", "no stream": "no stream", "ignore all": ""} {
		r := newRig(t)
		r.server.text = []byte(text)
		r.judge.say = when("ignore", protocol.Deny)
		a, err := r.Listen(t.Context(), nil)
		if err != nil || a.Status != http.StatusMethodNotAllowed || string(a.Body) != want {
			t.Errorf("%q: %+v, %v", text, a, err)
		}
	}
}

func TestResumed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := streamOf()
	first.list = []link.Event{{ID: "e1", Retry: 10}}
	r.server.answer = func(jsonrpc.Message) (*link.Answer, error) { return &link.Answer{Status: 200, Stream: first}, nil }
	a := r.start(call("1", "echo", `{}`))
	if ev, err := a.Stream.Next(t.Context()); err != nil || ev.ID != "e1" || ev.Retry != 10 {
		t.Fatalf("%v, %v", ev, err)
	}
	if _, err := a.Stream.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Fatalf("%v, want the end", err)
	}
	_ = a.Stream.Close()
	answer := `{"jsonrpc":"2.0","id":1,"result":{"late":true}}`
	for range 2 { // what was told once may be told again
		again := streamOf()
		again.list = []link.Event{{ID: "e2", Data: []byte(answer)}, {ID: "e3", Data: []byte(`{"jsonrpc":"2.0","id":2,"result":{}}`)}}
		r.server.listen = again
		b, err := r.Listen(t.Context(), http.Header{"Last-Event-Id": {"e1"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.all(b); len(got) != 1 || got[0] != answer {
			t.Errorf("resumed %q", got)
		}
	}
}

func TestWantedByResult(t *testing.T) {
	t.Parallel()
	result := `{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","requestState":"x","inputRequests":{"a/b":{"method":"elicitation/create","params":{"message":"your password?"}}}}}`
	r := newRig(t)
	r.server.answer = func(jsonrpc.Message) (*link.Answer, error) { return body(result) }
	if got, code := r.one(call("1", "echo", `{}`)); code != 0 || got != result {
		t.Errorf("%s", got)
	}
	last := r.judge.docs[len(r.judge.docs)-1]
	params, _ := last.Input["params"].(map[string]any)
	about, _ := last.Input["context"].(map[string]any)
	if last.Input["method"] != "elicitation/create" || params["message"] != "your password?" || about["direction"] != "server_to_client" || last.Phase != gateways.PhaseRequest {
		t.Errorf("judged as %v", last.Input)
	}
	r.judge.say = func(d gateways.Document) (gateways.Verdict, error) {
		if d.Input["method"] == "elicitation/create" {
			return verdict(protocol.Deny, "no questions")
		}
		return allow(d)
	}
	if got, code := r.one(call("1", "echo", `{}`)); code != -32050 {
		t.Errorf("%s", got)
	}
}

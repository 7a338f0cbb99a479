package mcp_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

// TestSecondAnswer lets a server answer a request twice on its stream: what comes second
// goes nowhere, is recorded and counted, and ends nothing.
func TestSecondAnswer(t *testing.T) {
	t.Parallel()
	const (
		first = `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"first"}]}}`
		note  = `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"after"}}`
	)
	for name, c := range map[string]struct {
		second string
		ids    bool // events have ids: the stream can be resumed
		hold   bool // the first one waits for a person
	}{
		"another result":  {second: strings.Replace(first, "first", "second", 1)},
		"a failure":       {second: `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"second"}}`},
		"the same":        {second: first},
		"with ids":        {second: strings.Replace(first, "first", "second", 1), ids: true},
		"while one waits": {second: strings.Replace(first, "first", "second", 1), hold: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var denied atomic.Int64
			r := newRig(t, func(o *mcp.GuardOptions) {
				o.Observe = func(ob mcp.Observation) {
					if ob.Phase == gateways.PhaseResponse && ob.Decision == protocol.Deny {
						denied.Add(1)
					}
				}
			})
			if c.hold {
				r.judge.say = when("first", protocol.RequireApproval)
				r.people.reply <- gateways.Answered{Approved: true, Approver: "ada"}
			}
			st := streamOf(first, c.second, note)
			for i := range st.list {
				if c.ids {
					st.list[i].ID = string(rune('a' + i))
				}
			}
			r.server.answer = func(jsonrpc.Message) (*link.Answer, error) { return &link.Answer{Status: 200, Stream: st}, nil }
			got := r.send(call("1", "echo", `{}`))
			if len(got) != 2 || got[0] != first || got[1] != note {
				t.Errorf("the client heard %q", got)
			}
			if denied.Load() != 1 || !strings.Contains(r.trail.told(), "response=deny") {
				t.Errorf("counted %d, recorded %q", denied.Load(), r.trail.told())
			}
		})
	}
}

// TestAnswerToldAgain resumes a stream that gave its answer: the same bytes come again,
// others do not.
func TestAnswerToldAgain(t *testing.T) {
	t.Parallel()
	const first = `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`
	r := newRig(t)
	st := streamOf(first)
	st.list[0].ID = "a"
	r.server.answer = func(jsonrpc.Message) (*link.Answer, error) { return &link.Answer{Status: 200, Stream: st}, nil }
	r.send(call("1", "echo", `{}`))
	r.server.listen = streamOf(`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"other"}]}}`, first, first)
	a, err := r.Listen(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.all(a); len(got) != 1 || got[0] != first {
		t.Errorf("the client heard %q", got)
	}
}

// TestSecondAnswerToABatch lets a server answer a request of a batch twice while the
// first answer waits for a person.
func TestSecondAnswerToABatch(t *testing.T) {
	t.Parallel()
	const first = `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"danger"}]}}`
	r := held(t)
	r.server.answer = func(m jsonrpc.Message) (*link.Answer, error) {
		if m.Kind != jsonrpc.Batch {
			return body(`{"jsonrpc":"2.0","id":9,"result":{"protocolVersion":"2025-03-26"}}`)
		}
		return &link.Answer{Status: 200, Stream: streamOf(first, strings.Replace(first, "danger", "second", 1))}, nil
	}
	r.one(`{"jsonrpc":"2.0","id":9,"method":"initialize","params":{"protocolVersion":"2025-03-26"}}`)
	r.people.reply <- gateways.Answered{Approved: true, Approver: "ada"}
	if got := r.send(`[` + call("1", "echo", `{}`) + `]`); len(got) != 1 || got[0] != first {
		t.Errorf("the client heard %q", got)
	}
}

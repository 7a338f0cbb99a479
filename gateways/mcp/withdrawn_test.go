package mcp_test

import (
	"errors"
	"io"
	"testing"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

// TestWithdrawnHasNoAnswer cancels held calls, whose ids are written in other ways.
func TestWithdrawnHasNoAnswer(t *testing.T) {
	t.Parallel()
	for id, cancel := range map[string]string{`"abc"`: `"\u0061bc"`, `"\u0061"`: `"a"`, `"a\/b"`: `"a/b"`, "7": "7"} {
		r := newRig(t)
		r.judge.say = when("danger", protocol.RequireApproval)
		a := r.start(call(id, "run", `{"x":"danger"}`))
		<-r.people.asked
		r.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + cancel + `}}`)
		if _, err := a.Stream.Next(t.Context()); !errors.Is(err, link.ErrWithdrawn) {
			t.Errorf("%s: the stream ends with %v", id, err)
		}
		if sent := r.server.sent(""); len(sent) != 0 {
			t.Errorf("%s: sent %q", id, sent)
		}
	}
}

// TestWithdrawnAfterApproval cancels a call between its approval and its way to the
// server, while the gateway looks whether its tool is as it was.
func TestWithdrawnAfterApproval(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *mcp.GuardOptions) { o.Pins = lock{"run": "Runs."} })
	r.judge.say = when("danger", protocol.RequireApproval)
	lists := 0
	r.server.answer = func(m jsonrpc.Message) (*link.Answer, error) {
		if m.Method != "tools/list" {
			return echo(m)
		}
		if lists++; lists == 2 {
			r.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
		}
		return body(`{"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":{"tools":[{"name":"run","description":"Runs."}]}}`)
	}
	a := r.start(call("1", "run", `{"x":"danger"}`))
	<-r.people.asked
	r.people.reply <- gateways.Answered{Approved: true, Approver: "ann"}
	if _, err := a.Stream.Next(t.Context()); !errors.Is(err, link.ErrWithdrawn) || errors.Is(err, io.EOF) {
		t.Errorf("the stream ends with %v", err)
	}
	if lists != 2 || len(r.server.sent("danger")) != 0 {
		t.Errorf("%d lists, sent %q", lists, r.server.sent(""))
	}
	if last := r.trail.events[len(r.trail.events)-1]; last.Gateway.PolicyDecision != protocol.Deny {
		t.Errorf("the record ends with %+v", last)
	}
}

package mcp_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

// sums gives what the trail says of refusals that it counted, in its order.
func (t *trail) sums() (out []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.events {
		if strings.Contains(e.Message, "more refused") {
			evidence := e.Policy.PolicyEvaluations[0].Evidence
			out = append(out, fmt.Sprintf("%v %v %v: %s", evidence["principal"], evidence["direction"], evidence["count"], e.Policy.PolicyEvaluations[0].Reason))
		}
	}
	return out
}

func (t *trail) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.events)
}

// TestRefusalsOverTheRateAreCounted: a client that asks too much fills no disk, and what
// it asked is still told of when its session ends.
func TestRefusalsOverTheRateAreCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *mcp.GuardOptions) { o.Rate = mcp.Rate{PerSecond: 0.001, Burst: 2} })
	for i := range 50 {
		answer, code := r.one(call(fmt.Sprint(i), "echo", `{}`))
		if i >= 2 && code != -32054 {
			t.Fatal(answer)
		}
	}
	for range 30 {
		r.send(`{"jsonrpc":"2.0","method":"notifications/x"}`)
	}
	want := "request decision=allow response=allow request decision=allow response=allow request decision=deny"
	if got := r.trail.told(); got != want {
		t.Fatalf("%s", got)
	}
	first := r.trail.events[len(r.trail.events)-1]
	if first.Gateway.Tool != "" || first.Message != "tools/call" { // what is not judged may hold a secret
		t.Errorf("%+v", first)
	}
	if err := r.End(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(r.trail.sums()); got != "[agent client_to_server 77: too many messages in a short time]" {
		t.Errorf("%s", got)
	}
	if r.trail.synced != 0 {
		t.Errorf("%d appends waited for the disk", r.trail.synced)
	}
	if got := len(r.server.sent("tools/call")); got != 2 {
		t.Errorf("the server was sent %d", got)
	}
}

// TestRepliesToNothingAreCounted: nobody asked for them, so anybody can send any number.
func TestRepliesToNothingAreCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 40 {
		r.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{}}`, i))
	}
	if n := r.trail.len(); n != 1 {
		t.Errorf("%d events", n)
	}
	_ = r.End(context.Background())
	if got := fmt.Sprint(r.trail.sums()); got != "[agent client_to_server 39: it answers no request of the server]" {
		t.Errorf("%s", got)
	}
}

// TestServersOverTheRateAreCounted: what a server says unasked is bounded as what a
// client asks, and what is dropped of it is counted.
func TestServersOverTheRateAreCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *mcp.GuardOptions) { o.Rate = mcp.Rate{PerSecond: 0.001, Burst: 10} })
	var said []string
	for i := range 60 {
		said = append(said, `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}`,
			fmt.Sprintf(`{"jsonrpc":"2.0","id":"s%d","method":"ping"}`, i))
	}
	r.server.answer = func(msg jsonrpc.Message) (*link.Answer, error) {
		return &link.Answer{Status: 200, Stream: streamOf(append(said, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{}}`, msg.ID))...)}, nil
	}
	got := r.send(call("1", "echo", `{}`))
	if len(got) != 11 || !strings.Contains(got[10], `"result"`) {
		t.Errorf("%d messages: %q", len(got), got)
	}
	if n := len(r.server.sent("-32054")); n != 55 {
		t.Errorf("%d requests of the server were answered with a refusal", n)
	}
	if n := r.trail.len(); n != 2+2*10+2+1 {
		t.Errorf("%d events: %s", n, r.trail.told())
	}
	_ = r.End(context.Background())
	if got := fmt.Sprint(r.trail.sums()); got != "[agent server_to_client 109: too many messages in a short time]" {
		t.Errorf("%s", got)
	}
}

// TestAnswersToNothingAreCounted: a server that answers what nobody asked fills no disk.
func TestAnswersToNothingAreCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var said []string
	for i := range 50 {
		said = append(said, fmt.Sprintf(`{"jsonrpc":"2.0","id":"nobody%d","result":{}}`, i))
	}
	r.server.answer = func(msg jsonrpc.Message) (*link.Answer, error) {
		return &link.Answer{Status: 200, Stream: streamOf(append(said, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{}}`, msg.ID))...)}, nil
	}
	if got := r.send(call("1", "echo", `{}`)); len(got) != 1 {
		t.Errorf("%q", got)
	}
	_ = r.End(context.Background())
	if got := fmt.Sprint(r.trail.sums()); got != "[agent server_to_client 49: it answers no request of the client]" || r.trail.len() != 2+1+1+1 {
		t.Errorf("%s, %d events", got, r.trail.len())
	}
}

// TestDenialsDoNotWaitForTheDisk: only what a person is asked and says does.
func TestDenialsDoNotWaitForTheDisk(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.judge.say = when("rm", protocol.Deny)
	for i := range 20 {
		if answer, code := r.one(call(fmt.Sprint(i), "sh", `{"c":"rm"}`)); code != -32050 {
			t.Fatal(answer)
		}
	}
	if r.trail.synced != 0 || r.trail.len() != 40 {
		t.Errorf("%d of %d appends waited for the disk", r.trail.synced, r.trail.n)
	}
	r.judge.say = when("held", protocol.RequireApproval)
	r.people.reply <- gateways.Answered{Approved: true, Approver: "boss"}
	if answer, code := r.one(call("90", "sh", `{"c":"held"}`)); code != 0 {
		t.Fatal(answer)
	}
	if r.trail.synced != 1 {
		t.Errorf("%d appends waited for the disk, where one call was approved", r.trail.synced)
	}
	sure := newRig(t, func(o *mcp.GuardOptions) { o.Durable = true })
	sure.one(call("1", "echo", `{}`))
	if sure.trail.synced != 2 {
		t.Errorf("%d of %d appends waited for the disk", sure.trail.synced, sure.trail.n)
	}
}

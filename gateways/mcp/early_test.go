package mcp_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

// TestAnswerBeforeTheRequest answers requests that are held: nobody saw them, so that
// what answers them goes nowhere, and they are asked when they are approved.
func TestAnswerBeforeTheRequest(t *testing.T) {
	t.Parallel()
	r := held(t)
	r.server.listen = streamOf(`{"jsonrpc":"2.0","id":5,"result":{"content":[{"type":"text","text":"forged"}]}}`)
	a := r.start(dangerous)
	<-r.people.asked
	l, err := r.Listen(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.all(l); len(got) != 0 {
		t.Errorf("the client heard %q", got)
	}
	r.people.reply <- gateways.Answered{Approved: true, Approver: "ada"}
	if got := r.all(a); len(got) != 1 || !strings.Contains(got[0], "done") {
		t.Errorf("answered %q", got)
	}
}

// TestReplyBeforeTheRequest does so with the client's answer to a held request of the server.
func TestReplyBeforeTheRequest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.judge.say = func(d gateways.Document) (gateways.Verdict, error) {
		if d.Input["method"] == "elicitation/create" && d.Phase == gateways.PhaseRequest {
			return verdict(protocol.RequireApproval, "questions are looked at")
		}
		return allow(d)
	}
	const reply = `{"jsonrpc":"2.0","id":"q","result":{"action":"accept"}}`
	r.server.listen = streamOf(`{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"m"}}`)
	l, err := r.Listen(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan []string, 1)
	go func() { heard <- r.all(l) }()
	<-r.people.asked
	a, err := r.Send(t.Context(), link.Call{Message: scan(t, reply), Header: http.Header{}})
	if err != nil || a.Status != http.StatusBadRequest || len(r.server.sent("accept")) != 0 {
		t.Errorf("%+v, %v, sent %q", a, err, r.server.sent(""))
	}
	r.people.reply <- gateways.Answered{Approved: true, Approver: "ada"}
	if got := <-heard; len(got) != 1 {
		t.Errorf("the client heard %q", got)
	}
	if r.send(reply); len(r.server.sent("accept")) != 1 {
		t.Errorf("sent %q", r.server.sent(""))
	}
}

package mcp_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/protocol"
)

// TestGivenByRequest judges answers inside a request each as the answer that it is.
func TestGivenByRequest(t *testing.T) {
	t.Parallel()
	const elicit, sample, roots = "elicitation/create", "sampling/createMessage", "roots/list"
	for answer, want := range map[string][]string{
		`{"action":"accept","content":{"a":"b"}}`:                               {elicit},
		`{"\u0061ction":"decline"}`:                                             {elicit},
		`{"role":"assistant","model":"m","content":{"type":"text","text":"x"}}`: {sample},
		`{"roots":[]}`:                   {roots},
		`{"action":"accept","roots":[]}`: {elicit, roots},
		`{"content":"x"}`:                {elicit, sample, roots},
		`"x"`:                            {elicit, sample, roots},
	} {
		r := newRig(t)
		send := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{},"inputResponses":{"a/b":` + answer + `},"requestState":"s"}}`
		if text, code := r.one(send); code != 0 || r.server.sent("")[0] != send {
			t.Errorf("%s: %s", answer, text)
		}
		var got []string
		for _, d := range r.judge.docs {
			about, _ := d.Input["context"].(map[string]any)
			if about["within"] != "/params/inputResponses/a~1b" {
				continue
			}
			method, _ := d.Input["method"].(string)
			got = append(got, method)
			if d.Phase != gateways.PhaseResponse || about["direction"] != "server_to_client" || about["result"] == nil || about["known"] != true {
				t.Errorf("%s: judged as %v", answer, d.Input)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: judged as %q, want %q", answer, got, want)
		}
		for _, decision := range []protocol.Decision{protocol.Deny, protocol.RequireApproval} {
			r := newRig(t)
			r.judge.say = func(d gateways.Document) (gateways.Verdict, error) {
				if d.Input["method"] == want[len(want)-1] {
					return verdict(decision, "no answers")
				}
				return allow(d)
			}
			r.people.reply <- gateways.Answered{}
			text, code := r.one(send)
			if code == 0 || !strings.Contains(text, "no answers") || len(r.server.sent("")) != 0 || (len(r.people.asked) > 0) != (decision == protocol.RequireApproval) {
				t.Errorf("%s, %s: %s", answer, decision, text)
			}
		}
	}
	r := newRig(t)
	if text, code := r.one(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","inputResponses":[]}}`); code != -32052 {
		t.Errorf("a list: %s", text)
	}
}

package mcp_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

// TestApprovalServesTheSameList lists twice at the same time. A person is asked once about
// the same bytes, and again about a list that has the same new tool and other bytes, or
// that another role must see, too.
func TestApprovalServesTheSameList(t *testing.T) {
	t.Parallel()
	const again = `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`
	for name, c := range map[string]struct {
		rest   string // of the second list
		policy bool   // a policy wants somebody else to see the second one
		asked  int
	}{
		"same bytes":  {rest: `{"tools":[TOOL]}`, asked: 1},
		"other bytes": {rest: `{"tools":[TOOL],"_meta":{"note":"danger"}}`, asked: 2},
		"other roles": {rest: `{"tools":[TOOL]}`, policy: true, asked: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, withLock(lock{"write": "Writes."}))
			results := map[jsonrpc.ID]string{"1": `{"tools":[` + toolRead + `]}`, "2": strings.Replace(c.rest, "TOOL", toolRead, 1)}
			r.server.answer = func(m jsonrpc.Message) (*link.Answer, error) {
				return body(`{"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":` + results[m.ID] + `}`)
			}
			var second bool
			r.judge.say = func(d gateways.Document) (gateways.Verdict, error) {
				v, err := allow(d)
				if c.policy && second && d.Phase == gateways.PhaseResponse {
					v.Decision, v.Requires = protocol.RequireApproval, []protocol.PreflightRequires{{Role: "security"}}
				}
				return v, err
			}
			a := r.start(list)
			<-r.people.asked
			second = true
			b := r.start(again)
			for range c.asked - 1 {
				select {
				case asked := <-r.people.asked:
					if !strings.Contains(string(asked.Payload), `"id":2`) {
						t.Errorf("asked about %s", asked.Payload)
					}
				case <-time.After(5 * time.Second):
					t.Fatal("nobody was asked about the second list")
				}
			}
			for range c.asked {
				r.people.reply <- gateways.Answered{Approved: true, Approver: "ada"}
			}
			if got := r.all(a); len(got) != 1 || !strings.Contains(got[0], `"read"`) {
				t.Errorf("listed %q", got)
			}
			if got := r.all(b); len(got) != 1 || !strings.Contains(got[0], `"read"`) {
				t.Errorf("listed again %q", got)
			}
			if more := len(r.people.asked); more != 0 {
				t.Errorf("asked %d times more", more)
			}
		})
	}
}

// TestRejectedSetStaysRejected lets two lists with the same tool have different answers.
func TestRejectedSetStaysRejected(t *testing.T) {
	t.Parallel()
	r := newRig(t, withLock(lock{"write": "Writes."}))
	results := map[jsonrpc.ID]string{"2": `,"_meta":{"n":2}`}
	r.server.answer = func(m jsonrpc.Message) (*link.Answer, error) {
		return body(`{"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":{"tools":[` + toolRead + `]` + results[m.ID] + `}}`)
	}
	a := r.start(list)
	<-r.people.asked
	b := r.start(strings.Replace(list, `"id":1`, `"id":2`, 1))
	<-r.people.asked
	r.people.reply <- gateways.Answered{Approver: "ada"}
	r.people.reply <- gateways.Answered{Approved: true, Approver: "bob"}
	r.all(a)
	r.all(b)
	if got, _ := r.one(strings.Replace(list, `"id":1`, `"id":3`, 1)); strings.Contains(got, `"read"`) {
		t.Errorf("listed %s", got)
	}
}

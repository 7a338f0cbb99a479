package mcp_test

import (
	"context"
	"errors"
	"io"
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

const dangerous = `{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"rm","arguments":{"path":"danger"},"_meta":{"progressToken":"tok"}}}`

func held(t *testing.T, change ...func(*mcp.GuardOptions)) *rig {
	t.Helper()
	r := newRig(t, change...)
	r.judge.say = when("danger", protocol.RequireApproval)
	return r
}

func TestHeldCall(t *testing.T) {
	t.Parallel()
	r := held(t)
	settled := false
	a, err := r.Send(t.Context(), link.Call{Message: scan(t, dangerous), Header: http.Header{}, Sent: func() { settled = true }})
	if err != nil || a.Stream == nil || !settled {
		t.Fatalf("%v, %v, settled %v", a, err, settled)
	}
	asked := <-r.people.asked
	if string(asked.Payload) != dangerous {
		t.Errorf("held bytes %s", asked.Payload)
	}
	if b := asked.Binding; b.Server != "files" || b.Principal != "agent" || b.GovernanceHash != "sha256:governance" ||
		b.Session != protocol.Digest([]byte("session-1")) {
		t.Errorf("bound to %+v", b)
	}
	if asked.Request.RequiredRole != "approver" || !strings.Contains(asked.Request.Reason, "danger") {
		t.Errorf("asked %+v", asked.Request)
	}
	ev, err := a.Stream.Next(t.Context())
	if want := `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"tok","progress":1,"message":"waiting for a person to approve"}}`; err != nil || string(ev.Data) != want {
		t.Fatalf("%s, %v, want %s", ev.Data, err, want)
	}
	if len(r.server.sent("")) != 0 {
		t.Fatal("the call went on before it was approved")
	}
	r.people.reply <- gateways.Answered{Approved: true, Approver: "ada"}
	got := r.all(a)
	if len(got) != 1 || !strings.Contains(got[0], "done") {
		t.Errorf("answered %q", got)
	}
	if sent := r.server.sent(""); len(sent) != 1 || sent[0] != dangerous {
		t.Errorf("sent %q", sent)
	}
	if got, want := r.trail.told(), "request decision=require_approval decision=allow response=allow"; got != want {
		t.Errorf("recorded %q, want %q", got, want)
	}
	// One approval, one call.
	b := r.start(dangerous)
	<-r.people.asked
	_ = b.Stream.Close()
	if len(r.server.sent("")) != 1 {
		t.Error("a second call went on with the approval of the first")
	}
}

func TestHeldCallEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end    func(t *testing.T, r *rig, a *link.Answer)
		say    string // part of the answer; "" is none
		record string
	}{
		"rejected": {
			end: func(_ *testing.T, r *rig, _ *link.Answer) {
				r.people.reply <- gateways.Answered{Approver: "ada", Reason: "not today"}
			},
			say: "not approved: rejected by ada: not today",
		},
		"cancelled": {
			end: func(_ *testing.T, r *rig, _ *link.Answer) {
				r.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}`)
			},
			record: "request decision=allow",
		},
		"session ends": {
			end: func(_ *testing.T, r *rig, _ *link.Answer) { _ = r.End(context.Background()) },
			say: "withdrawn",
		},
		"record fails": {
			end: func(_ *testing.T, r *rig, _ *link.Answer) {
				r.trail.mu.Lock()
				r.trail.fail = func(protocol.AuditEvent) bool { return true }
				r.trail.mu.Unlock()
				r.people.reply <- gateways.Answered{Approved: true}
			},
			say: "cannot write its record",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := held(t)
			a := r.start(dangerous)
			<-r.people.asked
			c.end(t, r, a)
			got := r.all(a)
			if c.say == "" && len(got) != 0 || c.say != "" && (len(got) != 1 || !strings.Contains(got[0], c.say)) {
				t.Errorf("answered %q, want %q", got, c.say)
			}
			if sent := r.server.sent(""); len(sent) != 0 {
				t.Errorf("sent %q", sent)
			}
			if r.trail.fail == nil && !strings.HasSuffix(r.trail.told(), "decision=deny") {
				t.Errorf("recorded %q", r.trail.told())
			}
		})
	}
}

func TestHeldCallClientGone(t *testing.T) {
	t.Parallel()
	r := held(t)
	ctx, cancel := context.WithCancel(t.Context())
	a, err := r.Send(ctx, link.Call{Message: scan(t, dangerous), Header: http.Header{}})
	if err != nil {
		t.Fatal(err)
	}
	<-r.people.asked
	cancel()
	if _, err := a.Stream.Next(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, io.EOF) && err != nil {
		t.Errorf("after the client went: %v", err)
	}
	_ = a.Stream.Close()
	if got, want := r.trail.told(), "request decision=require_approval decision=deny"; got != want {
		t.Errorf("recorded %q, want %q", got, want)
	}
	if len(r.server.sent("")) != 0 {
		t.Error("the call went on")
	}
}

func TestManyHeld(t *testing.T) {
	t.Parallel()
	r := held(t)
	for i := range 32 {
		r.start(strings.Replace(dangerous, `"id":5`, `"id":`+string(rune('1'+i%9))+strings.Repeat("0", i/9), 1))
		<-r.people.asked
	}
	if text, code := r.one(strings.Replace(dangerous, `"id":5`, `"id":99`, 1)); code != -32052 {
		t.Errorf("one more: %s", text)
	}
}

func TestHeldByTwoRoles(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.judge.say = func(d gateways.Document) (gateways.Verdict, error) {
		if d.Phase == gateways.PhaseResponse {
			return allow(d)
		}
		v, _ := verdict(protocol.RequireApproval, "both")
		v.Requires = []protocol.PreflightRequires{{Role: "dba"}, {Role: "security"}, {Role: "dba"}}
		return v, nil
	}
	for _, c := range []struct {
		second bool
		want   string
	}{{true, "done"}, {false, "not approved"}} {
		a := r.start(dangerous)
		roles := (<-r.people.asked).Request.RequiredRole + (<-r.people.asked).Request.RequiredRole
		if roles != "dbasecurity" && roles != "securitydba" {
			t.Errorf("asked %s", roles)
		}
		r.people.reply <- gateways.Answered{Approved: true, Approver: "ada"}
		r.people.reply <- gateways.Answered{Approved: c.second, Approver: "bob"}
		if got := r.all(a); len(got) != 1 || !strings.Contains(got[0], c.want) {
			t.Errorf("%q, want %s", got, c.want)
		}
	}
}

// nobody fails for one role, as for one that nobody holds, and lets the others wait.
type nobody struct{ people *people }

var errNobody = errors.New("nobody has the role security")

func (n nobody) Hold(ctx context.Context, h gateways.Held) (gateways.Answered, error) {
	if h.Request.RequiredRole == "security" {
		return gateways.Answered{}, errNobody
	}
	return n.people.Hold(ctx, h)
}

// TestHeldByTwoRolesOfWhichOneFails holds that the client is told why, and not of what
// was withdrawn for that reason.
func TestHeldByTwoRolesOfWhichOneFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *mcp.GuardOptions) {
		if p, ok := o.Holds.(*people); ok {
			o.Holds = nobody{p}
		}
	})
	r.judge.say = func(gateways.Document) (gateways.Verdict, error) {
		v, _ := verdict(protocol.RequireApproval, "both")
		v.Requires = []protocol.PreflightRequires{{Role: "dba"}, {Role: "security"}}
		return v, nil
	}
	if got := r.all(r.start(dangerous)); len(got) != 1 || !strings.Contains(got[0], errNobody.Error()) {
		t.Errorf("%q", got)
	}
}

func TestHeldAnswer(t *testing.T) {
	t.Parallel()
	for _, approved := range []bool{true, false} {
		for _, streamed := range []bool{true, false} {
			r := held(t)
			answer := `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"danger"}]}}`
			r.server.answer = func(jsonrpc.Message) (*link.Answer, error) {
				if streamed {
					return &link.Answer{Status: 200, Stream: streamOf(answer)}, nil
				}
				return body(answer)
			}
			a := r.start(call("1", "echo", `{}`))
			r.people.reply <- gateways.Answered{Approved: approved}
			got := r.all(a)
			if len(got) != 1 || (got[0] == answer) != approved {
				t.Errorf("approved %v, streamed %v: %q", approved, streamed, got)
			}
			if asked := <-r.people.asked; string(asked.Payload) != answer {
				t.Errorf("held %s", asked.Payload)
			}
		}
	}
}

func TestHeldNotification(t *testing.T) {
	t.Parallel()
	for _, approved := range []bool{true, false} {
		r := held(t)
		note := `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"danger","progress":1}}`
		if a := r.start(note); a.Status != http.StatusAccepted {
			t.Errorf("status %d", a.Status)
		}
		<-r.people.asked
		if len(r.server.sent("")) != 0 {
			t.Error("it went on before it was approved")
		}
		r.people.reply <- gateways.Answered{Approved: approved}
		want := map[bool]int{true: 1}[approved]
		deadline := time.Now().Add(5 * time.Second)
		for !strings.Contains(r.trail.told(), "require_approval decision=") || len(r.server.sent("")) != want {
			if time.Now().After(deadline) {
				t.Fatalf("approved %v: sent %q, recorded %q", approved, r.server.sent(""), r.trail.told())
			}
			time.Sleep(time.Millisecond)
		}
	}
}

package mcp

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// waiting is one message that waits for a person.
type waiting struct {
	m      *matter
	r      ruling
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when answered
	answer gateways.Answered
	err    error
	// then says what is sent on once the answer is there; it runs once, in the
	// goroutine of who waits.
	then func(ctx context.Context, w *waiting) (*link.Answer, []byte)
}

// wait begins to hold a message. The end of ctx or of the session withdraws it.
func (s *session) wait(ctx context.Context, m *matter, r ruling) (*waiting, string) {
	if s.g.o.Holds == nil {
		return nil, "nobody can approve it: the gateway keeps no approvals"
	}
	s.mu.Lock()
	full := s.held >= limits.MCPGuardHeldSession || s.over.Err() != nil
	if !full {
		s.held++
	}
	s.mu.Unlock()
	if full {
		return nil, "too many messages of this session wait for a person"
	}
	if s.g.held.Add(1) > limits.MCPGuardHeldAll {
		s.unhold()
		return nil, "too many messages wait for a person"
	}
	w := &waiting{m: m, r: r, done: make(chan struct{})}
	w.ctx, w.cancel = context.WithCancel(ctx)
	stop := context.AfterFunc(s.over, w.cancel)
	s.mu.Lock()
	m.e.cancel, m.e.held = w.cancel, true
	s.mu.Unlock()
	go func() {
		defer s.unhold()
		defer stop()
		defer close(w.done)
		ask := func() (gateways.Answered, error) { return s.askPeople(w.ctx, m, r) }
		if m.list != nil && m.list.set != "" && len(m.list.ask) > 0 {
			w.answer, w.err = s.askOnce(w.ctx, m.list.set, s.questionOf(m, r), ask)
		} else {
			w.answer, w.err = ask()
		}
		s.mu.Lock()
		m.e.cancel = nil
		s.mu.Unlock()
	}()
	return w, ""
}

func (s *session) unhold() {
	s.mu.Lock()
	s.held--
	s.mu.Unlock()
	s.g.held.Add(-1)
}

// askPeople asks for the approval of every role that policies name, all at once: one
// that says no is enough.
func (s *session) askPeople(ctx context.Context, m *matter, r ruling) (gateways.Answered, error) {
	requires := s.requires(r)
	if len(requires) == 1 {
		return s.g.o.Holds.Hold(ctx, s.heldFor(m, r, requires[0]))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make([]gateways.Answered, len(requires))
	errs := make([]error, len(requires))
	var all sync.WaitGroup
	var once sync.Once
	var cause error // the first one: the others may be of its making
	for i, need := range requires {
		all.Go(func() {
			answers[i], errs[i] = s.g.o.Holds.Hold(ctx, s.heldFor(m, r, need))
			if errs[i] != nil {
				once.Do(func() { cause = errs[i] })
			}
			if errs[i] != nil || !answers[i].Approved {
				cancel()
			}
		})
	}
	all.Wait()
	out := gateways.Answered{Approved: true}
	var by []string
	for i := range answers { // a no is told before a withdrawal that it was the cause of
		if errs[i] == nil && !answers[i].Approved {
			return answers[i], nil
		}
		by = append(by, answers[i].Approver)
		out.Reason = answers[i].Reason
	}
	if cause != nil {
		return gateways.Answered{}, cause
	}
	out.Approver = strings.Join(by, ", ")
	return out, nil
}

// requires gives one requirement for each role.
func (s *session) requires(r ruling) []protocol.PreflightRequires {
	var out []protocol.PreflightRequires
	seen := map[string]bool{}
	for _, need := range r.Requires {
		need.Role = or(need.Role, s.g.o.Role)
		if !seen[need.Role] {
			seen[need.Role] = true
			out = append(out, need)
		}
	}
	if len(out) == 0 {
		why, _ := r.reasons()
		need := protocol.PreflightRequires{Role: s.g.o.Role}
		if len(why) > 0 {
			need.Reason = why[0]
		}
		out = append(out, need)
	}
	return out
}

// heldFor makes the request for approval: what is approved is the bytes that will go on.
func (s *session) heldFor(m *matter, r ruling, need protocol.PreflightRequires) gateways.Held {
	output := map[string]any{
		"server": s.g.o.Server, "method": brief(m.e.method), "direction": string(m.e.from),
		"phase": string(m.phase), "principal": s.who.Principal, "request_id": m.e.request,
	}
	if m.e.name != "" {
		output["name"] = brief(m.shown(m.e.name))
	}
	if m.e.method == methodCall {
		output["tool"] = brief(m.shown(m.e.name))
	}
	if m.diff != "" {
		diff := s.clean(m.shown(m.diff))
		if len(diff) > limits.MCPGuardDiff {
			diff = strings.ToValidUTF8(diff[:limits.MCPGuardDiff], "") + "\n(cut)"
		}
		output["difference"] = diff
	}
	pin := ""
	if m.e.entry != nil {
		pin = m.e.entry.pin
	}
	return gateways.Held{
		Request: protocol.ApprovalRequest{
			StepID: m.e.request, Reason: brief(s.clean(or(need.Reason, m.title()))), RequiredRole: need.Role,
			EngineOutput: output,
		},
		Payload: r.message.Raw,
		Binding: gateways.Binding{
			Server: s.g.o.Server, Principal: s.who.Principal, Session: s.ref,
			ToolPin: pin, GovernanceHash: s.g.o.GovernanceHash,
		},
		Expires: m.at.Add(s.g.o.Hold),
	}
}

// holdRequest holds a request of the client: the answer is a stream, on which the client
// hears from time to time that it waits.
func (s *session) holdRequest(ctx context.Context, m *matter, c link.Call, r ruling) *link.Answer {
	w, why := s.wait(ctx, m, r)
	if w == nil {
		return s.refuseUnheld(ctx, m, why)
	}
	c.Settled()
	c.Sent = nil
	w.then = func(ctx context.Context, w *waiting) (*link.Answer, []byte) {
		if refused := s.outcome(ctx, w); refused != nil {
			s.finish(m.e)
			if s.isWithdrawn(m.e) {
				return nil, nil
			}
			return nil, s.refusal(m.e, *refused, m.e.id)
		}
		if !s.goes(m.e) {
			s.finish(m.e)
			_ = s.settled(ctx, m, gateways.Answered{}, protocol.Deny, "withdrawn by the client before it was sent on", s.g.o.Now())
			return nil, nil
		}
		return s.forward(ctx, m.e, c), nil
	}
	return streamed(s.waitingStream(m.e, w))
}

// refuseUnheld refuses what cannot be held.
func (s *session) refuseUnheld(ctx context.Context, m *matter, why string) *link.Answer {
	s.finish(m.e)
	r := s.ruled(m, policyMessage, why, codeUnjudged)
	if s.unheld(ctx, m, why) != nil {
		r = s.unrecorded(m)
	}
	return s.refuse(m.e, r)
}

// outcome records how the waiting ended and gives the refusal; nil is an approval of
// something that is still what was approved.
func (s *session) outcome(ctx context.Context, w *waiting) *ruling {
	var why string
	m, code := w.m, codeRejected
	switch {
	case s.isWithdrawn(m.e):
		why = "withdrawn by the client"
	case s.over.Err() != nil || w.ctx.Err() != nil:
		why = "withdrawn: nobody waits for it any more"
	case w.err != nil:
		why = "nobody approved it: " + w.err.Error()
	case !w.answer.Approved:
		why = "rejected by " + or(w.answer.Approver, "a person")
		if w.answer.Reason != "" {
			why += ": " + w.answer.Reason
		}
	default:
		why = s.stale(ctx, m)
		code = codeDenied
	}
	d := protocol.Deny
	say := why
	if why == "" {
		d, say = protocol.Allow, "approved by "+or(w.answer.Approver, "a person")
	}
	r := s.ruled(m, "gateway/approval", brief(m.shown(why)), code)
	if s.settled(ctx, m, w.answer, d, say, s.g.o.Now()) != nil {
		r = s.unrecorded(m)
		return &r
	}
	if why == "" {
		return nil
	}
	r.Requires = s.requires(w.r)
	return &r
}

// holdAside holds what has no answer to wait for: a notification of the client, or its
// answer to a request of the server. It goes on by itself, in the end.
func (s *session) holdAside(m *matter, c link.Call, r ruling, asked *exchange) {
	w, why := s.wait(s.over, m, r)
	if w == nil {
		no := s.ruled(m, policyMessage, why, codeUnjudged)
		_ = s.unheld(s.over, m, why) // dropped, recorded or not
		if asked != nil {
			s.refuseServer(asked, no)
		}
		return
	}
	c.Settled()
	c.Sent = nil
	go func() {
		<-w.done
		defer w.cancel()
		if refused := s.outcome(s.over, w); refused != nil {
			if asked != nil && s.over.Err() == nil {
				s.refuseServer(asked, *refused)
			}
			return
		}
		ctx, cancel := context.WithTimeout(s.over, limits.MCPGuardOwn)
		defer cancel()
		if _, err := s.next.Send(ctx, c); err != nil {
			s.g.o.Log.Warn("a message that was approved cannot be sent", "method", brief(m.e.method), "error", err)
		}
	}()
}

// progress is a word to a client that waits.
func progress(token []byte, n int) []byte {
	params := append([]byte(`{"progressToken":`), token...)
	params = strconv.AppendInt(append(params, `,"progress":`...), int64(n), 10)
	params = append(params, `,"message":"waiting for a person to approve"}`...)
	return jsonrpc.NewNotification("notifications/progress", params)
}

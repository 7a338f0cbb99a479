package mcp_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

// newOwnRig is a fan of two servers whose own answers go through the rig's guard.
func newOwnRig(t *testing.T, change ...func(*mcp.GuardOptions)) (*rig, *server) {
	t.Helper()
	r := newRig(t, append([]func(*mcp.GuardOptions){func(o *mcp.GuardOptions) { o.Server = "gateway" }}, change...)...)
	behind := &server{answer: func(m jsonrpc.Message) (*link.Answer, error) {
		result := `{"tools":[],"resources":[]}`
		if m.Method == "initialize" {
			result = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"resources":{}},"serverInfo":{"name":"x","version":"1"}}`
		}
		return body(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result))
	}}
	own := func(next link.Opener) link.Opener {
		o := r.opts
		o.Next = next
		return mcp.NewGuard(o)
	}
	fan := mcp.NewFan(mcp.FanOptions{Version: "1", Own: own, Servers: []mcp.Named{{Name: "files", Open: behind}, {Name: "git", Open: behind}}})
	s, err := fan.Open(t.Context(), link.Session{ID: "s", Principal: "agent"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.End(t.Context()) })
	r.Server = s
	r.one(`{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`)
	return r, behind
}

func asks(method, params string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":%q,"params":%s}`, method, params)
}

// TestFanOwnAnswersAreJudged: what the fan answers itself goes through the guard that it
// was given, with the answer that it would have had without, and reaches no server.
func TestFanOwnAnswersAreJudged(t *testing.T) {
	t.Parallel()
	r, behind := newOwnRig(t)
	for _, c := range []struct {
		name, message string
		code          int
	}{
		{"ping", asks("ping", `{}`), 0},
		{"a method that nobody knows", asks("foo/bar", `{}`), jsonrpc.CodeMethodNotFound},
		{"a tool of no server", asks("tools/call", `{"name":"nobody__read"}`), jsonrpc.CodeInvalidParams},
		{"a prompt of no server", asks("prompts/get", `{"name":"nobody__x"}`), jsonrpc.CodeInvalidParams},
		{"a resource of no server", asks("resources/read", `{"uri":"test://x"}`), jsonrpc.CodeInvalidParams},
		{"a task of no server", asks("tasks/get", `{"taskId":"nobody:1"}`), jsonrpc.CodeInvalidParams},
		{"a level where nobody logs", asks("logging/setLevel", `{"level":"debug"}`), jsonrpc.CodeMethodNotFound},
		{"a list that nobody has", asks("prompts/list", `{}`), 0},
		{"a cursor that was not given", asks("tools/list", `{"cursor":"x"}`), jsonrpc.CodeInvalidParams},
	} {
		if got, code := r.one(c.message); code != c.code {
			t.Errorf("%s: %s", c.name, got)
		}
		r.trail.mu.Lock()
		events := len(r.trail.events)
		r.trail.events = nil
		r.trail.mu.Unlock()
		method := scan(t, c.message).Method
		if events != 3 { // the request, the decision, the answer
			t.Errorf("%s: %d events", c.name, events)
		}
		if strings.Contains(c.message, "/list") || strings.Contains(c.message, "resources/") {
			continue // servers are asked for what they list
		}
		if n := len(behind.sent(method)); n != 0 {
			t.Errorf("%s: a server got it", c.name)
		}
	}
}

// TestFanOwnNotifications: what has no answer is judged, too.
func TestFanOwnNotifications(t *testing.T) {
	t.Parallel()
	for name, message := range map[string]string{
		"unknown":             `{"jsonrpc":"2.0","method":"notifications/foo"}`,
		"a cancelled nothing": `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}`,
		"a progress":          `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"x","progress":1}}`,
		"an answer":           `{"jsonrpc":"2.0","id":"x","result":{}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, behind := newOwnRig(t)
			before := len(behind.sent(""))
			r.send(message)
			if r.trail.told() == "" || len(behind.sent("")) != before {
				t.Errorf("on the record %q, %d messages reached a server", r.trail.told(), len(behind.sent(""))-before)
			}
		})
	}
}

// TestFanOwnAnswersAreRefused: the guard's word counts, and so does its limit of rate.
func TestFanOwnAnswersAreRefused(t *testing.T) {
	t.Parallel()
	r, _ := newOwnRig(t, func(o *mcp.GuardOptions) {
		o.Rate = mcp.Rate{PerSecond: 1, Burst: 3}
		o.UnknownMethods = protocol.Deny
	})
	if got, code := r.one(asks("foo/bar", `{}`)); code != -32050 {
		t.Errorf("denied with %s", got)
	}
	a := r.start(`[` + asks("ping", `{}`) + `,{"jsonrpc":"2.0","id":8,"method":"ping"}]`)
	if a.Status != http.StatusOK || strings.Count(string(a.Body), `"result":{}`) != 2 {
		t.Errorf("a batch was answered with %s", a.Body)
	}
	if got, code := r.one(asks("ping", `{}`)); code != -32054 {
		t.Errorf("too much was answered with %s", got)
	}
}

// TestFanOwnAnswersAreHeld: what is released late is answered all the same, and asks no
// server.
func TestFanOwnAnswersAreHeld(t *testing.T) {
	t.Parallel()
	r, behind := newOwnRig(t)
	r.judge.say = when("held", protocol.RequireApproval)
	a := r.start(asks("foo/bar", `{"x":"held"}`))
	<-r.people.asked
	r.people.reply <- gateways.Answered{Approved: true, Approver: "ada"}
	if got := r.all(a); len(got) != 1 || code(t, got[0]) != jsonrpc.CodeMethodNotFound || len(behind.sent("foo/bar")) != 0 {
		t.Errorf("answered with %q", got)
	}
}

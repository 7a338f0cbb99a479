package mcp_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

// TestFanOverGuards: each server has its own guard, which judges what the server gets
// under the names that the server knows.
func TestFanOverGuards(t *testing.T) {
	t.Parallel()
	answer := func(msg jsonrpc.Message) (*link.Answer, error) {
		result := `{"content":[{"type":"text","text":"done"}]}`
		switch msg.Method {
		case "initialize":
			result = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"x","version":"1"}}`
		case "tools/list":
			result = `{"tools":[{"name":"read","inputSchema":{"type":"object"}},{"name":"drop","inputSchema":{"type":"object"}}]}`
		}
		return body(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, msg.ID, result))
	}
	files, git := newRig(t, func(o *mcp.GuardOptions) { o.Server = "files" }), newRig(t, func(o *mcp.GuardOptions) { o.Server = "git" })
	files.server.answer, git.server.answer = answer, answer
	files.judge.say = when("/etc", protocol.Deny)
	fan := mcp.NewFan(mcp.FanOptions{Version: "1", Servers: []mcp.Named{{Name: "files", Open: mcp.NewGuard(files.opts)}, {Name: "git", Open: mcp.NewGuard(git.opts)}}})
	s, err := fan.Open(t.Context(), link.Session{ID: "s", Principal: "agent"})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, Server: s}
	init, _ := r.one(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`)
	if !strings.Contains(init, `"name":"cabincrew"`) {
		t.Errorf("opened with %s", init)
	}
	r.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	list, _ := r.one(`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
	for _, name := range []string{"files__read", "files__drop", "git__read", "git__drop"} {
		if !strings.Contains(list, `"`+name+`"`) {
			t.Errorf("%s is not in %s", name, list)
		}
	}
	if got, c := r.one(call("3", "files__read", `{"path":"/etc/passwd"}`)); c != -32050 || len(files.server.sent("/etc")) != 0 {
		t.Errorf("denied with %s", got)
	}
	if got, c := r.one(call("4", "git__read", `{"path":"/etc/passwd"}`)); c != 0 || len(git.server.sent(`"name":"read"`)) != 1 || len(files.server.sent(`"id":4`)) != 0 {
		t.Errorf("answered with %s", got)
	}
	git.judge.mu.Lock()
	seen := fmt.Sprint(git.judge.docs[len(git.judge.docs)-2].Input["params"])
	git.judge.mu.Unlock()
	if !strings.Contains(seen, "name:read") {
		t.Errorf("the guard judged %s", seen)
	}
	if err := s.End(t.Context()); err != nil || !files.server.ended || !git.server.ended {
		t.Errorf("%v", err)
	}
}

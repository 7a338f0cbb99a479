package cli

import (
	"encoding/json"
	"os"
	"testing"
	"time"
)

// held waits until a call is held, and gives its id.
func (w *tower) held() string {
	w.t.Helper()
	var list struct{ Held []heldDocument }
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		code, out, _ := w.run("status", "--output", "json")
		if code == 4 && json.Unmarshal([]byte(out), &list) == nil && len(list.Held) > 0 {
			return list.Held[0].ApprovalID
		}
	}
	w.t.Fatal("no call is held")
	return ""
}

// TestT41ElicitationApprovesNothing: the answer to a server's question goes to the server, and
// the call that it would make waits as before.
func TestT41ElicitationApprovesNothing(t *testing.T) {
	t.Parallel()
	w := newTower(t, nil)
	p := w.pipe("--stdio=files")
	p.hello()
	p.send(callOf(1, "ask", nil))
	for {
		m := p.next()
		if m.Method == "elicitation/create" {
			p.send(`{"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":{"action":"accept","content":{"ok":true}}}`)
		}
		if m.Method == "" && string(m.ID) == "1" {
			allowed(t, m, "accept")
			break
		}
	}
	p.send(callOf(2, "write", map[string]any{"path": w.path("work/x"), "text": "x"}))
	w.held()
	if _, err := os.Lstat(w.path("work/x")); err == nil {
		t.Error("the call was made")
	}
	p.end()
}

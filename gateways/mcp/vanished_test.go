package mcp_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/gateways/mcp/pins"
	"github.com/cabincrew/action/protocol"
)

// vanishing is a guard with the real pins; lock says whether there is a lock file, of read
// and write.
func vanishing(t *testing.T, lock bool) (*rig, *bytes.Buffer) {
	t.Helper()
	var book *pins.Book
	if lock {
		items, err := pins.Items(pins.Tool, []byte(`{"tools":[`+toolRead+`,`+toolWrite+`]}`))
		if err != nil {
			t.Fatal(err)
		}
		book = book.With("files", pins.Tool, items)
	}
	var log bytes.Buffer
	return newRig(t, func(o *mcp.GuardOptions) {
		o.Pins = pins.NewKeeper(pins.KeeperOptions{Book: book})
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
	}), &log
}

// gone gives what the record says is gone, a line for each time.
func (t *trail) gone() (out []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, ev := range t.events {
		if ev.Policy == nil {
			continue
		}
		for _, e := range ev.Policy.PolicyEvaluations {
			if strings.Contains(e.Reason, "not listed any more") {
				out = append(out, e.PolicyID+" "+string(e.Decision)+" "+e.Reason)
			}
		}
	}
	return out
}

// TestVanished: what was pinned, or was there in this run, and is not listed any more is
// told once, by its name, and is held to what it was when it comes back.
func TestVanished(t *testing.T) {
	t.Parallel()
	for _, lock := range []bool{true, false} {
		t.Run(fmt.Sprint(lock), func(t *testing.T) {
			t.Parallel()
			r, log := vanishing(t, lock)
			tools := toolRead + "," + toolWrite
			lister(r, &tools)
			r.one(list)
			if got := r.trail.gone(); got != nil || strings.Contains(log.String(), "does not list") {
				t.Errorf("nothing is gone, and it says %q %s", got, log)
			}
			tools = toolRead
			for range 3 {
				r.one(list)
			}
			got := r.trail.gone()
			if len(got) != 1 || got[0] != "gateway/pins warn not listed any more: write (gone)" {
				t.Errorf("the record says %q", got)
			}
			if strings.Count(log.String(), "does not list") != 1 || !strings.Contains(log.String(), "write") {
				t.Errorf("the log says %s", log)
			}
			if text, code := r.one(call("2", "write", `{}`)); code != -32050 {
				t.Errorf("what is gone was called: %s", text)
			}
			// It comes back as it was, and then as another.
			tools = toolRead + "," + toolWrite
			r.one(list)
			if text, code := r.one(call("3", "write", `{}`)); code != 0 {
				t.Errorf("as it was: %s", text)
			}
			tools = toolRead + "," + strings.Replace(toolWrite, "Writes.", "Sends.", 1)
			held := r.start(list)
			asked := <-r.people.asked
			if diff, _ := asked.Request.EngineOutput["difference"].(string); !strings.Contains(diff, "Sends.") || !strings.Contains(diff, "changed") {
				t.Errorf("the person was shown %q", diff)
			}
			_ = held.Stream.Close()
		})
	}
}

// TestVanishedOverPages: only a list that was read from its first page to its last says
// what is gone.
func TestVanishedOverPages(t *testing.T) {
	t.Parallel()
	r, _ := vanishing(t, true)
	second := toolWrite
	r.server.answer = func(msg jsonrpc.Message) (*link.Answer, error) {
		switch {
		case strings.Contains(string(msg.Params), `"two"`):
			return body(`{"jsonrpc":"2.0","id":` + string(msg.ID) + `,"result":{"tools":[` + second + `]}}`)
		case strings.Contains(string(msg.Params), `"none"`):
			return body(`{"jsonrpc":"2.0","id":` + string(msg.ID) + `,"result":{}}`)
		}
		return body(`{"jsonrpc":"2.0","id":` + string(msg.ID) + `,"result":{"tools":[` + toolRead + `],"nextCursor":"two"}}`)
	}
	page := func(cursor string) {
		r.one(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"` + cursor + `"}}`)
	}
	page("two") // nobody read what is before it
	r.one(list)
	page("none") // it is not what comes next
	r.one(list)
	page("two")
	page("two") // once more: it is not the whole list
	if got := r.trail.gone(); got != nil {
		t.Errorf("nothing is gone, and it says %q", got)
	}
	second = ""
	r.one(list)
	page("two")
	if got := r.trail.gone(); len(got) != 1 || !strings.Contains(got[0], "write (gone)") {
		t.Errorf("the record says %q", got)
	}
	last := r.trail.events[len(r.trail.events)-1].Policy.PolicyEvaluations
	for _, e := range last {
		if e.PolicyID == "gateway/pins" && e.Decision == protocol.Warn {
			if items, _ := e.Evidence["items"].([]any); len(items) != 1 || items[0].(map[string]any)["pin"] == "" {
				t.Errorf("the evidence is %v", e.Evidence)
			}
		}
	}
}

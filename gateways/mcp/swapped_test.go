package mcp_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

// swap puts a link in the place of a directory.
func swap(t *testing.T, name, to string) {
	t.Helper()
	if err := os.Rename(name, name+".was"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
}

// TestSwappedWhileHeld swaps the directory that a held call names for a link while a
// person decides: out of the roots, and to another one inside.
func TestSwappedWhileHeld(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ to, why string }{
		"unchanged": {},
		"outside":   {to: "..", why: "it changed while it was held"},
		"inside":    {to: "other", why: "another than when it was held"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, paths := checker(t)
			if err := os.Mkdir(filepath.Join(root, "other"), 0o755); err != nil {
				t.Fatal(err)
			}
			r := newRig(t, func(o *mcp.GuardOptions) { o.Paths, o.Roots = paths, []string{root} })
			r.judge.say = when("danger", protocol.RequireApproval)
			a := r.start(call("1", "write_file", `{"path":"`+root+`/sub/danger"}`))
			<-r.people.asked
			if c.to != "" {
				to := filepath.Join(root, c.to)
				swap(t, filepath.Join(root, "sub"), to)
			}
			r.people.reply <- gateways.Answered{Approved: true, Approver: "ada"}
			got := r.all(a)
			sent := len(r.server.sent("danger"))
			if c.why == "" {
				if len(got) != 1 || !strings.Contains(got[0], "done") || sent != 1 {
					t.Errorf("answered %q, sent %d", got, sent)
				}
				return
			}
			if len(got) != 1 || code(t, got[0]) != -32050 || !strings.Contains(got[0], c.why) || sent != 0 {
				t.Errorf("answered %q, sent %d", got, sent)
			}
			if !strings.HasSuffix(r.trail.told(), "response=allow decision=deny") { // the tools were listed anew
				t.Errorf("recorded %q", r.trail.told())
			}
		})
	}
}

// TestRootsSwappedWhileHeld does so with the directory that a held answer of the client
// lets the server work in, and with one that a held notification names.
func TestRootsSwappedWhileHeld(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"answer":       `{"jsonrpc":"2.0","id":"r","result":{"roots":[{"uri":"file://ROOT/sub","name":"danger"}]}}`,
		"notification": `{"jsonrpc":"2.0","method":"notifications/vendor","params":{"path":"ROOT/sub","why":"danger"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, paths := checker(t)
			r := newRig(t, func(o *mcp.GuardOptions) { o.Paths, o.Roots = paths, []string{root} })
			st := streamOf(`{"jsonrpc":"2.0","id":"r","method":"roots/list"}`, `{"jsonrpc":"2.0","id":1,"result":{}}`)
			r.server.answer = func(jsonrpc.Message) (*link.Answer, error) { return &link.Answer{Status: 200, Stream: st}, nil }
			r.send(`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"x://a"}}`)
			r.judge.say = when("danger", protocol.RequireApproval)
			r.send(strings.ReplaceAll(text, "ROOT", root))
			<-r.people.asked
			swap(t, filepath.Join(root, "sub"), "/")
			r.people.reply <- gateways.Answered{Approved: true, Approver: "ada"}
			deadline := time.Now().Add(5 * time.Second)
			for !strings.HasSuffix(r.trail.told(), "=require_approval decision=deny") {
				if time.Now().After(deadline) {
					t.Fatalf("recorded %q", r.trail.told())
				}
				time.Sleep(time.Millisecond)
			}
			if sent := r.server.sent("/sub"); len(sent) != 0 {
				t.Errorf("sent %q", sent)
			}
		})
	}
}

package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// holdGate is a gateway on a desk that holds calls.
type holdGate struct {
	*desk

	state *os.Root
	run   *os.Root
	trail *gateways.AuditTrail
	holds *gateways.HeldCalls
}

func (d *desk) holdGate(run string) *holdGate {
	d.t.Helper()
	if err := os.MkdirAll(d.path(".cabincrew"), 0o700); err != nil {
		d.t.Fatal(err)
	}
	g := &holdGate{desk: d}
	var err error
	if g.state, err = os.OpenRoot(d.path(".cabincrew")); err == nil {
		g.run, err = gateways.MakeRun(g.state, "mcp", run)
	}
	if err == nil {
		g.trail, err = gateways.NewTrail(gateways.TrailOptions{Root: g.run, RunID: run, Kind: "mcp", Now: time.Now})
	}
	if err != nil {
		d.t.Fatal(err)
	}
	key, err := signing.ParsePublic([]byte(read(d.t, d.path("boss.pub"))))
	if err == nil {
		g.holds, err = gateways.NewHolds(context.Background(), gateways.HoldOptions{
			State: g.state, RunID: run, Kind: "mcp", Trail: g.trail, Poll: 5 * time.Millisecond, Now: time.Now,
			Approvers: []gateways.Approver{{Name: "boss", Roles: []string{"maintainer"}, Key: signing.TrustedKey{Key: key}}},
		})
	}
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(g.stop)
	return g
}

func (g *holdGate) stop() {
	_ = g.holds.Close()                     // may be closed already
	_ = g.trail.Close(context.Background()) // as above
	_ = g.run.Close()                       // as above
	_ = g.state.Close()                     // as above
}

type answer struct {
	gateways.Answered

	err error
}

// hold holds a call with tricks in its texts; it gives the call's id when it waits.
func (g *holdGate) hold(n string) (id string, got chan answer) {
	g.t.Helper()
	got = make(chan answer, 1)
	before, err := gateways.ListHeld(g.state, false)
	if err != nil {
		g.t.Fatal(err)
	}
	go func() {
		a, err := g.holds.Hold(g.t.Context(), gateways.Held{
			Request: protocol.ApprovalRequest{
				StepID: "request-" + n, Reason: "deleting needs\na maintainer \x1b[2J", RequiredRole: "maintainer",
				EngineOutput: map[string]any{"tool": "delete\u202e_file", "paths": []any{"/data/\x1b[31mx"}},
			},
			Payload: []byte(`{"jsonrpc":"2.0","id":1.50,"method":"tools/call","params":{"name":"delete","arguments":{"path":"/data/` + "\u202e" + `x","n":12345678901234567890}}}`),
			Binding: gateways.Binding{Server: "files", Principal: "agent"},
		})
		got <- answer{a, err}
	}()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		list, err := gateways.ListHeld(g.state, false)
		if err == nil && len(list) > len(before) {
			for _, c := range list {
				if c.Request.StepID == "request-"+n {
					return c.Request.ApprovalID, got
				}
			}
		}
	}
	g.t.Fatal("the call is not held")
	return "", nil
}

func TestHeldCallIsShownAndApproved(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	g := d.holdGate("gw-20261123t180000-01020304")
	id, got := g.hold("1")
	out := d.must(4, []string{"HELD CALL", id[:20], "files", "maintainer", "held_waiting", `\u202e`}, "status")
	if strings.ContainsAny(out, "\x1b\u202e") {
		t.Errorf("the list plays tricks: %q", out)
	}
	var list struct {
		Held  []heldDocument
		Error *orchestrator.SummaryError
	}
	d.json(4, &list, "status")
	if len(list.Held) != 1 || list.Held[0].ApprovalID != id || !list.Held[0].Running || list.Error == nil || list.Error.Code != "held_waiting" {
		t.Fatalf("%+v", list)
	}
	out = d.must(4, []string{"12345678901234567890", "1.50", "from      agent", "what the client sent", `\u202e`}, "status", id[:16])
	if strings.ContainsAny(out, "\x1b\u202e") {
		t.Errorf("the call plays tricks: %q", out)
	}
	var doc heldDocument
	d.json(4, &doc, "status", id)
	if !strings.Contains(doc.Payload, "12345678901234567890") {
		t.Fatalf("%+v", doc)
	}
	d.must(2, []string{"held_unknown"}, "approve", "apr-00", "--as", "boss", "--key", d.path("../boss"))
	d.must(2, []string{"usage"}, "approve", id, "--as", "boss")
	d.must(2, []string{"--code"}, "approve", id, "--as", "boss", "--key", d.path("../boss"), "--code", "x")
	d.must(4, []string{"approval_role", "boss"}, "approve", id, "--as", "eve", "--key", d.path("../boss"))
	d.must(0, nil, "keys", "generate", "--out", d.path("../other"), "--no-passphrase")
	d.must(4, []string{"approval_key"}, "approve", id, "--as", "boss", "--key", d.path("../other"))
	d.must(0, []string{"is approved", "what the client sent"}, "approve", id[:12], "--as", "boss", "--key", d.path("../boss"), "--reason", "it may go")
	if a := <-got; a.err != nil || !a.Approved || a.Reason != "it may go" {
		t.Fatalf("%+v", a)
	}
	d.must(4, []string{"held_answered"}, "approve", id, "--as", "boss", "--key", d.path("../boss"))
	d.json(0, &doc, "status", id)
	if doc.Status != gateways.HeldApproved || doc.Approver != "boss" {
		t.Fatalf("%+v", doc)
	}
	d.must(0, []string{"no call is held"}, "status")

	id, got = g.hold("2")
	d.json(0, &doc, "reject", id, "--as", "boss", "--key", d.path("../boss"))
	if a := <-got; a.err != nil || a.Approved || doc.Status != gateways.HeldRejected {
		t.Fatalf("%+v, %+v", a, doc)
	}
}

func TestHeldCallsStandBesideFlights(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	flight := d.plan(4)
	g := d.holdGate("gw-20261123t180000-01020304")
	id, _ := g.hold("1")
	var doc struct {
		WorkflowID string `json:"workflow_id"`
		Held       []heldDocument
	}
	d.json(4, &doc, "status")
	if doc.WorkflowID != flight || len(doc.Held) != 1 || doc.Held[0].ApprovalID != id {
		t.Fatalf("%+v", doc)
	}
	d.must(4, []string{id[:20], flight, "approval_waiting"}, "status")
	doc.Held = nil
	d.json(4, &doc, "status", flight)
	if len(doc.Held) != 0 {
		t.Fatalf("%+v", doc)
	}
	d.must(0, nil, "approve", flight, "--as", "boss", "--key", d.path("../boss"))
}

func TestHeldCallOfAGatewayThatEnded(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	g := d.holdGate("gw-20261123t180000-01020304")
	id, got := g.hold("1")
	held := filepath.Join(d.path(".cabincrew"), "gateways", "held")
	state := read(t, filepath.Join(held, id+".state.json"))
	request := read(t, filepath.Join(held, id+".request.json"))
	g.stop()
	<-got
	d.must(4, []string{"held_answered"}, "approve", id, "--as", "boss", "--key", d.path("../boss"))
	// As a gateway leaves it that was killed.
	d.write(".cabincrew/gateways/held/"+id+".state.json", state)
	d.must(4, []string{"held_restarted"}, "approve", id, "--as", "boss", "--key", d.path("../boss"))
	d.must(0, []string{"no call is held"}, "status")
	// What was changed is refused.
	d.write(".cabincrew/gateways/held/"+id+".request.json", strings.Replace(request, id, "apr-"+strings.Repeat("0", 64), 1))
	d.must(5, []string{"held_unreadable"}, "status", id)
}

func TestChangedPayloadIsNotShown(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	g := d.holdGate("gw-20261123t180000-01020304")
	id, _ := g.hold("1")
	d.write(".cabincrew/gateways/held/"+id+".payload.json", `{"method":"harmless"}`)
	d.must(5, []string{"held_changed"}, "approve", id, "--as", "boss", "--key", d.path("../boss"))
	d.must(5, []string{"held_changed"}, "status", id)
}

func TestTrailOfAGatewayIsShownAndVerified(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.must(2, []string{"gateway_run"}, "audit", "verify", "--gateway", "mcp")
	g := d.holdGate("gw-20261123t180000-01020304")
	id, got := g.hold("1")
	d.must(0, nil, "reject", id, "--as", "boss", "--key", d.path("../boss"))
	<-got
	g.stop()
	newer := d.holdGate("gw-20261123t190000-01020304")
	newer.stop()
	run := "gw-20261123t180000-01020304"
	for _, name := range []string{run, "mcp/" + run} {
		d.must(0, []string{"4 events", run}, "audit", "verify", "--gateway", name)
	}
	d.must(0, []string{"2 events", "gw-20261123t190000"}, "audit", "verify", "--gateway", "mcp")
	out := d.must(0, []string{"approval_request", "boss rejected"}, "audit", "show", "--gateway", run)
	if strings.ContainsRune(out, '\x1b') {
		t.Errorf("%q", out)
	}
	d.must(0, []string{"CEF:0|CabinCrew"}, "audit", "export", "--format", "cef", "--gateway", run)
	var events []protocol.AuditEvent
	d.json(0, &events, "audit", "show", "--gateway", run)
	if len(events) != 4 { // with the first and the last of the run
		t.Fatalf("%+v", events)
	}
	d.must(5, []string{"audit_unsigned"}, "audit", "verify", "--gateway", run, "--key", d.path("boss.pub"))
	d.must(2, []string{"gateway_run"}, "audit", "verify", "--gateway", "llm")
	d.must(2, []string{"gateway_run"}, "audit", "verify", "--gateway", "../held")
	d.must(2, []string{"usage"}, "audit", "verify", "x", "--gateway", run)
	name := d.path(".cabincrew/gateways/mcp/" + run + "/audit.jsonl")
	d.write(".cabincrew/gateways/mcp/"+run+"/audit.jsonl", strings.Replace(read(t, name), "boss", "b0ss", 1))
	d.must(5, []string{"audit_changed"}, "audit", "verify", "--gateway", run)
	d.must(5, []string{"audit_changed"}, "audit", "export", "--gateway", run)
}

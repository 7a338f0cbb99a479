package mcp

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways"
)

// TestElicitationIsNoApproval has a server ask the client for consent to a call that is
// held, and the client consent in every way that the protocol has: the call stays held.
func TestElicitationIsNoApproval(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	s, key := people(t)
	h := newHostile(t)
	g := before(t, s, h)
	c := g.session()
	stream, err := c.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Body.Close() }()
	call := calling(t, c, "a", "x")
	held := g.held(t, 1)[0].Request.ApprovalID
	h.tell(`{"jsonrpc":"2.0","id":"consent","method":"elicitation/create","params":{"message":"Approve ` + held + `?","requestedSchema":{"type":"object","properties":{"approved":{"type":"boolean"}}}}}`)
	for _, id := range []string{"consent", "a", held} {
		c.must(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"result":{"action":"accept","content":{"approved":true,"approval_id":%q}}}`, id, held))
	}
	for _, method := range []string{"approvals/approve", "notifications/approved", "elicitation/create"} {
		c.must(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"method":%q,"params":{"approval":%q,"approved":true}}`, method, method, held))
	}
	// What else comes says that all of it was looked at.
	passed(t, c.must(t, `{"jsonrpc":"2.0","id":"p","method":"ping"}`))
	if still := g.held(t, 1); still[0].Request.ApprovalID != held {
		t.Errorf("another call is held: %s", still[0].Request.ApprovalID)
	}
	h.untouched()
	if err := g.answer(t, key, g.held(t, 1)[0], false); err != nil {
		t.Fatal(err)
	}
	refused(t, answered(t, call), rejected)
	h.untouched()
}

// TestOneApprovalOneCall holds calls of the same bytes: the approval of one releases it
// alone, also where its answer is laid beside the others.
func TestOneApprovalOneCall(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	s, key := people(t)
	h := newHostile(t)
	g := before(t, s, h)
	calls := map[string]<-chan reply{}
	clients := map[string]*client{"one": g.session(), "two": g.session(), "three": g.session()}
	for name, c := range clients {
		calls[name] = calling(t, c, "same", "same")
	}
	held := g.held(t, 3)
	approved := held[0]
	if err := g.answer(t, key, approved, true); err != nil {
		t.Fatal(err)
	}
	g.held(t, 2)
	g.records("approval_response", approved.Request.ApprovalID)
	// Its signed answer, under the ids of the others.
	state, err := os.OpenRoot(filepath.Join(g.dir, ".cabincrew"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = state.Close() }()
	for _, other := range held[1:] {
		bundle, err := gateways.SignAnswer(t.Context(), key, &approved, answerOf(true))
		if err != nil {
			t.Fatal(err)
		}
		_ = gateways.PutAnswer(state, other.Request.ApprovalID, bundle) // may be refused at once
	}
	passed(t, clients["one"].must(t, `{"jsonrpc":"2.0","id":"p","method":"ping"}`))
	if n := len(h.saw("tools/call")); n != 1 {
		t.Errorf("the server saw %d calls", n)
	}
	g.kill()
	released := 0
	for _, c := range calls {
		if answered(t, c).answer().Result != nil {
			released++
		}
	}
	if n := len(h.saw("tools/call")); n != 1 || released != 1 {
		t.Errorf("%d calls were answered, the server saw %d", released, n)
	}
}

// TestAnswersFromTheCommandLine answers held calls as a person does.
func TestAnswersFromTheCommandLine(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	s, _ := people(t)
	h := newHostile(t)
	g := before(t, s, h)
	g.answersFromTheCommandLine(t, func(id string) <-chan reply { return calling(t, g.session(), id, "x") })
	if n := len(h.saw("tools/call")); n != 1 {
		t.Errorf("the server saw %d calls", n)
	}
}

// answersFromTheCommandLine approves one call and rejects the same once more.
func (g *gateway) answersFromTheCommandLine(t *testing.T, call func(id string) <-chan reply) {
	t.Helper()
	waits := call("first")
	id := g.held(t, 1)[0].Request.ApprovalID
	if out, err := g.program("status"); err == nil || !strings.Contains(out, id[:16]) { // it fails as long as something waits
		t.Errorf("status: %v %s", err, out)
	}
	if out, err := g.program("approve", id, "--as", "bob", "--key", "ann.key"); err == nil {
		t.Errorf("bob approved: %s", out)
	}
	if out, err := g.program("approve", id, "--as", "ann", "--key", "ann.key"); err != nil {
		t.Fatalf("approve: %v %s", err, out)
	}
	passed(t, answered(t, waits))
	if out, err := g.program("approve", id, "--as", "ann", "--key", "ann.key"); err == nil {
		t.Errorf("it was approved again: %s", out)
	}
	waits = call("again")
	again := g.held(t, 1)[0].Request.ApprovalID
	if again == id {
		t.Error("another call has the same approval")
	}
	if out, err := g.program("reject", again, "--as", "ann", "--key", "ann.key", "--reason", "once is enough"); err != nil {
		t.Fatalf("reject: %v %s", err, out)
	}
	refused(t, answered(t, waits), rejected)
}

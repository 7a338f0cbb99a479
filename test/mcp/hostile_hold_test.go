package mcp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// holdPolicy asks a person about every call of the tool echo.
const holdPolicy = `package cabincrew.gateway

require_approval contains {"msg": "a person looks at echo", "role": "maintainer"} if {
	input.method == "tools/call"
	input.context.phase == "request"
}
`

// people is a setting in which ann may approve, and her key.
func people(t *testing.T) (setting, *signing.Key) {
	t.Helper()
	private, public, err := signing.Generate(signing.Ed25519, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := signing.LoadPrivate(private, nil)
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode(public); block == nil {
		t.Fatal("no public key")
	}
	return setting{
		policy: holdPolicy,
		more:   "approvals: {expire: 2m, approvers: [{name: ann, email: ann@example.com, roles: [maintainer], key: keys/ann.pub}]}\n",
		files:  map[string]string{"keys/ann.pub": string(public), "ann.key": string(private)},
	}, key
}

// held waits until the gateway holds n calls, and gives them.
func (g *gateway) held(t *testing.T, n int) []gateways.HeldCall {
	t.Helper()
	var calls []gateways.HeldCall
	eventually(t, fmt.Sprintf("%d held calls", n), func() bool {
		state, err := os.OpenRoot(filepath.Join(g.dir, ".cabincrew"))
		if err != nil {
			return false
		}
		defer func() { _ = state.Close() }()
		calls, _ = gateways.ListHeld(state, false) // what is being written is read the next time
		return len(calls) == n
	})
	return calls
}

// answer lays ann's answer to a call where the gateway looks for it.
func (g *gateway) answer(t *testing.T, key *signing.Key, c gateways.HeldCall, approved bool) error {
	t.Helper()
	state, err := os.OpenRoot(filepath.Join(g.dir, ".cabincrew"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = state.Close() }()
	bundle, err := gateways.SignAnswer(t.Context(), key, &c, answerOf(approved))
	if err != nil {
		t.Fatal(err)
	}
	return gateways.PutAnswer(state, c.Request.ApprovalID, bundle)
}

func answerOf(approved bool) protocol.ApprovalResponse {
	return protocol.ApprovalResponse{Approved: approved, Approver: "ann", Reason: "looked at it", Timestamp: time.Now().UTC().Format(time.RFC3339)}
}

// calling calls echo in the background; the reply comes on the channel.
func calling(t *testing.T, c *client, id, text string) <-chan reply {
	t.Helper()
	out := make(chan reply, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		got, err := c.post(context.WithoutCancel(t.Context()), fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"method":"tools/call","params":{"name":"echo","arguments":{"text":%q},"_meta":{"progressToken":%q}}}`, id, text, id))
		if err != nil {
			got.body = []byte(err.Error())
		}
		out <- got
	})
	t.Cleanup(wg.Wait)
	return out
}

func answered(t *testing.T, c <-chan reply) reply {
	t.Helper()
	select {
	case got := <-c:
		return got
	case <-time.After(30 * time.Second):
		t.Fatal("the call still waits")
		return reply{}
	}
}

// TestHeldCalls approves one call and rejects another: one approval is for one call.
func TestHeldCalls(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	s, key := people(t)
	h := newHostile(t)
	g := before(t, s, h)
	c := g.session()

	first := calling(t, c, "a", "approved")
	held := g.held(t, 1)
	h.untouched()
	if err := g.answer(t, key, held[0], true); err != nil {
		t.Fatal(err)
	}
	passed(t, answered(t, first))
	if calls := h.saw("tools/call"); len(calls) != 1 || !strings.Contains(string(calls[0].raw), `"approved"`) {
		t.Errorf("the server saw %d calls", len(calls))
	}
	g.records("approval_response", "ann")

	again := calling(t, c, "a2", "approved")
	held = g.held(t, 1)
	if err := g.answer(t, key, held[0], false); err != nil {
		t.Fatal(err)
	}
	refused(t, answered(t, again), rejected)
	if n := len(h.saw("tools/call")); n != 1 {
		t.Errorf("the server saw %d calls", n)
	}
}

// TestCancelDuringHold cancels a held call: nobody can approve it any more.
func TestCancelDuringHold(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	s, key := people(t)
	h := newHostile(t)
	g := before(t, s, h)
	c := g.session()
	call := calling(t, c, "a", "x")
	held := g.held(t, 1)
	c.must(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a","reason":"enough"}}`)
	got := answered(t, call)
	if got.answer().Result != nil {
		t.Errorf("%s", got)
	}
	g.held(t, 0)
	_ = g.answer(t, key, held[0], true) // too late, whatever it says
	passed(t, c.must(t, `{"jsonrpc":"2.0","id":2,"method":"ping"}`))
	h.untouched()
}

// TestKillDuringHold kills the gateway while a call is held: after a restart nothing
// that was held goes through, not even with an approval.
func TestKillDuringHold(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	for _, early := range []bool{true, false} {
		t.Run(fmt.Sprintf("answered before the restart %t", early), func(t *testing.T) {
			t.Parallel()
			s, key := people(t)
			h := newHostile(t)
			g := before(t, s, h)
			calls := []<-chan reply{calling(t, g.session(), "a", "x"), calling(t, g.session(), "b", "y")}
			held := g.held(t, 2)
			g.kill()
			for _, c := range calls {
				if got := answered(t, c); got.answer().Result != nil {
					t.Errorf("%s", got)
				}
			}
			if early {
				_ = g.answer(t, key, held[0], true) // may be refused: nobody holds it
			}
			g.run()
			if !early {
				_ = g.answer(t, key, held[0], true)
			}
			again := calling(t, g.session(), "c", "z")
			next := g.held(t, 1)
			if next[0].Request.ApprovalID == held[0].Request.ApprovalID || next[0].Request.ApprovalID == held[1].Request.ApprovalID {
				t.Error("another call has the same approval")
			}
			h.untouched()
			if err := g.answer(t, key, next[0], true); err != nil {
				t.Fatal(err)
			}
			passed(t, answered(t, again))
			if n := len(h.saw("tools/call")); n != 1 {
				t.Errorf("the server saw %d calls", n)
			}
		})
	}
}

// TestPolicyFailure has policies that break off: that is a no.
func TestPolicyFailure(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]string{
		"conflict": `package cabincrew.gateway

verdict := 1 if input.method == "tools/call"

verdict := 2 if input.params.name == "echo"

deny contains "never" if verdict == 3
`,
		"endless": `package cabincrew.gateway

deny contains "never" if {
	input.method == "tools/call"
	some a in numbers.range(1, 20000)
	some b in numbers.range(1, 20000)
	a * b == 0
}
`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if standIn() {
				t.Skip("of the gateway")
			}
			h := newHostile(t)
			got := before(t, setting{policy: policy}, h).session().tool(t, "echo", `{}`)
			if got.code() != denied && got.code() != unjudged {
				t.Errorf("%s", got)
			}
			h.untouched()
		})
	}
}

// TestNoPolicy starts a gateway whose policies say nothing about anything.
func TestNoPolicy(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	h := newHostile(t)
	g := &gateway{t: t, dir: t.TempDir(), at: free(t)}
	g.url = "http://" + g.at + "/mcp"
	write(t, filepath.Join(g.dir, "gateway.yaml"), fmt.Sprintf("version: 1\nlisten: %s\nservers: {one: {url: %q}}\npolicies: {secrets: {scan: false}}\n", g.at, h.url))
	cmd := self("program", "gateway", "mcp", "--config", filepath.Join(g.dir, "gateway.yaml"))
	cmd.Dir = g.dir
	g.process = start(t, false, cmd)
	defer g.kill()
	end := time.Now().Add(20 * time.Second)
	for time.Now().Before(end) {
		c := newClient(g.url)
		got, err := c.post(t.Context(), `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}`)
		if err == nil {
			if got.answer().Result != nil {
				t.Errorf("%s", got)
			}
			break
		}
		if strings.Contains(g.said(), "polic") { // it does not start at all: as good
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	h.untouched()
}

// TestFullDisk runs the gateway with its state on a file system that fills up: from then
// on nothing reaches the server, and everything that did is on the record.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	if os.Geteuid() != 0 || exec.Command("unshare", "-m", "true").Run() != nil {
		t.Skip("a file system of its own needs root and unshare")
	}
	h := newHostile(t)
	g := &gateway{t: t, dir: t.TempDir(), at: free(t)}
	g.url = "http://" + g.at + "/mcp"
	write(t, filepath.Join(g.dir, "policies", "gateway.rego"), allowAll)
	write(t, filepath.Join(g.dir, "gateway.yaml"), fmt.Sprintf("version: 1\nlisten: %s\nservers: {one: {url: %q}}\npolicies: {rego: [policies/], secrets: {scan: false}}\nlimits: {rate: 1000000}\n", g.at, h.url))
	state := filepath.Join(g.dir, ".cabincrew")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	// The child keeps the file descriptor of nothing in it: its end ends the mount.
	program := self("program")
	cmd := exec.Command("unshare", "-m", "sh", "-c", `mount -t tmpfs -o size=512k,mode=700 none "$1" && shift && exec "$@"`, "sh", state,
		program.Path, "gateway", "mcp", "--config", filepath.Join(g.dir, "gateway.yaml"))
	cmd.Env, cmd.Dir = program.Env, g.dir
	g.process = start(t, false, cmd)
	g.reachable(g.at)
	c := g.session()
	var got reply
	for n := range 3000 {
		got = c.tool(t, "echo", fmt.Sprintf(`{"text":"%d"}`, n))
		if got.answer().Error != nil {
			break
		}
	}
	refused(t, got, unjudged)
	before := len(h.saw("tools/call"))
	for range 10 {
		refused(t, c.tool(t, "echo", `{}`), unjudged)
	}
	if after := len(h.saw("tools/call")); after != before {
		t.Errorf("the server saw %d calls more", after-before)
	}
	data, err := exec.Command("sh", "-c", fmt.Sprintf(`cat $(find /proc/%d/root%s -type f -name '*l')`, g.cmd.Process.Pid, state)).Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(data), `"mcp_request"`); n < before {
		t.Errorf("the server saw %d calls, %d are on the record", before, n)
	}
}

// TestSessionsAreBound has one client use the session of another, and ask for events of
// another.
func TestSessionsAreBound(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	token := func(name string) (string, string) {
		secret := name + "-" + strings.Repeat("0123456789abcdef", 3)
		sum := sha256.Sum256([]byte(secret))
		return secret, fmt.Sprintf("{name: %s, sha256: %s}", name, hex.EncodeToString(sum[:]))
	}
	annToken, ann := token("ann")
	bobToken, bob := token("bob")
	h := newHostile(t)
	g := before(t, setting{more: fmt.Sprintf("clients: {tokens: [%s, %s]}\n", ann, bob)}, h)
	as := func(secret string) *client {
		c := newClient(g.url)
		c.header = http.Header{"Authorization": {"Bearer " + secret}}
		return c
	}
	a, b := as(annToken), as(bobToken)
	for _, c := range []*client{a, b} {
		if err := c.initialize(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.list(t)
	}
	passed(t, a.tool(t, "echo", `{}`))
	from := len(h.saw(""))

	thief := as(bobToken)
	thief.session = a.session
	if got := thief.must(t, call(1)); got.status != http.StatusNotFound {
		t.Errorf("theft: %s", got)
	}
	if s, err := thief.listen(t.Context()); err == nil {
		_ = s.Body.Close()
		t.Error("the thief listens")
	}
	r, err := thief.request(t.Context(), http.MethodDelete, nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := thief.http.Do(r); err != nil || answer.StatusCode != http.StatusNotFound {
		t.Errorf("the thief ends it: %v %v", answer, err)
	} else {
		_ = answer.Body.Close()
	}
	for name, header := range map[string]http.Header{
		"nobody":      {},
		"wrong token": {"Authorization": {"Bearer nothing"}},
		"basic":       {"Authorization": {"Basic " + annToken}},
	} {
		c := newClient(g.url)
		c.session, c.header = a.session, header
		if got := c.must(t, call(1)); got.status != http.StatusUnauthorized || got.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %v", name, got.status, got.header)
		}
	}
	invented := as(annToken)
	invented.session = strings.Repeat("A", len(a.session))
	if got := invented.must(t, call(1)); got.status != http.StatusNotFound {
		t.Errorf("invented: %s", got)
	}
	// Another's events are not to be had by their id.
	b.header.Set("Last-Event-ID", a.session+"/1")
	if s, err := b.listen(t.Context()); err == nil {
		_ = s.Body.Close()
		t.Error("events of a foreign id are given")
	}
	b.header.Del("Last-Event-ID")
	if n := len(h.saw("")); n != from {
		t.Errorf("the server saw %d messages of it", n-from)
	}
	passed(t, a.tool(t, "echo", `{}`))
	for _, s := range h.saw("") {
		for name, values := range s.header {
			if text := strings.Join(values, " "); strings.Contains(text, annToken) || strings.Contains(text, bobToken) || strings.EqualFold(name, "Authorization") {
				t.Errorf("the server got %s: %s", name, text)
			}
		}
		if s.header.Get("Mcp-Session-Id") == a.session {
			t.Error("the server knows the client's session")
		}
	}
}

// TestHostAndOrigin asks as a page of another origin would, and under another name.
func TestHostAndOrigin(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	h := newHostile(t)
	g := before(t, setting{}, h)
	for name, change := range map[string]func(r *http.Request){
		"foreign host":    func(r *http.Request) { r.Host = "evil.example" },
		"rebound host":    func(r *http.Request) { r.Host = "evil.example:" + strings.Split(g.at, ":")[1] },
		"foreign origin":  func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		"null origin":     func(r *http.Request) { r.Header.Set("Origin", "null") },
		"looks like home": func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1.evil.example") },
	} {
		c := newClient(g.url)
		r, err := c.request(t.Context(), http.MethodPost, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`))
		if err != nil {
			t.Fatal(err)
		}
		change(r)
		answer, err := c.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusForbidden && answer.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("%s: %d", name, answer.StatusCode)
		}
	}
	if n := len(h.saw("")); n != 0 {
		t.Errorf("the server saw %d messages", n)
	}
}

// TestHeadersOfMessages sends headers of revision 2026-07-28 that say something else
// than the body.
func TestHeadersOfMessages(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	h := newHostile(t)
	g := before(t, setting{}, h)
	const body = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`
	for name, header := range map[string]http.Header{
		"method":    {"Mcp-Method": {"tools/list"}, "Mcp-Name": {"echo"}},
		"name":      {"Mcp-Method": {"tools/call"}, "Mcp-Name": {"other"}},
		"no method": {"Mcp-Name": {"echo"}},
		"no name":   {"Mcp-Method": {"tools/call"}},
		"two names": {"Mcp-Method": {"tools/call"}, "Mcp-Name": {"echo", "other"}},
	} {
		c := newClient(g.url)
		c.version, c.header = "2026-07-28", header
		if got := c.must(t, body); got.status != http.StatusBadRequest || got.answer().Result != nil {
			t.Errorf("%s: %s", name, got)
		}
	}
	h.untouched()
}

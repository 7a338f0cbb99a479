package gateways

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// desk is a gateway's held calls with people who may answer.
type desk struct {
	tb    testing.TB
	dir   string
	state *os.Root
	trail *recorder
	keys  map[string]*signing.Key
	who   []Approver
	holds *HeldCalls
}

// recorder is a trail in memory.
type recorder struct {
	mu     sync.Mutex
	events []protocol.AuditEvent
	err    error
}

func (r *recorder) Append(_ context.Context, _ bool, events ...protocol.AuditEvent) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.events = append(r.events, events...)
	}
	return r.err
}

func (r *recorder) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// kinds lists the types of the events so far.
func (r *recorder) kinds() (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		out = append(out, e.EventType)
	}
	return out
}

func (r *recorder) says(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.events, func(e protocol.AuditEvent) bool { return strings.Contains(e.Message, text) })
}

func newDesk(tb testing.TB, change func(*HoldOptions)) *desk {
	tb.Helper()
	d := &desk{tb: tb, dir: tb.TempDir(), trail: &recorder{}, keys: map[string]*signing.Key{}}
	d.state = openRoot(tb, d.dir)
	for _, p := range []Approver{
		{Name: "ann", Email: "ann@example.com", Roles: []string{"maintainer", "owner"}}, {Name: "bob", Roles: []string{"owner"}},
		{Name: "robot", Roles: []string{"maintainer"}, Bot: true},
		{Name: "former", Roles: []string{"maintainer"}, Key: signing.TrustedKey{NotAfter: time.Now().Add(-time.Hour)}},
	} {
		p.Key.Key = d.newKey(p.Name).Public()
		d.who = append(d.who, p)
	}
	d.holds = d.start(runID, change)
	return d
}

func (d *desk) newKey(name string) *signing.Key {
	d.tb.Helper()
	private, _, err := signing.Generate(signing.Ed25519, nil, nil)
	if err != nil {
		d.tb.Fatal(err)
	}
	key, err := signing.LoadPrivate(private, nil)
	if err != nil {
		d.tb.Fatal(err)
	}
	d.keys[name] = key
	return key
}

func (d *desk) start(run string, change func(*HoldOptions)) *HeldCalls {
	d.tb.Helper()
	o := HoldOptions{
		State: d.state, RunID: run, Kind: "mcp", Trail: d.trail, Approvers: d.who, Expire: time.Minute, Poll: 2 * time.Millisecond, Now: time.Now,
	}
	if change != nil {
		change(&o)
	}
	h, err := NewHolds(d.tb.Context(), o)
	if err != nil {
		d.tb.Fatal(err)
	}
	d.tb.Cleanup(func() { _ = h.Close() }) // may be closed already
	return h
}

func call(n int) Held {
	return Held{
		Request: protocol.ApprovalRequest{
			StepID: fmt.Sprintf("request-%d", n), Reason: "deleting needs a maintainer", RequiredRole: "maintainer", EngineOutput: map[string]any{"tool": "delete"},
		},
		Payload: []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete","arguments":{"path":"/data/x"}}}`),
		Binding: Binding{Server: "files", Principal: "agent", Session: "s1", ToolPin: protocol.Digest([]byte("tool")), GovernanceHash: protocol.Digest([]byte("governance"))},
	}
}

// held is a call that waits.
type held struct {
	done   chan struct{}
	got    Answered
	err    error
	cancel context.CancelFunc
	*HeldCall
}

// hold holds a call and gives it when it waits.
func (d *desk) hold(h *HeldCalls, c Held) *held {
	d.tb.Helper()
	id := d.idOf(h, c)
	ctx, cancel := context.WithCancel(d.tb.Context())
	w := &held{done: make(chan struct{}), cancel: cancel}
	d.tb.Cleanup(cancel)
	go func() {
		defer close(w.done)
		w.got, w.err = h.Hold(ctx, c)
	}()
	d.await(func() bool {
		found, err := ReadHeld(d.state, id)
		w.HeldCall = found
		return err == nil && slices.Contains(d.trail.kinds(), protocol.EventApprovalRequest)
	})
	return w
}

func (d *desk) idOf(h *HeldCalls, c Held) string {
	d.tb.Helper()
	hash, err := PayloadHash(c.Binding, c.Payload)
	if err != nil {
		d.tb.Fatal(err)
	}
	id, err := heldID(protocol.ApprovalRequest{WorkflowID: h.o.RunID, PlanTokenHash: hash, StepID: c.Request.StepID, RequiredRole: c.Request.RequiredRole})
	if err != nil {
		d.tb.Fatal(err)
	}
	return id
}

func (d *desk) await(done func() bool) {
	d.tb.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			d.tb.Fatal("it did not come to pass")
		}
	}
}

func (w *held) answered(tb testing.TB) (Answered, error) {
	tb.Helper()
	select {
	case <-w.done:
	case <-time.After(20 * time.Second):
		tb.Fatal("the call still waits")
	}
	return w.got, w.err
}

func (w *held) waits(tb testing.TB) {
	tb.Helper()
	select {
	case <-w.done:
		tb.Fatalf("the call waits no more: %+v, %v", w.got, w.err)
	default:
	}
}

// sign gives somebody's answer to a call.
func (d *desk) sign(c *HeldCall, name string, approved bool) []byte {
	d.tb.Helper()
	bundle, err := SignAnswer(d.tb.Context(), d.keys[name], c, protocol.ApprovalResponse{
		Approved: approved, Approver: name, Reason: "looked at it", Timestamp: stamp(time.Now()),
	})
	if err != nil {
		d.tb.Fatal(err)
	}
	return bundle
}

func (d *desk) put(id string, bundle []byte) {
	d.tb.Helper()
	if err := PutAnswer(d.state, id, bundle); err != nil {
		d.tb.Fatal(err)
	}
}

func (d *desk) status(id string) HeldState {
	d.tb.Helper()
	s, err := readState(d.state, id)
	if err != nil {
		d.tb.Fatal(err)
	}
	return s
}

func (d *desk) has(id, suffix string) bool {
	_, err := d.state.Lstat(heldPath + "/" + id + suffix)
	return err == nil
}

func TestApprovedCallGoesOnOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	w := d.hold(d.holds, call(1))
	list, err := ListHeld(d.state, false)
	if err != nil || len(list) != 1 || list[0].Open(time.Now()) != nil {
		t.Fatalf("%v: %+v", err, list)
	}
	payload, err := HeldPayload(d.state, &list[0])
	if err != nil || string(payload) != string(call(1).Payload) {
		t.Fatalf("%v: %s", err, payload)
	}
	info, err := os.Stat(filepath.Join(d.dir, heldPath, w.Request.ApprovalID+payloadFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v: %v", err, info)
	}
	bundle := d.sign(w.HeldCall, "ann", true)
	d.put(w.Request.ApprovalID, bundle)
	got, err := w.answered(t)
	if err != nil || !got.Approved || got.Approver != "ann" || got.Reason != "looked at it" {
		t.Fatalf("%+v, %v", got, err)
	}
	id := w.Request.ApprovalID
	if s := d.status(id); s.Status != HeldApproved || s.Approver != "ann" || !d.has(id, releasedFile) || d.has(id, payloadFile) {
		t.Fatalf("%+v", s)
	}
	if want := []string{protocol.EventApprovalRequest, protocol.EventApprovalResponse}; !slices.Equal(d.trail.kinds(), want) {
		t.Fatalf("events %v", d.trail.kinds())
	}
	after, err := ReadHeld(d.state, id)
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, after.Open(time.Now()), "held_answered")

	// The same call again, and the same bytes as its answer.
	again := d.hold(d.holds, call(2))
	d.put(again.Request.ApprovalID, bundle)
	d.await(func() bool {
		return d.trail.says("approval_mismatch") && !d.has(again.Request.ApprovalID, responseFile)
	})
	again.waits(t)
	if s := d.status(again.Request.ApprovalID); s.Status != HeldWaiting || len(s.Refusals) != 1 || s.Refusals[0].Code != "approval_mismatch" {
		t.Fatalf("%+v", s)
	}
	// Nor can the first id be held again.
	_, err = d.holds.Hold(t.Context(), call(1))
	wantCode(t, err, "gateway_state")
	again.cancel()
	if _, err := again.answered(t); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if s := d.status(again.Request.ApprovalID); s.Status != HeldWithdrawn {
		t.Fatalf("%+v", s)
	}
}

func TestAnswersThatDoNotCount(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		answer func(d *desk, c *HeldCall) []byte
		code   string // recorded; "": not even worth a record
	}{
		"wrong role":         {func(d *desk, c *HeldCall) []byte { return d.sign(c, "bob", true) }, "approval_role"},
		"wrong role rejects": {func(d *desk, c *HeldCall) []byte { return d.sign(c, "bob", false) }, "approval_role"},
		"bot":                {func(d *desk, c *HeldCall) []byte { return d.sign(c, "robot", true) }, "approval_not_human"},
		"former":             {func(d *desk, c *HeldCall) []byte { return d.sign(c, "former", true) }, ""},
		"stranger": {func(d *desk, c *HeldCall) []byte {
			d.newKey("stranger")
			return d.sign(c, "stranger", true)
		}, ""},
		"stranger's key under a name": {func(d *desk, c *HeldCall) []byte {
			d.newKey("ann")
			return d.sign(c, "ann", true)
		}, ""},
		"another's name": {func(d *desk, c *HeldCall) []byte {
			d.keys["ann"] = d.keys["bob"]
			return d.sign(c, "ann", true)
		}, "approval_key"},
		"unknown name": {func(d *desk, c *HeldCall) []byte {
			d.keys["eve"] = d.keys["ann"]
			return d.sign(c, "eve", true)
		}, "approval_not_approver"},
		"other arguments shown": {func(d *desk, c *HeldCall) []byte {
			other := *c
			other.Document = []byte(strings.Replace(string(c.Document), "deleting", "listing", 1))
			return d.sign(&other, "ann", true)
		}, "approval_mismatch"},
		"other role asked": {func(d *desk, c *HeldCall) []byte {
			other := *c
			other.Request.RequiredRole = "owner"
			return d.sign(&other, "bob", true)
		}, "approval_mismatch"},
		"other payload": {func(d *desk, c *HeldCall) []byte {
			other := *c
			other.Request.PlanTokenHash = protocol.Digest([]byte("other"))
			return d.sign(&other, "ann", true)
		}, "approval_mismatch"},
		"long ago": {func(d *desk, c *HeldCall) []byte {
			bundle, err := SignAnswer(d.tb.Context(), d.keys["ann"], c, protocol.ApprovalResponse{Approved: true, Approver: "ann", Timestamp: stamp(time.Now().Add(-time.Hour))})
			if err != nil {
				d.tb.Fatal(err)
			}
			return bundle
		}, "approval_too_early"},
		"garbage":       {func(*desk, *HeldCall) []byte { return []byte(`{"approved":true}`) }, ""},
		"nothing":       {func(*desk, *HeldCall) []byte { return nil }, ""},
		"bundle cut":    {func(d *desk, c *HeldCall) []byte { b := d.sign(c, "ann", true); return b[:len(b)-1] }, ""},
		"bundle longer": {func(d *desk, c *HeldCall) []byte { return append(d.sign(c, "ann", true), '\n') }, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, nil)
			w := d.hold(d.holds, call(1))
			honest := d.sign(w.HeldCall, "ann", true)
			id := w.Request.ApprovalID
			d.put(id, c.answer(d, w.HeldCall))
			d.await(func() bool { return !d.has(id, responseFile) })
			w.waits(t)
			if recorded := slices.Contains(d.trail.kinds(), protocol.EventApprovalMismatch); recorded != (c.code != "") || recorded && !d.trail.says("["+c.code+"]") {
				t.Fatalf("recorded: %v", d.trail.events)
			}
			if d.has(id, releasedFile) {
				t.Fatal("it is marked as released")
			}
			d.put(id, honest) // who may answer still can
			if got, err := w.answered(t); err != nil || !got.Approved {
				t.Fatalf("%+v, %v", got, err)
			}
		})
	}
}

func TestOwnCallIsNotApproved(t *testing.T) {
	t.Parallel()
	for _, principal := range []string{"ann", "ANN", "ann@example.com"} {
		for _, allowed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%t", principal, allowed), func(t *testing.T) {
				t.Parallel()
				d := newDesk(t, func(o *HoldOptions) { o.SelfApproval = allowed })
				c := call(1)
				c.Binding.Principal = principal
				w := d.hold(d.holds, c)
				d.put(w.Request.ApprovalID, d.sign(w.HeldCall, "ann", true))
				if allowed {
					if got, err := w.answered(t); err != nil || !got.Approved {
						t.Fatalf("%+v, %v", got, err)
					}
					return
				}
				d.await(func() bool {
					return d.trail.says("[approval_self]") && !d.has(w.Request.ApprovalID, responseFile)
				})
				d.put(w.Request.ApprovalID, d.sign(w.HeldCall, "ann", false)) // to reject one's own is no harm
				if got, err := w.answered(t); err != nil || got.Approved {
					t.Fatalf("%+v, %v", got, err)
				}
			})
		}
	}
}

func TestCallIsNotHeldForever(t *testing.T) {
	t.Parallel()
	t.Run("rejected", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t, nil)
		w := d.hold(d.holds, call(1))
		d.put(w.Request.ApprovalID, d.sign(w.HeldCall, "ann", false))
		if got, err := w.answered(t); err != nil || got.Approved || got.Approver != "ann" {
			t.Fatalf("%+v, %v", got, err)
		}
		if s := d.status(w.Request.ApprovalID); s.Status != HeldRejected || d.has(w.Request.ApprovalID, releasedFile) || d.has(w.Request.ApprovalID, payloadFile) {
			t.Fatalf("%+v", s)
		}
	})
	t.Run("expired", func(t *testing.T) {
		t.Parallel()
		var mu sync.Mutex
		now := time.Now()
		d := newDesk(t, func(o *HoldOptions) {
			o.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
		})
		w := d.hold(d.holds, call(1))
		mu.Lock()
		now = now.Add(2 * time.Minute)
		mu.Unlock()
		_, err := w.answered(t)
		wantCode(t, err, "held_expired")
		// An answer now is too late.
		d.put(w.Request.ApprovalID, d.sign(w.HeldCall, "ann", true))
		after, err := ReadHeld(d.state, w.Request.ApprovalID)
		if err != nil || after.State.Status != HeldExpired {
			t.Fatalf("%+v, %v", after, err)
		}
		wantCode(t, after.Open(time.Now()), "held_expired")
	})
	t.Run("expired by the timer", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t, func(o *HoldOptions) { o.Poll = time.Hour })
		c := call(1)
		c.Expires = time.Now().Add(1100 * time.Millisecond)
		_, err := d.holds.Hold(t.Context(), c)
		wantCode(t, err, "held_expired")
	})
	t.Run("stopped", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t, nil)
		w := d.hold(d.holds, call(1))
		if err := d.holds.Close(); err != nil {
			t.Fatal(err)
		}
		_, err := w.answered(t)
		wantCode(t, err, "held_stopped")
		if s := d.status(w.Request.ApprovalID); s.Status != HeldDenied {
			t.Fatalf("%+v", s)
		}
		_, err = d.holds.Hold(t.Context(), call(2))
		wantCode(t, err, "held_stopped")
		if entries, err := os.ReadDir(filepath.Join(d.dir, heldPath)); err != nil || slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), runFile) }) {
			t.Fatalf("%v, %v", entries, err)
		}
	})
}

func TestRequestThatNobodyCanAnswerIsDenied(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	nobody, large, noRole, odd := call(1), call(2), call(3), call(4)
	nobody.Request.RequiredRole = "captain"
	large.Payload = make([]byte, 2<<20)
	noRole.Request.RequiredRole = ""
	odd.Request.EngineOutput = map[string]any{"half": 0.5}
	for code, c := range map[string]Held{"held_nobody": nobody, "held_too_large": large, "held_request": noRole} {
		_, err := d.holds.Hold(t.Context(), c)
		wantCode(t, err, code)
	}
	_, err := d.holds.Hold(t.Context(), odd)
	wantCode(t, err, "held_request")
	onlyBots := call(5)
	h := d.start("gw-other", func(o *HoldOptions) { o.Approvers = []Approver{d.who[2]} })
	_, err = h.Hold(t.Context(), onlyBots)
	wantCode(t, err, "held_nobody")
	if n := d.holds.Waiting(); n != 0 {
		t.Fatalf("%d calls wait", n)
	}
}

func TestUnrecordedCallIsDenied(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.trail.fail(errors.New("disk full"))
	if _, err := d.holds.Hold(t.Context(), call(1)); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Fatal(err)
	}
	d.trail.fail(nil)
	w := d.hold(d.holds, call(2))
	d.trail.fail(errors.New("disk full"))
	d.put(w.Request.ApprovalID, d.sign(w.HeldCall, "ann", true))
	if got, err := w.answered(t); err == nil || got.Approved {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestAnotherGatewaysCallsAreLeftAlone(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	w := d.hold(d.holds, call(1))
	other := d.start("gw-20261123t180001-0a0b0c0d", nil)
	w.waits(t)
	second := d.hold(other, call(1))
	if second.Request.ApprovalID == w.Request.ApprovalID {
		t.Fatal("two runs have one id for a call")
	}
	d.put(w.Request.ApprovalID, d.sign(w.HeldCall, "ann", true))
	if got, err := w.answered(t); err != nil || !got.Approved {
		t.Fatalf("%+v, %v", got, err)
	}
	second.waits(t)
	if list, err := ListHeld(d.state, false); err != nil || len(list) != 1 || list[0].Request.ApprovalID != second.Request.ApprovalID {
		t.Fatalf("%+v, %v", list, err)
	}
	if list, err := ListHeld(d.state, true); err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
}

func TestTooManyHeldCallsAreDenied(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(o *HoldOptions) { o.Poll = time.Hour })
	for range 32 {
		if err := d.holds.enter("agent"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := d.holds.Hold(t.Context(), call(1))
	wantCode(t, err, "held_full")
	for i := range 256 - 32 {
		if err := d.holds.enter(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	other := call(1)
	other.Binding.Principal = "other"
	_, err = d.holds.Hold(t.Context(), other)
	wantCode(t, err, "held_full")
	for range 32 {
		d.holds.leave("agent")
	}
	for i := range 256 - 32 {
		d.holds.leave(fmt.Sprint(i))
	}
}

func TestSeveralRolesMustAllApprove(t *testing.T) {
	t.Parallel()
	requests := func(n int) []Held {
		first, second := call(n), call(n)
		second.Request.RequiredRole = "owner"
		return []Held{first, second}
	}
	for name, c := range map[string]struct{ first, second bool }{"both": {true, true}, "one rejects": {true, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, nil)
			both := requests(1)
			done := make(chan struct{})
			var got Answered
			var err error
			go func() {
				defer close(done)
				got, err = HoldAll(t.Context(), d.holds, both)
			}()
			d.await(func() bool { return d.holds.Waiting() == 2 && len(d.trail.kinds()) == 2 })
			for i, name := range []string{"ann", "bob"} {
				c2, readErr := ReadHeld(d.state, d.idOf(d.holds, both[i]))
				if readErr != nil {
					t.Fatal(readErr)
				}
				d.put(c2.Request.ApprovalID, d.sign(c2, name, []bool{c.first, c.second}[i]))
				if i == 0 {
					d.await(func() bool { return d.status(c2.Request.ApprovalID).Status == HeldApproved })
					select {
					case <-done:
						t.Fatal("one of two is not enough")
					default:
					}
				}
			}
			<-done
			if err != nil || got.Approved != c.second {
				t.Fatalf("%+v, %v", got, err)
			}
			if c.second && got.Approver != "ann, bob" {
				t.Fatalf("%+v", got)
			}
		})
	}
	t.Run("withdrawn", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t, nil)
		both := requests(1)
		both[1].Request.RequiredRole = "captain" // nobody has it
		_, err := HoldAll(t.Context(), d.holds, both)
		wantCode(t, err, "held_nobody")
		if d.holds.Waiting() != 0 {
			t.Fatal("the other one still waits")
		}
	})
}

func TestStateOfTheGatewayIsOutOfReach(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, sub := range []string{"work/state", "other", "work-beside"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("work", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	at := func(s string) string { return filepath.Join(dir, s) }
	cases := []struct {
		state, root string
		want        bool
	}{
		{"work/state", "work", true}, {"work/state", "work/state", true}, {"work/state", "work/state/gateways", true}, {"work/state", "other", false},
		{"work/state", "link", true}, {"link/state", "work", true}, {"link/new/state", "work", true}, {"work-beside", "work", false},
		{"work/state/..", "work", true}, {"other/new", "other/new/deeper", true}, {"other/new", "other/newer", false},
	}
	for _, c := range cases {
		if root, got := Reachable(at(c.state), []string{at("nowhere"), at(c.root)}); got != c.want || got && root != at(c.root) {
			t.Errorf("state %s, root %s: %t (%s)", c.state, c.root, got, root)
		}
	}
}

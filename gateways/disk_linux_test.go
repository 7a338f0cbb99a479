package gateways

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

const (
	privateEnv = "CABINCREW_TEST_PRIVATE"
	holderEnv  = "CABINCREW_TEST_HOLDER" // the state directory of a gateway to be killed
)

// privately runs a test again where its mounts are its own; there it says true.
func privately(t *testing.T) bool {
	t.Helper()
	if os.Getenv(privateEnv) == t.Name() {
		return true
	}
	args := []string{"--mount", "--propagation", "private"}
	if os.Getuid() != 0 {
		args = append(args, "--map-root-user")
	}
	if out, err := exec.CommandContext(t.Context(), "unshare", append(slices.Clone(args), "--", "mount", "-t", "tmpfs", "tmpfs", t.TempDir())...).CombinedOutput(); err != nil {
		t.Skipf("nothing can be mounted privately here: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", append(args, "--", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")...) //nolint:gosec // this test itself
	cmd.Env = append(os.Environ(), privateEnv+"="+t.Name())
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in its own namespace: %v\n%s", err, out)
	}
	return false
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func TestFullDiskDenies(t *testing.T) {
	if !privately(t) {
		return
	}
	dir := t.TempDir()
	run(t, "mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", dir)
	defer run(t, "umount", "--lazy", dir)
	state := openRoot(t, dir)
	root, err := MakeRun(state, "mcp", runID)
	if err != nil {
		t.Fatal(err)
	}
	trail, err := NewTrail(TrailOptions{Root: root, RunID: runID, Kind: "mcp", Now: noon, Sync: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	written := 0
	for err == nil {
		if err = trail.Append(t.Context(), written%7 == 0, mcpEvent(protocol.EventMCPRequest, written)); err == nil {
			written++
		}
	}
	wantCode(t, err, "audit_unwritable")
	wantCode(t, trail.Broken(), "audit_unwritable")
	if written < 50 {
		t.Fatalf("only %d events fit", written)
	}
	d := &desk{tb: t, dir: dir, state: state, trail: &recorder{}, keys: map[string]*signing.Key{}}
	d.who = []Approver{{Name: "ann", Roles: []string{"maintainer"}, Key: signing.TrustedKey{Key: d.newKey("ann").Public()}}}
	h := d.start(runID, nil)
	big := call(1)
	big.Payload = make([]byte, 300<<10)
	_, err = h.Hold(t.Context(), big)
	wantCode(t, err, "gateway_state")
	if list, err := ListHeld(state, true); err != nil || len(list) != 0 {
		t.Fatalf("%+v, %v", list, err)
	}
	// Room again does not mend it: what is on the disk is not known to be whole.
	run(t, "mount", "-o", "remount,size=4m", dir)
	wantCode(t, trail.Append(t.Context(), false, mcpEvent(protocol.EventMCPRequest, 0)), "audit_unwritable")
	_ = trail.Close(t.Context()) // it is broken
	report, err := VerifyRun(root, runID, nil)
	if err != nil && (report.Problem == nil || !report.Problem.Torn) {
		t.Fatal(err)
	}
	if report.Events != 1+written { // and the first of the run
		t.Fatalf("%d events were written, %d are there", written, report.Events)
	}
	w := d.hold(h, call(2)) // and a call can be held again
	run(t, "mount", "-o", "remount,ro", dir)
	w.cancel()
	if _, err := w.answered(t); err == nil {
		t.Fatal("it was approved")
	}
	_, err = h.Hold(t.Context(), call(3))
	wantCode(t, err, "gateway_state")
	run(t, "mount", "-o", "remount,rw", dir)
	if err := errors.Join(h.Close(), root.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestReadOnlyDirectoryReleasesNothing(t *testing.T) {
	if !privately(t) {
		return
	}
	dir := t.TempDir()
	run(t, "mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", dir)
	defer run(t, "umount", "--lazy", dir)
	d := &desk{tb: t, dir: dir, state: openRoot(t, dir), trail: &recorder{}, keys: map[string]*signing.Key{}}
	d.who = []Approver{{Name: "ann", Roles: []string{"maintainer"}, Key: signing.TrustedKey{Key: d.newKey("ann").Public()}}}
	h := d.start(runID, func(o *HoldOptions) { o.Poll = 200 * time.Millisecond })
	w := d.hold(h, call(1))
	d.put(w.Request.ApprovalID, d.sign(w.HeldCall, "ann", true))
	run(t, "mount", "-o", "remount,ro", dir)
	got, err := w.answered(t)
	wantCode(t, err, "gateway_state") // that it was used could not be written
	if got.Approved || slices.Contains(d.trail.kinds(), protocol.EventApprovalResponse) {
		t.Fatalf("%+v", got)
	}
	run(t, "mount", "-o", "remount,rw", dir)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestKilledHolder is no test of its own: it is the gateway that TestKilledGatewaysCallsAreDenied kills.
func TestKilledHolder(t *testing.T) {
	dir := os.Getenv(holderEnv)
	if dir == "" {
		t.Skip("it is for TestKilledGatewaysCallsAreDenied")
	}
	state := openRoot(t, dir)
	root, err := MakeRun(state, "mcp", runID)
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(filepath.Join(dir, "ann.pub"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := signing.ParsePublic(public)
	if err != nil {
		t.Fatal(err)
	}
	trail, err := NewTrail(TrailOptions{Root: root, RunID: runID, Kind: "mcp", Now: time.Now, Sync: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewHolds(t.Context(), HoldOptions{
		State: state, RunID: runID, Kind: "mcp", Trail: trail, Now: time.Now,
		Approvers: []Approver{{Name: "ann", Roles: []string{"maintainer"}, Key: signing.TrustedKey{Key: key}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		go func() { _, _ = h.Hold(t.Context(), call(i)) }() // it is killed before
	}
	for trail.Events() < 6 {
		time.Sleep(time.Millisecond)
	}
	if err := trail.Append(t.Context(), false, mcpEvent(protocol.EventMCPRequest, 99)); err != nil { // on no disk yet
		t.Fatal(err)
	}
	_, _ = os.Stdout.WriteString("holding\n")             // the test that kills it sees if not
	_, _ = io.Copy(io.Discard, bufio.NewReader(os.Stdin)) // until it is killed
}

func TestKilledGatewaysCallsAreDenied(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	if err := d.holds.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.dir, "ann.pub"), d.keys["ann"].Public().PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledHolder$") //nolint:gosec // this test itself
	cmd.Env = append(os.Environ(), holderEnv+"="+d.dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "holding\n" {
		t.Fatalf("%q, %v", line, err)
	}
	list, err := ListHeld(d.state, false)
	if err != nil || len(list) != 5 {
		t.Fatalf("%d calls wait, %v", len(list), err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()    // it was killed
	_ = stdin.Close() // as above

	for i := range list { // nothing waits any more, and nothing can be answered
		c, err := ReadHeld(d.state, list[i].Request.ApprovalID)
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, c.Open(time.Now()), "held_restarted")
	}
	d.put(list[0].Request.ApprovalID, d.sign(&list[0], "ann", true)) // of the old run: never counts
	report := verifyRun(t, filepath.Join(d.dir, "gateways", "mcp", runID))
	if report.Events != 7 { // with the first of the run
		t.Fatalf("%d events of 7 outlived the process", report.Events)
	}

	next := d.start("gw-20261123t190000-01020304", nil)
	for _, c := range list {
		if s := d.status(c.Request.ApprovalID); s.Status != HeldDenied || s.Reason != "the gateway was restarted" || d.has(c.Request.ApprovalID, payloadFile) || d.has(c.Request.ApprovalID, releasedFile) {
			t.Fatalf("%+v", s)
		}
		if !d.trail.says(c.Request.ApprovalID) {
			t.Fatalf("the trail does not tell of %s", c.Request.ApprovalID)
		}
	}
	if d.has(runID, runFile) {
		t.Fatal("the file of the run that ended is still there")
	}
	// The same call of the same client is another one now.
	w := d.hold(next, call(0))
	d.await(func() bool { return !d.has(w.Request.ApprovalID, responseFile) })
	w.waits(t)
	if w.Request.ApprovalID == list[0].Request.ApprovalID {
		t.Fatal("it has the id of the old one")
	}
	old := list[0]
	d.put(w.Request.ApprovalID, d.sign(&old, "ann", true))
	d.await(func() bool { return d.trail.says("[approval_mismatch]") })
	w.waits(t)
}

func TestOldAnswersAreRemoved(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	w := d.hold(d.holds, call(1))
	d.put(w.Request.ApprovalID, d.sign(w.HeldCall, "ann", true))
	if _, err := w.answered(t); err != nil {
		t.Fatal(err)
	}
	waiting := d.hold(d.holds, call(2))
	d.start("gw-20261130t180000-01020304", func(o *HoldOptions) {
		o.Now = func() time.Time { return time.Now().Add(8 * 24 * time.Hour) }
	})
	if d.has(w.Request.ApprovalID, requestFile) || d.has(w.Request.ApprovalID, releasedFile) {
		t.Fatal("what was answered a week ago is still there")
	}
	if !d.has(waiting.Request.ApprovalID, requestFile) {
		t.Fatal("a call that waits was removed")
	}
	waiting.waits(t)
}

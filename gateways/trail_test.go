package gateways

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/audit"
	"github.com/cabincrew/action/audit/merkle"
	"github.com/cabincrew/action/protocol"
)

const runID = "gw-20261123t180000-01020304"

func noon() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func openRoot(tb testing.TB, dir string) *os.Root {
	tb.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = root.Close() }) // only read after this
	return root
}

func newTrail(tb testing.TB, dir string, change func(*TrailOptions)) *AuditTrail {
	tb.Helper()
	o := TrailOptions{Root: openRoot(tb, dir), RunID: runID, Kind: "mcp", Now: noon, Sync: 10 * time.Millisecond}
	if change != nil {
		change(&o)
	}
	trail, err := NewTrail(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = trail.Close(context.Background()) }) // may be broken on purpose
	return trail
}

func mcpEvent(kind string, n int) protocol.AuditEvent {
	return protocol.AuditEvent{
		EventType: kind, Gateway: &protocol.AuditGateway{GatewayType: "mcp", RequestID: fmt.Sprintf("r-%d", n), Tool: "echo", PolicyDecision: protocol.Allow},
		Policy: &protocol.AuditPolicy{Decision: protocol.Allow, PolicyEvaluations: []protocol.PolicyEvaluation{{
			Source: protocol.SourceOPA, PolicyID: "tools/echo", Decision: protocol.Allow, Reason: "the tool is on the list",
			Evidence: map[string]any{"payload": protocol.Digest([]byte("x")), "bytes": 123, "server": "everything"}, EvaluatedAt: "2026-11-23T12:00:00Z",
		}}},
	}
}

func wantCode(tb testing.TB, err error, code string) {
	tb.Helper()
	if !errors.Is(err, protocol.Code(code)) {
		tb.Fatalf("error %v, want code %s", err, code)
	}
}

func verifyRun(tb testing.TB, dir string) audit.Report {
	tb.Helper()
	report, err := VerifyRun(openRoot(tb, dir), runID, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return report
}

func TestTrailOfManyCallersIsOneChain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	trail := newTrail(t, dir, func(o *TrailOptions) { o.FileEvents = 100 })
	const callers, each = 64, 20
	var all sync.WaitGroup
	for c := range callers {
		all.Go(func() {
			for i := range each {
				n := c*each + i
				if err := trail.Append(t.Context(), i%5 == 0, mcpEvent(protocol.EventMCPRequest, n), mcpEvent(protocol.EventMCPDecision, n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := trail.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	report := verifyRun(t, dir)
	files, _ := filepath.Glob(filepath.Join(dir, "audit*.jsonl")) // the pattern is good
	if extra := 2 + 2*(len(files)-1); report.Events != 2*callers*each+extra || len(files) < 5 {
		t.Fatalf("%d events in %d files", report.Events, len(files))
	}
	// All files one after the other are a log like any other, and both events of a call
	// stand together.
	in, err := OpenTrail(openRoot(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }() // only read
	before := ""
	for e, err := range audit.Events(in) {
		if err != nil {
			t.Fatal(err)
		}
		if e.EventType == protocol.EventMCPDecision && before != e.Gateway.RequestID {
			t.Fatalf("the decision on %s follows %s", e.Gateway.RequestID, before)
		}
		before = e.Gateway.RequestID
	}
	again, err := OpenTrail(openRoot(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }() // only read
	whole, err := audit.Verify(again, runID, audit.VerifyOptions{})
	if err != nil || whole.Head != report.Head || whole.Events != report.Events {
		t.Fatalf("as one log: %+v, %v; as files: %+v", whole, err, report)
	}
	wantCode(t, trail.Append(t.Context(), false, mcpEvent(protocol.EventMCPRequest, 0)), "audit_unusable")
}

func TestTrailTakenApartIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	trail := newTrail(t, dir, func(o *TrailOptions) { o.FileEvents = 3 })
	for i := range 12 {
		if err := trail.Append(t.Context(), false, mcpEvent(protocol.EventMCPRequest, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := trail.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "audit*.jsonl")) // the pattern is good
	verifyRun(t, dir)
	last := files[len(files)-2] // audit.jsonl sorts last
	cases := map[string]struct {
		change func(dir string) error
		code   string
	}{
		"last file gone":   {func(d string) error { return os.Remove(filepath.Join(d, filepath.Base(last))) }, "audit_cut"},
		"middle file gone": {func(d string) error { return os.Remove(filepath.Join(d, "audit-0002.jsonl")) }, "audit_missing"},
		"first file gone":  {func(d string) error { return os.Remove(filepath.Join(d, "audit.jsonl")) }, "audit_missing"},
		"all files gone": {func(d string) error {
			list, _ := filepath.Glob(filepath.Join(d, "audit*.jsonl")) // the pattern is good
			var err error
			for _, f := range list {
				err = errors.Join(err, os.Remove(f))
			}
			return err
		}, "audit_missing"},
		"emptied": {func(d string) error {
			list, _ := filepath.Glob(filepath.Join(d, "audit-*.jsonl")) // the pattern is good
			err := os.Truncate(filepath.Join(d, "audit.jsonl"), 0)
			for _, f := range list {
				err = errors.Join(err, os.Remove(f))
			}
			return err
		}, "audit_cut"},
		"record gone":       {func(d string) error { return os.Remove(filepath.Join(d, recordName)) }, "audit_missing"},
		"record of another": {func(d string) error { return rewritten(d, runID, "gw-20261123t180000-99999999") }, "audit_unreadable"},
		"record of another first event": {func(d string) error {
			return otherDigest(filepath.Join(d, recordName))
		}, "audit_changed"},
		"two files swapped": {func(d string) error {
			a, b := filepath.Join(d, "audit-0002.jsonl"), filepath.Join(d, "audit-0003.jsonl")
			return errors.Join(os.Rename(a, a+"x"), os.Rename(b, a), os.Rename(a+"x", b))
		}, "audit_missing"},
		"end of a file cut": {func(d string) error { return cutLine(filepath.Join(d, "audit-0002.jsonl")) }, "audit_missing"},
		"an event changed": {func(d string) error {
			name := filepath.Join(d, "audit-0002.jsonl")
			data, err := os.ReadFile(name)
			return errors.Join(err, os.WriteFile(name, []byte(strings.Replace(string(data), "echo", "rm", 1)), 0o600))
		}, "audit_changed"},
		"a link in place": {func(d string) error {
			name := filepath.Join(d, "audit-0002.jsonl")
			return errors.Join(os.Rename(name, filepath.Join(d, "other")), os.Symlink("other", name))
		}, "audit_unreadable"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			copied := t.TempDir()
			if err := errors.Join(os.CopyFS(copied, os.DirFS(dir)), c.change(copied)); err != nil {
				t.Fatal(err)
			}
			_, err := VerifyRun(openRoot(t, copied), runID, nil)
			wantCode(t, err, c.code)
		})
	}
}

func rewritten(dir, what, by string) error {
	name := filepath.Join(dir, recordName)
	data, err := os.ReadFile(name)
	return errors.Join(err, os.WriteFile(name, []byte(strings.Replace(string(data), what, by, 1)), 0o600))
}

// otherDigest changes the digest that a file holds.
func otherDigest(name string) error {
	data, err := os.ReadFile(name)
	return errors.Join(err, os.WriteFile(name, regexp.MustCompile(`sha256:[0-9a-f]{64}`).ReplaceAll(data, []byte("sha256:"+strings.Repeat("0", 64))), 0o600))
}

// TestEmptiedTrailIsRefused: neither a run without calls nor one with many looks like one
// that never had events.
func TestEmptiedTrailIsRefused(t *testing.T) {
	t.Parallel()
	for _, calls := range []int{0, 3} {
		dir := t.TempDir()
		trail := newTrail(t, dir, nil)
		for i := range calls {
			if err := trail.Append(t.Context(), false, mcpEvent(protocol.EventMCPRequest, i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := trail.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if report := verifyRun(t, dir); report.Events != 2+calls {
			t.Fatalf("%+v", report)
		}
		if ended, err := RunEnded(openRoot(t, dir)); err != nil || !ended {
			t.Fatalf("ended: %t, %v", ended, err)
		}
		name := filepath.Join(dir, "audit.jsonl")
		if err := cutLine(name); err != nil {
			t.Fatal(err)
		}
		if ended, err := RunEnded(openRoot(t, dir)); err != nil || ended {
			t.Fatalf("ended without its last event: %t, %v", ended, err)
		}
		if err := os.Truncate(name, 0); err != nil {
			t.Fatal(err)
		}
		_, err := VerifyRun(openRoot(t, dir), runID, nil)
		wantCode(t, err, "audit_cut")
		if !strings.Contains(err.Error(), "emptied") {
			t.Fatal(err)
		}
	}
}

// TestTornLineOfAKilledRun: it says what happened and how much is whole, and sends nobody
// to a command for flights.
func TestTornLineOfAKilledRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	trail := newTrail(t, dir, nil)
	for i := range 3 {
		if err := trail.Append(t.Context(), true, mcpEvent(protocol.EventMCPRequest, i)); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(dir, "audit.jsonl")
	data, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, data[:len(data)-20], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	report, err := VerifyRun(openRoot(t, dir), runID, nil)
	wantCode(t, err, "audit_cut")
	var known *protocol.Error
	if !errors.As(err, &known) || report.Events != 3 || protocol.ExitCode(err) != protocol.ExitIntegrity {
		t.Fatalf("%+v, %v", report, err)
	}
	for _, word := range []string{runID, "killed", "torn", "all 3 events before it are whole"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is missing in %v", word, err)
		}
	}
	if strings.Contains(known.Hint, "resume") {
		t.Error(known.Hint)
	}
}

// TestCheckpointThatFailsAtTheStart: who wants the trail signed gets no run without.
func TestCheckpointThatFailsAtTheStart(t *testing.T) {
	t.Parallel()
	_, err := NewTrail(TrailOptions{
		Root: openRoot(t, t.TempDir()), RunID: runID, Kind: "mcp", Now: noon, Sync: time.Millisecond, Origin: "cabincrew.dev/local/" + runID,
		Checkpoint: func(context.Context, merkle.Checkpoint) error { return errors.New("the sink is away") },
	})
	wantCode(t, err, "gateway_checkpoint")
}

func cutLine(name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	at := strings.LastIndexByte(strings.TrimSuffix(string(data), "\n"), '\n')
	return os.WriteFile(name, data[:at+1], 0o600)
}

func TestBrokenTrailDeniesForGood(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	trail := newTrail(t, dir, nil)
	if err := trail.Append(t.Context(), true, mcpEvent(protocol.EventMCPRequest, 1)); err != nil {
		t.Fatal(err)
	}
	// Somebody else's bytes at the end: nothing may be appended behind them.
	f, err := os.OpenFile(filepath.Join(dir, "audit.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("x")
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, trail.Append(t.Context(), false, mcpEvent(protocol.EventMCPRequest, 2)), "audit_unwritable")
	wantCode(t, trail.Broken(), "audit_unwritable")
	if err := os.Truncate(filepath.Join(dir, "audit.jsonl"), 0); err != nil {
		t.Fatal(err)
	}
	wantCode(t, trail.Append(t.Context(), false, mcpEvent(protocol.EventMCPRequest, 3)), "audit_unwritable")
}

func TestRotationThatFailsDenies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	trail := newTrail(t, dir, func(o *TrailOptions) { o.FileEvents = 2 })
	if err := os.WriteFile(filepath.Join(dir, "audit-0002.jsonl"), nil, 0o600); err != nil { // somebody was there before
		t.Fatal(err)
	}
	if err := trail.Append(t.Context(), false, mcpEvent(protocol.EventMCPRequest, 1), mcpEvent(protocol.EventMCPDecision, 1)); err != nil {
		t.Fatal(err)
	}
	wantCode(t, trail.Append(t.Context(), false, mcpEvent(protocol.EventMCPRequest, 2)), "gateway_state")
	verifyRun(t, dir) // what was written is whole
}

func TestOneBadEventHarmsNobodyElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	trail := newTrail(t, dir, nil)
	trail.turn <- struct{}{} // so that all wait
	good, bad := trail.enqueue([]protocol.AuditEvent{mcpEvent(protocol.EventMCPRequest, 1)}), trail.enqueue([]protocol.AuditEvent{{EventType: ""}})
	trail.writeAll()
	<-trail.turn
	<-good.done
	if good.err != nil || trail.Broken() != nil {
		t.Fatalf("the good one: %v; the trail: %v", good.err, trail.Broken())
	}
	wantCode(t, bad.err, "audit_event_invalid")
	if err := trail.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if report := verifyRun(t, dir); report.Events != 3 { // with the first and the last of the run
		t.Fatalf("%d events", report.Events)
	}
}

func TestTrailWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	trail := newTrail(t, dir, nil)
	trail.turn <- struct{}{} // a write that does not end
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- trail.Append(ctx, false, mcpEvent(protocol.EventMCPRequest, 1)) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	<-trail.turn
	if err := trail.Append(t.Context(), false, mcpEvent(protocol.EventMCPRequest, 2)); err != nil {
		t.Fatal(err)
	}
	if trail.Events() != 2 { // with the first of the run
		t.Fatalf("%d events: the one that nobody waited for was written", trail.Events())
	}
	if err := trail.Append(ctx, false, mcpEvent(protocol.EventMCPRequest, 3)); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestCheckpointsAreOfWhatIsOnTheDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ticks := make(chan time.Time)
	got := make(chan merkle.Checkpoint, 8)
	fail := make(chan error, 8)
	fail <- nil
	trail := newTrail(t, dir, func(o *TrailOptions) {
		o.Sync, o.Ticks, o.Origin, o.FileEvents = time.Hour, ticks, "cabincrew.dev/local/"+runID, 4
		o.Checkpoint = func(_ context.Context, c merkle.Checkpoint) error {
			got <- c
			return <-fail
		}
	})
	if c := <-got; c.Size != 1 {
		t.Fatalf("the first checkpoint is of %d events", c.Size)
	}
	for i := range 10 {
		if err := trail.Append(t.Context(), false, mcpEvent(protocol.EventMCPRequest, i)); err != nil {
			t.Fatal(err)
		}
	}
	fail <- errors.New("the sink is away")
	ticks <- noon()
	c := <-got
	in, err := OpenTrail(openRoot(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }() // only read
	tree, err := merkle.Read(in, &c.Size)
	if err != nil {
		t.Fatal(err)
	}
	if root, err := tree.Root(); err != nil || root != c.Root || c.Size < 10 || c.Origin != "cabincrew.dev/local/"+runID {
		t.Fatalf("checkpoint %+v, root %x, %v", c, root, err)
	}
	fail <- nil
	ticks <- noon() // comes when the first one was told of
	<-got
	fail <- nil
	if err := trail.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	verifyRun(t, dir)
	text := readAll(t, dir)
	if !strings.Contains(text, "could not be handed out: the sink is away") || !strings.Contains(text, "are handed out again") {
		t.Fatal("the trail does not say that its checkpoints failed for a while")
	}
}

func readAll(t *testing.T, dir string) string {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "audit*.jsonl")) // the pattern is good
	var b strings.Builder
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(data)
	}
	return b.String()
}

func BenchmarkTrail(b *testing.B) {
	for _, durable := range []bool{false, true} {
		b.Run(fmt.Sprintf("serial/durable=%t", durable), func(b *testing.B) {
			trail := newTrail(b, b.TempDir(), func(o *TrailOptions) { o.Sync = 100 * time.Millisecond })
			b.ReportAllocs()
			for b.Loop() {
				if err := trail.Append(b.Context(), durable, mcpEvent(protocol.EventMCPRequest, 1)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("parallel64/durable=%t", durable), func(b *testing.B) {
			trail := newTrail(b, b.TempDir(), func(o *TrailOptions) { o.Sync = 100 * time.Millisecond })
			b.SetParallelism(32) // times two processors
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := trail.Append(b.Context(), durable, mcpEvent(protocol.EventMCPRequest, 1)); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

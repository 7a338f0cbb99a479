package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cabincrew/action/protocol"
)

func write(tb testing.TB, dir string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(filepath.Join(dir, "audit.jsonl"), data, 0o600); err != nil {
		tb.Fatal(err)
	}
}

func TestReopenContinuesTheChain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 4 {
		l, rec := openLog(t, dir, Options{})
		if rec.Torn || rec.Newline || len(rec.Refs) != i {
			t.Fatalf("%+v", rec)
		}
		if n, _ := l.Head(); n != i {
			t.Fatalf("%d events before number %d", n, i)
		}
		if err := l.Append(sampleEvent(i)); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := verify(readLog(t, dir)); err != nil || r.Events != 4 {
		t.Errorf("%+v %v", r, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "audit.jsonl")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

func TestOpenMendsATornTail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := sampleLog(t, 3)
	whole := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
	for end := whole; end <= len(data); end++ {
		write(t, dir, data[:end])
		l, rec, err := tryOpen(t, dir, Options{})
		if err != nil {
			t.Fatalf("cut to %d: %v", end, err)
		}
		n, torn, newline := 2, end > whole && end < len(data)-1, end == len(data)-1
		if end >= len(data)-1 {
			n = 3
		}
		if got, _ := l.Head(); got != n || rec.Torn != torn || rec.Newline != newline || len(rec.Refs) != n || torn && rec.TornBytes != int64(end-whole) {
			t.Fatalf("cut to %d: %d events, %+v", end, got, rec)
		}
		if err := errors.Join(l.Append(sampleEvent(9)), l.Close()); err != nil {
			t.Fatal(err)
		}
		if r, err := verify(readLog(t, dir)); err != nil || r.Events != n+1 {
			t.Fatalf("cut to %d and continued: %v", end, err)
		}
	}
}

func TestOpenRefusesAChangedTail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := sampleLog(t, 2)
	for c := range 256 { // the newline after the last event, flipped, does not drop the event
		if c == '\n' {
			continue
		}
		data[len(data)-1] = byte(c)
		write(t, dir, data)
		_, _, err := tryOpen(t, dir, Options{})
		wantCode(t, err, "audit_changed")
		if protocol.ExitCode(err) != protocol.ExitIntegrity || !bytes.Equal(readLog(t, dir), data) {
			t.Fatalf("%v, or the file was changed", err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "audit.jsonl")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere", filepath.Join(dir, "audit.jsonl")); err != nil {
		t.Fatal(err)
	}
	_, _, err := tryOpen(t, dir, Options{})
	wantCode(t, err, "audit_unreadable")
}

func TestAppendRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, _ := openLog(t, dir, Options{})
	for name, change := range map[string]func(*protocol.AuditEvent){
		"local time":  func(e *protocol.AuditEvent) { e.Timestamp = "2026-11-22T18:00:00+01:00" },
		"no time":     func(e *protocol.AuditEvent) { e.Timestamp = "" },
		"no type":     func(e *protocol.AuditEvent) { e.EventType = "" },
		"severity":    func(e *protocol.AuditEvent) { e.Severity = "loud" },
		"decision":    func(e *protocol.AuditEvent) { e.Policy = &protocol.AuditPolicy{Decision: "maybe"} },
		"signed":      func(e *protocol.AuditEvent) { e.Signature = "x" },
		"not UTF-8":   func(e *protocol.AuditEvent) { e.WorkflowState = "\xff" },
		"too long":    func(e *protocol.AuditEvent) { e.Message = strings.Repeat("x", 17<<20) },
		"no fraction": func(e *protocol.AuditEvent) { e.Policy = evidence(map[string]any{"x": 0.5}) },
	} {
		e := sampleEvent(0)
		change(&e)
		if err := l.Append(sampleEvent(1), e); !errors.Is(err, protocol.Code("audit_event_invalid")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if data := readLog(t, dir); len(data) != 0 {
		t.Errorf("a refused call wrote %q", data)
	}
	if err := l.Append(sampleEvent(0)); err != nil {
		t.Error(err)
	}
}

func evidence(m map[string]any) *protocol.AuditPolicy {
	return &protocol.AuditPolicy{Decision: protocol.Warn, WorkflowState: "INIT", PolicyEvaluations: []protocol.PolicyEvaluation{{
		Source: "opa", PolicyID: "p", Decision: protocol.Warn, Severity: 1, Evidence: m, EvaluatedAt: "2026-11-22T18:00:00Z",
	}}}
}

func TestNoSecretIsWritten(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	dir := t.TempDir()
	l, _ := openLog(t, dir, Options{Redact: func(s string) string { return strings.ReplaceAll(s, secret, "***") }})
	leak := "before " + secret + " after"
	type own struct {
		Field string `json:"field"`
	}
	e := sampleEvent(0)
	e.Message = leak + WALRef(0, protocol.Digest([]byte("hunter2")))
	e.Engine = &protocol.AuditEngine{EngineID: leak, ReceiptID: leak, Error: leak + "\xff"}
	e.Approval = &protocol.AuditApproval{Approver: leak, Reason: leak}
	e.IntegrityCheck = &protocol.AuditIntegrity{Differences: []string{leak}}
	e.Gateway = &protocol.AuditGateway{Tool: leak, Model: leak}
	e.Policy = evidence(map[string]any{"list": []any{leak, map[string]any{secret: leak}}, "own": own{leak}, "texts": []string{leak}, secret: 1, "***": 2})
	e.Policy.Violations, e.Policy.Warnings = []string{leak}, []string{leak}
	e.Policy.PolicyEvaluations[0].Reason = leak
	if err := l.Append(e); err != nil {
		t.Fatal(err)
	}
	data := readLog(t, dir)
	if bytes.Contains(data, []byte(secret)) {
		t.Errorf("written: %s", data)
	}
	if e.Engine.Error != leak+"\xff" || e.Policy.Violations[0] != leak {
		t.Error("the caller's event was changed")
	}
	if r, err := verify(data); err != nil || len(r.Refs) != 1 {
		t.Errorf("the reference was lost: %+v %v", r, err)
	}
	for _, want := range []string{`"***":2`, `"***#2":1`, "before *** after"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %s in %s", want, data)
		}
	}
}

// failing is a file whose writes or syncs fail from some point on.
type failing struct {
	*os.File
	short, noSync bool
}

func (f failing) Write(b []byte) (int, error) {
	if f.short {
		return f.File.Write(b[:len(b)/2]) // short and without an error, as a broken driver might
	}
	return f.File.Write(b)
}

func (f failing) Sync() error {
	if f.noSync {
		return errors.New("input/output error")
	}
	return f.File.Sync()
}

func TestFailedWriteMakesTheLogUnusable(t *testing.T) {
	t.Parallel()
	for _, short := range []bool{true, false} {
		dir := t.TempDir()
		l, _ := openLog(t, dir, Options{})
		disk, ok := l.file.(*os.File)
		if !ok {
			t.Fatal("not a file")
		}
		l.file = failing{disk, short, !short}
		wantCode(t, l.Append(sampleEvent(0)), "audit_unwritable")
		l.file = disk
		wantCode(t, l.Append(sampleEvent(0)), "audit_unusable")
		if n, _ := l.Head(); n != 0 {
			t.Error("an event that may not be durable counts")
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, rec := openLog(t, dir, Options{}); rec.Torn != short {
			t.Errorf("short %v: %+v", short, rec)
		}
	}
	dir := t.TempDir()
	l, _ := openLog(t, dir, Options{})
	write(t, dir, []byte("somebody else\n"))
	wantCode(t, l.Append(sampleEvent(0)), "audit_unwritable")
}

func TestConcurrentAppend(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, _ := openLog(t, dir, Options{})
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			if err := l.Append(sampleEvent(i), sampleEvent(i+1)); err != nil {
				t.Error(err)
			}
			l.Head()
		})
	}
	all.Wait()
	if r, err := verify(readLog(t, dir)); err != nil || r.Events != 32 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestWALRef(t *testing.T) {
	t.Parallel()
	sum := protocol.Digest(nil)
	seq, checksum, ok := ParseWALRef("text [wal 1 x] more" + WALRef(12, sum))
	if !ok || seq != 12 || checksum != sum {
		t.Error(seq, checksum, ok)
	}
	for _, s := range []string{
		"", "text", WALRef(1, sum) + " ", " [wal -1 " + sum + "]", " [wal 01 " + sum + "]", " [wal 1 sha256:00]", " [wal 1]", "[wal 1 " + sum + "]",
		PlainText("x" + WALRef(1, sum)),
	} {
		if _, _, ok := ParseWALRef(s); ok {
			t.Errorf("%q passes for a reference", s)
		}
	}
	if ref, ok := RefOf(protocol.AuditEvent{EventType: protocol.EventError, Message: Recovered(7) + ", a torn line was cut"}); !ok || !ref.Recovery || ref.Seq != 7 {
		t.Errorf("%+v", ref)
	}
	if ref, ok := RefOf(protocol.AuditEvent{EventType: protocol.EventError, Message: PlainText(Recovered(7))}); ok {
		t.Errorf("foreign text recovers: %+v", ref)
	}
}

func TestCrossCheck(t *testing.T) {
	t.Parallel()
	sum := func(s string) string { return protocol.Digest([]byte(s)) }
	ref := func(seq int64, s string) Ref { return Ref{EventType: "e", Seq: seq, Checksum: sum(s)} }
	again := func(seq int64) Ref { return Ref{EventType: protocol.EventError, Seq: seq, Recovery: true} }
	wal := func(names ...string) (list []protocol.WALEntry) {
		for i, s := range names {
			list = append(list, protocol.WALEntry{Sequence: int64(i), Checksum: sum(s)})
		}
		return list
	}
	for name, c := range map[string]struct {
		refs             []Ref
		wal              []protocol.WALEntry
		code             string
		ahead, abandoned int
	}{
		"equal":                    {[]Ref{ref(0, "a"), ref(1, "b")}, wal("a", "b"), "", 0, 0},
		"both empty":               {nil, nil, "", 0, 0},
		"audit ahead":              {[]Ref{ref(0, "a"), ref(1, "b"), ref(2, "c")}, wal("a"), "", 2, 0},
		"recovered":                {[]Ref{ref(0, "a"), ref(1, "b"), again(1), ref(1, "B"), ref(2, "c")}, wal("a", "B", "c"), "", 0, 1},
		"recovered twice":          {[]Ref{ref(0, "a"), ref(1, "b"), again(1), ref(1, "c"), again(1), ref(1, "d")}, wal("a", "d"), "", 0, 2},
		"recovered, nothing lost":  {[]Ref{ref(0, "a"), again(1), ref(1, "b")}, wal("a", "b"), "", 0, 0},
		"recovered but not in WAL": {[]Ref{ref(0, "a"), ref(1, "b"), again(1)}, wal("a", "b"), "audit_cut", 0, 1},
		"audit cut":                {[]Ref{ref(0, "a")}, wal("a", "b"), "audit_cut", 0, 0},
		"other checksum":           {[]Ref{ref(0, "a"), ref(1, "x")}, wal("a", "b"), "audit_wal_mismatch", 0, 0},
		"event missing":            {[]Ref{ref(0, "a"), ref(2, "c")}, wal("a", "b", "c"), "audit_wal_mismatch", 0, 0},
		"told twice":               {[]Ref{ref(0, "a"), ref(1, "b"), ref(1, "b")}, wal("a", "b"), "audit_wal_mismatch", 0, 0},
		"goes back in silence":     {[]Ref{ref(0, "a"), ref(1, "b"), ref(0, "a")}, wal("a", "b"), "audit_wal_mismatch", 0, 0},
		"recovers what never was":  {[]Ref{ref(0, "a"), again(2)}, wal("a"), "audit_wal_mismatch", 0, 0},
	} {
		r, err := CrossCheck(c.refs, c.wal)
		if c.code != "" {
			if !errors.Is(err, protocol.Code(c.code)) || protocol.ExitCode(err) != protocol.ExitIntegrity {
				t.Errorf("%s: %v, want %s", name, err, c.code)
			}
			continue
		}
		if err != nil || len(r.Ahead) != c.ahead || len(r.Abandoned) != c.abandoned {
			t.Errorf("%s: %+v %v", name, r, err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	l, _ := openLog(b, b.TempDir(), Options{})
	for _, n := range []int{1, 10} {
		b.Run(fmt.Sprint(n, " a call"), func(b *testing.B) {
			events := make([]protocol.AuditEvent, n)
			for i := range events {
				events[i] = sampleEvent(i)
			}
			for b.Loop() {
				if err := l.Append(events...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestWriteIsDurableAfterSync(t *testing.T) {
	t.Parallel()
	f := &fakeSync{}
	l, _ := openLog(t, t.TempDir(), Options{})
	f.appendFile, l.file = l.file, f
	if err := l.Write(sampleEvent(0), sampleEvent(1)); err != nil || f.syncs != 0 {
		t.Fatalf("%d fsyncs, %v", f.syncs, err)
	}
	if err := l.Sync(); err != nil || f.syncs != 1 {
		t.Fatalf("%d fsyncs, %v", f.syncs, err)
	}
	if count, _ := l.Head(); count != 2 || l.Size() == 0 {
		t.Fatalf("%d events, %d bytes", count, l.Size())
	}
	f.err = errors.New("the disk is gone")
	wantCode(t, l.Sync(), "audit_unwritable")
	wantCode(t, l.Sync(), "audit_unusable")
	wantCode(t, l.Write(sampleEvent(2)), "audit_unusable")
}

type fakeSync struct {
	appendFile

	syncs int
	err   error
}

func (f *fakeSync) Sync() error {
	f.syncs++
	return errors.Join(f.err, f.appendFile.Sync())
}

func TestLogGoesOnFromAnother(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, _ := openLog(t, dir, Options{})
	if err := first.Append(sampleEvent(0)); err != nil {
		t.Fatal(err)
	}
	_, head := first.Head()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }() // only read after this
	var lines []string
	second, _, err := Open(root, "second.jsonl", flight, Options{After: head, Each: func(line []byte) error {
		lines = append(lines, string(line)+"\n")
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(second.Append(sampleEvent(1), sampleEvent(2)), second.Close()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "second.jsonl"))
	if err != nil || string(data) != strings.Join(lines, "") {
		t.Fatalf("%v: written %q, told %q", err, data, lines)
	}
	if _, err := verify(append(readLog(t, dir), data...)); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(bytes.NewReader(data), flight, VerifyOptions{After: head}); err != nil {
		t.Fatal(err)
	}
	_, err = verify(data)
	wantCode(t, err, "audit_missing")
	_, err = Verify(bytes.NewReader(data), flight, VerifyOptions{After: "sha256:x"})
	wantCode(t, err, "audit_after")
}

// TestPlainEvidenceIsWrittenAsAny holds the short way of redacting against the long one.
func TestPlainEvidenceIsWrittenAsAny(t *testing.T) {
	t.Parallel()
	redact := func(s string) string { return strings.ReplaceAll(s, "secret", "[redacted]") }
	type text string
	evidence := map[string]any{"a secret": []any{"secret", 1, true, nil, map[string]any{"n": int64(7), "secret": ""}}, "a [redacted]": "x", "list": []any{}}
	odd := map[string]any{"a secret": evidence["a secret"], "a [redacted]": text("x"), "list": []any{}}
	short, err := redactMap(evidence, redact)
	if err != nil {
		t.Fatal(err)
	}
	long, err := redactMap(odd, redact)
	if err != nil {
		t.Fatal(err)
	}
	a, err := protocol.Canonical(short)
	if err != nil {
		t.Fatal(err)
	}
	b, err := protocol.Canonical(long)
	if err != nil || !bytes.Equal(a, b) || bytes.Contains(a, []byte("secret")) {
		t.Fatalf("%v:\n%s\n%s", err, a, b)
	}
	if evidence["a secret"].([]any)[0] != "secret" { //nolint:forcetypeassert // it is what stands above
		t.Fatal("the caller's evidence was changed")
	}
}

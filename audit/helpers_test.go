package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
)

const flight = "w1"

func sampleEvent(i int) protocol.AuditEvent {
	at := time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC).Add(time.Duration(i) * 137 * time.Millisecond)
	return protocol.AuditEvent{
		Timestamp: at.Format(time.RFC3339Nano), EventType: protocol.EventArtifactValidated, WorkflowState: string(protocol.StatePlanGenerated),
		Workflow:  &protocol.AuditWorkflow{WorkflowID: flight, StepID: "greet", Mode: "flight-plan"},
		Artifacts: []protocol.AuditArtifact{{Name: "greeting", Role: "evidence", Path: "greeting", Hash: protocol.Digest([]byte{byte(i)}), Size: 13}},
		Message:   fmt.Sprintf("artifact %d is \"valid\"", i) + WALRef(int64(i), protocol.Digest([]byte(fmt.Sprint(i)))),
		Severity:  protocol.SeverityInfo,
	}
}

func openLog(tb testing.TB, dir string, o Options) (*Log, Recovery) {
	tb.Helper()
	l, rec, err := tryOpen(tb, dir, o)
	if err != nil {
		tb.Fatal(err)
	}
	return l, rec
}

func tryOpen(tb testing.TB, dir string, o Options) (*Log, Recovery, error) {
	tb.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = root.Close() }) // only read after this
	l, rec, err := Open(root, "audit.jsonl", flight, o)
	if l != nil {
		tb.Cleanup(func() { _ = l.Close() }) // may be closed already
	}
	return l, rec, err
}

func sampleLog(tb testing.TB, n int) []byte {
	tb.Helper()
	dir := tb.TempDir()
	l, _ := openLog(tb, dir, Options{})
	events := make([]protocol.AuditEvent, n)
	for i := range events {
		events[i] = sampleEvent(i)
	}
	if err := l.Append(events...); err != nil {
		tb.Fatal(err)
	}
	return readLog(tb, dir)
}

func readLog(tb testing.TB, dir string) []byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "audit.jsonl"))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func verify(data []byte) (Report, error) {
	return Verify(bytes.NewReader(data), flight, VerifyOptions{Refs: true})
}

func join(lines ...string) []byte { return []byte(strings.Join(lines, "")) }

func wantCode(tb testing.TB, err error, code string) {
	tb.Helper()
	if !errors.Is(err, protocol.Code(code)) {
		tb.Fatalf("error %v, want code %s", err, code)
	}
}

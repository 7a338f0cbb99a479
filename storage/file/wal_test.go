package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
)

var start = time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)

func wantCode(tb testing.TB, err error, code string) {
	tb.Helper()
	if !errors.Is(err, protocol.Code(code)) {
		tb.Fatalf("error %v, want code %s", err, code)
	}
}

func newFlight(tb testing.TB) *Flight {
	tb.Helper()
	s, err := Open(filepath.Join(tb.TempDir(), "state"))
	if err != nil {
		tb.Fatal(err)
	}
	f, err := s.Create("w1")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _, _ = f.Close(), s.Close() })
	return f
}

func commit(tb testing.TB, w *WAL, kind protocol.WALEntryType, data any) protocol.WALEntry {
	tb.Helper()
	e, err := w.Prepare(start, kind, data)
	if err == nil {
		err = w.Commit(e)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func mustOpen(tb testing.TB, f *Flight) (*WAL, Tail) {
	tb.Helper()
	w, tail, err := OpenWAL(f)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = w.Close() }) // may be closed already
	return w, tail
}

// sampleWAL has entries of several types; the last is an approval.
func sampleWAL(tb testing.TB, f *Flight) []byte {
	tb.Helper()
	w, _ := mustOpen(tb, f)
	commit(tb, w, protocol.WALWorkflowStarted, protocol.WorkflowStartedData{InitialState: protocol.StateInit})
	commit(tb, w, protocol.WALStepStarted, protocol.StepStartedData{StepID: "workflow", StepType: "PLAN_RUNNING"})
	commit(tb, w, protocol.WALArtifactCreated, protocol.ArtifactCreatedData{ArtifactID: "é\n\"x\"", ArtifactHash: "sha256:0", ArtifactType: "patch"})
	commit(tb, w, protocol.WALApprovalReceived, protocol.ApprovalReceivedData{ApprovalID: "apr-1", Approved: true, Approver: "first-maintainer"})
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return read(tb, f)
}

func read(tb testing.TB, f *Flight) []byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join(f.Dir(), WALName))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func write(tb testing.TB, f *Flight, data []byte) {
	tb.Helper()
	if err := os.WriteFile(filepath.Join(f.Dir(), WALName), data, 0o600); err != nil {
		tb.Fatal(err)
	}
}

func TestWALVector(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		WAL struct {
			Entry    string `json:"entry_without_checksum_jcs"`
			Checksum string `json:"checksum"`
		} `json:"wal"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	f := newFlight(t)
	w, _ := mustOpen(t, f)
	e := commit(t, w, protocol.WALWorkflowStarted, protocol.WorkflowStartedData{InitialState: protocol.StateInit})
	if e.Checksum != v.WAL.Checksum {
		t.Errorf("checksum %s, want %s", e.Checksum, v.WAL.Checksum)
	}
	if want := `{"checksum":"` + v.WAL.Checksum + `",` + v.WAL.Entry[1:] + "\n"; string(read(t, f)) != want {
		t.Errorf("wrote %s, want %s", read(t, f), want)
	}
}

func TestWALRoundTrip(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	_, _, err := ReadWAL(f)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("an absent WAL: %v", err)
	}
	sampleWAL(t, f)
	w, tail := mustOpen(t, f)
	if tail.Torn || tail.Newline || len(w.Entries()) != 4 {
		t.Fatalf("%+v, %d entries", tail, len(w.Entries()))
	}
	a, err := w.Prepare(start, protocol.WALStepCompleted, protocol.StepCompletedData{StepID: "greet"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.Prepare(start, protocol.WALWorkflowCompleted, protocol.WorkflowCompletedData{FinalState: protocol.StateCompleted})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Prepare(start, protocol.WALStepCompleted, protocol.StepCompletedData{StepID: "late"})
	wantCode(t, err, "wal_entry_invalid")
	wantCode(t, w.Commit(b, a), "wal_entry_invalid")
	wantCode(t, w.Commit(a), "wal_entry_invalid")
	if err := w.Commit(a, b); err != nil {
		t.Fatal(err)
	}
	entries, tail, err := ReadWAL(f)
	if err != nil || len(entries) != 6 || tail.Torn || entries[5].Sequence != 5 || entries[5].Checksum != b.Checksum || !bytes.Equal(entries[5].Data, b.Data) {
		t.Errorf("%+v %+v %v", entries, tail, err)
	}
	_, err = w.Prepare(start, protocol.WALStepStarted, protocol.StepStartedData{})
	wantCode(t, err, "wal_entry_invalid")
}

func TestPrepareRefuses(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	w, _ := mustOpen(t, f)
	for name, c := range map[string]struct {
		kind protocol.WALEntryType
		data any
	}{
		"not the first":  {protocol.WALStepStarted, protocol.StepStartedData{}},
		"unknown type":   {"landed", protocol.StepStartedData{}},
		"other data":     {protocol.WALWorkflowStarted, protocol.StepStartedData{}},
		"unknown state":  {protocol.WALWorkflowStarted, protocol.WorkflowStartedData{InitialState: "LANDED"}},
		"invalid UTF-8":  {protocol.WALWorkflowStarted, protocol.WorkflowStartedData{PlanTokenHash: "\xff", InitialState: "INIT"}},
		"not an object":  {protocol.WALWorkflowStarted, "text"},
		"nothing at all": {protocol.WALWorkflowStarted, nil},
	} {
		if _, err := w.Prepare(start, c.kind, c.data); !errors.Is(err, protocol.Code("wal_entry_invalid")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.Prepare(start, protocol.WALWorkflowStarted, protocol.WorkflowStartedData{InitialState: "INIT"}); err != nil {
		t.Fatal(err)
	}
	w.Discard()
	commit(t, w, protocol.WALWorkflowStarted, protocol.WorkflowStartedData{InitialState: "INIT"})
}

func TestEveryByteFlipOfAWALIsFound(t *testing.T) {
	t.Parallel()
	data := sampleWAL(t, newFlight(t))
	for i := range data {
		for _, mask := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 0xff, data[i] ^ '\n', data[i] ^ ' '} {
			if mask == 0 {
				continue
			}
			bad := bytes.Clone(data)
			bad[i] ^= mask
			if _, tail, err := parseWAL(bad, "w1"); protocol.ExitCode(err) != protocol.ExitIntegrity {
				t.Fatalf("byte %d xor %#x: %+v %v", i, mask, tail, err)
			}
		}
	}
}

// The last byte of the WAL is the newline after the approval. Changed, it must
// not make the approval pass for torn.
func TestFlippedNewlineAfterApproval(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	data := sampleWAL(t, f)
	for c := range 256 {
		if c == '\n' {
			continue
		}
		data[len(data)-1] = byte(c)
		write(t, f, data)
		if _, _, err := OpenWAL(f); protocol.ExitCode(err) != protocol.ExitIntegrity {
			t.Fatalf("last byte %#x: %v", c, err)
		}
		if !bytes.Equal(read(t, f), data) {
			t.Fatal("a refused WAL was changed")
		}
	}
}

func TestTornAtEveryByte(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	data := sampleWAL(t, f)
	whole := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
	for end := whole; end <= len(data); end++ {
		write(t, f, data[:end])
		before, readTail, err := ReadWAL(f)
		if err != nil || !bytes.Equal(read(t, f), data[:end]) {
			t.Fatalf("cut to %d: %v", end, err)
		}
		w, tail, err := OpenWAL(f)
		if err != nil || tail != readTail {
			t.Fatalf("cut to %d: %+v %+v %v", end, tail, readTail, err)
		}
		n, torn, newline := 3, end > whole && end < len(data)-1, end == len(data)-1
		if end >= len(data)-1 {
			n = 4
		}
		if len(w.Entries()) != n || len(before) != n || tail.Torn != torn || tail.Newline != newline || torn && tail.TornBytes != int64(end-whole) {
			t.Fatalf("cut to %d: %d entries, %+v", end, n, tail)
		}
		commit(t, w, protocol.WALStepStarted, protocol.StepStartedData{StepID: "next", StepType: "X"})
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if entries, _, err := ReadWAL(f); err != nil || len(entries) != n+1 {
			t.Fatalf("cut to %d and continued: %v", end, err)
		}
	}
}

func TestWALRefusals(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	data := sampleWAL(t, f)
	l := strings.SplitAfter(string(data), "\n")[:4]
	entry := func(seq int, id, kind, data string) string {
		body := fmt.Sprintf(`{"data":%s,"entry_type":"%s","sequence":%d,"timestamp":"2026-11-22T18:00:00Z","workflow_id":"%s"}`, data, kind, seq, id)
		return `{"checksum":"` + protocol.H(protocol.KindWAL, []byte(body)) + `",` + body[1:] + "\n"
	}
	step := `{"step_id":"a","step_type":"b"}`
	for name, c := range map[string]struct{ log, code string }{
		"first gone":           {l[1] + l[2], "wal_sequence"},
		"middle gone":          {l[0] + l[2], "wal_sequence"},
		"doubled":              {l[0] + l[1] + l[1], "wal_sequence"},
		"swapped":              {l[0] + l[2] + l[1], "wal_sequence"},
		"other flight":         {l[0] + entry(1, "w2", "step_started", step), "wal_workflow"},
		"foreign from start":   {entry(0, "w2", "workflow_started", `{"initial_state":"INIT","plan_token_hash":""}`), "wal_workflow"},
		"not started":          {entry(0, "w1", "step_started", step), "wal_order"},
		"started twice":        {l[0] + entry(1, "w1", "workflow_started", `{"initial_state":"INIT","plan_token_hash":""}`), "wal_order"},
		"after the end":        {l[0] + entry(1, "w1", "workflow_failed", `{"error":"e"}`) + entry(2, "w1", "step_started", step), "wal_order"},
		"unknown type":         {l[0] + entry(1, "w1", "landed", step), "wal_malformed"},
		"unknown data field":   {l[0] + entry(1, "w1", "step_started", `{"step_id":"a","step_type":"b","x":1}`), "wal_malformed"},
		"missing data field":   {l[0] + entry(1, "w1", "step_started", `{"step_id":"a"}`), "wal_malformed"},
		"data of another type": {l[0] + entry(1, "w1", "workflow_completed", step), "wal_malformed"},
		"wrong type of data":   {l[0] + entry(1, "w1", "approval_received", `{"approval_id":"a","approved":"true","approver":"b"}`), "wal_malformed"},
		"null data":            {l[0] + entry(1, "w1", "step_started", `null`), "wal_malformed"},
		"empty line":           {l[0] + "\n" + l[1], "wal_malformed"},
		"space":                {l[0] + strings.Replace(l[1], ",", ", ", 1), "wal_malformed"},
		"checksum":             {l[0] + strings.Replace(l[1], "PLAN_RUNNING", "PLAN_RUNNINK", 1), "wal_checksum"},
		"torn in the middle":   {l[0] + l[1][:90] + "\n" + l[2], "wal_malformed"},
		"torn, other key":      {l[0] + `{"data":`, "wal_malformed"},
		"torn, no hex":         {l[0] + `{"checksum":"sha256:xyz`, "wal_malformed"},
		"torn, bad data":       {l[0] + l[1][:95] + "\x01", "wal_malformed"},
		"zeros at the end":     {l[0] + l[1] + "\x00\x00", "wal_malformed"},
		"two on one line":      {l[0] + strings.TrimSuffix(l[1], "\n") + l[2], "wal_malformed"},
	} {
		write(t, f, []byte(c.log))
		if _, _, err := ReadWAL(f); !errors.Is(err, protocol.Code(c.code)) || protocol.ExitCode(err) != protocol.ExitIntegrity {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
		if _, _, err := OpenWAL(f); !errors.Is(err, protocol.Code(c.code)) {
			t.Errorf("%s: OpenWAL says %v", name, err)
		}
		if string(read(t, f)) != c.log {
			t.Errorf("%s: a refused WAL was changed", name)
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
		n, err := f.File.Write(b[:len(b)/2])
		return n, errors.Join(err, errors.New("no space left on device"))
	}
	return f.File.Write(b)
}

func (f failing) Sync() error {
	if f.noSync {
		return errors.New("input/output error")
	}
	return f.File.Sync()
}

func TestFailedWriteMakesTheWALUnusable(t *testing.T) {
	t.Parallel()
	for _, short := range []bool{true, false} {
		f := newFlight(t)
		sampleWAL(t, f)
		w, _ := mustOpen(t, f)
		disk, ok := w.file.(*os.File)
		if !ok {
			t.Fatal("not a file")
		}
		w.file = failing{disk, short, !short}
		e, err := w.Prepare(start, protocol.WALStepStarted, protocol.StepStartedData{StepID: "a", StepType: "b"})
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, w.Commit(e), "wal_unwritable")
		w.file = disk // space again: still refused
		wantCode(t, w.Commit(e), "wal_unusable")
		_, err = w.Prepare(start, protocol.WALStepStarted, protocol.StepStartedData{})
		wantCode(t, err, "wal_unusable")
		if len(w.Entries()) != 4 {
			t.Error("an entry that may not be durable counts")
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		again, tail := mustOpen(t, f)
		if tail.Torn != short {
			t.Errorf("short %v: %+v", short, tail)
		}
		commit(t, again, protocol.WALStepStarted, protocol.StepStartedData{StepID: "c", StepType: "d"})
	}
}

func TestForeignWriterIsNoticed(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	data := sampleWAL(t, f)
	w, _ := mustOpen(t, f)
	write(t, f, append(data, '\n'))
	e, err := w.Prepare(start, protocol.WALStepStarted, protocol.StepStartedData{StepID: "a", StepType: "b"})
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, w.Commit(e), "wal_unwritable")
}

func TestWALConcurrency(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	sampleWAL(t, f)
	w, _ := mustOpen(t, f)
	var both sync.Mutex // Prepare and Commit belong together
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			both.Lock()
			defer both.Unlock()
			_ = w.Entries()
			commit(t, w, protocol.WALStepStarted, protocol.StepStartedData{StepID: fmt.Sprint(i), StepType: "b"})
		})
	}
	all.Wait()
	if entries, _, err := ReadWAL(f); err != nil || len(entries) != 12 {
		t.Errorf("%d %v", len(entries), err)
	}
}

func FuzzReadWAL(f *testing.F) {
	fl := newFlight(f)
	data := sampleWAL(f, fl)
	f.Add(data)
	f.Add(data[:len(data)-1])
	f.Add(data[:len(data)-30])
	f.Add(append(bytes.Clone(data[:len(data)-1]), ' '))
	f.Add([]byte(walHead))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, tail, err := parseWAL(data, "")
		if err != nil {
			if protocol.ExitCode(err) != protocol.ExitIntegrity {
				t.Fatal(err)
			}
			return
		}
		// What is accepted is exactly what writing the entries gives.
		var again []byte
		for i, e := range entries {
			line, err := protocol.Canonical(e)
			sum, err2 := checksum(e)
			if err != nil || err2 != nil || sum != e.Checksum || e.Sequence != int64(i) {
				t.Fatalf("entry %d: %v %v %s", i, err, err2, sum)
			}
			again = append(append(again, line...), '\n')
		}
		if tail.Newline {
			again = again[:len(again)-1]
		}
		if int64(len(again)) != tail.Bytes || !bytes.Equal(again, data[:tail.Bytes]) || int64(len(data)) != tail.Bytes+tail.TornBytes {
			t.Fatalf("%q reads as %q and %+v", data, again, tail)
		}
	})
}

func BenchmarkCommit(b *testing.B) {
	f := newFlight(b)
	w, _ := mustOpen(b, f)
	commit(b, w, protocol.WALWorkflowStarted, protocol.WorkflowStartedData{InitialState: "INIT"})
	for b.Loop() {
		commit(b, w, protocol.WALStepStarted, protocol.StepStartedData{StepID: "greet", StepType: "PLAN_RUNNING"})
	}
}

func BenchmarkReadWAL(b *testing.B) {
	f := newFlight(b)
	w, _ := mustOpen(b, f)
	commit(b, w, protocol.WALWorkflowStarted, protocol.WorkflowStartedData{InitialState: "INIT"})
	var entries []protocol.WALEntry
	const n = 10_000
	for i := range n {
		e, err := w.Prepare(start, protocol.WALArtifactCreated, protocol.ArtifactCreatedData{ArtifactID: fmt.Sprint("greet/", i), ArtifactHash: protocol.Digest(nil), ArtifactType: "file"})
		if err != nil {
			b.Fatal(err)
		}
		entries = append(entries, e)
	}
	if err := w.Commit(entries...); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if got, _, err := ReadWAL(f); err != nil || len(got) != n+1 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "entries/s")
}

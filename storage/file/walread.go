package file

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// WALName is the name of the write-ahead log in a flight.
const WALName = "wal.jsonl"

// A Tail says what an interrupted write left at the end of a WAL.
type Tail struct {
	Torn      bool  // the last line is a proper prefix of an entry; it counts for nothing
	TornBytes int64 // its length
	Newline   bool  // the last entry is whole, only its newline is missing; it counts
	Bytes     int64 // of the entries that count
}

// ReadWAL reads the WAL of a flight and checks every rule of it; nothing is
// changed. Anything that is not as it was written is refused, but for a torn
// last line. SPEC: docs/protocol.md 5.
func ReadWAL(f *Flight) ([]protocol.WALEntry, Tail, error) {
	data, err := f.ReadFile(WALName, limits.WALFile)
	if err != nil {
		return nil, Tail{}, err
	}
	return parseWAL(data, f.id)
}

func parseWAL(data []byte, workflowID string) ([]protocol.WALEntry, Tail, error) {
	p := walParser{id: workflowID}
	var tail Tail
	for len(data) > 0 {
		line, rest, found := bytes.Cut(data, []byte{'\n'})
		entry, err := p.entry(line)
		switch {
		case err == nil && len(p.entries) > limits.WALEntries:
			return nil, tail, p.refuse("wal_too_large", "the WAL has more than %d entries", limits.WALEntries)
		case err == nil:
			p.entries = append(p.entries, entry)
			tail.Newline = !found
			tail.Bytes += int64(len(data) - len(rest))
		case !found && torn(line):
			tail.Torn, tail.TornBytes = true, int64(len(line))
		default:
			return nil, tail, err
		}
		data = rest
	}
	return p.entries, tail, nil
}

// The canonical form has checksum and data first, so each entry begins like this.
const (
	walHead = `{"checksum":"sha256:`
	walData = `","data":{`
)

// torn says whether a line without newline is what an interrupted write leaves:
// a proper prefix of an entry, and not something that was changed. A whole
// entry followed by anything is never a prefix. SPEC: docs/protocol.md 5.
func torn(line []byte) bool {
	head := line[:min(len(line), len(walHead))]
	if string(head) != walHead[:len(head)] {
		return false
	}
	rest := line[len(head):]
	digits := rest[:min(len(rest), 64)]
	for _, c := range digits {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	rest = rest[len(digits):]
	if n := min(len(rest), len(walData)); string(rest[:n]) != walData[:n] {
		return false
	}
	return len(line) <= limits.WALLine && shapes().entry.ScanPrefix(line, nil) == nil
}

type walShapes struct {
	entry *protocol.Shape
	data  map[protocol.WALEntryType]*protocol.Shape
}

// shapes never change; they are made once because many small WALs are read.
var shapes = sync.OnceValue(func() walShapes {
	s := walShapes{protocol.ShapeOf(protocol.WALEntry{}), map[protocol.WALEntryType]*protocol.Shape{}}
	for kind, v := range map[protocol.WALEntryType]any{
		protocol.WALWorkflowStarted:   protocol.WorkflowStartedData{},
		protocol.WALStepStarted:       protocol.StepStartedData{},
		protocol.WALStepCompleted:     protocol.StepCompletedData{},
		protocol.WALArtifactCreated:   protocol.ArtifactCreatedData{},
		protocol.WALPolicyEvaluated:   protocol.PolicyEvaluatedData{},
		protocol.WALApprovalRequested: protocol.ApprovalRequestedData{},
		protocol.WALApprovalReceived:  protocol.ApprovalReceivedData{},
		protocol.WALWorkflowCompleted: protocol.WorkflowCompletedData{},
		protocol.WALWorkflowFailed:    protocol.WorkflowFailedData{},
	} {
		s.data[kind] = protocol.ShapeOf(v)
	}
	return s
})

type walParser struct {
	id      string // of the flight; empty until the first entry says it
	entries []protocol.WALEntry
	buf     []byte
}

func (p *walParser) refuse(code, format string, args ...any) error {
	n := len(p.entries) + 1
	return protocol.Errorf(protocol.ExitIntegrity, code, "the WAL does not verify: line %d: %s", n, fmt.Sprintf(format, args...)).
		At(fmt.Sprintf("%s:%d", WALName, n)).WithHint("the flight was changed after it was written; restore it from a copy, or plan again")
}

// entry reads the next line.
func (p *walParser) entry(line []byte) (protocol.WALEntry, error) {
	var e protocol.WALEntry
	if len(line) > limits.WALLine {
		return e, p.refuse("wal_too_large", "it is longer than %d bytes", limits.WALLine)
	}
	line = bytes.Clone(line) // entries must not keep the whole file alive
	var checksum protocol.Member
	err := shapes().entry.Scan(line, func(m protocol.Member) error {
		if string(m.Key) == "checksum" {
			checksum = m
		}
		return member(&e, m)
	})
	if err == nil {
		err = shapes().data[e.EntryType].Scan(e.Data, nil)
	}
	if err != nil {
		return e, p.refuse("wal_malformed", "it is not an entry: %v", err)
	}
	// SPEC: docs/protocol.md 5: the checksum covers the entry without it.
	p.buf = protocol.AppendWithout(p.buf[:0], line, checksum)
	if want := protocol.H(protocol.KindWAL, p.buf); want != e.Checksum {
		return e, p.refuse("wal_checksum", "its checksum is %s, but its content has %s", e.Checksum, want)
	}
	return e, p.follows(e)
}

// follows checks that e may stand after the entries so far.
func (p *walParser) follows(e protocol.WALEntry) error {
	if p.id == "" {
		p.id = e.WorkflowID
	}
	switch n := int64(len(p.entries)); {
	case e.Sequence != n:
		return p.refuse("wal_sequence", "its sequence is %d, expected %d: entries were removed, added or reordered", e.Sequence, n)
	case e.WorkflowID != p.id:
		return p.refuse("wal_workflow", "it is of flight %s, not %s", e.WorkflowID, p.id)
	default:
		if problem := order(p.entries, e.EntryType); problem != "" {
			return p.refuse("wal_order", "%s", problem)
		}
	}
	return nil
}

// order says what is wrong with an entry of this type after those before, or nothing.
func order(before []protocol.WALEntry, kind protocol.WALEntryType) string {
	switch {
	case (len(before) == 0) != (kind == protocol.WALWorkflowStarted):
		return "workflow_started must be the first entry and no other"
	case len(before) > 0 && slices.Contains(
		[]protocol.WALEntryType{protocol.WALWorkflowCompleted, protocol.WALWorkflowFailed}, before[len(before)-1].EntryType):
		return fmt.Sprintf("%s comes after the end of the flight", kind)
	}
	return ""
}

func member(e *protocol.WALEntry, m protocol.Member) (err error) {
	var s string
	switch string(m.Key) {
	case "checksum":
		if e.Checksum, err = protocol.Unquote(m.Value); err == nil {
			_, err = protocol.ParseDigest(e.Checksum)
		}
	case "data":
		e.Data = m.Value
	case "entry_type":
		s, err = protocol.Unquote(m.Value)
		e.EntryType = protocol.WALEntryType(s)
	case "sequence":
		e.Sequence, err = strconv.ParseInt(string(m.Value), 10, 64)
	case "timestamp":
		if e.Timestamp, err = protocol.Unquote(m.Value); err == nil {
			err = validTime(e.Timestamp)
		}
	case "workflow_id":
		if e.WorkflowID, err = protocol.Unquote(m.Value); err == nil && !protocol.ValidWorkflowID(e.WorkflowID) {
			err = errors.New("workflow_id is not an id")
		}
	}
	return err
}

// validTime accepts RFC 3339 text in UTC, written with Z.
func validTime(s string) error {
	var at time.Time
	if s == "" || s[len(s)-1] != 'Z' || at.UnmarshalText([]byte(s)) != nil {
		return fmt.Errorf("timestamp %.40q is not RFC 3339 in UTC", s)
	}
	return nil
}

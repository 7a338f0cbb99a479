package audit

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Options are what a Log needs beside its file.
type Options struct {
	// Redact replaces secrets in text; every text that is not of a fixed form
	// passes through it before it is hashed and written. Nil redacts nothing.
	Redact func(string) string
	// Signer signs each event. Nil signs none.
	Signer Signer
}

// A Recovery says what Open found at the end of a log and mended. The caller
// records it as an error event.
type Recovery struct {
	Torn      bool  // a last line that an interrupted write left was cut off
	TornBytes int64 // how long it was
	Newline   bool  // a whole last line lacked its newline, which was written
	Refs      []Ref // of all events, for CrossCheck
	LastEvent string
}

// appendFile is what a Log needs of its file; tests give one that fails.
type appendFile interface {
	io.Writer
	Sync() error
	Stat() (fs.FileInfo, error)
	Close() error
}

// A Log appends events to the audit log of one flight. Its methods may be
// called from several goroutines.
type Log struct {
	mu     sync.Mutex
	file   appendFile
	shape  *protocol.Shape
	redact func(string) string
	signer Signer
	size   int64
	count  int
	head   sum
	broken error // why nothing can be appended any more
}

// Open opens the log for appending, and makes it if there is none. The whole
// log is verified first. What an interrupted write left at its end is cut off;
// anything else that is wrong is refused, and the file stays as it is.
// SPEC: docs/protocol.md 5.
func Open(root *os.Root, name, workflowID string, o Options) (*Log, Recovery, error) {
	var rec Recovery
	if !protocol.ValidWorkflowID(workflowID) {
		return nil, rec, protocol.Errorf(protocol.ExitUsage, "audit_workflow_id", "%q is not a workflow id", workflowID)
	}
	f, err := openFile(root, name)
	if err != nil {
		return nil, rec, err
	}
	l, rec, err := open(f, workflowID, o)
	if err != nil {
		return nil, rec, errors.Join(err, f.Close())
	}
	return l, rec, nil
}

func openFile(root *os.Root, name string) (*os.File, error) {
	before, err := root.Lstat(name)
	made := errors.Is(err, fs.ErrNotExist)
	if err == nil && !before.Mode().IsRegular() {
		return nil, protocol.Errorf(protocol.ExitIntegrity, "audit_unreadable", "the audit log is not a regular file").At(name)
	}
	flags := os.O_RDWR | os.O_APPEND
	if made {
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := root.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitUnreachable, "audit_unwritable", "the audit log cannot be opened: %w", err).At(name)
	}
	if !made {
		after, err := f.Stat()
		if err != nil || !os.SameFile(before, after) {
			return nil, errors.Join(protocol.Errorf(protocol.ExitIntegrity, "audit_unreadable", "the audit log was replaced while it was opened").At(name), f.Close())
		}
		return f, nil
	}
	dir, err := root.Open(".")
	if err == nil { // the name must be durable, too
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return nil, errors.Join(protocol.Errorf(protocol.ExitUnreachable, "audit_unwritable", "the directory of the audit log cannot be synced: %w", err).At(name), f.Close())
	}
	return f, nil
}

func open(f *os.File, workflowID string, o Options) (*Log, Recovery, error) {
	var rec Recovery
	info, err := f.Stat()
	if err != nil {
		return nil, rec, unwritable(err)
	}
	report, err := Verify(f, workflowID, VerifyOptions{Refs: true})
	l := &Log{
		file: f, shape: eventShape(), redact: o.Redact, signer: o.Signer,
		size: report.Bytes, count: report.Events, head: chainStart(workflowID),
	}
	if l.redact == nil {
		l.redact = func(s string) string { return s }
	}
	rec.Refs, rec.LastEvent = report.Refs, report.LastEvent
	if err == nil {
		l.head, err = parseSum(report.Head)
		return l, rec, err
	}
	if report.Problem == nil || !report.Problem.Torn {
		return nil, rec, err
	}
	if report.Problem.EventID != "" { // whole but for its newline
		if err := finishLine(f); err != nil {
			return nil, rec, err
		}
		l, again, err := reopen(f, workflowID, o)
		again.Newline = true
		return l, again, err
	}
	rec.Torn, rec.TornBytes = true, info.Size()-report.Bytes
	if err := f.Truncate(report.Bytes); err != nil {
		return nil, rec, unwritable(err)
	}
	if err := f.Sync(); err != nil {
		return nil, rec, unwritable(err)
	}
	l.head, err = parseSum(report.Head)
	return l, rec, err
}

func finishLine(f *os.File) error {
	if _, err := f.Write([]byte{'\n'}); err != nil {
		return unwritable(err)
	}
	if err := f.Sync(); err != nil {
		return unwritable(err)
	}
	return nil
}

// reopen verifies once more, now that the last line is whole.
func reopen(f *os.File, workflowID string, o Options) (*Log, Recovery, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, Recovery{}, unwritable(err)
	}
	return open(f, workflowID, o)
}

// Append completes the events (event_id, chain_hash), redacts them and writes
// them in one write and one fsync. When it returns nil they are durable. After
// an error of writing, what is on disk is unknown, so the Log refuses
// everything from then on; the next Open mends the file. The caller's events
// are not changed.
func (l *Log) Append(events ...protocol.AuditEvent) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return protocol.Errorf(protocol.ExitUnreachable, "audit_unusable", "the audit log takes no more events after an earlier failure: %w", l.broken).
			WithHint("start the command again: it checks the log and goes on from what is on disk")
	}
	if len(events) == 0 {
		return nil
	}
	var lines []byte
	head := l.head
	for i, e := range events {
		line, err := l.line(e, head)
		if err != nil {
			return protocol.Errorf(protocol.ExitFailure, "audit_event_invalid", "audit event %d of %d (%s) cannot be written: %w", i+1, len(events), e.EventType, err)
		}
		head = sumOf(protocol.KindAuditChain, line)
		lines = append(append(lines, line...), '\n')
	}
	if err := l.write(lines); err != nil {
		l.broken = err
		return unwritable(err)
	}
	l.head, l.count, l.size = head, l.count+len(events), l.size+int64(len(lines))
	return nil
}

func (l *Log) write(lines []byte) error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() != l.size {
		return fmt.Errorf("the log has %d bytes where this process left %d: somebody else writes to it", info.Size(), l.size)
	}
	n, err := l.file.Write(lines)
	if err == nil && n != len(lines) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return err
	}
	return l.file.Sync()
}

// line gives the event as it is written. SPEC: docs/protocol.md 11.
func (l *Log) line(e protocol.AuditEvent, head sum) ([]byte, error) {
	if e.Signature != "" || e.SignatureKeyRef != "" {
		return nil, errors.New("an event cannot be signed before it has its event_id")
	}
	if _, err := parseTime(e.Timestamp); err != nil {
		return nil, err
	}
	if err := redactEvent(&e, l.redact); err != nil {
		return nil, err
	}
	e.ChainHash = digest(head)
	line, err := finished(e, l.signer)
	if err != nil {
		return nil, err
	}
	// What is written must be what Verify accepts, or the flight could not go on.
	in := lineInfo{}
	newChecker(true).check(line, &in)
	if in.bad != nil {
		return nil, in.bad
	}
	if len(line) > limits.AuditLine {
		return nil, fmt.Errorf("it is longer than %d bytes", limits.AuditLine)
	}
	return line, nil
}

// Head gives how many events the log has and the hash that the next one
// chains to, which is what a checkpoint records.
func (l *Log) Head() (count int, lineHash string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count, digest(l.head)
}

// Close closes the file. Everything appended is durable already.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken == nil {
		l.broken = fs.ErrClosed
	}
	return l.file.Close()
}

func unwritable(err error) error {
	return protocol.Errorf(protocol.ExitUnreachable, "audit_unwritable", "the audit log cannot be written, so nothing that it should tell of may happen: %w", err).
		At("audit.jsonl").WithHint("free space or mend the file system, then run the command again")
}

func sumOf(kind string, content []byte) (s sum) {
	h := protocol.NewHash(kind)
	_, _ = h.Write(content) // a hash never fails
	h.Sum(s[:0])
	return s
}

func parseSum(s string) (sum, error) {
	var out sum
	digits, err := protocol.ParseDigest(s)
	if err != nil {
		return out, err
	}
	_, err = hex.Decode(out[:], []byte(digits))
	return out, err
}

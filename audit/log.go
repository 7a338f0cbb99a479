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
	// After, if set, is what the log goes on from: the Head of another one, whose next
	// line is the first of this.
	After string
	// Each, if set, is given every line that was written, without its newline.
	Each func(line []byte) error
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
	mu      sync.Mutex
	file    appendFile
	redact  func(string) string
	signer  Signer
	each    func(line []byte) error
	encoder protocol.Encoder
	judge   *checker
	size    int64
	count   int
	head    sum
	broken  error // why nothing can be appended any more
	// What lines are made in, kept from one time to the next.
	text, lines []byte
}

// keptBytes is how much of that memory is kept.
const keptBytes = 256 << 10

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
	start, err := startOf(workflowID, o.After)
	if err != nil {
		return nil, rec, err
	}
	report, err := Verify(f, workflowID, VerifyOptions{Refs: true, After: o.After})
	l := &Log{
		file: f, judge: newChecker(true), redact: o.Redact, signer: o.Signer, each: o.Each,
		size: report.Bytes, count: report.Events, head: start,
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
	return l.append(events, l.file.Sync)
}

// Write is Append without the fsync: when it returns nil, the events outlive this
// process, and the machine only after the next Sync.
func (l *Log) Write(events ...protocol.AuditEvent) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.append(events, func() error { return nil })
}

// Sync makes all events durable whose Write has returned. Events may be written
// meanwhile.
func (l *Log) Sync() error {
	l.mu.Lock()
	broken := l.broken
	l.mu.Unlock()
	if broken != nil {
		return unusable(broken)
	}
	err := l.file.Sync()
	if err == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken == nil {
		l.broken = err
	}
	return unwritable(err)
}

func (l *Log) append(events []protocol.AuditEvent, sync func() error) error {
	if l.broken != nil {
		return unusable(l.broken)
	}
	if len(events) == 0 {
		return nil
	}
	lines := l.lines[:0]
	ends := make([]int, 0, len(events))
	head := l.head
	for i := range events {
		line, self, err := l.line(events[i], head)
		if err != nil {
			return protocol.Errorf(protocol.ExitFailure, "audit_event_invalid", "audit event %d of %d (%s) cannot be written: %w", i+1, len(events), events[i].EventType, err)
		}
		head = self
		lines = append(append(lines, line...), '\n')
		ends = append(ends, len(lines))
	}
	l.keep(lines)
	err := l.write(lines)
	if err == nil {
		err = sync()
	}
	for from := 0; err == nil && l.each != nil && len(ends) > 0; ends = ends[1:] {
		err = l.each(lines[from : ends[0]-1])
		from = ends[0]
	}
	if err != nil {
		l.broken = err
		return unwritable(err)
	}
	l.head, l.count, l.size = head, l.count+len(events), l.size+int64(len(lines))
	return nil
}

// keep keeps the memory that lines were made in, unless they were uncommonly long.
func (l *Log) keep(lines []byte) {
	if l.lines = lines; cap(lines) > keptBytes {
		l.lines = nil
	}
	if cap(l.text) > keptBytes {
		l.text = nil
	}
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
	return err
}

// line gives the event as it is written, and the hash that the next one chains to.
// SPEC: docs/protocol.md 11.
func (l *Log) line(e protocol.AuditEvent, head sum) (line []byte, self sum, err error) {
	if e.Signature != "" || e.SignatureKeyRef != "" {
		return nil, self, errors.New("an event cannot be signed before it has its event_id")
	}
	if _, err := parseTime(e.Timestamp); err != nil {
		return nil, self, err
	}
	if err := redactEvent(&e, l.redact); err != nil {
		return nil, self, err
	}
	e.ChainHash = digest(head)
	if line, err = l.finished(&e); err != nil {
		return nil, self, err
	}
	// What is written must be what Verify accepts, or the flight could not go on.
	in := lineInfo{}
	l.judge.check(line, &in)
	if in.bad != nil {
		return nil, self, in.bad
	}
	if len(line) > limits.AuditLine {
		return nil, self, fmt.Errorf("it is longer than %d bytes", limits.AuditLine)
	}
	return line, in.self, nil
}

// Head gives how many events the log has and the hash that the next one
// chains to, which is what a checkpoint records.
func (l *Log) Head() (count int, lineHash string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count, digest(l.head)
}

// Size gives the size of the file in bytes.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// Close closes the file. Everything appended is durable already; what was only
// written is not.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken == nil {
		l.broken = fs.ErrClosed
	}
	return l.file.Close()
}

func unusable(err error) error {
	return protocol.Errorf(protocol.ExitUnreachable, "audit_unusable", "the audit log takes no more events after an earlier failure: %w", err).
		WithHint("start the command again: it checks the log and goes on from what is on disk")
}

func unwritable(err error) error {
	return protocol.Errorf(protocol.ExitUnreachable, "audit_unwritable", "the audit log cannot be written, so nothing that it should tell of may happen: %w", err).
		At("audit.jsonl").WithHint("free space or mend the file system, then run the command again")
}

// startOf gives what the first line of a log must have as chain_hash.
func startOf(workflowID, after string) (sum, error) {
	if after == "" {
		return chainStart(workflowID), nil
	}
	return parseSum(after)
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

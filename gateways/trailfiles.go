package gateways

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/cabincrew/action/audit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// goesOn begins the message of the last event of a file that another one follows.
const goesOn = "the trail goes on in "

// fileName names the files of a run.
func fileName(n int) string {
	if n == 1 {
		return "audit.jsonl"
	}
	return fmt.Sprintf("audit-%04d.jsonl", n)
}

// rotate goes on in a new file, whose first line follows the last of the one before, so
// that all files are one chain. The caller holds the turn.
func (t *AuditTrail) rotate() error {
	if t.file >= limits.GatewayTrailFiles {
		return t.fail(protocol.Errorf(protocol.ExitUnreachable, "gateway_trail_full", "the trail of run %s has %d files", t.o.RunID, t.file).
			WithHint("start the gateway again: a new run begins a new trail"))
	}
	old, next := fileName(t.file), fileName(t.file+1)
	// First the file, then the word that there is one: a crash between leaves an empty
	// file, and never a word that looks as if a file had been taken away.
	f, err := t.o.Root.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = errors.Join(f.Close(), syncDir(t.o.Root, "."))
	}
	if err != nil {
		return t.fail(unusableDir(next, err))
	}
	if err := t.write(t.filled([]protocol.AuditEvent{{EventType: protocol.EventStateTransition, Gateway: t.itself(), Message: goesOn + next}})); err != nil {
		return err
	}
	events, head := t.log.Head()
	log, _, err := audit.Open(t.o.Root, next, t.o.RunID, t.options(head))
	if err != nil {
		return t.fail(err)
	}
	t.syncing.Lock()
	defer t.syncing.Unlock()
	if err := errors.Join(t.log.Sync(), t.log.Close()); err != nil {
		return t.fail(errors.Join(err, log.Close()))
	}
	t.log, t.file, t.inFile, t.synced = log, t.file+1, 0, t.events.Load()
	return t.write(t.filled([]protocol.AuditEvent{{
		EventType: protocol.EventStateTransition, Gateway: t.itself(),
		Message: fmt.Sprintf("the trail goes on from %s: %d events, head %s", old, events, head),
	}}))
}

func (t *AuditTrail) itself() *protocol.AuditGateway {
	return &protocol.AuditGateway{GatewayType: t.o.Kind}
}

// VerifyRun verifies the trail of a run, all files of it. signed, if set, judges the
// signature that each event must have. The report counts over all files; its problem
// is in the file that the error names.
func VerifyRun(run *os.Root, runID string, signed audit.SignedBy) (audit.Report, error) {
	all, err := runFiles(run)
	if err != nil {
		return audit.Report{}, err
	}
	first, err := readRecord(run, runID)
	if err != nil {
		return audit.Report{}, err
	}
	var total audit.Report
	next := "" // as the file before says
	for n := 1; n <= all; n++ {
		name := fileName(n)
		o := audit.VerifyOptions{After: total.Head, Signed: signed}
		if n == 1 {
			o.Count, o.Head = 1, first
		}
		report, last, err := verifyFile(run, name, runID, o)
		if n > 1 && next != name && (report.Events > 0 || n < all) {
			return total, protocol.Errorf(protocol.ExitIntegrity, "audit_missing", "the trail does not verify: the file before %s does not end with the word that it follows", name).
				At(fileName(n - 1)).WithHint("restore the run's directory from a copy")
		}
		total = joined(total, report)
		if err != nil {
			return total, ofRun(err, runID, total, n == all)
		}
		next = last
	}
	if next == fileName(all+1) {
		return total, protocol.Errorf(protocol.ExitIntegrity, "audit_cut", "the trail does not verify: it goes on in %s, which is gone", next).At(fileName(all)).
			WithHint("restore the run's directory from a copy")
	}
	return total, nil
}

// ofRun says in the words of a run what the problem of a trail is where those of a flight
// mislead: no run goes on after it was killed, and its record knows the first event.
func ofRun(err error, runID string, total audit.Report, last bool) error {
	p := total.Problem
	var known *protocol.Error
	if p == nil || !errors.As(err, &known) {
		return err
	}
	switch {
	case p.Torn && last:
		// SPEC: docs/audit.md: nobody can tell a torn line from a cut one, so it is exit 5.
		return protocol.Errorf(protocol.ExitIntegrity, "audit_cut", "run %s was killed while it wrote, its disk was full, or its end was cut: its last line is torn; all %d events before it are whole", runID, total.Events).
			At(known.Where).WithHint("what the torn line should tell of did not go on; leave the files as they are: the next start of the gateway begins a run of its own")
	case p.Torn:
		return known.WithHint("later files follow, so no crash did this: restore the run's directory from a copy")
	case p.Kind == audit.Cut && total.Events == 0:
		return protocol.Errorf(protocol.ExitIntegrity, "audit_cut", "the trail does not verify: it was emptied; the record of run %s knows its first event", runID).
			At(known.Where).WithHint("restore the run's directory from a copy")
	}
	return err
}

// joined puts the reports of a trail's files together.
func joined(total, next audit.Report) audit.Report {
	if total.Head == "" {
		return next
	}
	total.Events += next.Events
	total.Bytes += next.Bytes
	total.Head, total.Problem = next.Head, next.Problem
	total.Warnings = append(total.Warnings, next.Warnings...)
	if next.Events > 0 {
		total.Last, total.LastEvent = next.Last, next.LastEvent
	}
	return total
}

// verifyFile verifies one file and gives the name of the one that it says follows it.
func verifyFile(run *os.Root, name, runID string, o audit.VerifyOptions) (report audit.Report, next string, err error) {
	f, err := openPlain(run, name)
	if err != nil {
		return report, "", protocol.Errorf(protocol.ExitIntegrity, "audit_unreadable", "the trail cannot be read: %w", err).At(name)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if report, err = audit.Verify(f, runID, o); err != nil {
		var known *protocol.Error
		if errors.As(err, &known) {
			at := name
			if report.Problem != nil {
				at = fmt.Sprintf("%s:%d", name, report.Problem.Line)
			}
			err = known.At(at)
		}
		return report, "", err
	}
	last, err := lastMessage(f, report.Bytes)
	next, _ = strings.CutPrefix(last, goesOn)
	return report, next, err
}

// lastMessage gives the message of the last event if it is a short one, which those of
// the trail itself are.
func lastMessage(f io.ReaderAt, size int64) (string, error) {
	from := max(0, size-8<<10)
	tail := make([]byte, size-from)
	if _, err := f.ReadAt(tail, from); err != nil && !errors.Is(err, io.EOF) {
		return "", protocol.Errorf(protocol.ExitFailure, "audit_unreadable", "the trail cannot be read: %w", err)
	}
	tail = bytes.TrimSuffix(tail, []byte{'\n'})
	at := bytes.LastIndexByte(tail, '\n') + 1
	if at == 0 && from > 0 || at == len(tail) {
		return "", nil
	}
	var e protocol.AuditEvent
	if err := protocol.Decode(tail[at:], &e); err != nil {
		return "", protocol.Errorf(protocol.ExitIntegrity, "audit_changed", "the last event cannot be read: %w", err)
	}
	if e.EventType != protocol.EventStateTransition {
		return "", nil
	}
	return e.Message, nil
}

// runFiles counts the files of a run's trail.
func runFiles(run *os.Root) (int, error) {
	list, err := names(run, ".", limits.GatewayTrailFiles+16)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, name := range list {
		if strings.HasPrefix(name, "audit") && strings.HasSuffix(name, ".jsonl") {
			n++
		}
	}
	for i := 1; i <= n; i++ {
		if _, err := run.Lstat(fileName(i)); errors.Is(err, fs.ErrNotExist) {
			return 0, protocol.Errorf(protocol.ExitIntegrity, "audit_missing", "the trail does not verify: %s is gone, and there are later files", fileName(i)).
				At(fileName(i)).WithHint("restore the run's directory from a copy")
		}
	}
	if n == 0 {
		return 0, protocol.Errorf(protocol.ExitIntegrity, "audit_missing", "the run has no trail").At(fileName(1))
	}
	return n, nil
}

// A RunReader reads all files of a run's trail as one.
type RunReader struct {
	io.Reader
	files []*os.File
}

// OpenTrail opens the trail of a run for reading. It must be closed.
func OpenTrail(run *os.Root) (*RunReader, error) {
	all, err := runFiles(run)
	if err != nil {
		return nil, err
	}
	r := &RunReader{}
	var parts []io.Reader
	for n := 1; n <= all; n++ {
		f, err := openPlain(run, fileName(n))
		if err != nil {
			return nil, errors.Join(protocol.Errorf(protocol.ExitIntegrity, "audit_unreadable", "the trail cannot be read: %w", err).At(fileName(n)), r.Close())
		}
		r.files, parts = append(r.files, f), append(parts, f)
	}
	r.Reader = io.MultiReader(parts...)
	return r, nil
}

// Close closes all files.
func (r *RunReader) Close() error {
	var err error
	for _, f := range r.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

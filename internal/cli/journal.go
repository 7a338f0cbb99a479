package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/cabincrew/action/audit"
	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/file"
)

// auditName is the audit log of a flight.
const auditName = orchestrator.AuditFile

// journal is a flight's WAL together with its audit log. Events are durable
// before their entries, so every entry has its event. SPEC: docs/protocol.md 11.
type journal struct {
	wal *file.WAL
	log *audit.Log
	// recovered, if not empty, is told before anything else is appended: where the
	// WAL goes on although events tell of more.
	recovered string
	ahead     []string
	mended    string
	failpoint func(point string)
	// seal signs the log; nil: nobody does. dir is where the checkpoint goes.
	seal     *auditSeal
	dir      *file.Flight
	appended bool // since the newest checkpoint
}

var _ orchestrator.Journal = (*journal)(nil)

// openJournal opens both logs for appending and compares them. Everything that
// does not hold together is refused.
func openJournal(f *file.Flight, r *redact.Redactor, seal *auditSeal) (_ *journal, err error) {
	// A flight whose WAL is refused is not touched at all: opening the audit log
	// may cut a torn line off. A new flight has no WAL yet.
	if _, _, err := file.ReadWAL(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	options := audit.Options{Redact: r.String}
	if seal != nil && seal.each {
		options.Signer = seal
	}
	log, rec, err := audit.Open(f.Root(), auditName, f.ID(), options)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, log.Close())
		}
	}()
	wal, tail, err := file.OpenWAL(f)
	if err != nil {
		return nil, err
	}
	j := &journal{wal: wal, log: log, seal: seal, dir: f}
	cross, err := audit.CrossCheck(rec.Refs, wal.Entries())
	if err != nil {
		return nil, errors.Join(err, wal.Close())
	}
	for _, ref := range cross.Ahead {
		j.ahead = append(j.ahead, ref.EventType)
	}
	if len(j.ahead) > 0 {
		j.recovered = fmt.Sprintf("%s: the last write was interrupted; %d events tell of entries that were never written",
			audit.Recovered(int64(len(wal.Entries()))), len(j.ahead))
	}
	if tail.Torn || rec.Torn || tail.Newline || rec.Newline {
		j.mended = fmt.Sprintf("an interrupted write was mended (cut off: %d bytes of wal.jsonl, %d of audit.jsonl; line ends added: %v, %v)",
			tail.TornBytes, rec.TornBytes, tail.Newline, rec.Newline)
	}
	return j, nil
}

// Entries gives the WAL's durable entries.
func (j *journal) Entries() []protocol.WALEntry { return j.wal.Entries() }

// AuditHead gives how far the audit log has come.
func (j *journal) AuditHead() int64 {
	count, _ := j.log.Head()
	return int64(count)
}

// Append makes records durable: the events first, then the entries.
func (j *journal) Append(at time.Time, records ...orchestrator.Record) error {
	stamp := at.UTC().Format("2006-01-02T15:04:05.000Z")
	var events []protocol.AuditEvent
	if j.recovered != "" {
		events = append(events, protocol.AuditEvent{
			EventType: protocol.EventError, Timestamp: stamp, Message: j.recovered, Severity: protocol.SeverityWarning,
			WorkflowState: string(protocol.StateInit),
		})
	}
	var entries []protocol.WALEntry
	for _, r := range records {
		e := r.Event
		e.Timestamp = stamp
		// Foreign text (an engine's error, a reason) must not look like a reference
		// to a WAL entry or like a recovery.
		e.Message = audit.PlainText(e.Message)
		if r.Type != "" {
			entry, err := j.wal.Prepare(at, r.Type, r.Data)
			if err != nil {
				j.wal.Discard()
				return err
			}
			entries = append(entries, entry)
			e.Message += audit.WALRef(entry.Sequence, entry.Checksum)
		}
		events = append(events, e)
	}
	if j.seal != nil {
		// Without its key nothing happens that a checkpoint could not tell of.
		if _, err := j.seal.key(); err != nil {
			j.wal.Discard()
			return err
		}
	}
	j.appended = true
	j.point("before the audit")
	if err := j.log.Append(events...); err != nil {
		j.wal.Discard()
		return err
	}
	j.point("between audit and WAL")
	j.recovered = ""
	if err := j.wal.Commit(entries...); err != nil {
		return err
	}
	j.point("after the WAL")
	return nil
}

func (j *journal) point(name string) {
	if j.failpoint != nil {
		j.failpoint(name)
	}
}

// sealed signs how far the log has come, if it has come further.
func (j *journal) sealed() error {
	if j.seal == nil || !j.appended {
		return nil
	}
	events, _ := j.log.Head()
	if err := j.seal.renew(j.dir, uint64(events)); err != nil { //nolint:gosec // a count
		return err
	}
	j.appended = false
	return nil
}

func (j *journal) close() error { return errors.Join(j.sealed(), j.wal.Close(), j.log.Close()) }

// checkLogs verifies both logs of a flight without changing anything.
func checkLogs(f *file.Flight) ([]protocol.WALEntry, audit.Report, []orchestrator.Check, error) {
	var checks []orchestrator.Check
	var report audit.Report
	var auditErr error
	var both sync.WaitGroup
	both.Go(func() { report, auditErr = verifyAudit(f) }) // as long as the other log
	entries, tail, err := file.ReadWAL(f)
	both.Wait()
	if err == nil && tail.Torn {
		err = protocol.Errorf(protocol.ExitIntegrity, "wal_torn", "the last line is torn (%d bytes): a write was interrupted", tail.TornBytes).
			At("wal.jsonl").WithHint("cabincrew resume cuts it off and goes on")
	}
	checks = append(checks, checkOf("wal", fmt.Sprintf("%d entries", len(entries)), err))
	if err != nil {
		return entries, audit.Report{}, checks, err
	}
	err = auditErr
	checks = append(checks, checkOf("audit", fmt.Sprintf("%d events", report.Events), err))
	if err != nil {
		return entries, report, checks, err
	}
	cross, err := audit.CrossCheck(report.Refs, entries)
	if err == nil && len(cross.Ahead) > 0 {
		err = protocol.Errorf(protocol.ExitIntegrity, "wal_behind", "%d audit events tell of WAL entries that are not there: a write was interrupted, or the WAL was cut", len(cross.Ahead)).
			At("wal.jsonl").WithHint("cabincrew resume goes on if the write was interrupted, and refuses otherwise")
	}
	checks = append(checks, checkOf("audit and wal", "each entry has its event", err))
	return entries, report, checks, err
}

func verifyAudit(f *file.Flight) (_ audit.Report, err error) {
	in, err := openAudit(f)
	if err != nil {
		return audit.Report{}, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	return audit.Verify(in, f.ID(), audit.VerifyOptions{Refs: true})
}

func checkOf(name, detail string, err error) orchestrator.Check {
	if err != nil {
		return orchestrator.Check{Name: name, Status: orchestrator.FailStatus, Detail: err.Error()}
	}
	return orchestrator.Check{Name: name, Status: orchestrator.Pass, Detail: detail}
}

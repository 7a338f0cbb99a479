package gateways

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cabincrew/action/audit"
	"github.com/cabincrew/action/audit/merkle"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// stateServing is the workflow_state of events that tell none: a gateway has one only.
const stateServing = "SERVING"

// TrailOptions are what an AuditTrail needs.
type TrailOptions struct {
	Root   *os.Root // the directory of this run, which is new
	RunID  string
	Kind   string // of gateway: mcp, llm
	Redact func(string) string
	Signer audit.Signer // of each event; nil: none
	Now    func() time.Time
	// Sync is how long an event that need not be durable may stay off the disk. 0: every
	// event is durable.
	Sync time.Duration
	// FileBytes and FileEvents are after how much a new file begins; 0: the limits.
	FileBytes  int64
	FileEvents int
	// Checkpoint, if set, is given how far the trail has come, every minute and at the
	// end. What it says is on the disk. It signs that, and brings it where this machine
	// cannot rewrite it.
	Checkpoint func(context.Context, merkle.Checkpoint) error
	Origin     string // of checkpoints: see audit.Origin
	// About is what the first event says of the run, for who verifies it.
	About map[string]any
	Ticks <-chan time.Time // when checkpoints are due; nil: by limits.GatewayCheckpoint
}

// An AuditTrail is a Trail in files of a run's directory, which form one chain. Many may
// append at once: whoever comes first writes for all who wait.
type AuditTrail struct {
	o    TrailOptions
	room chan struct{} // one for each caller inside
	turn chan struct{} // held by the one who writes

	queueing sync.Mutex
	queue    []*waiting

	// Guarded by turn.
	log    *audit.Log // swapped under syncing, too
	file   int        // its number, from 1
	inFile int        // events in it
	tree   *merkle.Tree

	events  atomic.Uint64 // written
	syncing sync.Mutex
	synced  uint64 // of the events, guarded by syncing

	broken atomic.Pointer[error]
	dirty  chan struct{}
	ending chan struct{}
	ended  sync.WaitGroup
	closed sync.Once
	// Guarded by turn.
	told bool // that checkpoints fail
}

var _ Trail = (*AuditTrail)(nil)

// waiting is one caller's events.
type waiting struct {
	events []protocol.AuditEvent
	taken  bool // guarded by queueing
	done   chan struct{}
	err    error
	upTo   uint64
}

// NewTrail begins the trail of a new run. It must be closed.
func NewTrail(o TrailOptions) (*AuditTrail, error) {
	o.FileBytes = cmp.Or(o.FileBytes, limits.GatewayTrailFile)
	o.FileEvents = cmp.Or(o.FileEvents, limits.GatewayTrailEvents)
	t := &AuditTrail{
		o: o, room: make(chan struct{}, limits.GatewayTrailWaiting), turn: make(chan struct{}, 1),
		dirty: make(chan struct{}, 1), ending: make(chan struct{}), file: 1,
	}
	if o.Checkpoint != nil {
		t.tree = merkle.New()
	}
	log, _, err := audit.Open(o.Root, fileName(1), o.RunID, t.options(""))
	if err != nil {
		return nil, err
	}
	t.log = log
	if events, _ := log.Head(); events > 0 {
		return nil, errors.Join(protocol.Errorf(protocol.ExitUsage, "gateway_run", "run %s has a trail already", o.RunID).WithHint("begin a new run"), log.Close())
	}
	if err := t.begin(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	t.ended.Go(t.background)
	return t, nil
}

func (t *AuditTrail) options(after string) audit.Options {
	o := audit.Options{Redact: t.o.Redact, Signer: t.o.Signer, After: after}
	if t.tree != nil {
		o.Each = t.tree.Append
	}
	return o
}

// Append writes events. When it returns nil they outlive this process, and the machine,
// too, if durable. The end of ctx ends the wait only while nobody has begun to write them.
// After the first failure nothing is written any more. SPEC: docs/protocol.md 10, 11
func (t *AuditTrail) Append(ctx context.Context, durable bool, events ...protocol.AuditEvent) error {
	if err := t.Broken(); err != nil || len(events) == 0 {
		return err
	}
	select {
	case t.room <- struct{}{}:
	case <-ctx.Done():
		return unrecorded(ctx)
	}
	defer func() { <-t.room }()
	w := t.enqueue(events)
	select {
	case t.turn <- struct{}{}:
		t.writeAll()
		<-t.turn
	case <-w.done:
	case <-ctx.Done():
		if t.left(w) {
			return unrecorded(ctx)
		}
	}
	<-w.done
	switch {
	case w.err != nil:
		return w.err
	case durable || t.o.Sync <= 0:
		return t.sync(w.upTo)
	}
	select {
	case t.dirty <- struct{}{}:
	default:
	}
	return nil
}

func unrecorded(ctx context.Context) error {
	return fmt.Errorf("the event was not recorded: %w", context.Cause(ctx))
}

// Broken says why nothing can be recorded any more; nil: it can.
func (t *AuditTrail) Broken() error {
	if err := t.broken.Load(); err != nil {
		return *err
	}
	return nil
}

func (t *AuditTrail) fail(err error) error {
	if err != nil {
		t.broken.CompareAndSwap(nil, &err)
	}
	return err
}

// Events is how many events were written.
func (t *AuditTrail) Events() uint64 { return t.events.Load() }

func (t *AuditTrail) enqueue(events []protocol.AuditEvent) *waiting {
	t.queueing.Lock()
	defer t.queueing.Unlock()
	// Their time is told in the order in which they are written.
	w := &waiting{events: t.filled(events), done: make(chan struct{})}
	t.queue = append(t.queue, w)
	return w
}

// left takes a caller out of the queue, if it is still there.
func (t *AuditTrail) left(w *waiting) bool {
	t.queueing.Lock()
	defer t.queueing.Unlock()
	if w.taken {
		return false
	}
	for i := range t.queue {
		if t.queue[i] == w {
			t.queue = append(t.queue[:i], t.queue[i+1:]...)
			break
		}
	}
	return true
}

// filled gives events what all of a gateway have. The caller's stay as they are.
func (t *AuditTrail) filled(events []protocol.AuditEvent) []protocol.AuditEvent {
	out := make([]protocol.AuditEvent, len(events))
	for i, e := range events {
		if e.Timestamp == "" {
			e.Timestamp = t.o.Now().UTC().Format(time.RFC3339Nano)
		}
		if e.Workflow == nil {
			e.Workflow = &protocol.AuditWorkflow{WorkflowID: t.o.RunID}
		}
		e.WorkflowState = cmp.Or(e.WorkflowState, stateServing)
		e.Severity = cmp.Or(e.Severity, protocol.SeverityInfo)
		// No foreign text may look like a reference to a flight's log.
		e.Message = audit.PlainText(e.Message)
		out[i] = e
	}
	return out
}

// writeAll writes for all who wait. The caller holds the turn.
func (t *AuditTrail) writeAll() {
	t.queueing.Lock()
	batch := t.queue
	t.queue = nil
	for _, w := range batch {
		w.taken = true
	}
	t.queueing.Unlock()
	if len(batch) == 0 {
		return
	}
	all := batch[0].events
	for _, w := range batch[1:] {
		all = append(all, w.events...)
	}
	err := t.write(all)
	alone := errors.Is(err, protocol.Code("audit_event_invalid")) && len(batch) > 1
	for _, w := range batch {
		// What is wrong with one caller's events is no other caller's matter.
		if w.err = err; alone {
			w.err = t.write(w.events)
		}
		w.upTo = t.events.Load()
		close(w.done)
	}
	if t.Broken() == nil && (t.log.Size() >= t.o.FileBytes || t.inFile >= t.o.FileEvents) {
		_ = t.rotate() // who comes next is told
	}
}

func (t *AuditTrail) write(events []protocol.AuditEvent) error {
	if err := t.Broken(); err != nil {
		return err
	}
	err := t.log.Write(events...)
	switch {
	case err == nil:
		t.inFile += len(events)
		t.events.Add(uint64(len(events)))
	case !errors.Is(err, protocol.Code("audit_event_invalid")):
		err = t.fail(err)
	}
	return err
}

// sync makes the events durable that were written up to one of them. Many who wait need
// one fsync.
func (t *AuditTrail) sync(upTo uint64) error {
	t.syncing.Lock()
	defer t.syncing.Unlock()
	if t.synced >= upTo {
		return nil
	}
	if err := t.Broken(); err != nil {
		return err
	}
	written := t.events.Load()
	if err := t.log.Sync(); err != nil {
		return t.fail(err)
	}
	t.synced = written
	return nil
}

// background makes durable what nobody waits for, and hands out checkpoints.
func (t *AuditTrail) background() {
	ticks := t.o.Ticks
	if ticks == nil && t.tree != nil {
		ticker := time.NewTicker(limits.GatewayCheckpoint)
		defer ticker.Stop()
		ticks = ticker.C
	}
	var due <-chan time.Time
	for {
		dirty := t.dirty
		if due != nil {
			dirty = nil
		}
		select {
		case <-dirty:
			due = time.After(t.o.Sync)
		case <-due:
			due = nil
			_ = t.sync(t.events.Load()) // who comes next is told
		case <-ticks:
			if t.tree != nil {
				t.checkpoint(context.Background())
			}
		case <-t.ending:
			return
		}
	}
}

// checkpoint hands out how far the trail has come. That it cannot is on the record, once
// until it can again.
func (t *AuditTrail) checkpoint(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, limits.GatewayCheckpointWait)
	defer cancel()
	err := t.handOut(ctx)
	t.turn <- struct{}{}
	told := t.told
	t.told = err != nil
	<-t.turn
	if (err != nil) == told {
		return
	}
	e := protocol.AuditEvent{EventType: protocol.EventError, Message: "checkpoints of this trail are handed out again"}
	if err != nil {
		e.Severity, e.Message = protocol.SeverityError, "a checkpoint of this trail could not be handed out: "+err.Error()
	}
	_ = t.Append(ctx, true, e) // a trail that is broken is seen elsewhere
}

func (t *AuditTrail) handOut(ctx context.Context) error {
	t.turn <- struct{}{}
	size := t.tree.Size()
	root, err := t.tree.Root()
	<-t.turn
	if err == nil {
		err = t.sync(t.events.Load())
	}
	if err != nil {
		return err
	}
	return t.o.Checkpoint(ctx, merkle.Checkpoint{Origin: t.o.Origin, Size: size, Root: root})
}

// Close writes what waits, makes everything durable and hands out a last checkpoint.
func (t *AuditTrail) Close(ctx context.Context) (err error) {
	t.closed.Do(func() {
		close(t.ending)
		t.ended.Wait()
		t.end(ctx)
		t.turn <- struct{}{}
		t.writeAll()
		err = t.sync(t.events.Load())
		_ = t.fail(protocol.Errorf(protocol.ExitUnreachable, "audit_unusable", "the trail of run %s is closed", t.o.RunID)) // is no failure here
		err = errors.Join(err, t.log.Close())
		<-t.turn
	})
	return err
}

package gateways

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// recordName is the record of a run in its directory: it says which event is the first of
// the trail, so that an emptied trail does not look like that of a run without events.
const recordName = "run.json"

const recordVersion = 1

// runRecord is what it holds.
type runRecord struct {
	Version int    `json:"version"`
	RunID   string `json:"run_id"`
	Kind    string `json:"kind"`
	First   string `json:"first_event"` // its hash, to which the second one chains
}

// The messages of the first and the last event of a run.
const (
	runBegins = "the run begins"
	runEnds   = "the run ends"
)

// begin writes the first event of the run and the record of it, and hands out the first
// checkpoint: a run that never could is none.
func (t *AuditTrail) begin() error {
	first := protocol.AuditEvent{EventType: protocol.EventStateTransition, Gateway: t.itself(), Message: runBegins}
	if len(t.o.About) > 0 {
		first.Policy = &protocol.AuditPolicy{Decision: protocol.Allow, PolicyEvaluations: []protocol.PolicyEvaluation{{
			Source: sourceOf(t.o.Kind), PolicyID: "gateway/run", Decision: protocol.Allow, Evidence: t.o.About,
			EvaluatedAt: t.filled([]protocol.AuditEvent{{}})[0].Timestamp,
		}}}
	}
	if err := t.write(t.filled([]protocol.AuditEvent{first})); err != nil {
		return err
	}
	if err := t.sync(t.events.Load()); err != nil {
		return err
	}
	_, head := t.log.Head()
	data, err := protocol.Canonical(runRecord{Version: recordVersion, RunID: t.o.RunID, Kind: t.o.Kind, First: head})
	if err == nil {
		err = makeFile(t.o.Root, recordName, append(data, '\n'))
	}
	if err != nil {
		return unusableDir(recordName, err)
	}
	if t.tree == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), limits.GatewayCheckpointWait)
	defer cancel()
	if err := t.handOut(ctx); err != nil {
		return protocol.Errorf(protocol.ExitUnreachable, "gateway_checkpoint", "the first checkpoint of the trail cannot be handed out: %w", err).
			WithHint("let this user write where audit.checkpoints says, or leave audit.sign away")
	}
	return nil
}

// end writes the last event of the run: a trail without it is of a run that was killed,
// or was cut.
func (t *AuditTrail) end(ctx context.Context) {
	if t.Broken() != nil {
		return // nothing can be written, and that is seen elsewhere
	}
	last := protocol.AuditEvent{EventType: protocol.EventStateTransition, Gateway: t.itself(), Message: runEnds}
	_ = t.Append(ctx, true, last) // as above
	if t.tree == nil {
		return
	}
	before := t.Events()
	if t.checkpoint(ctx); t.Events() != before {
		_ = t.Append(ctx, true, last) // what went wrong with the checkpoint came after it
	}
}

// readRecord gives the hash of the first event of a run.
func readRecord(run *os.Root, runID string) (first string, err error) {
	raw, err := readPlain(run, recordName, limits.GatewayRunRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return "", protocol.Errorf(protocol.ExitIntegrity, "audit_missing", "the trail does not verify: the run has no record of its first event; it was taken away, or the gateway was killed before it served anybody").
			At(recordName).WithHint("restore the run's directory from a copy")
	}
	var r runRecord
	if err == nil {
		err = protocol.Decode(raw, &r)
	}
	if err == nil && (r.Version != recordVersion || r.RunID != runID) {
		err = fmt.Errorf("it is version %d of run %.80q", r.Version, r.RunID)
	}
	if err == nil {
		_, err = protocol.ParseDigest(r.First)
	}
	if err != nil {
		return "", protocol.Errorf(protocol.ExitIntegrity, "audit_unreadable", "the record of the run cannot be read: %w", err).At(recordName).
			WithHint("restore the run's directory from a copy")
	}
	return r.First, nil
}

// RunEnded says whether the trail of a run has its last event: the gateway ended in
// order. It does not verify the trail.
func RunEnded(run *os.Root) (ended bool, err error) {
	all, err := runFiles(run)
	if err != nil {
		return false, err
	}
	f, err := openPlain(run, fileName(all))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	last, err := lastMessage(f, info.Size())
	return last == runEnds, err
}

// RunAlive says whether the gateway of a run still runs.
func RunAlive(state *os.Root, r Run) bool { return runs(state, r.ID) }

// sourceOf names a kind of gateway as a judge.
func sourceOf(kind string) string {
	if kind == "llm" {
		return protocol.SourceLLMGateway
	}
	return protocol.SourceMCPGateway
}

// decisionOf gives the type of the events that tell what a kind of gateway decided.
func decisionOf(kind string) string {
	if kind == "llm" {
		return protocol.EventLLMDecision
	}
	return protocol.EventMCPDecision
}

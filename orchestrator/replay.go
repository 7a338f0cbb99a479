package orchestrator

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cabincrew/action/protocol"
)

// Ids of artifact_created entries: an engine chooses artifact types, so the kind
// of an entry is told from its id, which only the orchestrator writes.
const (
	artifactID    = "artifact:"
	tokenID       = "plan-token:"
	flightTokenID = "flight-token"
)

// Status is what replaying a WAL gives.
type Status struct {
	State       protocol.State
	Created     string
	Updated     string
	FlightToken string
	SealedAt    string            // when TOKEN_CREATED was entered
	SignedAt    string            // when the plan's signature was recorded
	Tokens      map[string]string // by step
	Planned     map[string]bool   // steps whose engine ended well in flight-plan
	TakenOff    map[string]bool   // steps whose take-off ended well
	Began       map[string]bool   // steps whose take-off began
	Digests     map[string]string // of the flight's own files by path
	Artifacts   []protocol.ArtifactRecord
	Evaluations []protocol.PolicyEvaluationRecord
	Requested   []Requested
	Received    map[string]Received // by approval id, the last one
	Failure     *protocol.WorkflowFailedData
	Ended       bool // workflow_completed or workflow_failed was written
}

// Requested is one approval that was asked for.
type Requested struct {
	protocol.ApprovalRequestedData
	At string
}

// Received is one approval that was counted.
type Received struct {
	protocol.ApprovalReceivedData
	At string
}

// Replay turns WAL entries into a status and refuses transitions that the state
// machine does not have. SPEC: docs/protocol.md 5.
func Replay(entries []protocol.WALEntry) (Status, error) {
	s := Status{
		Tokens: map[string]string{}, Planned: map[string]bool{}, TakenOff: map[string]bool{},
		Began: map[string]bool{}, Digests: map[string]string{}, Received: map[string]Received{},
	}
	for _, e := range entries {
		if err := s.apply(e); err != nil {
			return s, integrity("wal_order", "entry %d (%s): %w", e.Sequence, e.EntryType, err).At("wal.jsonl").
				WithHint("the WAL tells of a flight that cannot have happened; trust nothing in this flight")
		}
	}
	if s.State == "" {
		return s, integrity("wal_empty", "the WAL holds no entry").At("wal.jsonl")
	}
	return s, nil
}

func (s *Status) apply(e protocol.WALEntry) error {
	if s.Created == "" {
		s.Created = e.Timestamp
	}
	s.Updated = e.Timestamp
	if err := s.inOrder(e.EntryType); err != nil {
		return err
	}
	switch e.EntryType {
	case protocol.WALWorkflowStarted:
		return decoded(e, func(d protocol.WorkflowStartedData) error {
			if s.State != "" || d.InitialState != protocol.StateInit {
				return fmt.Errorf("a flight starts once and in INIT")
			}
			s.State = protocol.StateInit
			return nil
		})
	case protocol.WALStepStarted:
		return decoded(e, func(d protocol.StepStartedData) error { return s.entered(d, e.Timestamp) })
	case protocol.WALStepCompleted:
		return decoded(e, func(d protocol.StepCompletedData) error { return s.completed(d.StepID) })
	case protocol.WALArtifactCreated:
		return decoded(e, func(d protocol.ArtifactCreatedData) error { return s.artifact(d, e.Timestamp) })
	case protocol.WALPolicyEvaluated:
		return decoded(e, func(d protocol.PolicyEvaluatedData) error {
			step, _, _ := strings.Cut(d.EvaluationID, "/")
			s.Evaluations = append(s.Evaluations, protocol.PolicyEvaluationRecord{
				EvaluationID: d.EvaluationID, StepID: step, PolicyName: d.PolicyName, Decision: d.Decision, EvaluatedAt: e.Timestamp,
			})
			return nil
		})
	case protocol.WALApprovalRequested:
		return decoded(e, func(d protocol.ApprovalRequestedData) error {
			if slices.ContainsFunc(s.Requested, func(r Requested) bool { return r.ApprovalID == d.ApprovalID }) {
				return fmt.Errorf("approval %s is asked for twice", d.ApprovalID)
			}
			s.Requested = append(s.Requested, Requested{d, e.Timestamp})
			return nil
		})
	case protocol.WALApprovalReceived:
		return decoded(e, func(d protocol.ApprovalReceivedData) error { return s.received(d, e.Timestamp) })
	case protocol.WALWorkflowCompleted:
		return decoded(e, func(d protocol.WorkflowCompletedData) error {
			if s.State != protocol.StateCompleted || d.FinalState != protocol.StateCompleted {
				return fmt.Errorf("the flight is %s, not COMPLETED", s.State)
			}
			s.Ended = true
			return nil
		})
	case protocol.WALWorkflowFailed:
		return decoded(e, func(d protocol.WorkflowFailedData) error {
			if s.State != protocol.StateFailed {
				return fmt.Errorf("the flight is %s, not FAILED", s.State)
			}
			s.Failure, s.Ended = &d, true
			return nil
		})
	}
	return fmt.Errorf("unknown entry type")
}

// inOrder refuses entries that no flight writes in its state: before its begin,
// after its end, or in another stage than theirs.
func (s *Status) inOrder(kind protocol.WALEntryType) error {
	if s.State == "" && kind != protocol.WALWorkflowStarted {
		return fmt.Errorf("it stands before workflow_started")
	}
	if s.Ended || s.State.Terminal() && kind != protocol.WALWorkflowCompleted && kind != protocol.WALWorkflowFailed {
		return fmt.Errorf("it stands after the end of the flight")
	}
	stage := map[protocol.WALEntryType]protocol.State{
		protocol.WALPolicyEvaluated:   protocol.StatePreflightRunning,
		protocol.WALApprovalRequested: protocol.StateAwaitingApproval,
		protocol.WALApprovalReceived:  protocol.StateAwaitingApproval,
	}[kind]
	if stage != "" && stage != s.State {
		return fmt.Errorf("it belongs to %s, the flight is %s", stage, s.State)
	}
	return nil
}

func decoded[T any](e protocol.WALEntry, f func(T) error) error {
	var d T
	var err error
	if artifact, ok := any(&d).(*protocol.ArtifactCreatedData); ok { // there can be thousands
		*artifact, err = artifactCreated().Decode(e.Data)
	} else {
		err = protocol.Decode(e.Data, &d)
	}
	if err != nil {
		return err
	}
	return f(d)
}

var artifactCreated = sync.OnceValue(protocol.ReaderOf[protocol.ArtifactCreatedData])

func (s *Status) entered(d protocol.StepStartedData, at string) error {
	state := protocol.State(d.StepType)
	if d.StepID != protocol.WorkflowStep {
		if !state.Valid() || state != s.State {
			return fmt.Errorf("step %s enters %s while the flight is %s", d.StepID, d.StepType, s.State)
		}
		if state == protocol.StateTakeoffRunning {
			s.Began[d.StepID] = true
		}
		return nil
	}
	if !state.CanFollow(s.State) {
		return fmt.Errorf("%s cannot follow %s", d.StepType, s.State)
	}
	// What the later states are about must have been fixed before them: else a flight
	// could be in one with nothing that could be verified.
	switch {
	case state == protocol.StateTokenCreated && (s.FlightToken == "" || len(s.Tokens) == 0):
		return errors.New("the tokens are made, but none is recorded")
	case state == protocol.StatePreflightComplete && s.Digests[ManifestFile] == "":
		return errors.New("preflight ended, but no manifest is recorded")
	case state == protocol.StateTokenCreated:
		s.SealedAt = at
	}
	s.State = state
	return nil
}

func (s *Status) completed(step string) error {
	switch s.State {
	case protocol.StatePlanRunning:
		s.Planned[step] = true
	case protocol.StateTakeoffRunning:
		if !s.Began[step] {
			return fmt.Errorf("step %s ended a take-off that it never began", step)
		}
		s.TakenOff[step] = true
	default:
		return fmt.Errorf("step %s completed while the flight is %s", step, s.State)
	}
	return nil
}

func (s *Status) artifact(d protocol.ArtifactCreatedData, at string) error {
	if d.ArtifactID == PlanBundle {
		s.SignedAt = at
	}
	if step, ok := strings.CutPrefix(d.ArtifactID, tokenID); ok {
		if s.State != protocol.StateArtifactsValidated {
			return fmt.Errorf("a plan-token is made while the flight is %s", s.State)
		}
		if old := s.Tokens[step]; old != "" && old != d.ArtifactHash {
			return fmt.Errorf("step %s has a second plan-token", step)
		}
		s.Tokens[step] = d.ArtifactHash
		return nil
	}
	if d.ArtifactID == flightTokenID {
		if s.State != protocol.StateArtifactsValidated {
			return fmt.Errorf("a flight token is made while the flight is %s", s.State)
		}
		if s.FlightToken != "" && s.FlightToken != d.ArtifactHash {
			return fmt.Errorf("the flight has a second token")
		}
		s.FlightToken = d.ArtifactHash
		return nil
	}
	if id, ok := strings.CutPrefix(d.ArtifactID, artifactID); ok {
		if s.State != protocol.StatePlanGenerated {
			return fmt.Errorf("artifact %s is validated while the flight is %s", id, s.State)
		}
		step, _, _ := strings.Cut(id, "/")
		s.Artifacts = append(s.Artifacts, protocol.ArtifactRecord{
			ArtifactID: d.ArtifactID, StepID: step, ArtifactHash: d.ArtifactHash, ArtifactType: d.ArtifactType, CreatedAt: at,
		})
		return nil
	}
	if fixed(d.ArtifactID, s.State) && s.Digests[d.ArtifactID] != "" && s.Digests[d.ArtifactID] != d.ArtifactHash {
		return fmt.Errorf("%s is fixed and has a second digest", d.ArtifactID)
	}
	s.Digests[d.ArtifactID] = d.ArtifactHash
	return nil
}

// fixed says whether a file of the flight cannot become another any more. What
// an interrupted stage wrote may be written anew until its end is recorded.
func fixed(id string, state protocol.State) bool {
	switch {
	case id == FlightFile:
		return true
	case id == ManifestFile, id == PlanBundle:
		return state.Reached(protocol.StatePreflightComplete)
	case strings.HasPrefix(id, workspaceID), strings.HasPrefix(id, plannedID):
		return state.Reached(protocol.StatePlanGenerated)
	}
	return false
}

func (s *Status) received(d protocol.ApprovalReceivedData, at string) error {
	if s.State != protocol.StateAwaitingApproval {
		return fmt.Errorf("an approval came while the flight is %s", s.State)
	}
	for _, r := range s.Requested {
		if r.ApprovalID == d.ApprovalID {
			if _, twice := s.Received[d.ApprovalID]; twice {
				return fmt.Errorf("approval %s is counted twice", d.ApprovalID)
			}
			s.Received[d.ApprovalID] = Received{d, at}
			return nil
		}
	}
	return fmt.Errorf("approval %s was never asked for", d.ApprovalID)
}

// Record gives the status in the protocol's form.
func (f *Flight) Record() protocol.WorkflowStateRecord {
	s := f.Status
	r := protocol.WorkflowStateRecord{
		WorkflowID: f.ID(), CurrentState: s.State, PlanTokenHash: s.FlightToken, CreatedAt: s.Created, UpdatedAt: s.Updated,
		StepsCompleted: []string{}, StepsPending: []string{}, Approvals: []protocol.ApprovalRecord{},
		Artifacts: s.Artifacts, PolicyEvaluations: s.Evaluations,
	}
	if r.Artifacts == nil {
		r.Artifacts = []protocol.ArtifactRecord{}
	}
	if r.PolicyEvaluations == nil {
		r.PolicyEvaluations = []protocol.PolicyEvaluationRecord{}
	}
	for _, id := range f.order() {
		if s.TakenOff[id] {
			r.StepsCompleted = append(r.StepsCompleted, id)
		} else {
			r.StepsPending = append(r.StepsPending, id)
		}
	}
	for _, q := range s.Requested {
		if got, ok := s.Received[q.ApprovalID]; ok {
			r.Approvals = append(r.Approvals, protocol.ApprovalRecord{
				ApprovalID: q.ApprovalID, StepID: q.StepID, PlanTokenHash: s.Tokens[q.StepID],
				Approved: got.Approved, Approver: got.Approver, ApprovedAt: got.At,
			})
		}
	}
	return r
}

// allows says whether records may follow: what the state machine refuses is not
// written in the first place.
func (s *Status) allows(records []Record) error {
	next := *s
	next.Tokens, next.Planned, next.TakenOff = maps.Clone(s.Tokens), maps.Clone(s.Planned), maps.Clone(s.TakenOff)
	next.Began, next.Digests, next.Received = maps.Clone(s.Began), maps.Clone(s.Digests), maps.Clone(s.Received)
	next.Requested = slices.Clone(s.Requested)
	next.Artifacts, next.Evaluations = slices.Clone(s.Artifacts), slices.Clone(s.Evaluations)
	if s.State == "" {
		next, _ = Replay(nil) // nothing is recorded yet
	}
	for _, r := range records {
		if r.Type == "" {
			continue
		}
		data, err := protocol.Canonical(r.Data)
		if err != nil {
			return err
		}
		if err := next.apply(protocol.WALEntry{EntryType: r.Type, Data: data}); err != nil {
			return protocol.Errorf(protocol.ExitUsage, "state_wrong", "the flight cannot do that now: %w", err)
		}
	}
	return nil
}

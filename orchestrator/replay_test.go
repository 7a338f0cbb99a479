package orchestrator

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

// wal makes entries from short lines: "TYPE a b c", or "TYPE {json}".
func wal(t testing.TB, lines ...string) []protocol.WALEntry {
	t.Helper()
	var out []protocol.WALEntry
	for i, line := range lines {
		kind, rest, _ := strings.Cut(line, " ")
		f := append(strings.Fields(rest), "", "", "")
		var kindOf protocol.WALEntryType
		var data any
		switch kind {
		case "begin":
			kindOf, data = protocol.WALWorkflowStarted, protocol.WorkflowStartedData{InitialState: protocol.State(f[0])}
		case "enter":
			kindOf, data = protocol.WALStepStarted, protocol.StepStartedData{StepID: protocol.WorkflowStep, StepType: f[0]}
		case "step":
			kindOf, data = protocol.WALStepStarted, protocol.StepStartedData{StepID: f[0], StepType: f[1]}
		case "done":
			kindOf, data = protocol.WALStepCompleted, protocol.StepCompletedData{StepID: f[0]}
		case "file":
			kindOf, data = protocol.WALArtifactCreated, protocol.ArtifactCreatedData{ArtifactID: f[0], ArtifactHash: f[1], ArtifactType: "x"}
		case "judged":
			kindOf, data = protocol.WALPolicyEvaluated, protocol.PolicyEvaluatedData{EvaluationID: f[0], PolicyName: "p", Decision: protocol.Allow}
		case "ask":
			kindOf, data = protocol.WALApprovalRequested, protocol.ApprovalRequestedData{ApprovalID: f[0], StepID: "a", RequiredRole: "r"}
		case "answer":
			kindOf, data = protocol.WALApprovalReceived, protocol.ApprovalReceivedData{ApprovalID: f[0], Approved: true, Approver: "b"}
		case "completed":
			kindOf, data = protocol.WALWorkflowCompleted, protocol.WorkflowCompletedData{FinalState: protocol.StateCompleted, Artifacts: []string{}}
		case "failed":
			kindOf, data = protocol.WALWorkflowFailed, protocol.WorkflowFailedData{Error: "e"}
		default:
			kindOf, data = protocol.WALEntryType(kind), map[string]any{}
		}
		raw, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, protocol.WALEntry{Sequence: int64(i), Timestamp: fmt.Sprintf("2026-01-01T00:00:%02d.000Z", i%60), EntryType: kindOf, Data: raw})
	}
	return out
}

// whole is a flight from its begin to its end.
var whole = []string{
	"begin INIT", "file flight.json sha256:1", "enter PLAN_RUNNING", "step a PLAN_RUNNING", "file workspace:a sha256:2", "file step:a sha256:3", "done a",
	"enter PLAN_GENERATED", "file artifact:a/n sha256:4", "enter ARTIFACTS_VALIDATED", "file plan-token:a sha256:5", "file flight-token sha256:6",
	"enter TOKEN_CREATED", "enter PRE_FLIGHT_RUNNING", "judged a/0", "file plan-manifest.json sha256:7", "enter PREFLIGHT_COMPLETE",
	"enter AWAITING_APPROVAL", "ask apr-1", "answer apr-1", "enter APPROVED", "enter READY_FOR_TAKEOFF", "enter TAKEOFF_RUNNING", "step a TAKEOFF_RUNNING",
	"file steps/a/takeoff-receipt.json sha256:8", "done a", "enter EXECUTION_COMPLETE", "enter COMPLETED", "completed",
}

func TestReplay(t *testing.T) {
	t.Parallel()
	s, err := Replay(wal(t, whole...))
	if err != nil {
		t.Fatal(err)
	}
	if s.State != protocol.StateCompleted || s.FlightToken != "sha256:6" || s.Tokens["a"] != "sha256:5" || !s.Planned["a"] || !s.TakenOff["a"] ||
		s.Digests[ManifestFile] != "sha256:7" || !s.Received["apr-1"].Approved || len(s.Evaluations) != 1 || len(s.Artifacts) != 1 {
		t.Fatalf("%+v", s)
	}
	for i := 1; i < len(whole); i++ {
		if _, err := Replay(wal(t, whole[:i]...)); err != nil {
			t.Errorf("the first %d entries: %v", i, err)
		}
	}
	if _, err := Replay(wal(t, append(slices.Clone(whole[:5]), "enter FAILED", "failed")...)); err != nil {
		t.Errorf("failed while planning: %v", err)
	}
}

// TestReplayRefusesIllegalOrders: each list goes on after a lawful beginning that
// ends with the entry named.
func TestReplayRefusesIllegalOrders(t *testing.T) {
	t.Parallel()
	after := func(last string, more ...string) []string {
		return append(slices.Clone(whole[:slices.Index(whole, last)+1]), more...)
	}
	for name, lines := range map[string][]string{
		"nothing":                              nil,
		"no begin":                             whole[1:],
		"only a file":                          {"file flight.json sha256:1"},
		"begins twice":                         after("begin INIT", "begin INIT"),
		"begins elsewhere":                     {"begin PLAN_GENERATED"},
		"begins again later":                   after("enter PLAN_GENERATED", "begin INIT"),
		"unknown state":                        after("begin INIT", "enter ELSEWHERE"),
		"unknown entry":                        after("begin INIT", "workflow_paused"),
		"skips planning":                       after("begin INIT", "enter PLAN_GENERATED"),
		"skips validation":                     after("enter PLAN_GENERATED", "enter TOKEN_CREATED"),
		"skips preflight":                      after("enter TOKEN_CREATED", "enter READY_FOR_TAKEOFF"),
		"skips the gate":                       after("enter PREFLIGHT_COMPLETE", "enter TAKEOFF_RUNNING"),
		"ready out of waiting":                 after("ask apr-1", "enter READY_FOR_TAKEOFF"),
		"back":                                 after("enter PREFLIGHT_COMPLETE", "enter TOKEN_CREATED"),
		"enters twice":                         after("enter PLAN_RUNNING", "enter PLAN_RUNNING"),
		"take-off twice":                       after("enter EXECUTION_COMPLETE", "enter TAKEOFF_RUNNING"),
		"step of another stage":                after("enter PLAN_RUNNING", "step a TAKEOFF_RUNNING"),
		"step that never began":                after("enter TAKEOFF_RUNNING", "done a"),
		"step done in preflight":               after("enter PRE_FLIGHT_RUNNING", "done a"),
		"second token":                         after("file plan-token:a sha256:5", "file plan-token:a sha256:9"),
		"token while planning":                 after("enter PLAN_RUNNING", "file plan-token:a sha256:5"),
		"token after preflight":                after("enter PREFLIGHT_COMPLETE", "file plan-token:b sha256:9"),
		"second flight token":                  after("file flight-token sha256:6", "file flight-token sha256:9"),
		"flight token late":                    after("enter TOKEN_CREATED", "file flight-token sha256:6"),
		"artifact after its validation":        after("enter ARTIFACTS_VALIDATED", "file artifact:a/m sha256:9"),
		"second flight.json":                   after("enter PLAN_RUNNING", "file flight.json sha256:9"),
		"second manifest":                      after("enter PREFLIGHT_COMPLETE", "file plan-manifest.json sha256:9"),
		"second workspace":                     after("enter PLAN_GENERATED", "file workspace:a sha256:9"),
		"judged while planning":                after("enter PLAN_RUNNING", "judged a/0"),
		"judged after preflight":               after("enter PREFLIGHT_COMPLETE", "judged a/1"),
		"asked while planning":                 after("enter PLAN_RUNNING", "ask apr-1"),
		"asked twice":                          after("ask apr-1", "ask apr-1"),
		"answer to nothing":                    after("ask apr-1", "answer apr-2"),
		"answered twice":                       after("answer apr-1", "answer apr-1"),
		"answer before the question":           after("enter PREFLIGHT_COMPLETE", "answer apr-1"),
		"answer after the gate":                after("enter READY_FOR_TAKEOFF", "answer apr-1"),
		"completed while it flies":             after("enter TAKEOFF_RUNNING", "completed"),
		"completed twice":                      after("completed", "completed"),
		"failed without failing":               after("enter PLAN_RUNNING", "failed"),
		"fails after completion":               after("completed", "enter FAILED"),
		"goes on after its end":                after("completed", "file x sha256:9"),
		"goes on after failing":                after("enter PLAN_RUNNING", "enter FAILED", "failed", "enter PLAN_GENERATED"),
		"file after failing":                   after("enter PLAN_RUNNING", "enter FAILED", "file x sha256:9"),
		"completed after failing":              after("enter PLAN_RUNNING", "enter FAILED", "completed"),
		"failed twice":                         after("enter PLAN_RUNNING", "enter FAILED", "failed", "failed"),
		"completed, but entered COMPLETED not": after("enter EXECUTION_COMPLETE", "completed"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Replay(wal(t, lines...))
			var e *protocol.Error
			if !errors.As(err, &e) || e.Exit != protocol.ExitIntegrity || e.Code != "wal_order" && e.Code != "wal_empty" {
				t.Fatalf("error %v", err)
			}
		})
	}
}

// FuzzReplay builds entries from bytes: no order makes it panic, the state that
// comes out is one that the machine has, and a prefix of what replays replays.
func FuzzReplay(f *testing.F) {
	words := slices.Clone(whole)
	words = append(words, "enter FAILED", "failed", "step b TAKEOFF_RUNNING", "done b", "answer apr-2", "file plan-token:a sha256:9", "artifact_created", "workflow_started")
	all := make([]byte, len(whole))
	for i := range all {
		all[i] = byte(i)
	}
	f.Add(all)
	f.Add(all[:7])
	f.Add([]byte{0, 2, 29, 30})
	f.Add([]byte{0, 0})
	f.Add([]byte{0, 1, 2, 4, 4, 35})
	f.Fuzz(func(t *testing.T, picks []byte) {
		if len(picks) > 100 {
			return
		}
		lines := make([]string, len(picks))
		for i, p := range picks {
			lines[i] = words[int(p)%len(words)]
		}
		s, err := Replay(wal(t, lines...))
		if err != nil {
			if protocol.ExitCode(err) != protocol.ExitIntegrity {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		if !s.State.Valid() {
			t.Fatalf("state %q", s.State)
		}
		if s.State.Reached(protocol.StateTakeoffRunning) && slices.Contains(lines, "enter AWAITING_APPROVAL") && !slices.Contains(lines, "enter APPROVED") {
			t.Fatalf("it took off without the approval that it waited for: %v", lines)
		}
		if len(lines) > 1 {
			if _, err := Replay(wal(t, lines[:len(lines)-1]...)); err != nil {
				t.Fatalf("a prefix does not replay: %v", err)
			}
		}
	})
}

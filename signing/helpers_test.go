package signing_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// The day of all tests; nothing here looks at a clock.
var today = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	digestA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

var manifest = []byte(`{"files":[],"flight_token":"` + digestA + `","steps":[],"version":"1","workflow_id":"wf-1"}`)

// source gives the same bytes for the same seed, so that keys in tests are fixed.
func source(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

func newKey(t testing.TB, typ signing.KeyType, seed byte) *signing.Key {
	t.Helper()
	private, _, err := signing.Generate(typ, nil, source(seed))
	if err != nil {
		t.Fatal(err)
	}
	key, err := signing.LoadPrivate(private, nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func trust(keys ...*signing.Key) []signing.TrustedKey {
	var list []signing.TrustedKey
	for _, k := range keys {
		list = append(list, signing.TrustedKey{Key: k.Public()})
	}
	return list
}

func approval() signing.ApprovalPredicate {
	return signing.ApprovalPredicate{
		Version: signing.PredicateVersion,
		Request: protocol.ApprovalRequest{
			ApprovalID:    "apr-1",
			WorkflowID:    "wf-1",
			StepID:        "format",
			Reason:        "the change touches a workflow file",
			RequiredRole:  "maintainer",
			PlanTokenHash: digestB,
			Evidence:      []protocol.PreflightEvidence{{Name: "changes", Path: "changes", Hash: digestA}},
		},
		Response: protocol.ApprovalResponse{
			ApprovalID: "apr-1", Approved: true, Approver: "first-maintainer",
			Reason: "käse & <ok>\u2028", Timestamp: "2026-03-01T12:00:00Z",
		},
		FlightToken: digestA,
		Role:        "maintainer",
	}
}

func flightPlan() signing.FlightPlanPredicate {
	return signing.FlightPlanPredicate{
		Version: signing.PredicateVersion, WorkflowID: "wf-1", FlightToken: digestA,
		Steps: []signing.FlightPlanStep{{
			StepID: "format", Token: digestB, Preimage: json.RawMessage(`{"artifacts":[],"context":{}}`), Intent: digestB,
			Decision: protocol.Warn, Isolation: map[string]any{"missing": []any{}, "tier": "none"},
			Evaluations: []signing.Evaluation{{Source: "opa", PolicyID: "main/warn", Decision: protocol.Warn, Digest: digestA}},
			Approvals:   []signing.Approval{{ApprovalID: "apr-" + strings.Repeat("0a", 32), Role: "maintainer"}},
		}},
		Decision: protocol.Warn, Nonce: "fedcba9876543210fedcba9876543210", ApprovalNonce: "0123456789abcdef0123456789abcdef",
		Derived: signing.Derived{AuthorEmail: "author@example.com", HeadCommit: strings.Repeat("a", 40)}, Claimed: map[string]string{"event": "push"},
		AuditHead: signing.AuditHead{Size: "9007199254740993", Root: digestB, LastHash: digestA},
		IssuedAt:  "2026-03-01T12:00:00Z", NotAfter: "2026-03-04T12:00:00Z", CabinCrew: "0.1.0",
	}
}

func takeOff() signing.TakeOffPredicate {
	return signing.TakeOffPredicate{
		Version: signing.PredicateVersion, WorkflowID: "wf-1", FlightToken: digestA, Workflow: "housekeeping", Verdict: signing.VerdictCompleted,
		Receipts:   []signing.TakeOffReceipt{{StepID: "format", Digest: digestA, LogDigest: ""}},
		PlanBundle: digestB, AuditHead: signing.AuditHead{Size: "0", Root: digestA},
		PlannedAt: "2026-03-01T11:00:00Z", FinishedAt: "2026-03-01T12:00:00Z", CabinCrew: "0.1.0",
	}
}

func approvalStatement(t testing.TB) []byte {
	t.Helper()
	s, err := signing.NewApproval(manifest, approval())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func signed(t testing.TB, key *signing.Key, statement []byte) []byte {
	t.Helper()
	b, err := signing.Sign(t.Context(), key, statement)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func signedApproval(t testing.TB, key *signing.Key) []byte {
	t.Helper()
	return signed(t, key, approvalStatement(t))
}

// wantError checks code, exit code and that the text holds all the given parts.
func wantError(t testing.TB, err error, exit int, code string, parts ...string) {
	t.Helper()
	var e *protocol.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v (%T), want an error with code %s", err, err, code)
	}
	if e.Code != code || e.ExitCode() != exit {
		t.Fatalf("got code %s exit %d (%v), want %s exit %d", e.Code, e.ExitCode(), err, code, exit)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error %q does not say %q", err, part)
		}
	}
	if e.Hint == "" && exit != protocol.ExitFailure {
		t.Errorf("the error %q has no hint", err)
	}
}

package flight

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

// signedChange is workflowChange with a key that signs plans.
func signedChange(t *testing.T, more string) *ws {
	t.Helper()
	w := workflowChange(t, "signing: {key: keys/plan}\n"+more)
	w.keys("plan")
	return w
}

// TestPartedFlight plans, judges and signs in three commands; what is not signed
// yet is neither approved nor taken off.
func TestPartedFlight(t *testing.T) {
	t.Parallel()
	w := signedChange(t, "")
	s := w.json(0, "flight-plan", "--unsealed")
	if s.State != protocol.StatePlanGenerated || s.FlightToken != "" {
		t.Fatalf("%+v", s)
	}
	id := s.WorkflowID
	w.want(2, "take-off", id)
	w.want(2, "sign", id)
	if s = w.json(4, "seal", id, "--no-sign"); s.State != protocol.StateAwaitingApproval || s.ApprovalCode != "" {
		t.Fatalf("%+v", s)
	}
	if got := w.json(5, "approve", id, "--as", "boss", "--key", w.key("boss")); got.Error.Code != "plan_unsigned" {
		t.Fatalf("%+v", got.Error)
	}
	w.want(5, "verify", id)
	if s = w.json(0, "sign", id); len(s.ApprovalCode) != 12 {
		t.Fatalf("%+v", s)
	}
	if again := w.json(0, "sign", id); again.ApprovalCode != s.ApprovalCode {
		t.Fatal("signing twice made a second code")
	}
	w.json(0, "approve", id, "--as", "boss", "--key", w.key("boss"))
	w.json(0, "take-off", id)
	w.want(0, "verify", id)
}

// TestSignSeesNoArtifact signs a flight whose artifacts are not there at all.
func TestSignSeesNoArtifact(t *testing.T) {
	t.Parallel()
	w := signedChange(t, "")
	s := w.json(4, "flight-plan", "--no-sign")
	away := s.FlightDir + "-artifacts"
	at := flightDir(s, "steps", "edit", "artifacts")
	if err := os.Rename(at, away); err != nil {
		t.Fatal(err)
	}
	w.json(0, "sign", s.WorkflowID)
	if err := os.Rename(away, at); err != nil {
		t.Fatal(err)
	}
	w.want(0, "verify", s.WorkflowID)
	// The decision that is signed is held against the manifest.
	s = w.json(4, "flight-plan", "--no-sign")
	report := flightDir(s, "steps", "edit", "preflight.json")
	raw, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(raw), `"decision":"require_approval"`, `"decision":"allow"`, 1)
	if err := os.WriteFile(report, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := w.json(5, "sign", s.WorkflowID); got.Error.Code != "file_changed" {
		t.Fatalf("%+v", got.Error)
	}
}

// TestCodeBinding demands the code where the configuration does.
func TestCodeBinding(t *testing.T) {
	t.Parallel()
	w := signedChange(t, "")
	w.write(".cabincrew.yaml", strings.Replace(w.read(".cabincrew.yaml"), "approvals:\n", "approvals:\n  binding: code\n", 1))
	s := w.json(4, "flight-plan")
	for _, code := range []string{"", "000000000000"} {
		if got := w.json(4, "approve", s.WorkflowID, "--as", "boss", "--key", w.key("boss"), "--code", code); got.Error.Code != "approval_code" {
			t.Fatalf("code %q: %+v", code, got.Error)
		}
	}
	w.json(0, "approve", s.WorkflowID, "--as", "boss", "--key", w.key("boss"), "--code", s.ApprovalCode)
	w.json(0, "take-off", s.WorkflowID)

	unsigned := workflowChange(t, "")
	unsigned.write(".cabincrew.yaml", strings.Replace(unsigned.read(".cabincrew.yaml"), "approvals:\n", "approvals:\n  binding: code\n", 1))
	s = unsigned.json(4, "flight-plan")
	if got := unsigned.json(4, "approve", s.WorkflowID, "--as", "boss", "--key", unsigned.key("boss")); got.Error.Code != "approval_code" {
		t.Fatalf("%+v", got.Error)
	}
}

// runs makes the command step run something else.
func (w *ws) runs(line string) {
	config := w.read(".cabincrew.yaml")
	from := config[strings.Index(config, "run: ["):strings.Index(config, "\npolicies")]
	w.write(".cabincrew.yaml", strings.Replace(config, from, line, 1))
}

// TestTruncatedViewNeedsTheCode does not let a person approve what was not shown.
func TestTruncatedViewNeedsTheCode(t *testing.T) {
	t.Parallel()
	w := signedChange(t, "")
	w.write("big.sh", "#!/bin/sh\nseq 1 200000 > big.txt; echo on > .github/workflows/ci.yml\n")
	w.runs("run: [./big.sh]}}")
	s := w.json(4, "flight-plan")
	r := w.want(4, "approve", s.WorkflowID, "--as", "boss", "--key", w.key("boss"))
	if !strings.Contains(r.stderr, "approval_truncated") {
		t.Fatalf("%s", r.stderr)
	}
	w.want(0, "approve", s.WorkflowID, "--as", "boss", "--key", w.key("boss"), "--code", s.ApprovalCode)
}

// TestKeysAreOutOfReach keeps private keys and state out of what an engine sees.
func TestKeysAreOutOfReach(t *testing.T) {
	t.Parallel()
	w := signedChange(t, "")
	w.runs("run: [sh, -c, 'find . -type f > list.txt']}}")
	s := w.json(0, "flight-plan")
	body, err := os.ReadFile(flightDir(s, "steps", "edit", "artifacts", "changes", "body.data"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"plan", "boss", "other"} {
		if strings.Contains(string(body), fmt.Sprintf("/keys/%s\n", name)) {
			t.Errorf("the engine saw the private key %s", name)
		}
	}
	if !strings.Contains(string(body), "/keys/boss.pub\n") || strings.Contains(string(body), ".cabincrew/") {
		t.Errorf("what the engine saw:\n%s", body)
	}
}

package flight

import (
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

// TestAllowedFlight flies a custom engine from plan to completion.
func TestAllowedFlight(t *testing.T) {
	t.Parallel()
	w := newWS(t, map[string]string{
		"hello.txt": "hello\n", "engine.sh": echoEngine,
		".cabincrew.yaml": config(baseline, "  - id: note\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n"),
	})
	s := w.json(0, "flight-plan")
	if s.State != protocol.StateReadyForTakeoff || s.Decision != protocol.Allow || len(s.Steps) != 1 {
		t.Fatalf("%+v", s)
	}
	step := s.Steps[0]
	here := machine().Isolation
	if step.EngineID != "echo" || step.Isolation == nil || step.Isolation.Tier != here.Tier || !slices.Equal(step.Isolation.Missing, here.Missing) ||
		step.Isolation.Seccomp != here.Seccomp || here.Tier == "A" && (!step.Isolation.NetNS || here.Seccomp == "") {
		t.Fatalf("%+v", step)
	}
	if len(step.Artifacts) != 1 || step.Artifacts[0].Size != 6 || len(step.Evaluations) == 0 {
		t.Fatalf("%+v", step)
	}
	if w.exists("out.txt") {
		t.Fatal("flight-plan wrote into the workspace")
	}
	w.want(0, "verify")
	w.want(0, "take-off", "--dry-run")
	if w.exists("out.txt") {
		t.Fatal("a dry run wrote into the workspace")
	}
	done := w.json(0, "take-off")
	if done.State != protocol.StateCompleted || w.read("out.txt") != "hello\n" {
		t.Fatalf("%+v", done)
	}
	w.want(0, "verify", s.WorkflowID)
	if again := w.want(0, "take-off", s.WorkflowID); !strings.Contains(again.stdout, "completed before") {
		t.Fatalf("second take-off: %s", again.stdout)
	}
}

// TestNoPolicy denies what nobody judged, unless the configuration says otherwise.
func TestNoPolicy(t *testing.T) {
	t.Parallel()
	step := "  - id: note\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n"
	w := newWS(t, map[string]string{"hello.txt": "x\n", "engine.sh": echoEngine, ".cabincrew.yaml": config("", step)})
	s := w.json(3, "flight-plan")
	if s.State != protocol.StateFailed || s.Error == nil || s.Error.Code != "policy_denied" {
		t.Fatalf("%+v", s)
	}
	w.want(3, "take-off", s.WorkflowID)
	w.write(".cabincrew.yaml", config(lenient, step))
	w.json(0, "flight-plan")
}

const commandStep = "  - id: edit\n    engine: {use: command, with: {run: [sh, -c, '%s']}}\n"

func commandConfig(rest, script string) string {
	return config(rest, strings.Replace(commandStep, "%s", script, 1))
}

const approvers = `approvals:
  approvers:
    - {name: boss, roles: [maintainer, policy-owner], key: keys/boss.pub}
    - {name: other, roles: [reader], key: keys/other.pub}
    - {name: robot, roles: [maintainer], key: keys/robot.pub, bot: true}
    - {name: author, email: author@example.com, roles: [maintainer], key: keys/author.pub}
`

// workflowChange is a workspace whose one step changes a CI workflow, which
// baseline lets through only with an approval.
func workflowChange(t *testing.T, more string) *ws {
	t.Helper()
	w := newWS(t, map[string]string{
		".github/workflows/ci.yml": "on: push\n", "README.md": "one\n",
		".cabincrew.yaml": commandConfig(baseline+more+approvers, "echo on: pull_request > .github/workflows/ci.yml; echo two > README.md"),
	})
	for _, name := range []string{"boss", "other", "robot", "author"} {
		w.keys(name)
	}
	w.git("init", "-q")
	w.git("config", "user.email", "author@example.com")
	w.git("add", "-A", ":!keys/boss", ":!keys/other", ":!keys/robot", ":!keys/author")
	w.git("commit", "-q", "-m", "start")
	return w
}

func (w *ws) key(name string) string { return w.dir + "/keys/" + name }

// TestApprovedFlight waits for approval, refuses who may not give it, takes off once.
func TestApprovedFlight(t *testing.T) {
	t.Parallel()
	w := workflowChange(t, "")
	s := w.json(4, "flight-plan")
	if s.State != protocol.StateAwaitingApproval || len(s.Approvals) != 1 || s.Error == nil || s.Error.Code != "approval_waiting" {
		t.Fatalf("%+v", s)
	}
	id := s.WorkflowID
	w.want(4, "status", id)
	w.want(4, "take-off", id)
	for _, c := range []struct{ who, key, code string }{
		{"other", "other", "approval_role"},
		{"robot", "robot", "approval_not_human"},
		{"author", "author", "approval_self"},
		{"boss", "other", "approval_key"},
		{"nobody", "boss", "approval_not_approver"},
	} {
		got := w.json(4, "approve", id, "--as", c.who, "--key", w.key(c.key))
		if got.Error == nil || got.Error.Code != c.code || got.State != protocol.StateAwaitingApproval {
			t.Errorf("%s with the key of %s: %+v, want %s", c.who, c.key, got.Error, c.code)
		}
	}
	ok := w.json(0, "approve", id, "--as", "boss", "--key", w.key("boss"), "--reason", "looks right")
	if ok.State != protocol.StateReadyForTakeoff {
		t.Fatalf("%+v", ok)
	}
	if again := w.json(4, "approve", id, "--as", "boss", "--key", w.key("boss")); again.Error.Code != "approval_not_open" {
		t.Fatalf("%+v", again.Error)
	}
	w.want(0, "verify", id)
	done := w.json(0, "take-off", id)
	if done.State != protocol.StateCompleted || w.read("README.md") != "two\n" || w.read(".github/workflows/ci.yml") != "on: pull_request\n" {
		t.Fatalf("%+v", done)
	}
	w.want(0, "verify", id)
}

// TestRejectedFlight ends a flight.
func TestRejectedFlight(t *testing.T) {
	t.Parallel()
	w := workflowChange(t, "")
	id := w.json(4, "flight-plan").WorkflowID
	s := w.json(0, "reject", id, "--as", "boss", "--key", w.key("boss"))
	if s.State != protocol.StateFailed {
		t.Fatalf("%+v", s)
	}
	w.want(3, "take-off", id)
	w.want(3, "status", id)
}

// TestStaleWorkspace refuses to take off over another workspace, and lets the
// flight go on when the change is undone.
func TestStaleWorkspace(t *testing.T) {
	t.Parallel()
	w := workflowChange(t, "")
	id := w.json(4, "flight-plan").WorkflowID
	w.json(0, "approve", id, "--as", "boss", "--key", w.key("boss"))
	w.write("README.md", "changed\n")
	if s := w.json(6, "take-off", id); s.State != protocol.StateReadyForTakeoff {
		t.Fatalf("%+v", s)
	}
	w.write("README.md", "one\n")
	w.write("new.txt", "more\n")
	w.json(6, "take-off", id)
	w.want(0, "version")
	if err := removeFile(w.dir + "/new.txt"); err != nil {
		t.Fatal(err)
	}
	old := w.read(".cabincrew.yaml")
	w.write(".cabincrew.yaml", strings.Replace(old, "roles: [reader]", "roles: [reader, maintainer]", 1))
	if s := w.json(6, "take-off", id); s.Error.Code != "governance_changed" && s.Error.Code != "workspace_changed" {
		t.Fatalf("%+v", s.Error)
	}
	w.write(".cabincrew.yaml", old)
	w.json(0, "take-off", id)
}

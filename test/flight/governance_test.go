package flight

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

// governed is a workspace on the branch change, whose governance is on main: a step
// that writes out.txt, a policy that lets it, and boss, the policy owner.
func governed(t *testing.T) *ws {
	t.Helper()
	w := newWS(t, map[string]string{
		"in.txt": "one\n", "pol/p.rego": quietPolicy, ".gitignore": "keys/boss\n.cabincrew/\n",
		".cabincrew.yaml": commandConfig(quiet+"approvals:\n  approvers:\n    - {name: boss, roles: [policy-owner, maintainer], key: keys/boss.pub}\n", "cat in.txt > out.txt"),
	})
	w.keys("boss")
	w.git("init", "-q", "-b", "main")
	w.git("add", "-A")
	w.git("commit", "-q", "-m", "start")
	w.git("checkout", "-q", "-b", "change")
	return w
}

// onMain commits a file to main without touching the checkout.
func (w *ws) onMain(name, content string) {
	w.t.Helper()
	beside := filepath.Join(w.t.TempDir(), "main")
	w.git("worktree", "add", "-q", beside, "main")
	if err := os.WriteFile(filepath.Join(beside, name), []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
	for _, args := range [][]string{{"add", "-A"}, {"commit", "-q", "-m", "tip"}} {
		cmd := exec.Command("git", append([]string{"-C", beside, "-c", "user.email=tip@example.com", "-c", "user.name=Tip"}, args...)...)
		cmd.Env = w.env
		if out, err := cmd.CombinedOutput(); err != nil {
			w.t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	w.git("worktree", "remove", "--force", beside)
}

const denies = "package cabincrew.quiet\n\ndeny contains \"not any more\" if input.mode == \"flight-plan\"\n"

// TestGovernanceOfARef flies under the governance of main, on a branch that leaves
// it alone.
func TestGovernanceOfARef(t *testing.T) {
	t.Parallel()
	w := governed(t)
	s := w.json(0, "flight-plan", "--governance-ref", "main")
	w.want(0, "verify")
	w.want(0, "status")
	w.want(0, "validate", "preflight-report", flightDir(s, "steps", "edit", "preflight.json"))
	if r := w.json(2, "take-off"); r.Error == nil || r.Error.Code != "governance_ref_missing" {
		t.Errorf("%+v", r.Error)
	}
	if done := w.json(0, "take-off", "--governance-ref", "main"); done.State != protocol.StateCompleted || w.read("out.txt") != "one\n" {
		t.Fatalf("%+v", done)
	}
	w.want(0, "verify", s.WorkflowID)
}

// TestChangeOfGovernance: a change is not judged by its own copy of what judges it,
// and needs the policy owner, whatever it makes of the rules.
func TestChangeOfGovernance(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(w *ws){
		"configuration": func(w *ws) {
			w.write(".cabincrew.yaml", commandConfig("policies: {allow_without_policies: true}\n", "echo evil > out.txt"))
		},
		"policy":      func(w *ws) { w.write("pol/p.rego", strings.ReplaceAll(quietPolicy, "never", "ever")) },
		"new policy":  func(w *ws) { w.write("pol/q.rego", "package cabincrew.q\n\nallowed := 1\n") },
		"no policy":   func(w *ws) { w.git("rm", "-q", "-r", "pol") },
		"key":         func(w *ws) { w.write("keys/boss.pub", "not a key\n") },
		"code owners": func(w *ws) { w.write(".github/CODEOWNERS", "* @me\n") },
		"a link of it": func(w *ws) {
			w.git("mv", "pol", "elsewhere")
			w.git("rm", "-q", "-r", "--cached", "elsewhere")
			link(w, "elsewhere", "pol")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := governed(t)
			change(w)
			w.git("add", "-A")
			w.git("commit", "-q", "-m", "change")
			s := w.json(4, "flight-plan", "--governance-ref", "main")
			if len(s.Approvals) != 1 || s.Approvals[0].RequiredRole != "policy-owner" || !strings.Contains(s.Approvals[0].Reason, "what judges it") {
				t.Fatalf("%+v", s.Approvals)
			}
			ok := w.json(0, "approve", s.WorkflowID, "--as", "boss", "--key", w.key("boss"), "--governance-ref", "main")
			if ok.State != protocol.StateReadyForTakeoff {
				t.Fatalf("%+v", ok)
			}
			w.want(0, "take-off", s.WorkflowID, "--governance-ref", "main")
			if got := w.read("out.txt"); got != "one\n" {
				t.Errorf("the change's own step was done: %q", got)
			}
		})
	}
}

func link(w *ws, to, from string) {
	if err := os.Symlink(to, filepath.Join(w.dir, from)); err != nil {
		w.t.Fatal(err)
	}
}

// TestTipOfTheRef: take-off is judged under the governance of the plan and under
// that of the ref as it is then, and the stricter counts.
func TestTipOfTheRef(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file, content string
		code          int
		says          string
	}{
		"stricter policy": {"pol/p.rego", denies, 3, "not any more"},
		"another role":    {"pol/p.rego", strings.NewReplacer("deny", "require_approval").Replace(denies), 4, "role maintainer must now approve"},
		"broken policy":   {"pol/p.rego", "package x\n\nbroken if {", 3, "pol/p.rego"},
		"no policy":       {".cabincrew.yaml", commandConfig("policies: {}\n", "true"), 3, "denied"},
		"laxer policy":    {"pol/p.rego", strings.ReplaceAll(quietPolicy, "nonesuch", "another"), 0, ""},
		"other file":      {"README.md", "hello\n", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := governed(t)
			s := w.json(0, "flight-plan", "--governance-ref", "main")
			w.onMain(c.file, c.content)
			got := w.json(c.code, "take-off", s.WorkflowID, "--governance-ref", "main", "--dry-run")
			if c.code != 0 && (got.Error == nil || !strings.Contains(got.Error.Message+got.Error.Hint+c.file, c.says)) {
				t.Errorf("%+v", got.Error)
			}
			if w.exists("out.txt") {
				t.Error("it was applied")
			}
		})
	}
}

// TestGovernanceOfAnotherHistory: what was planned under a branch of the author's
// choice, or under the workspace's own governance, does not take off under main.
func TestGovernanceOfAnotherHistory(t *testing.T) {
	t.Parallel()
	w := governed(t)
	w.write(".cabincrew.yaml", commandConfig("policies: {allow_without_policies: true}\n", "echo evil > out.txt"))
	w.git("add", "-A")
	w.git("commit", "-q", "-m", "lax")
	own := w.json(0, "flight-plan")
	side := w.json(0, "flight-plan", "--governance-ref", "change")
	for _, s := range []string{own.WorkflowID, side.WorkflowID} {
		got := w.json(5, "take-off", s, "--governance-ref", "main")
		if got.Error == nil || got.Error.Code != "governance_source" || w.exists("out.txt") {
			t.Errorf("%+v", got.Error)
		}
	}
	for ref, code := range map[string]int{"nonesuch": 7, "main~0": 2, strings.Repeat("1", 40): 7} {
		w.want(code, "flight-plan", "--governance-ref", ref)
	}
}

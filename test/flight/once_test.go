package flight

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
)

// countWS is a workspace whose one step counts its take-offs outside of it, and
// waits for approval.
func countWS(t *testing.T, more string) (w *ws, count func() int) {
	t.Helper()
	counter := filepath.Join(t.TempDir(), "count")
	w = newWS(t, map[string]string{
		"hello.txt": "hello\n", "engine.sh": echoEngine,
		"pol/p.rego": "package cabincrew.mine\n\nrequire_approval contains {\"msg\": \"look\", \"role\": \"maintainer\"} if true\n",
		".cabincrew.yaml": config("policies: {rego: [pol/]}\napprovals:\n"+more+"  approvers: [{name: boss, roles: [maintainer], key: keys/boss.pub}]\n",
			"  - id: note\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n    env: {TAKEOFFS: \""+counter+"\"}\n"+bare),
	})
	w.keys("boss")
	return w, func() int {
		data, err := os.ReadFile(counter)
		if err != nil {
			return 0
		}
		return strings.Count(string(data), "x")
	}
}

func (w *ws) approve(id string) {
	w.t.Helper()
	w.json(0, "approve", id, "--as", "boss", "--key", w.key("boss"))
}

func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copies", filepath.Base(from))
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestCopyOfAFlight never takes off, neither after the flight did nor after it
// was rejected, whatever the state directory.
func TestCopyOfAFlight(t *testing.T) {
	t.Parallel()
	w, count := countWS(t, "")
	s := w.json(4, "flight-plan")
	open := copyDir(t, s.FlightDir)
	w.approve(s.WorkflowID)
	ready := copyDir(t, s.FlightDir)
	w.json(0, "take-off", s.WorkflowID)
	for _, args := range [][]string{
		{"take-off", ready}, {"take-off", ready, "--state-dir", t.TempDir()}, {"resume", ready}, {"take-off", open},
		{"approve", open, "--as", "boss", "--key", w.key("boss")},
	} {
		if r := w.run(args...); r.code != protocol.ExitIntegrity {
			t.Errorf("%v: exit %d\n%s", args[0], r.code, r.stderr)
		}
	}
	// The whole directory wound back in its own place.
	if err := os.RemoveAll(s.FlightDir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(s.FlightDir, os.DirFS(ready)); err != nil {
		t.Fatal(err)
	}
	if r := w.run("take-off", s.WorkflowID); r.code != protocol.ExitIntegrity {
		t.Errorf("wound back: exit %d\n%s", r.code, r.stderr)
	}
	if count() != 1 {
		t.Fatalf("%d take-offs", count())
	}

	w, count = countWS(t, "")
	s = w.json(4, "flight-plan")
	open = copyDir(t, s.FlightDir)
	w.json(0, "reject", s.WorkflowID, "--as", "boss", "--key", w.key("boss"))
	if r := w.run("approve", open, "--as", "boss", "--key", w.key("boss")); r.code != protocol.ExitIntegrity || count() != 0 {
		t.Errorf("a copy of a rejected flight: exit %d\n%s", r.code, r.stderr)
	}
}

func dropLines(t *testing.T, file string, n int) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(data), "\n"), "\n")
	if err := os.WriteFile(file, []byte(strings.Join(lines[:len(lines)-n], "")), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestShortenedWAL does not run a take-off again whose begin was cut off the WAL.
func TestShortenedWAL(t *testing.T) {
	t.Parallel()
	w, count := countWS(t, "")
	s := w.json(4, "flight-plan")
	w.approve(s.WorkflowID)
	w.write("engine.sh", w.read("engine.sh")) // the same engine
	w.json(0, "take-off", s.WorkflowID)
	for n := 1; n <= 8; n++ {
		// Only the WAL is cut, as far back as to before the take-off; audit and marks stay.
		dropLines(t, filepath.Join(s.FlightDir, "wal.jsonl"), 1)
		if r := w.run("resume", s.WorkflowID); count() != 1 {
			t.Fatalf("%d lines cut: %d take-offs, exit %d\n%s", n, count(), r.code, r.stderr)
		}
	}
}

// TestUnsettledApproval goes on where a command was killed between an answer and
// what follows from it.
func TestUnsettledApproval(t *testing.T) {
	t.Parallel()
	w, count := countWS(t, "")
	s := w.json(4, "flight-plan")
	w.approve(s.WorkflowID)
	for _, name := range []string{"wal.jsonl", "audit.jsonl"} {
		dropLines(t, filepath.Join(s.FlightDir, name), 2)
	}
	if got := w.json(4, "status", s.WorkflowID); !strings.Contains(got.Error.Hint, "resume") {
		t.Errorf("%+v", got.Error)
	}
	w.json(0, "take-off", s.WorkflowID)
	w.want(0, "verify", s.WorkflowID)
	if count() != 1 {
		t.Fatal(count())
	}
}

// TestExpiredApproval holds whatever the WAL's own times say.
func TestExpiredApproval(t *testing.T) {
	t.Parallel()
	w, count := countWS(t, "  expire: 1s\n")
	s := w.json(4, "flight-plan")
	w.approve(s.WorkflowID)
	time.Sleep(1100 * time.Millisecond) // the time that is tested
	if got := w.json(4, "take-off", s.WorkflowID); got.Error.Code != "approval_expired" || count() != 0 {
		t.Fatalf("%+v", got.Error)
	}
}

// TestTakeOffBeyondThePlan fails a step that changes what decides over flights. In
// tier A it cannot, and the configuration stays as it is.
func TestTakeOffBeyondThePlan(t *testing.T) {
	t.Parallel()
	const apply = "cat \"$CABINCREW_ARTIFACTS_DIR/note/body.data\" > out.txt"
	for name, c := range map[string]struct {
		tier, code, engine string
		changed            bool
	}{
		"tier C":              {bare, "takeoff_misapplied", strings.Replace(echoEngine, apply, "echo '# more' >> .cabincrew.yaml", 1), true},
		"tier A":              {"", "engine_failed", strings.Replace(echoEngine, apply, "echo '# more' >> .cabincrew.yaml", 1), false},
		"tier A, and goes on": {"", "", strings.NewReplacer(apply, apply+"; echo '# more' >> .cabincrew.yaml", "set -eu", "").Replace(echoEngine), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.tier == "" {
				isolates(t)
			}
			w := newWS(t, map[string]string{
				"hello.txt": "hello\n", "engine.sh": c.engine,
				".cabincrew.yaml": config(lenient, "  - id: note\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n"+c.tier),
			})
			before := w.read(".cabincrew.yaml")
			id := w.json(0, "flight-plan").WorkflowID
			if c.code == "" {
				w.json(0, "take-off", id)
			} else {
				if s := w.json(1, "take-off", id); s.Error.Code != c.code || s.State != protocol.StateFailed {
					t.Fatalf("%+v", s)
				}
				w.want(1, "status", id)
			}
			if changed := w.read(".cabincrew.yaml") != before; changed != c.changed {
				t.Errorf("the configuration changed: %v, want %v", changed, c.changed)
			}
		})
	}
}

// TestAbsolutePathOfAScript binds a script of the workspace that is named by its
// absolute path.
func TestAbsolutePathOfAScript(t *testing.T) {
	t.Parallel()
	w := newWS(t, map[string]string{"hello.txt": "hello\n", "tools/eng.sh": echoEngine})
	w.write(".cabincrew.yaml", config(lenient, "  - id: note\n    engine: {run: [sh, "+w.dir+"/tools/eng.sh]}\n    inputs: [hello.txt]\n"))
	id := w.json(0, "flight-plan").WorkflowID
	w.write("tools/eng.sh", echoEngine+"# changed\n")
	if s := w.json(6, "take-off", id); s.Error.Code != "engine_changed" {
		t.Fatalf("%+v", s.Error)
	}
}

// TestCIWantsSignedPlansAlsoOnResume is the rule of take-off for resume.
func TestCIWantsSignedPlansAlsoOnResume(t *testing.T) {
	t.Parallel()
	w, count := countWS(t, "")
	s := w.json(4, "flight-plan")
	w.approve(s.WorkflowID)
	w.env = append(w.env, "GITHUB_ACTIONS=true")
	if got := w.json(5, "take-off", s.WorkflowID); got.Error.Code != "plan_unsigned" || count() != 0 {
		t.Fatalf("%+v", got.Error)
	}
}

// TestPatchThroughALink is refused when it is planned.
func TestPatchThroughALink(t *testing.T) {
	t.Parallel()
	w := newWS(t, map[string]string{"a": "a\n", "real/x": "x\n", ".cabincrew.yaml": config(lenient,
		strings.Replace(commandStep, "%s", "mkdir -p out; echo x > out/new", 1)+"    inputs: [a]\n")})
	if err := os.Symlink("real", filepath.Join(w.dir, "out")); err != nil {
		t.Fatal(err)
	}
	if s := w.json(1, "flight-plan"); s.Error.Code != "patch_through_link" {
		t.Fatalf("%+v", s.Error)
	}
}

// TestMalformedVariables are refused: a mistyped dry run must not become a real one.
func TestMalformedVariables(t *testing.T) {
	t.Parallel()
	w, count := countWS(t, "")
	s := w.json(4, "flight-plan")
	w.approve(s.WorkflowID)
	for _, v := range []string{"CABINCREW_DRY_RUN=maybe", "CABINCREW_LOG_LEVEL=foo", "CABINCREW_OUTPUT=xml"} {
		env := w.env
		w.env = append(slices.Clip(env), v)
		if r := w.run("take-off", s.WorkflowID); r.code != 2 || count() != 0 {
			t.Errorf("%s: exit %d\n%s", v, r.code, r.stderr)
		}
		w.env = env
	}
	if r := w.run("nosuch", "--output", "json"); r.code != 2 || r.summary(t).Error == nil {
		t.Errorf("an unknown command: exit %d %q", r.code, r.stdout)
	}
}

// TestTamperedCopyDoesNotEndTheFlight leaves the true flight as it is.
func TestTamperedCopyDoesNotEndTheFlight(t *testing.T) {
	t.Parallel()
	w, count := countWS(t, "")
	s := w.json(4, "flight-plan")
	w.approve(s.WorkflowID)
	bad := copyDir(t, s.FlightDir)
	if err := os.WriteFile(filepath.Join(bad, "steps", "note", "artifacts", "note", "body.data"), []byte("jello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.json(5, "take-off", bad)
	w.json(0, "take-off", s.WorkflowID)
	if count() != 1 {
		t.Fatal(count())
	}
}

// TestUnknownAuthor does not count an approval of somebody who may be the author.
func TestUnknownAuthor(t *testing.T) {
	t.Parallel()
	w := workflowChange(t, "")
	w.git("config", "--unset", "user.email")
	id := w.json(4, "flight-plan").WorkflowID
	if got := w.json(4, "approve", id, "--as", "author", "--key", w.key("author")); got.Error.Code != "approval_author_unknown" {
		t.Fatalf("%+v", got.Error)
	}
	w.approve(id) // has no email that could be the author's
}

// killedTakeOff kills a take-off while its engine, which has counted, is waiting.
func killedTakeOff(t *testing.T) (w *ws, count func() int, dir string) {
	t.Helper()
	w, count = countWS(t, "")
	w.write("engine.sh", strings.Replace(echoEngine, "printf '{\"protocol_version\":\"draft\",\"engine_id\":\"echo\",\"mode\":\"take-off\"", "[ -e go ] || sleep 30\n  printf '{\"protocol_version\":\"draft\",\"engine_id\":\"echo\",\"mode\":\"take-off\"", 1))
	s := w.json(4, "flight-plan")
	w.approve(s.WorkflowID)
	cmd := exec.Command(os.Args[0], "take-off", s.WorkflowID, "--config", filepath.Join(w.dir, ".cabincrew.yaml"))
	cmd.Env = append([]string{"CABINCREW_TEST_MAIN=1"}, w.env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for i := 0; count() == 0; i++ {
		if i > 1000 {
			t.Fatal("the engine did not start")
		}
		time.Sleep(10 * time.Millisecond) // the other process's engine is what is waited for
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	return w, count, s.FlightDir
}

// TestKilledEngineIsNotRunAgain whatever is cut off the logs afterwards.
func TestKilledEngineIsNotRunAgain(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(t *testing.T, dir string){
		"nothing":    func(*testing.T, string) {},
		"a WAL line": func(t *testing.T, dir string) { dropLines(t, filepath.Join(dir, "wal.jsonl"), 1) },
		"both by one": func(t *testing.T, dir string) {
			dropLines(t, filepath.Join(dir, "wal.jsonl"), 1)
			dropLines(t, filepath.Join(dir, "audit.jsonl"), 1)
		},
		"half of a line": func(t *testing.T, dir string) {
			at := filepath.Join(dir, "wal.jsonl")
			info, err := os.Stat(at)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(at, info.Size()-5); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, count, dir := killedTakeOff(t)
			cut(t, dir)
			w.write("go", "")
			id := filepath.Base(dir)
			w.run("take-off", id) // refused, and must not wash the traces away
			w.run("approve", id, "--as", "boss", "--key", w.key("boss"))
			r := w.run("resume", id)
			if count() != 1 || r.code == 0 {
				t.Fatalf("%d take-offs, resume exit %d\n%s", count(), r.code, r.stderr)
			}
		})
	}
}

// TestEndedElsewhereCanBeCancelled tells the truth of a flight whose copy ended,
// and lets a person end it.
func TestEndedElsewhereCanBeCancelled(t *testing.T) {
	t.Parallel()
	w, _ := countWS(t, "")
	s := w.json(4, "flight-plan")
	w.json(0, "cancel", copyDir(t, s.FlightDir))
	if got := w.json(5, "status", s.WorkflowID); got.Error.Code != "flight_ended" {
		t.Fatalf("%+v", got.Error)
	}
	if got := w.json(0, "cancel", s.WorkflowID); got.State != protocol.StateFailed {
		t.Fatalf("%+v", got)
	}
}

// TestNoFenceNoTakeOff refuses where the marks cannot be had.
func TestNoFenceNoTakeOff(t *testing.T) {
	t.Parallel()
	w, count := countWS(t, "")
	w.write(".cabincrew", "a file in the way\n")
	state := t.TempDir()
	s := w.json(4, "flight-plan", "--state-dir", state)
	w.json(0, "approve", s.WorkflowID, "--as", "boss", "--key", w.key("boss"), "--state-dir", state)
	if got := w.json(7, "take-off", s.WorkflowID, "--state-dir", state); got.Error.Code != "fence_unreachable" || count() != 0 {
		t.Fatalf("%+v", got.Error)
	}
	if r := w.run("policy", "nosuch", "--output", "json"); r.code != 2 || r.summary(t).Error == nil {
		t.Errorf("exit %d %q", r.code, r.stdout)
	}
}

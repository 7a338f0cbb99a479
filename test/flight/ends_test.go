package flight

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// elsewhere is another checkout of a workspace with git, with its private keys.
func elsewhere(t *testing.T, w *ws, keys ...string) *ws {
	t.Helper()
	c := w.clone()
	for _, name := range keys {
		raw, err := os.ReadFile(w.key(name))
		if err != nil {
			t.Fatal(err)
		}
		c.write("keys/"+name, string(raw))
	}
	return c
}

// signedRepository is signedWS in a repository.
func signedRepository(t *testing.T, more string) *ws {
	t.Helper()
	w := signedWS(t, more)
	w.write(".gitignore", "keys/plan\n.cabincrew/\n")
	w.git("init", "-q", "-b", "main")
	w.git("add", "-A")
	w.git("commit", "-q", "-m", "start")
	return w
}

// carry brings a flight's directory into another workspace.
func carry(t *testing.T, dir string, to *ws) string {
	t.Helper()
	at := filepath.Join(to.dir, ".cabincrew", "flights", filepath.Base(dir))
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(at, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return at
}

// TestEndThatNobodySigned: logs that say that a flight was completed are nobody's word
// where this machine did not fly it: its end is neither confirmed nor signed.
func TestEndThatNobodySigned(t *testing.T) {
	t.Parallel()
	w := signedRepository(t, "")
	s := w.json(0, "flight-plan")
	w.json(0, "take-off", s.WorkflowID)
	c := elsewhere(t, w, "plan")
	at := carry(t, s.FlightDir, c)
	if got := c.json(0, "take-off", s.WorkflowID); got.State != protocol.StateCompleted || c.exists("out.txt") {
		t.Errorf("with its signed end: %+v", got)
	}
	if err := os.Remove(filepath.Join(at, orchestrator.TakeOffBundle)); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"take-off", "resume"} {
		if got := c.json(5, command, s.WorkflowID); got.Error.Code != "takeoff_unsigned" {
			t.Errorf("%s: %+v", command, got.Error)
		}
	}
	if _, err := os.Stat(filepath.Join(at, orchestrator.TakeOffBundle)); err == nil {
		t.Error("an end was signed that was not made here")
	}
	if len(globbed(t, c.dir+"/.cabincrew/marks")) != 1 || len(marksOf(t, c)) != 0 {
		t.Errorf("marks %v", marksOf(t, c))
	}
	// Where it was flown, a command that was killed before it signed is made good.
	if err := os.Remove(filepath.Join(s.FlightDir, orchestrator.TakeOffBundle)); err != nil {
		t.Fatal(err)
	}
	w.want(5, "verify", s.WorkflowID)
	w.json(0, "resume", s.WorkflowID)
	w.want(0, "verify", s.WorkflowID)
}

func marksOf(t *testing.T, w *ws) []string {
	t.Helper()
	names, err := filepath.Glob(w.dir + "/.cabincrew/marks/*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestEndOfAnOpenFlight: a signed end in a flight that is open says that its logs were
// wound back; whatever else lies there under that name is refused too.
func TestEndOfAnOpenFlight(t *testing.T) {
	t.Parallel()
	w := signedRepository(t, "")
	s := w.json(0, "flight-plan")
	ready := copyDir(t, s.FlightDir)
	w.json(0, "take-off", s.WorkflowID)
	end := readFrom(t, s.FlightDir, orchestrator.TakeOffBundle)
	for name, planted := range map[string][]byte{"its own": end, "junk": []byte("{}"), "nothing": {}} {
		c := elsewhere(t, w, "plan")
		at := carry(t, ready, c)
		putInto(t, at, orchestrator.TakeOffBundle, planted)
		for _, command := range []string{"verify", "take-off"} {
			if r := c.run(command, s.WorkflowID); r.code != 5 || c.exists("out.txt") {
				t.Errorf("%s: %s: exit %d\n%s", name, command, r.code, r.stderr)
			}
		}
	}
	// The same where the end lies in the workspace's own state directory only.
	state := filepath.Join(t.TempDir(), "state")
	if err := os.MkdirAll(filepath.Join(state, "flights"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(state, "flights", s.WorkflowID), os.DirFS(ready)); err != nil {
		t.Fatal(err)
	}
	for _, mark := range marksOf(t, w) {
		if err := os.Remove(mark); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.json(5, "take-off", s.WorkflowID, "--state-dir", state); got.Error.Code != "takeoff_replayed" {
		t.Errorf("%+v", got.Error)
	}
}

// TestEndOfAFailedFlight is signed too, also when a person ends it.
func TestEndOfAFailedFlight(t *testing.T) {
	t.Parallel()
	w := newWS(t, map[string]string{
		"in.txt": "one\n", "pol/p.rego": quietPolicy, "after/a.rego": "package cabincrew.after\n\ndeny contains \"no\" if input.mode == \"take-off\"\n",
		".cabincrew.yaml": commandConfig(quiet+"signing: {key: keys/plan}\nafter: {rego: [after/]}\n", "echo two > out.txt"),
	})
	w.keys("plan")
	s := w.json(0, "flight-plan")
	w.json(3, "take-off", s.WorkflowID)
	w.want(0, "verify", s.WorkflowID)
	at := filepath.Join(s.FlightDir, orchestrator.TakeOffBundle)
	if out := w.want(0, "verify", at, "--key", w.key("plan.pub")).stdout; !strings.Contains(out, "take-off/v1") {
		t.Error(out)
	}
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	if r := w.run("verify", s.WorkflowID); r.code != 5 || !strings.Contains(r.stderr, "takeoff_unsigned") {
		t.Errorf("exit %d\n%s", r.code, r.stderr)
	}
	w.json(3, "take-off", s.WorkflowID)
	w.want(0, "verify", s.WorkflowID)
}

// TestNobodySignedIt: a flight that nobody signed does not verify by a key, whatever
// its state is.
func TestNobodySignedIt(t *testing.T) {
	t.Parallel()
	w := signedWS(t, "")
	planned := w.json(0, "flight-plan", "--unsealed")
	sealed := w.json(0, "flight-plan", "--no-sign")
	cancelled := w.json(0, "flight-plan", "--no-sign")
	w.json(0, "cancel", cancelled.WorkflowID)
	w.write(".cabincrew.yaml", strings.Replace(w.read(".cabincrew.yaml"), "signing: {key: keys/plan}\n", "", 1))
	flown := w.json(0, "flight-plan")
	w.json(0, "take-off", flown.WorkflowID)
	for name, s := range map[string]orchestrator.Summary{"planned": planned, "sealed": sealed, "cancelled": cancelled, "flown": flown} {
		if r := w.run("verify", s.FlightDir, "--key", w.key("plan.pub")); r.code != 5 || !strings.Contains(r.stderr, "plan_unsigned") {
			t.Errorf("%s: exit %d\n%s%s", name, r.code, r.stdout, r.stderr)
		}
	}
}

// TestMachinesThatShareFlights meet at the marks beside the flights: one of them takes
// a flight off.
func TestMachinesThatShareFlights(t *testing.T) {
	t.Parallel()
	shared := filepath.Join(t.TempDir(), "flights")
	w := signedRepository(t, "storage: {flights: \"dir:"+shared+"\"}\n")
	s := w.json(0, "flight-plan")
	w.want(0, "push", s.WorkflowID)
	first, second := elsewhere(t, w, "plan"), elsewhere(t, w, "plan")
	for _, c := range []*ws{first, second} {
		carry(t, s.FlightDir, c)
	}
	first.json(0, "take-off", s.WorkflowID)
	for _, c := range []*ws{second, w} {
		if got := c.json(5, "take-off", s.WorkflowID); got.Error.Code != "flight_ended" || c.exists("out.txt") {
			t.Errorf("%+v", got.Error)
		}
	}
}

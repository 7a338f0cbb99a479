package flight

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

// TestPatchOutsideInputs says what is wrong where a step writes a file that it
// could not see: planning again would not mend it.
func TestPatchOutsideInputs(t *testing.T) {
	t.Parallel()
	w := newWS(t, map[string]string{
		"a.md": "a\n", "hidden.txt": "old\n",
		".cabincrew.yaml": config(baseline, strings.Replace(commandStep, "%s", "echo new > hidden.txt", 1)+"    inputs: [\"*.md\"]\n"),
	})
	s := w.json(1, "flight-plan")
	if s.Error.Code != "patch_outside_inputs" || s.State != protocol.StateFailed {
		t.Fatalf("%+v", s)
	}
}

// TestSecretFilesAreOutOfReach keeps a file with a secret from a step that runs
// in flight-plan, although it lies in the workspace.
func TestSecretFilesAreOutOfReach(t *testing.T) {
	t.Parallel()
	w := newWS(t, map[string]string{
		"token.txt":       "hunter2hunter2\n",
		".cabincrew.yaml": config(lenient, strings.Replace(commandStep, "%s", "ls > list.txt", 1)+"    secrets: {T: \"file:token.txt\"}\n"),
	})
	s := w.json(0, "flight-plan")
	body, err := os.ReadFile(flightDir(s, "steps", "edit", "artifacts", "changes", "body.data"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(body), "token.txt") {
		t.Fatalf("the engine saw the file:\n%s", body)
	}
}

// TestInitTwice flies what init writes, and then again.
func TestInitTwice(t *testing.T) {
	t.Parallel()
	w := newWS(t, map[string]string{"README.md": "hi\n"})
	w.want(0, "init")
	for range 2 {
		id := w.json(0, "flight-plan").WorkflowID
		w.json(0, "take-off", id)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "hello-cabincrew.txt")); err != nil {
		t.Fatal(err)
	}
}

// TestWrongSettingsOfABuiltin are told with the place, before anything runs.
func TestWrongSettingsOfABuiltin(t *testing.T) {
	t.Parallel()
	w := newWS(t, map[string]string{".cabincrew.yaml": config(lenient, "  - id: x\n    engine: {use: command, with: {runn: [sh]}}\n")})
	for _, args := range [][]string{{"flight-plan"}, {"validate", "config", filepath.Join(w.dir, ".cabincrew.yaml")}} {
		r := w.want(2, args...)
		if said := r.stdout + r.stderr; !strings.Contains(said, ".cabincrew.yaml:4:") || !strings.Contains(said, "runn") {
			t.Errorf("%v: %s", args, said)
		}
	}
}

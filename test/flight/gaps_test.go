package flight

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDeniedBeforeItRuns: an engine that nothing holds is not started where a policy
// denies that.
func TestDeniedBeforeItRuns(t *testing.T) {
	t.Parallel()
	ran := filepath.Join(t.TempDir(), "ran")
	w := newWS(t, map[string]string{
		"pol/p.rego":      "package cabincrew.tiers\n\nimport rego.v1\n\ndeny contains \"tier C is not for us\" if input.isolation.tier == \"C\"\n",
		".cabincrew.yaml": config(quiet, "  - id: work\n    engine: {use: command, with: {shell: \"touch "+ran+"\"}}\n    isolation: none\n"),
	})
	if got := w.json(3, "flight-plan"); got.Error.Code != "isolation_denied" || !strings.Contains(got.Error.Message, "tier C is not for us") {
		t.Errorf("%+v", got.Error)
	}
	if _, err := os.Lstat(ran); !os.IsNotExist(err) {
		t.Error("the engine ran", err)
	}
}

// TestLinkedConfigurationIsKept: what a link leads to decides over flights as much
// as the link, so a take-off may not change it.
func TestLinkedConfigurationIsKept(t *testing.T) {
	t.Parallel()
	w := newWS(t, map[string]string{
		"pol/p.rego": quietPolicy, "tools/e": `#!/bin/sh
[ "$CABINCREW_MODE" = flight-plan ] || echo "# changed" >> conf/c.yaml || true
echo '{"protocol_version":"draft","engine_id":"e","mode":"'$CABINCREW_MODE'","receipt_id":"r","status":"success"}'
`,
		".cabincrew.yaml": config(quiet, "  - id: work\n    engine: {run: [./tools/e]}\n"),
	})
	for _, err := range []error{
		os.Chmod(filepath.Join(w.dir, "tools/e"), 0o755), os.Mkdir(filepath.Join(w.dir, "conf"), 0o755), //nolint:gosec // an engine
		os.Rename(filepath.Join(w.dir, ".cabincrew.yaml"), filepath.Join(w.dir, "conf/c.yaml")), os.Symlink("conf/c.yaml", filepath.Join(w.dir, ".cabincrew.yaml")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := w.read("conf/c.yaml")
	s := w.json(0, "flight-plan")
	w.run("take-off", s.WorkflowID, "--output", "json")
	if machine().Isolation.Tier == "A" && w.read("conf/c.yaml") != before {
		t.Error("the configuration was changed")
	}
}

// TestTakeOffThatMakesARepository is refused: the next git command would execute
// what its configuration says.
func TestTakeOffThatMakesARepository(t *testing.T) {
	t.Parallel()
	w := newWS(t, map[string]string{
		"pol/p.rego": quietPolicy, "tools/e": `#!/bin/sh
[ "$CABINCREW_MODE" = flight-plan ] || { mkdir -p sub/.git; echo "[core]" > sub/.git/config; }
echo '{"protocol_version":"draft","engine_id":"e","mode":"'$CABINCREW_MODE'","receipt_id":"r","status":"success"}'
`,
		".cabincrew.yaml": config(quiet, "  - id: work\n    engine: {run: [./tools/e]}\n"),
	})
	if err := os.Chmod(filepath.Join(w.dir, "tools/e"), 0o755); err != nil { //nolint:gosec // an engine
		t.Fatal(err)
	}
	s := w.json(0, "flight-plan")
	if got := w.json(1, "take-off", s.WorkflowID); got.Error.Code != "takeoff_repository" || !strings.Contains(got.Error.Message, "sub/.git") {
		t.Errorf("%+v", got.Error)
	}
}

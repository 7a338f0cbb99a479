package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// countingEngine plans one artifact and counts its take-offs in a file outside
// of the workspace, which it reaches since its step is not isolated.
const countingEngine = `#!/bin/sh
set -eu
case "$CABINCREW_MODE" in
flight-plan)
  mkdir "$CABINCREW_ARTIFACTS_DIR/note"
  printf '{"artifact_type":"note","action":"tell","mime":"text/plain","body":"x"}' > "$CABINCREW_ARTIFACTS_DIR/note/artifact.json"
  h=$(sha256sum < "$CABINCREW_ARTIFACTS_DIR/note/artifact.json" | cut -d' ' -f1)
  printf '{"protocol_version":"draft","engine_id":"count","mode":"flight-plan","receipt_id":"r1","status":"success","artifacts":[{"name":"note","role":"evidence","path":"note","hash":"%s"}]}' "$h"
  ;;
take-off)
  echo x >> "$COUNTER"
  printf '{"protocol_version":"draft","engine_id":"count","mode":"take-off","receipt_id":"r2","status":"success"}'
  ;;
esac
`

const killConfig = `version: 1
workflow: kill
steps:
  - id: edit
    engine: {use: command, with: {run: [sh, -c, 'for i in 1 2 3 4; do echo new $i > f$i; done; rm gone; echo on > .github/workflows/ci.yml']}}
  - id: count
    needs: [edit]
    engine: {run: [./count.sh]}
    inputs: [f1]
    env: {COUNTER: "env:COUNTER"}
    isolation: none
policies: {rego: [policies/]}
approvals:
  approvers: [{name: boss, roles: [maintainer], key: boss.pub}]
`

// killPolicy asks for approval, as baseline does; it compiles faster.
const killPolicy = `package cabincrew.kill

require_approval contains {"msg": "a person must look", "role": "maintainer"} if count(input.artifacts) > 0
`

type killBench struct {
	t   *testing.T
	dir string
	env []string
}

func newKillBench(t *testing.T) *killBench {
	t.Helper()
	dir := t.TempDir()
	private, public, err := signing.Generate(signing.Ed25519, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"ws/.cabincrew.yaml": killConfig, "ws/policies/kill.rego": killPolicy, "ws/count.sh": countingEngine,
		"ws/f1": "old 1\n", "ws/f2": "old 2\n", "ws/gone": "gone\n", "ws/.github/workflows/ci.yml": "off\n",
		"ws/boss.pub": string(public), "boss": string(private),
	} {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(data), 0o755); err != nil { //nolint:gosec // an engine must be executable
			t.Fatal(err)
		}
	}
	return &killBench{t: t, dir: dir, env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "COUNTER=" + filepath.Join(dir, "counter")}}
}

// run runs the program as a process of its own, killed at its n-th durable write.
func (k *killBench) run(kill int, args ...string) (code int, killed bool, s orchestrator.Summary, stderr string) {
	k.t.Helper()
	cmd := exec.Command(os.Args[0], append(args, "--config", filepath.Join(k.dir, "ws", ".cabincrew.yaml"), "--output", "json")...)
	cmd.Env = append([]string{fmt.Sprintf("CABINCREW_TEST_KILL=%d", kill)}, k.env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		k.t.Fatal(err)
	}
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &s); err != nil {
			k.t.Fatalf("%v: %s", err, out.String())
		}
	}
	return cmd.ProcessState.ExitCode(), cmd.ProcessState.ExitCode() == -1, s, errs.String()
}

func (k *killBench) takeoffs() int {
	data, err := os.ReadFile(filepath.Join(k.dir, "counter"))
	if err != nil {
		return 0
	}
	return strings.Count(string(data), "x")
}

// applied says how much of the patch is in the workspace: "none", "all" or "part".
func (k *killBench) applied() string {
	n := 0
	for i := range 4 {
		data, err := os.ReadFile(filepath.Join(k.dir, "ws", fmt.Sprintf("f%d", i+1)))
		if err == nil && string(data) == fmt.Sprintf("new %d\n", i+1) {
			n++
		}
	}
	if _, err := os.Lstat(filepath.Join(k.dir, "ws", "gone")); err != nil {
		n++
	}
	switch n {
	case 0:
		return "none"
	case 5:
		return "all"
	}
	return "part"
}

// TestKillEverywhere kills each command of a flight at each of its durable
// writes, before, between and after audit and WAL, and demands that the flight
// is finished or refused with a reason afterwards: never two take-offs, never a
// lost approval, never a half-applied patch.
func TestKillEverywhere(t *testing.T) {
	if testing.Short() {
		t.Skip("starts some two hundred processes; run without -short")
	}
	t.Parallel()
	approve := []string{"approve", "--as", "boss", "--key", "KEY"}
	commands := [][]string{{"flight-plan"}, approve, {"take-off"}}
	for victim := range commands {
		t.Run(commands[victim][0], func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				if newKillBench(t).flight(commands, victim, n) {
					continue
				}
				if n < 4 {
					t.Fatalf("%v made only %d durable writes", commands[victim], n-1)
				}
				return
			}
		})
	}
}

// flight flies with one command killed at its n-th write; false if it ended before.
func (k *killBench) flight(commands [][]string, victim, n int) bool {
	t := k.t
	t.Helper()
	key := filepath.Join(k.dir, "boss")
	for i, c := range commands {
		args := strings.Split(strings.ReplaceAll(strings.Join(c, "\x00"), "KEY", key), "\x00")
		if i != victim {
			if code, _, s, stderr := k.run(0, args...); code != 0 && code != 4 {
				t.Fatalf("%v before any kill: exit %d %+v\n%s", args, code, s.Error, stderr)
			}
			continue
		}
		if _, killed, _, _ := k.run(n, args...); !killed {
			return false
		}
		break
	}
	what := fmt.Sprintf("%s killed at write %d", commands[victim][0], n)
	flights, err := os.ReadDir(filepath.Join(k.dir, "ws", ".cabincrew", "flights"))
	if err != nil || len(flights) != 1 {
		t.Fatalf("%s: flights %v, %v", what, flights, err)
	}
	id := flights[0].Name()
	code, _, s, stderr := k.run(0, "resume", id)
	if s.WorkflowID == "" && commands[victim][0] == "flight-plan" && n <= 2 {
		// Not even the first entry was durable: there is no flight to go on with.
		if code != protocol.ExitIntegrity || s.Error == nil {
			t.Fatalf("%s: resume gave exit %d\n%s", what, code, stderr)
		}
		return true
	}
	k.finish(what, code, s, stderr, key)
	return true
}

// finish brings a resumed flight to its end and looks at what was done.
func (k *killBench) finish(what string, code int, s orchestrator.Summary, stderr, key string) {
	t := k.t
	t.Helper()
	if s.State == protocol.StateAwaitingApproval {
		if strings.HasPrefix(what, "take-off") {
			t.Fatalf("%s: the approval was lost\n%s", what, stderr)
		}
		_, _, s, stderr = k.run(0, "approve", s.WorkflowID, "--as", "boss", "--key", key)
	}
	if s.State == protocol.StateReadyForTakeoff {
		code, _, s, stderr = k.run(0, "take-off", s.WorkflowID)
	}
	switch s.State {
	case protocol.StateCompleted:
		if k.takeoffs() != 1 || k.applied() != "all" {
			t.Fatalf("%s: completed with %d take-offs, patch applied: %s", what, k.takeoffs(), k.applied())
		}
	case protocol.StateFailed:
		if s.Error == nil || k.takeoffs() > 1 || k.applied() == "part" || !strings.HasPrefix(what, "take-off") {
			t.Fatalf("%s: failed (%+v) with %d take-offs, patch applied: %s\n%s", what, s.Error, k.takeoffs(), k.applied(), stderr)
		}
	default:
		t.Fatalf("%s: exit %d, state %s, %+v\n%s", what, code, s.State, s.Error, stderr)
	}
	if code, _, _, stderr := k.run(0, "verify", s.WorkflowID); code != 0 {
		t.Fatalf("%s: the finished flight does not verify: %d\n%s", what, code, stderr)
	}
}

//go:build unix

package check

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/protocol"
)

func TestGoodEnginePasses(t *testing.T) {
	t.Parallel()
	for _, tier := range []string{sandbox.TierA, sandbox.TierB, sandbox.TierC} {
		t.Run(tier, func(t *testing.T) {
			t.Parallel()
			if tier < best().Isolation.Tier {
				t.Skipf("this machine has no tier %s: %v", tier, best().Refused)
			}
			r := newRig(t, tier, good)
			var told []string
			r.o.Progress = func(id string) { told = append(told, id) }
			report := r.run()
			// No library gives it another clock, and so nothing is claimed of the clock.
			if report.Failed+report.Warned > 0 || report.Passed != len(Catalogue())-1 || r.result(report, PlanClock).Status != Skip || report.Tier != tier {
				t.Errorf("%s", Text(report))
			}
			for i, c := range Catalogue() {
				if report.Checks[i].ID != c.ID || report.Checks[i].Detail == "" || report.Checks[i].Seconds < 0 {
					t.Errorf("%+v", report.Checks[i])
				}
				if !slices.Contains(told, c.ID) {
					t.Errorf("nobody was told of %s", c.ID)
				}
			}
			if r.wait <= 0 || r.wait > 2020*time.Millisecond {
				t.Errorf("waited for %s", r.wait)
			}
			for id, want := range map[string]string{
				TakeOff: "changed VERSION", TakeOffTwice: "the second one succeeds and changes nothing", TakeOffMissing: "refused: exit 2",
				TakeOffChanged: "refused: saved", ConfigUnknown: "accepted: a mistyped setting would go unnoticed", InputHuge: "exit 2",
				TakeOffScope:  "the artifacts name each file that it changed",
				PlanArtifacts: "notes (evidence, 6 bytes), saved (state, 12 bytes)",
			} {
				if got := r.result(report, id); got.Detail != want {
					t.Errorf("%s: %s, want %s", id, got.Detail, want)
				}
			}
		})
	}
}

// badEngine is an engine that one check finds.
type badEngine struct {
	name string
	id   string
	with []string // named lines replaced
	want string   // in the detail
	tier string   // "" for both; the other one where only one can show it
	need []string // further checks that are to be made
}

const otherReceipt = `printf '{"protocol_version":"draft","engine_id":"good","mode":"%s","receipt_id":"r-1","status":"%s","artifacts":[%s]}' `

func badEngines() []badEngine {
	const c = sandbox.TierC
	plan := func(line string) []string { return []string{"planned", line} }
	return []badEngine{
		{"no receipt", PlanReceipt, []string{"receipt", ""}, "gave no receipt", "", nil},
		{"talks on stdout", PlanReceipt, plan("echo planning"), "cannot be read", "", nil},
		{"another mode", PlanReceipt, []string{"receipt", otherReceipt + `take-off success "$artifacts"`}, "of mode \"take-off\"", "", nil},
		{"failure", PlanReceipt, []string{"receipt", otherReceipt + `flight-plan failure "$artifacts"`}, "reports failure", "", nil},
		{"exit code", PlanReceipt, plan(`echo "the disk is full" >&2; exit 3`), `exit code 3; its log ends with "the disk is full"`, "", nil},
		{"no schema", PlanReceipt, []string{"receipt", "echo '{}'"}, "does not follow the protocol", "", nil},
		{"twice", PlanReceipt, plan(`echo '{}' >"$CABINCREW_OUTPUT_FILE"`), "one receipt on stdout and another", "", nil},
		{"no interpreter", PlanReceipt, []string{"mode", "exec /nowhere/sh"}, "exit code 127", "", nil},
		{"endless", PlanReceipt, plan("sleep 60"), "longer than its time-out", "", nil},

		{"undeclared", PlanArtifacts, plan("mkdir more"), "more", "", nil},
		{"wrong hash", PlanArtifacts, plan("echo late >>notes/body.data"), "the receipt says", "", nil},
		{"extra file", PlanArtifacts, plan("touch notes/more"), "further file \"more\"", "", nil},
		{"link", PlanArtifacts, plan("rm notes/body.data; ln -s /etc/passwd notes/body.data"), "symbolic link", "", nil},
		{"invalid", PlanArtifacts, []string{"description", `echo '{"artifact_type":"x"}' >notes/artifact.json`}, "does not follow", "", nil},
		{"none", PlanArtifacts, plan("rm -r notes saved; artifacts="), "there are none", "", nil},
		{"no evidence", PlanArtifacts, plan(`artifacts=$(echo "$artifacts" | sed s/evidence/log/)`), "none of them is evidence", "", nil},

		{"adds", PlanWorkspace, plan(`echo x >"$CABINCREW_WORKSPACE/new file"`), "added new file", c, nil},
		{"changes", PlanWorkspace, plan(`echo x >>"$CABINCREW_WORKSPACE/VERSION"`), "changed VERSION", c, nil},
		{"removes", PlanWorkspace, plan(`rm "$CABINCREW_WORKSPACE/LICENSE"`), "removed LICENSE", c, nil},
		{"chmod", PlanWorkspace, plan(`chmod 600 "$CABINCREW_WORKSPACE/LICENSE"`), "changed the mode of LICENSE to 0600", c, nil},

		{"empty input", InputEmpty, []string{"input", "input=$(cat)", "matches", ":"}, "exit 0", "", nil},
		{"malformed input", InputMalformed, []string{"matches", ":"}, "exit 0", "", nil},
		{"success and exit 1", InputMalformed, []string{"matches", `case $input in *'}') ;; *) ` + otherReceipt + `"$mode" success ""; exit 1 ;; esac`}, "exit 1 and left a receipt that says success", "", nil},
		{"killed by input", InputMalformed, []string{"matches", `case $input in *'}') ;; *) kill -SEGV $$ ;; esac`}, "signal SIGSEGV", "", nil},
		{"sleeps over input", InputMalformed, []string{"matches", `case $input in *'}') ;; *) sleep 60 ;; esac`}, "time-out", "", nil},
		{"input of another mode", InputMode, []string{"matches", `case $input in '{'*'}') ;; *) exit 2 ;; esac`}, "exit 0", "", nil},
		{"huge input", InputHuge, []string{"input", `input=$(head -c 300 "$CABINCREW_INPUT_FILE")'}'`}, "exit 0", "", nil},
		{"any mode", ModeUnknown, []string{"known", `[ "$mode" = launch ] && exit 0`}, "exit 0", "", nil},

		{"take-off fails", TakeOff, []string{"apply", "echo no >&2; exit 1"}, `exit code 1 (engine failure); its log ends with "no"`, "", nil},
		{"take-off of plan's mode", TakeOff, []string{"applied", "mode=flight-plan"}, "of mode \"flight-plan\"", "", nil},
		{"take-off declares", TakeOff, []string{"applied", `artifacts='{"name":"x","role":"evidence","path":"x","hash":"'$(digest notes/body.data)'"}'`}, "declares 1 artifacts", "", nil},
		{"take-off writes artifacts", TakeOff, []string{"applied", "echo x >>notes/body.data"}, "wrote among the planned artifacts: changed notes/body.data", c, nil},
		{"another engine", TakeOff, []string{"engine", "engine=$mode"}, "engine take-off, that of flight-plan of engine flight-plan", "", nil},

		{"nothing missing", TakeOffMissing, []string{"there", "", "same", "", "apply", ""}, "without any artifact, take-off succeeded", "", []string{TakeOff}},
		{"late refusal", TakeOffMissing, []string{"there", `echo half >"$CABINCREW_WORKSPACE/VERSION"`}, "not before it had changed VERSION", "", []string{TakeOff}},
		{"without state", TakeOffMissing, []string{"there", "[ -f notes/artifact.json ]", "same", "", "apply", `cat saved/body.data >"$CABINCREW_WORKSPACE/VERSION" || :`}, "without the state artifact saved, take-off succeeded and changed VERSION", "", []string{TakeOff}},

		{"changed state", TakeOffChanged, []string{"same", ""}, "with one byte of saved/body.data changed, take-off succeeded and changed VERSION", "", []string{TakeOff}},
		{"changed state, no file", TakeOffChanged, []string{"same", "", "apply", ""}, "with one byte of saved/body.data changed, take-off succeeded", "", []string{TakeOff}},
		{"changed evidence", TakeOffChanged, []string{"apply", `cat notes/body.data notes/body.data >"$CABINCREW_WORKSPACE/VERSION"`}, "with one byte of notes/body.data changed, take-off succeeded", "", []string{TakeOff}},
		{"half a refusal", TakeOffChanged, []string{"same", `cat saved/body.data >"$CABINCREW_WORKSPACE/VERSION"; grep -q "\"$(digest saved/body.data)\"" notes/artifact.json || exit 1`}, "take-off failed and changed VERSION", "", []string{TakeOff}},

		{"secret in the log", Secrets, []string{"applied", `cat "$CABINCREW_INPUT_FILE" >&2`}, "the log of take-off", "", []string{TakeOff}},
		{"secret in evidence", Secrets, []string{"evidence", `base64 -w0 "$CABINCREW_INPUT_FILE" >notes/body.data`}, "artifact notes", "", nil},
		{"secret in a description", Secrets, []string{"state", `grep -o 'made-up[a-z0-9-]*' "$CABINCREW_INPUT_FILE" | head -1 | sed 's/.*/{"artifact_type":"x","action":"x","mime":"x","body":"&"}/' >saved/artifact.json
  artifacts='{"name":"saved","role":"state","path":"saved","hash":"'$(digest saved/artifact.json)'"}'; rm -r notes; printf '{"protocol_version":"draft","engine_id":"x","mode":"flight-plan","receipt_id":"r","status":"success","artifacts":[%s]}' "$artifacts"; exit`}, "artifact saved", "", nil},
		{"secret in the receipt", Secrets, []string{"engine", `engine=$(grep -o 'made-up[a-z0-9-]*' "$CABINCREW_INPUT_FILE" | head -1)`}, "the receipt of flight-plan", "", nil},

		{"daemon", Processes, plan("sleep 60 >/dev/null 2>&1 </dev/null &"), "1 left after flight-plan", "", nil},
		{"daemon, not isolated", Processes, []string{"applied", "setsid sleep 60 >/dev/null 2>&1 </dev/null &"}, "1 left after take-off", c, []string{TakeOff}},
	}
}

func TestBadEnginesFail(t *testing.T) {
	t.Parallel()
	for _, c := range badEngines() {
		t.Run(c.id+"/"+c.name, func(t *testing.T) {
			t.Parallel()
			tier := c.tier
			if tier == "" {
				tier = best().Isolation.Tier
			}
			r := newRig(t, tier, bad(t, c.with...), append(c.need, c.id)...)
			if strings.Contains(c.want, "time-out") {
				r.o.Timeout = 3 * time.Second
			}
			got := r.result(r.run(), c.id)
			if got.Status != Fail || !strings.Contains(got.Detail, c.want) || got.Remedy == "" {
				t.Errorf("%s: %s\nremedy: %s\nwant %q", got.Status, got.Detail, got.Remedy, c.want)
			}
		})
	}
}

// TestEveryCheckCanFail proves that no check passes whatever the engine does.
func TestEveryCheckCanFail(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{PlanRepeat: true, PlanClock: true, PlanMachine: true, TakeOffScope: true, TakeOffRepeat: true} // in files of their own
	for _, c := range badEngines() {
		seen[c.id] = true
	}
	for _, c := range Catalogue() {
		if !c.Tells && !seen[c.ID] {
			t.Errorf("no bad engine fails %s", c.ID)
		}
		if c.Tells && seen[c.ID] {
			t.Errorf("%s only tells, and a bad engine fails it", c.ID)
		}
		if c.Demands == "" || c.Remedy == "" || !strings.HasSuffix(c.Demands, ".") || !strings.HasSuffix(c.Remedy, ".") {
			t.Errorf("%s: %q, %q", c.ID, c.Demands, c.Remedy)
		}
	}
}

func TestWhatOnlyTells(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		with []string
		id   string
		want string
	}{
		"strict settings": {[]string{"planned", `case $input in *cabincrew_check_unknown*) exit 2 ;; esac`}, ConfigUnknown, "refused"},
		"take-off once":   {[]string{"there", `grep -q new "$CABINCREW_WORKSPACE/VERSION" && fail again`}, TakeOffTwice, `the second one fails: the engine ended with exit code 2 (validation failure); its log ends with "again"`},
		"take-off adds":   {[]string{"apply", `cat saved/body.data >>"$CABINCREW_WORKSPACE/VERSION"`}, TakeOffTwice, "the second one succeeds, and changed VERSION"},
		"exit 1":          {[]string{"matches", `case $input in *'}') ;; *) exit 1 ;; esac`}, InputMalformed, "exit 1; exit 2 would say that the input was at fault"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, best().Isolation.Tier, bad(t, c.with...), c.id, TakeOff)
			if got := r.result(r.run(), c.id); got.Status != Pass || got.Detail != c.want || got.Remedy != "" {
				t.Errorf("%+v, want %q", got, c.want)
			}
		})
	}
}

func TestRefusedAttemptsAreTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, tierA(t), bad(t, "planned", "unshare -U true || :"), RefusedAttempts)
	if got := r.result(r.run(), RefusedAttempts); got.Status != Pass || !strings.Contains(got.Detail, "unshare") {
		t.Errorf("%+v", got)
	}
}

// TestNothingToCompare: where the flight-plan fails, nothing else is claimed.
func TestNothingToCompare(t *testing.T) {
	t.Parallel()
	report := newRig(t, best().Isolation.Tier, "#!/bin/sh\nexit 2\n").run()
	for _, c := range report.Checks {
		switch c.ID {
		case PlanReceipt:
			if c.Status != Fail {
				t.Errorf("%+v", c)
			}
		case PlanWorkspace, Secrets, Processes, RefusedAttempts:
			if c.Status != Pass {
				t.Errorf("%+v", c)
			}
		default:
			if c.Status != Skip || c.Detail == "" {
				t.Errorf("%+v", c)
			}
		}
	}
	if report.Failed != 1 || len(report.Checks) != len(Catalogue()) {
		t.Errorf("%s", Text(report))
	}
}

func TestNoTakeOffWhereNoneIsWanted(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "flown")
	r := newRig(t, sandbox.TierC, bad(t, "applied", "touch '"+mark+"'"))
	r.o.Skip = []string{TakeOff}
	report := r.run()
	if _, err := os.Stat(mark); err == nil || report.Skipped != 7 || report.Failed != 0 {
		t.Errorf("%v\n%s", err, Text(report))
	}
}

func TestUnknownCheck(t *testing.T) {
	t.Parallel()
	r := newRig(t, sandbox.TierC, good)
	r.o.Skip = []string{"plan-recipe"}
	_, err := Run(t.Context(), r.o)
	if !errors.Is(err, protocol.Code("check_unknown")) || protocol.ExitCode(err) != protocol.ExitUsage {
		t.Error(err)
	}
}

// TestGivenWorkspace: the sample that is given is read only, with what git tracks
// and without what it ignores.
func TestGivenWorkspace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{"VERSION": "7\n", ".gitignore": "ignored\n", "ignored": "x", "deep/er/file": "y", ".cabincrew/state": "z"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before, err := scan(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, sandbox.TierC, bad(t,
		"evidence", `(cd "$CABINCREW_WORKSPACE" && find . -type f | LC_ALL=C sort) >notes/body.data`,
		"applied", `rm -r "$CABINCREW_WORKSPACE"/deep`))
	r.o.Workspace = dir
	report := r.run()
	if got := r.result(report, TakeOff); got.Detail != "changed VERSION, removed deep/er/file" || report.Failed > 0 {
		t.Errorf("%s", Text(report))
	}
	want := "./.gitignore\n./VERSION\n./deep/er/file\n./engine.sh\n"
	if got := r.result(report, PlanArtifacts); !strings.Contains(got.Detail, "notes (evidence, 50 bytes)") || len(want) != 50 {
		t.Errorf("%s, want %d bytes", got.Detail, len(want))
	}
	after, err := scan(t.Context(), dir)
	if err != nil || changes(before, after) != "" {
		t.Errorf("%v, %s", err, changes(before, after))
	}
}

// broken is a runner that cannot run anything.
type broken struct{}

func (broken) Run(context.Context, engines.Spec) (engines.Result, error) {
	return engines.Result{}, protocol.Errorf(protocol.ExitUnreachable, "isolation_failed", "of the test")
}

func TestRunnerThatFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, sandbox.TierC, good)
	r.o.Runner = broken{}
	if _, err := Run(t.Context(), r.o); !errors.Is(err, protocol.Code("isolation_failed")) || !strings.Contains(err.Error(), "flight-plan") {
		t.Error(err)
	}
	r = newRig(t, sandbox.TierC, good)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, r.o); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestStageThatCannotStart: what the kit itself cannot do is no fault of the engine.
func TestStageThatCannotStart(t *testing.T) {
	t.Parallel()
	r := newRig(t, sandbox.TierC, bad(t, "applied", ":"), PlanRepeat)
	script := filepath.Join(t.TempDir(), "stage")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho 'engine check: no' >&2\nexit 126\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.o.Stage = []string{script}
	if _, err := Run(t.Context(), r.o); !errors.Is(err, protocol.Code("check_stage")) {
		t.Error(err)
	}
}

// TestEngineElsewhere: an engine outside the workspace is reached in both kinds of run.
func TestEngineElsewhere(t *testing.T) {
	t.Parallel()
	for _, tier := range slices.Compact([]string{best().Isolation.Tier, sandbox.TierC}) {
		t.Run(tier, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tier, good)
			r.o.Files = nil
			for _, dir := range []string{"/bin", "/usr/bin"} {
				for _, name := range []string{"sha256sum", "cut", "head", "mkdir", "cp", "grep", "sh"} {
					if at := filepath.Join(dir, name); tier != sandbox.TierC && exists(at) {
						r.o.Hold.Tools = append(r.o.Hold.Tools, engines.Tool{Name: name, Path: at})
					}
				}
			}
			if report := r.run(); report.Passed != len(Catalogue())-1 {
				t.Errorf("%s", Text(report))
			}
		})
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

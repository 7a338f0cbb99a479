//go:build unix

package check

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/engines/process"
	"github.com/cabincrew/action/engines/sandbox"
)

// TestMain lets the test binary be the program that runs the stage.
func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == "engine" {
		os.Exit(Stage(context.Background(), os.Args[3:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
	}
	os.Exit(m.Run())
}

// best is the best isolation of this machine.
var best = sync.OnceValue(func() sandbox.Found { return sandbox.Probe(context.Background(), false) })

// good is an engine that passes every check. The lines with a name are what tests
// replace to make it a bad one.
const good = `#!/bin/sh
set -eu
fail() { echo "$1" >&2; exit 2; }
digest() { sha256sum "$1" | cut -d' ' -f1; }
mode=${2-} #mode
case $mode in flight-plan | take-off) ;; *) fail "there is no mode $mode" ;; esac #known
input=$(head -c 1048576 "$CABINCREW_INPUT_FILE") || fail "there is no input" #input
case $input in '{'*'"mode":"'"$mode"'"'*'}') ;; *) fail "the input is not one for $mode" ;; esac #matches
cd "$CABINCREW_ARTIFACTS_DIR"
engine=good #engine
artifacts=
if [ "$mode" = flight-plan ]; then
  mkdir notes saved
  cp "$CABINCREW_WORKSPACE/VERSION" notes/body.data #evidence
  printf 'new version\n' >saved/body.data #state
  printf '{"artifact_type":"report","action":"none","mime":"text/plain","body_file":"body.data","metadata":{"state":"%s"}}' "$(digest saved/body.data)" >notes/artifact.json #description
  printf '{"artifact_type":"file","action":"write","target":"VERSION","mime":"text/plain","body_file":"body.data"}' >saved/artifact.json
  artifacts='{"name":"notes","role":"evidence","path":"notes","hash":"'$(digest notes/body.data)'"},{"name":"saved","role":"state","path":"saved","hash":"'$(digest saved/body.data)'"}'
  : #planned
else
  [ -f notes/artifact.json ] && [ -f saved/body.data ] || fail "an artifact is missing" #there
  grep -q "\"$(digest saved/body.data)\"" notes/artifact.json || fail "the state was changed" #same
  cp saved/body.data "$CABINCREW_WORKSPACE/VERSION" #apply
  : #applied
fi
printf '{"protocol_version":"draft","engine_id":"%s","mode":"%s","receipt_id":"r-1","status":"success","artifacts":[%s]}' "$engine" "$mode" "$artifacts" #receipt
`

// bad gives the good engine with named lines replaced: name, line, name, line …
func bad(t *testing.T, replace ...string) string {
	t.Helper()
	lines := strings.Split(good, "\n")
	for i := 0; i < len(replace); i += 2 {
		at := slices.IndexFunc(lines, func(l string) bool { return strings.HasSuffix(l, " #"+replace[i]) })
		if at < 0 {
			t.Fatalf("the good engine has no line %q", replace[i])
		}
		lines[at] = replace[i+1]
	}
	return strings.Join(lines, "\n")
}

// rig is one engine under check.
type rig struct {
	t    *testing.T
	o    Options
	wait time.Duration // waited for, in all
}

// newRig prepares the checks of one engine, in a tier. Without a list of checks all
// are made.
func newRig(t *testing.T, tier, script string, only ...string) *rig {
	t.Helper()
	dir := quickDir(t)
	at := filepath.Join(dir, "engine.sh")
	if err := os.WriteFile(at, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	temp := filepath.Join(dir, "temp")
	if err := os.Mkdir(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t}
	r.o = Options{
		Runner: process.Runner{}, Name: "engine.sh", Argv: []string{at}, Files: []File{{Path: "engine.sh", Source: at}},
		Hold: engines.Hold{Tier: tier}, Stage: []string{self, "engine", "run"}, Timeout: 20 * time.Second, Temp: temp,
		Now: time.Now, Wait: func(_ context.Context, d time.Duration) error { r.wait += d; return nil },
	}
	if len(only) > 0 {
		for _, id := range ids() {
			if !slices.Contains(only, id) {
				r.o.Skip = append(r.o.Skip, id)
			}
		}
	}
	return r
}

// quickDir is a temporary directory in memory where there is one: these tests make
// and remove thousands of small files, which some file systems are slow at.
func quickDir(t *testing.T) string {
	t.Helper()
	at := sharedMemory(nil)
	if at == "" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(at, "cabincrew-test-") //nolint:usetesting // elsewhere than TempDir, see above
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// realWait makes time pass between the flight-plans.
func (r *rig) realWait() {
	r.o.Wait = func(_ context.Context, d time.Duration) error {
		time.Sleep(d)
		return nil
	}
}

func (r *rig) run() Report {
	r.t.Helper()
	report, err := Run(r.t.Context(), r.o)
	if err != nil {
		r.t.Fatal(err)
	}
	return report
}

// result gives the result of one check.
func (r *rig) result(report Report, id string) Result {
	r.t.Helper()
	for _, c := range report.Checks {
		if c.ID == id {
			return c
		}
	}
	r.t.Fatalf("there is no result of %s in %+v", id, report)
	return Result{}
}

// tierA gives the best tier, or skips where the machine has less than A.
func tierA(t *testing.T) string {
	t.Helper()
	if found := best(); found.Isolation.Tier != sandbox.TierA {
		t.Skipf("this machine has tier %s only: %v", found.Isolation.Tier, found.Refused)
	}
	return sandbox.TierA
}

// noon is a clock that starts at noon, when it is the next day far in the east.
func noon() func() time.Time {
	began := time.Now()
	year, month, day := began.UTC().Date()
	at := time.Date(year, month, day, 12, 0, 0, 0, time.UTC)
	return func() time.Time { return at.Add(time.Since(began)) }
}

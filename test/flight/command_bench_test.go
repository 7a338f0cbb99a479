package flight

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/internal/workspacetest"
)

// BenchmarkCommandStep is a step of the engine command, from its begin to its end,
// over a workspace of 20,000 files and 550 MB that is not copied: the view of it, the
// sandbox, the command, what it changed, the patch, and that into the flight.
//
// The step ends with one manifest of the workspace, by the stat cache, which shows
// that nothing changed meanwhile. ms/beyond leaves that out, since manifests are
// measured by themselves (BenchmarkScan, BenchmarkScanCached), and ms/beyond+manifest
// has it. What else a flight does, the first manifest too, is in ms/flight.
func BenchmarkCommandStep(b *testing.B) {
	if found := machine(); found.Isolation.Tier != sandbox.TierA || found.Sudo || !found.Overlay {
		b.Skipf("here a step gets a copy, no overlay: %+v", found)
	}
	program, dir := built(b), b.TempDir()
	workspacetest.Tree(b, dir)
	var names []string
	for i := range 5 {
		name := fmt.Sprintf("go/f%d.go", i)
		names = append(names, name)
		put(b, filepath.Join(dir, name), fmt.Sprintf("package f\nvar  x%d =  1\n", i))
	}
	mustRun(b, exec.Command("sync")) // or the disk writes while it is measured
	for name, argv := range map[string][]string{"true": {"true"}, "gofmt": append([]string{"gofmt", "-w"}, names...)} {
		b.Run(name, func(b *testing.B) {
			if _, err := exec.LookPath(argv[0]); err != nil {
				b.Skip(err)
			}
			run, err := json.Marshal(argv)
			if err != nil {
				b.Fatal(err)
			}
			config := filepath.Join(dir, ".cabincrew.yaml")
			put(b, config, fmt.Sprintf("version: 1\nworkflow: bench\nsteps:\n  - id: s\n    engine: {use: command, with: {run: %s}}\npolicies: {bundled: [baseline]}\n", run))
			measureStep(b, program, dir, config, argv)
		})
	}
}

func put(b *testing.B, at, content string) {
	b.Helper()
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(content), 0o644); err != nil {
		b.Fatal(err)
	}
}

func measureStep(b *testing.B, program, dir, config string, argv []string) {
	b.Helper()
	plan := func() (flight, step time.Duration) {
		cmd := exec.Command(program, "flight-plan", "--unsealed", "--config", config, "--log-level", "debug", "--log-format", "json")
		var log bytes.Buffer
		cmd.Stderr = &log
		begin := time.Now()
		err := cmd.Run()
		flight = time.Since(begin)
		if err != nil {
			b.Fatalf("%v\n%s", err, log.String())
		}
		return flight, stepTime(b, log.String())
	}
	first, _ := plan() // the stat cache is of the tree from now on
	time.Sleep(2100 * time.Millisecond)
	plan() // and of what was written last, which it does not take for settled before
	var flights, steps, commands, manifests, beyond, both []time.Duration
	copied := b.TempDir()
	for _, name := range argv[1:] {
		if filepath.IsLocal(name) && strings.Contains(name, "/") {
			put(b, filepath.Join(copied, name), "package f\nvar  x =  1\n")
		}
	}
	for b.Loop() {
		flight, step := plan()
		alone := exec.Command(argv[0], argv[1:]...)
		alone.Dir = copied
		command := mustRun(b, alone)
		manifest := manifestTime(b, dir)
		flights, steps, commands, manifests = append(flights, flight), append(steps, step), append(commands, command), append(manifests, manifest)
		beyond, both = append(beyond, step-command-manifest), append(both, step-command)
	}
	b.ReportMetric(float64(first.Microseconds())/1000, "ms/first-flight")
	for unit, list := range map[string][]time.Duration{
		"ms/flight": flights, "ms/step": steps, "ms/command": commands, "ms/manifest": manifests, "ms/beyond": beyond, "ms/beyond+manifest": both,
	} {
		slices.Sort(list)
		b.ReportMetric(float64(list[len(list)/2].Microseconds())/1000, unit) // the median
	}
	b.ReportMetric(0, "ns/op")
}

// stepTime reads from the program's log how long the step took.
func stepTime(b *testing.B, log string) time.Duration {
	b.Helper()
	var begin, end time.Time
	for line := range strings.Lines(log) {
		var r struct {
			Time             time.Time
			Msg, Stage, Step string
			Done             bool
		}
		if json.Unmarshal([]byte(line), &r) != nil || r.Msg != "progress" || r.Stage != "plan" || r.Step != "s" {
			continue
		}
		if r.Done {
			end = r.Time
		} else {
			begin = r.Time
		}
	}
	if begin.IsZero() || end.IsZero() {
		b.Fatalf("the log does not tell of the step:\n%s", log)
	}
	return end.Sub(begin)
}

// manifestTime is how long the manifest takes that ends a step.
func manifestTime(b *testing.B, dir string) time.Duration {
	b.Helper()
	cache := workspace.LoadCache(filepath.Join(dir, ".cabincrew", "cache", "stat"), time.Now)
	begin := time.Now()
	files, err := workspace.Scan(b.Context(), dir, workspace.Options{Cache: cache, Exclude: []string{".cabincrew"}})
	if err != nil || len(files) < workspacetest.Files {
		b.Fatal(len(files), err)
	}
	return time.Since(begin)
}

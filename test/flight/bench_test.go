package flight

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/cli"
)

// noop is the smallest engine: its receipt and nothing else.
const noop = `#!/bin/sh
echo '{"protocol_version":"draft","engine_id":"noop","mode":"flight-plan","receipt_id":"r","status":"success"}'
`

// built builds the program as it is shipped, once a benchmark.
func built(b *testing.B) string {
	b.Helper()
	at := filepath.Join(b.TempDir(), "cabincrew")
	if out, err := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", at, "../../cmd/cabincrew").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return at
}

func mustRun(b *testing.B, cmd *exec.Cmd) time.Duration {
	b.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatalf("%v\n%s", err, out.String())
	}
	return time.Since(begin)
}

func noopWorkspace(b *testing.B) (dir, config string) {
	b.Helper()
	dir = b.TempDir()
	config = filepath.Join(dir, ".cabincrew.yaml")
	for name, content := range map[string]string{
		"engine.sh": noop, "hello.txt": "hello\n",
		".cabincrew.yaml": "version: 1\nworkflow: bench\nsteps:\n  - id: noop\n    engine: {run: [./engine.sh]}\npolicies: {bundled: [baseline]}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil { //nolint:gosec // an engine must be executable
			b.Fatal(err)
		}
	}
	return dir, config
}

// BenchmarkNoopFlight is flight-plan with one no-op engine and baseline, less the
// time that the engine takes alone.
func BenchmarkNoopFlight(b *testing.B) {
	program := built(b)
	for name, plan := range map[string]func(b *testing.B, config string) time.Duration{
		"process": func(b *testing.B, config string) time.Duration {
			b.Helper()
			return mustRun(b, exec.Command(program, "flight-plan", "--config", config))
		},
		"in-process": func(b *testing.B, config string) time.Duration {
			b.Helper()
			var out bytes.Buffer
			begin := time.Now()
			if code := cli.Main(context.Background(), []string{"flight-plan", "--config", config}, strings.NewReader(""), &out, &out, os.Environ()); code != 0 {
				b.Fatalf("exit %d\n%s", code, out.String())
			}
			return time.Since(begin)
		},
	} {
		b.Run(name, func(b *testing.B) {
			dir, config := noopWorkspace(b)
			var flight, engine time.Duration
			for b.Loop() {
				flight += plan(b, config)
				engine += mustRun(b, exec.Command(filepath.Join(dir, "engine.sh")))
			}
			ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(b.N) }
			b.ReportMetric(ms(flight), "ms/flight")
			b.ReportMetric(ms(engine), "ms/engine")
			b.ReportMetric(ms(flight-engine), "ms/beyond-engine")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkVersion is the start of the program.
func BenchmarkVersion(b *testing.B) {
	program := built(b)
	var took time.Duration
	for b.Loop() {
		took += mustRun(b, exec.Command(program, "version"))
	}
	b.ReportMetric(float64(took.Microseconds())/1000/float64(b.N), "ms/start")
	b.ReportMetric(0, "ns/op")
}

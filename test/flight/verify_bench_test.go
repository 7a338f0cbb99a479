package flight

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/cli"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/signing"
)

// manyEngine plans 1,000 artifacts of 10 KB.
const manyEngine = `#!/usr/bin/env bash
cd "$CABINCREW_ARTIFACTS_DIR"
text=$(head -c 7500 /dev/urandom | base64 -w 76)
list=
for i in $(seq 1000); do
  mkdir "a$i"
  printf '%s %s\n' "$i" "$text" > "a$i/body"
  printf '{"artifact_type":"note","action":"write","mime":"text/plain","body_file":"body"}' > "a$i/artifact.json"
done
sums=$(sha256sum a*/body)
while read -r sum path; do
  list+=",{\"name\":\"${path%/body}\",\"path\":\"${path%/body}\",\"role\":\"evidence\",\"hash\":\"$sum\"}"
done <<< "$sums"
printf '{"protocol_version":"draft","engine_id":"many","mode":"flight-plan","receipt_id":"r","status":"success","artifacts":[%s]}' "${list#,}" > "$CABINCREW_OUTPUT_FILE"
`

// BenchmarkVerifyFlight verifies a flight of 1,000 artifacts of 10 KB with its bundle
// and audit log by a key: in this process, and as a process of its own. Beside it
// stand the verification of the bundle alone, and cosign's of the same bundle.
func BenchmarkVerifyFlight(b *testing.B) {
	program, dir := built(b), b.TempDir()
	private, public, err := signing.Generate(signing.ECDSAP256, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	for name, text := range map[string]string{
		"engine.sh": manyEngine, "hello.txt": "hello\n", "pol/p.rego": quietPolicy, "plan.key": string(private), "plan.key.pub": string(public),
		".cabincrew.yaml": "version: 1\nworkflow: bench\nsteps:\n  - id: many\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n" + quiet + "signing: {key: plan.key}\n",
	} {
		put(b, filepath.Join(dir, name), text)
	}
	if err := os.Chmod(filepath.Join(dir, "engine.sh"), 0o755); err != nil { //nolint:gosec // an engine must be executable
		b.Fatal(err)
	}
	mustRun(b, exec.Command(program, "flight-plan", "--config", filepath.Join(dir, ".cabincrew.yaml")))
	found, err := filepath.Glob(filepath.Join(dir, ".cabincrew", "flights", "*"))
	if err != nil || len(found) != 1 {
		b.Fatal(found, err)
	}
	flight, key := found[0], filepath.Join(dir, "plan.key.pub")
	bundle, manifest := filepath.Join(flight, orchestrator.PlanBundle), filepath.Join(flight, orchestrator.ManifestFile)
	cosign, err := filepath.Abs("../../bin/tools/cosign")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := os.Stat(cosign); err != nil {
		b.Skip("make e2e has built no cosign to compare with:", err)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // as the program does
	var inside, process, statement, theirs time.Duration
	for b.Loop() {
		var out bytes.Buffer
		begin := time.Now()
		if code := cli.Main(context.Background(), []string{"verify", flight, "--key", key}, strings.NewReader(""), &out, &out, os.Environ()); code != 0 {
			b.Fatalf("exit %d\n%s", code, out.String())
		}
		inside += time.Since(begin)
		process += mustRun(b, exec.Command(program, "verify", flight, "--key", key))
		statement += mustRun(b, exec.Command(program, "verify", bundle, "--key", key))
		theirs += mustRun(b, exec.Command(cosign, "verify-blob-attestation", "--key", key, "--bundle", bundle, "--insecure-ignore-tlog", "--type", signing.FlightPlanType, manifest))
	}
	for name, took := range map[string]time.Duration{"flight": inside, "process": process, "statement-process": statement, "cosign-process": theirs} {
		b.ReportMetric(float64(took.Microseconds())/1000/float64(b.N), fmt.Sprintf("ms/%s", name))
	}
	b.ReportMetric(0, "ns/op")
}

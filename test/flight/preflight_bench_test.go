package flight

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/policies"
)

// BenchmarkPreflight judges a patch of 200 files and 5,200 lines by all bundled sets,
// the search for secrets and the model, each time by a new process, as in a flight:
// it reads and compiles all policies first. Beside it conftest, another process with
// OPA inside, evaluates the same Rego over the same input document; it has no search
// for secrets and no model. Its rules are deny, violation and warn; those that ask
// for approval it does not evaluate.
func BenchmarkPreflight(b *testing.B) {
	program, dir := built(b), b.TempDir()
	library, err := filepath.Abs("../../bin/lib/libonnxruntime.so.1")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := os.Stat(library); err != nil {
		b.Skip("make onnxruntime has put no library there:", err)
	}
	kinds := []struct{ path, line string }{
		{"internal/part%d/file%d.go", "\treturn fmt.Errorf(\"word %d of file %d: %%w\", err)"},
		{"internal/part%d/file%d_test.go", "\t\tt.Errorf(\"word %d of file %d: %%v\", got)"},
		{"web/part%d/view%d.ts", "  const word%d = await fetch(`/api/${id}/%d`); // as before"},
		{"docs/part%d/page%d.md", "The word %d of page %d - how the thing is used, and what curl says of it."},
		{"deploy/part%d/values%d.yaml", "  - name: word-%d\n    value: \"https://example.com/%d\""},
		{"scripts/part%d/run%d.py", "    assert word(%d) == %d, \"skip nothing\""},
	}
	for i := range 200 {
		k := kinds[i%len(kinds)]
		var text strings.Builder
		for l := range 13 {
			_, _ = fmt.Fprintf(&text, k.line+"\n", l, i)
		}
		put(b, filepath.Join(dir, fmt.Sprintf(k.path, i%20, i)), text.String())
	}
	config := filepath.Join(dir, ".cabincrew.yaml")
	put(b, config, `version: 1
workflow: bench
steps:
  - id: s
    engine: {use: command, with: {shell: "find internal web docs deploy scripts -type f -exec sed -i s/word/term/ {} +"}}
policies: {bundled: [`+strings.Join(policies.BundledNames(), ", ")+`]}
models: [{name: injection, bundled: instruction-injection, decisions: [{label: injection, at_least: "0.99", decision: warn}]}]
`)
	// The same Rego alone, as conftest has it.
	text, err := os.ReadFile(config)
	if err != nil {
		b.Fatal(err)
	}
	alike, _, _ := strings.Cut(string(text), "\nmodels:")
	rego := filepath.Join(dir, ".rego.yaml")
	put(b, rego, strings.Replace(alike, "policies: {", "policies: {secrets: {scan: false}, ", 1)+"\n")
	ours := func(args ...string) *exec.Cmd {
		return exec.Command(program, append(args, "--config", config, "--onnxruntime", library)...)
	}
	answering(b, ours("flight-plan"))
	flights, err := filepath.Glob(filepath.Join(dir, ".cabincrew/flights/*"))
	if err != nil || len(flights) != 1 {
		b.Fatal(flights, err)
	}
	flight := filepath.Base(flights[0])
	document, _ := answering(b, ours("policy", "input", "--flight", flight))
	if n := bytes.Count(document, []byte(`"op":`)); n < 5200 {
		b.Fatalf("the document has %d lines of hunks", n)
	}
	input := filepath.Join(b.TempDir(), "input.json")
	put(b, input, string(document))

	var alone, judged, same, other []time.Duration
	conftest, sets := conftestProgram(b), bundledRego(b)
	for b.Loop() {
		_, t := answering(b, ours("version"))
		alone = append(alone, t)
		answer, t := answering(b, ours("policy", "eval", "--flight", flight, "--output", "json"))
		judged = append(judged, t)
		evaluated(b, answer)
		_, t = answering(b, exec.Command(program, "policy", "eval", "--flight", flight, "--config", rego))
		same = append(same, t)
		if conftest == "" {
			continue
		}
		answer, t = answering(b, exec.Command(conftest, "test", "--all-namespaces", "--output", "json", "--policy", sets, "--data", sets, input))
		other = append(other, t)
		var results []struct{ Namespace string }
		if err := json.Unmarshal(answer, &results); err != nil || len(results) < len(policies.BundledNames()) {
			b.Fatalf("conftest says %v: %s", err, answer)
		}
	}
	for unit, list := range map[string][]time.Duration{"ms/start": alone, "ms/preflight": judged, "ms/same-rego": same, "ms/conftest": other} {
		if len(list) > 0 {
			slices.Sort(list)
			b.ReportMetric(float64(list[len(list)/2].Microseconds())/1000, unit) // the median
		}
	}
	b.ReportMetric(0, "ns/op")
}

// answering runs a program that ends with the exit code of a decision.
func answering(b *testing.B, cmd *exec.Cmd) (stdout []byte, took time.Duration) {
	b.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	begin := time.Now()
	err := cmd.Run()
	took = time.Since(begin)
	if code := cmd.ProcessState.ExitCode(); err != nil && code != 1 && code != 3 && code != 4 {
		b.Fatalf("%v: %v\n%s%s", cmd.Args, err, out.String(), errs.String())
	}
	return out.Bytes(), took
}

// evaluated checks that all judges were asked: the sets, the secrets, the model.
func evaluated(b *testing.B, answer []byte) {
	b.Helper()
	var doc struct {
		Steps []struct {
			Evaluations []struct {
				Source   string `json:"source"`
				PolicyID string `json:"policy_id"`
			} `json:"evaluations"`
		} `json:"steps"`
	}
	if err := json.Unmarshal(answer, &doc); err != nil || len(doc.Steps) != 1 {
		b.Fatalf("%v: %s", err, answer)
	}
	seen := map[string]bool{}
	for _, e := range doc.Steps[0].Evaluations {
		seen[e.Source] = true
		name, _, _ := strings.Cut(e.PolicyID, "/")
		seen[name] = true
	}
	if !seen["onnx"] || !seen["opa"] || len(seen) < 2+len(policies.BundledNames()) {
		b.Fatalf("asked were %v: %s", seen, answer)
	}
}

// bundledRego writes the bundled sets' policies and data, without their tests.
func bundledRego(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	for _, name := range policies.BundledNames() {
		set, err := policies.Bundled(name)
		if err != nil {
			b.Fatal(err)
		}
		for _, f := range set.Files {
			if strings.HasSuffix(f.Path, "_test.rego") {
				continue
			}
			put(b, filepath.Join(dir, name, f.Path), string(f.Data))
		}
	}
	return dir
}

// conftestProgram is conftest, which make bench builds.
func conftestProgram(b *testing.B) string {
	b.Helper()
	at, err := filepath.Abs("../../bin/tools/conftest")
	if err != nil {
		b.Fatal(err)
	}
	if info, err := os.Stat(at); err != nil || info.Mode()&fs.FileMode(0o100) == 0 {
		b.Log("without conftest beside it: make bench builds it")
		return ""
	}
	return at
}

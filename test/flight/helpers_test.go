package flight

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/orchestrator"
)

func removeFile(name string) error { return os.Remove(name) }

// bare is the line of a step that is not isolated: its engine may talk to the test
// by paths of the host, or reach what only the orchestrator guards then.
const bare = "    isolation: none\n"

// quiet is the setting, and quietPolicy the policy, for plans that are judged and
// let through, also where an engine was not isolated, for which baseline asks.
const (
	quiet       = "policies: {rego: [pol/]}\n"
	quietPolicy = "package cabincrew.quiet\n\nwarn contains \"never\" if input.mode == \"nonesuch\"\n"
)

// machine is what sandbox.Probe finds here.
var machine = sync.OnceValue(func() sandbox.Found { return sandbox.Probe(context.Background(), false) })

// isolates skips a test of tier A where the machine offers less.
func isolates(t *testing.T) {
	t.Helper()
	if f := machine(); f.Isolation.Tier != sandbox.TierA {
		t.Skipf("this machine offers tier %s, the test is about tier A: %v", f.Isolation.Tier, f.Refused)
	}
}

// runnable skips a test whose steps cannot run where the machine isolates nothing.
func runnable(t *testing.T, config string) {
	t.Helper()
	if f := machine(); f.Isolation.Tier == sandbox.TierC && strings.Contains(config, "engine:") && !strings.Contains(config, bare) {
		t.Skipf("this machine cannot isolate engines: %v", f.Refused)
	}
}

// held gives how a step's engine was held while it planned, as the flight has it.
func held(t *testing.T, s orchestrator.Summary, step string) engines.Isolation {
	t.Helper()
	raw, err := os.ReadFile(flightDir(s, "steps", step, "isolation.json"))
	if err != nil {
		t.Fatal(err)
	}
	var i engines.Isolation
	if err := json.Unmarshal(raw, &i); err != nil {
		t.Fatal(err)
	}
	return i
}

package cli

import (
	"os"
	"strings"
	"testing"
)

// TestT09GateNobodyAsks: where nobody can tell whether an environment's gate was
// opened, nothing takes off.
func TestT09GateNobodyAsks(t *testing.T) {
	t.Parallel()
	d := governedDesk(t, governedPolicies)
	at := d.path(".cabincrew.yaml")
	raw, err := os.ReadFile(at)
	must(t, err)
	must(t, os.WriteFile(at, []byte(strings.Replace(string(raw), "approvals: {", "approvals: {environments: [production], ", 1)), 0o600))
	d.must(7, []string{"environment_unknown", "environment production"}, "take-off", d.plan(0))
}

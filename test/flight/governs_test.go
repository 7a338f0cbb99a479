package flight

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

// TestLinkToPoliciesIsExchanged: a link that leads out cannot be kept, and is
// compared afterwards.
func TestLinkToPoliciesIsExchanged(t *testing.T) {
	t.Parallel()
	isolates(t)
	out, intact := outside(t, "p.rego", quietPolicy)
	w := newWS(t, map[string]string{
		"hello.txt": "hello\n", "weak/p.rego": strings.Replace(quietPolicy, "never", "weak", 1),
		"engine.sh":       strings.Replace(outsider("pol", "p.rego"), "set -e\nreceipt", "rm pol; ln -s weak pol\nset -e\nreceipt", 1),
		".cabincrew.yaml": config(quiet, "  - id: work\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n    env: {OUT: 'env:OUT'}\n"),
	})
	w.env = append(w.env, "OUT="+out)
	if err := os.Symlink(out, filepath.Join(w.dir, "pol")); err != nil {
		t.Fatal(err)
	}
	s := w.json(0, "flight-plan")
	r := w.run("take-off", s.WorkflowID, "--output", "json")
	intact()
	if e := r.summary(t).Error; r.code != protocol.ExitFailure || e == nil || e.Code != "takeoff_misapplied" {
		t.Errorf("exit %d: %+v", r.code, e)
	}
}

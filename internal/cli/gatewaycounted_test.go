package cli

import (
	"strings"
	"testing"
)

// trailOf gives the text of the newest run's trail, which must verify.
func trailOf(t *testing.T, w *tower) string {
	t.Helper()
	w.say(0, nil, "audit", "verify", "--gateway", "mcp")
	return w.say(0, nil, "audit", "export", "--gateway", "mcp")
}

// TestGatewayCountsWhatIsOverTheRate: a client that asks too much fills no disk, and the
// end of the gateway loses no count.
func TestGatewayCountsWhatIsOverTheRate(t *testing.T) {
	t.Parallel()
	w := newTower(t, nil)
	w.configure(gatewayRules + "limits: {rate: 5}\n")
	f := w.serve()
	f.hello("/mcp/files")
	for range 40 {
		f.call("/mcp/files", "echo", map[string]any{"text": "x"})
	}
	if code := f.end(); code != 0 {
		t.Fatalf("exit %d\n%s", code, f.log)
	}
	text := trailOf(t, w)
	if n := strings.Count(text, "\n"); n > 30 || !strings.Contains(text, "more refused: too many messages in a short time") {
		t.Errorf("%d events\n%s", n, text)
	}
}

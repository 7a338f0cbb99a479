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

// TestGatewayCountsWhatItsDoorRefuses: in the metrics by reason, and in the trail the
// first one and the number of those that follow.
func TestGatewayCountsWhatItsDoorRefuses(t *testing.T) {
	t.Parallel()
	w := newTower(t, nil)
	f := w.serve()
	json := map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
	for range 20 {
		if status, _, text := f.request("POST", "/mcp/files", "no JSON", json); status != 400 {
			t.Fatalf("%d %s", status, text)
		}
	}
	for range 3 {
		f.request("POST", "/mcp/files", ready, map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Mcp-Session-Id": "nobody's"})
		f.request("GET", "/mcp", "", map[string]string{"Origin": "https://evil.example"})
	}
	_, _, metrics := f.request("GET", "/metrics", "", nil)
	for _, want := range []string{`refused_total{reason="message"} 20`, `refused_total{reason="session"} 3`, `refused_total{reason="origin"} 3`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("%s is missing in\n%s", want, metrics)
		}
	}
	if code := f.end(); code != 0 {
		t.Fatalf("exit %d\n%s", code, f.log)
	}
	text := trailOf(t, w)
	for _, want := range []string{
		"refused at the door: what came is no valid JSON-RPC", "19 more refused: what came is no valid JSON-RPC",
		"refused at the door: there is no such session", "2 more refused: a page of another site asked", `"remote":"127.0.0.1"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if n := strings.Count(text, "\n"); n != 2+3*2 {
		t.Errorf("%d events\n%s", n, text)
	}
}

// TestGatewayRecordsWhatStdioRefuses: one client's lines that are no messages, too.
func TestGatewayRecordsWhatStdioRefuses(t *testing.T) {
	t.Parallel()
	w := newTower(t, nil)
	p := w.pipe("--stdio=files")
	p.hello()
	for range 5 {
		p.send("no JSON")
		p.next()
	}
	if err := p.in.Close(); err != nil {
		t.Fatal(err)
	}
	if code := p.ended(); code != 0 {
		t.Fatalf("exit %d\n%s", code, p.log)
	}
	if text := trailOf(t, w); !strings.Contains(text, "4 more refused: what came is no valid JSON-RPC") {
		t.Error(text)
	}
}

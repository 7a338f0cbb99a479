package cli

import (
	"slices"
	"testing"

	"github.com/cabincrew/action/internal/config"
)

// TestGatewayOwnAnswers: what the gateway answers in the place of several servers is
// judged, limited and on the record.
func TestGatewayOwnAnswers(t *testing.T) {
	t.Parallel()
	g := &partsGate{server: &scripted{}, desk: newDesk(t, map[string]string{config.GatewayFile: "version: 1\nservers: {a: {url: \"http://127.0.0.1:9/mcp\"}, b: {url: \"http://127.0.0.1:9/mcp\"}}\n" +
		"roots: [.]\npolicies: {bundled: [mcp]}\nenvironment: ci\nlimits: {rate: 3}\n" +
		"approvals: {approvers: [{name: boss, roles: [maintainer], key: boss.pub}]}\n"})}
	g.open()
	g.wantCode(g.ask("ping", `{}`), 0, `"result":{}`)
	g.wantCode(g.ask("x/y", `{}`), -32050, "gateway/unknown-method")
	g.wantCode(g.calls("nobody__tool", `{}`), -32602, "nobody__tool")
	g.wantCode(g.ask("ping", `{}`), -32054, "")
	events := g.events()
	for _, want := range []string{"request nobody__tool", "decision allow nobody__tool", "decision deny"} {
		if !slices.Contains(events, want) {
			t.Errorf("the record lacks %q: %q", want, events)
		}
	}
	if called := g.server.called(); len(called) != 0 {
		t.Errorf("servers were asked for %q", called)
	}
}

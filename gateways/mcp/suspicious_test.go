package mcp_test

import (
	"testing"

	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/pins"
	"github.com/cabincrew/action/protocol"
)

// judgedAs says the same of every item.
type judgedAs struct{ pins.Judged }

func (j judgedAs) Judge(_, _ string, items [][]byte) []pins.Judged {
	out := make([]pins.Judged, len(items))
	for i := range out {
		out[i] = j.Judged
	}
	return out
}

func (judgedAs) Gone(string, string, []string) []pins.Judged { return nil }

// TestSuspicions: what a suspicion costs depends on how the tool stands to the lock, on
// where the gateway works, and on what it is.
func TestSuspicions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		state, suspicion string
		environment      mcp.Environment
		want             protocol.Decision
	}{
		"pinned":          {pins.Pinned, "/description: bidi", mcp.CI, protocol.Allow},
		"no lock":         {pins.Unpinned, "/description: instruction-markup", mcp.Local, protocol.Warn},
		"no lock, CI":     {pins.Unpinned, "/description: instruction-markup", mcp.CI, protocol.RequireApproval},
		"no lock, hidden": {pins.Unpinned, "/description: zero-width", mcp.Local, protocol.RequireApproval},
		"no lock, name":   {pins.Unpinned, "/name: hidden characters", mcp.Local, protocol.RequireApproval},
		"tricky place":    {pins.Unpinned, "/a: tool-order: conceal-from-user", mcp.Local, protocol.RequireApproval},
		"new":             {pins.New, "/description: instruction-markup", mcp.Local, protocol.RequireApproval},
		"changed":         {pins.Changed, "/description: tool-order", mcp.Local, protocol.RequireApproval},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(o *mcp.GuardOptions) {
				o.Environment = c.environment
				o.Pins = judgedAs{pins.Judged{State: c.state, Pin: "sha256:0", Suspicions: []string{c.suspicion}}}
				o.PinDecisions = mcp.PinDecisions{New: protocol.Allow, Changed: protocol.Allow}
			})
			tools := `{"name":"a"}`
			lister(r, &tools)
			_ = r.start(list)
			doc := r.judge.docs[1].Input["context"].(map[string]any)["items"].([]any)[0].(map[string]any) //nolint:forcetypeassert // a test
			if doc["decision"] != string(c.want) || doc["state"] != c.state || doc["pin"] != "sha256:0" {
				t.Errorf("%v, want %s", doc, c.want)
			}
		})
	}
}

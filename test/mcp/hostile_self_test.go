package mcp

import (
	"strings"
	"testing"
)

// TestHostileServer proves the hostile server with the client and the stand-in.
func TestHostileServer(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func(server string) string{
		"direct":    func(server string) string { return server },
		"raw proxy": func(server string) string { return rawBefore(t, server) },
	} {
		h := newHostile(t)
		g := &gateway{t: t, url: url(h.url)}
		c := g.session()
		passed(t, c.tool(t, "echo", `{"text":"x"}`))
		if seen := h.saw("tools/call"); len(seen) != 1 || !strings.Contains(string(seen[0].raw), `{"text":"x"}`) {
			t.Errorf("%s: the server saw %d calls", name, len(seen))
		}
		stream, err := c.listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		h.tell(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
		line := make([]byte, 1<<10)
		n, err := stream.Body.Read(line)
		if err != nil || !strings.Contains(string(line[:n]), "message") {
			t.Errorf("%s: %q %v", name, line[:n], err)
		}
		_ = stream.Body.Close()
	}
}

package mcp

import (
	"context"
	"strings"
	"testing"
)

// TestHarness proves the echo server, the client and the raw proxy with each other: a
// benchmark of what does not work measures nothing.
func TestHarness(t *testing.T) {
	t.Parallel()
	server := start(t, true, self("echo")).url
	for name, url := range map[string]string{"direct": server, "raw proxy": rawBefore(t, server)} {
		c := newClient(url)
		if err := c.initialize(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := c.post(t.Context(), call(1))
		if err != nil || !strings.Contains(string(got.answer().Result), argument) {
			t.Errorf("%s: %s %v", name, got, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := c.listen(ctx)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		_ = stream.Body.Close()
	}
}

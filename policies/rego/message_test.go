package rego_test

import (
	"strings"
	"testing"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/protocol"
)

func mcpSet(tb testing.TB) policies.Set {
	tb.Helper()
	set, err := policies.GatewayBundled("mcp")
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// typicalCall is what a gateway asks of a call of a tool.
func typicalCall(tb testing.TB) map[string]any {
	tb.Helper()
	doc, err := protocol.DecodeAny([]byte(`{"request_id":"0198f2a0-1111","timestamp":"2026-01-01T00:00:00Z","source":"local","server_id":"files","method":"tools/call",
		"params":{"name":"read_file","arguments":{"path":"/w/src/main.go","head":200,"options":{"encoding":"utf-8","follow":false}},"_meta":{"progressToken":7}},
		"context":{"phase":"request","direction":"client_to_server","transport":"http","revision":"2025-11-25","session":"s-1","principal":"agent","environment":"local","known":true,
		"tool":{"name":"read_file","title":"Read","description":"Reads a file.","annotations":{"readOnlyHint":true},"pin":"sha256:0","state":"pinned"},
		"paths":[{"at":"/params/arguments/path","value":"src/main.go","path":"/w/src/main.go","root":"/w","inside":true,"protected":false,"why":""}],
		"roots":["/w"],"client":{"name":"test","version":"1"},"suspicions":[],"text_bytes":120}}`))
	if err != nil {
		tb.Fatal(err)
	}
	m, ok := doc.(map[string]any)
	if !ok {
		tb.Fatal("no object")
	}
	return m
}

func mustMessages(tb testing.TB, o rego.Options, sets ...policies.Set) *rego.Messages {
	tb.Helper()
	m, err := rego.NewMessages(tb.Context(), sets, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := m.Close(); err != nil {
			tb.Error(err)
		}
	})
	return m
}

func BenchmarkMessage(b *testing.B) {
	doc := typicalCall(b)
	m := mustMessages(b, rego.Options{}, mcpSet(b))
	for b.Loop() {
		got, err := m.Judge(b.Context(), doc)
		if err != nil || len(got.Findings) != 1 || got.Findings[0].Decision != protocol.Allow {
			b.Fatal(got, err)
		}
	}
}

// BenchmarkMessageBefore is the same by the way that flights take.
func BenchmarkMessageBefore(b *testing.B) {
	doc := typicalCall(b)
	e, err := rego.New(b.Context(), []policies.Set{mcpSet(b)}, rego.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		got, err := e.EvaluateDocument(b.Context(), doc, "2026-01-01T00:00:00Z")
		if err != nil || len(got.Findings) != 1 {
			b.Fatal(got, err)
		}
	}
}

// TestMessagePathUntold holds that a path of which nobody can tell where it leads is
// refused by its rule and with its reason, as any other.
func TestMessagePathUntold(t *testing.T) {
	t.Parallel()
	m := mustMessages(t, rego.Options{}, mcpSet(t))
	for _, value := range []string{"a:b", "", " "} {
		doc := typicalCall(t)
		about, ok := doc["context"].(map[string]any)
		if !ok {
			t.Fatal("no context")
		}
		about["paths"] = []any{map[string]any{
			"at": "/params/arguments/path", "value": value, "path": "", "root": "", "inside": false, "protected": false, "why": "it has a colon",
		}}
		got, err := m.Judge(t.Context(), doc)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Findings) != 1 || got.Findings[0].Decision != protocol.Deny || got.Findings[0].Rule != "mcp-path-outside" || !strings.Contains(got.Findings[0].Reason, "it has a colon") {
			t.Errorf("%q: %+v", value, got.Findings)
		}
	}
}

package rego_test

import (
	"slices"
	"strings"
	"testing"
	"time"

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

// lookers look at an input in many ways: what they say tells any difference in how a
// message is given to them.
const lookers = `package cabincrew.looks

said contains sprintf("all %v", [input])
said contains sprintf("json %s", [json.marshal(input.params)])
said contains sprintf("keys %v", [object.keys(input.params)])
said contains sprintf("count %d", [count(input.params)])
said contains sprintf("walk %v %v", [path, value]) if { some path, value; walk(input, [path, value]) }
said contains sprintf("each %v %v", [k, v]) if { some k, v in input.params }
said contains sprintf("deep %v", [v]) if { some k; v := input.params[k].inner }
said contains sprintf("get %v", [object.get(input, ["params", "a", "inner", 1, "x"], "none")])
said contains sprintf("union %v", [object.union(input.params, {"a": {"more": input.params.b}})])
said contains sprintf("filter %v", [json.filter(input, ["params/a/inner/0", "context"])])
said contains sprintf("remove %v", [json.remove(input, ["/params/a"])])
said contains sprintf("patch %v", [json.patch(input, [{"op": "add", "path": "/params/z", "value": input.context}])])
said contains sprintf("types %v", [{type_name(v) | some v in input.params}])
said contains "same" if input.params.b == input.params.b2
said contains "other" if input.params.b != input.params.c
said contains "less" if input.params.b < input.params.c
said contains "in" if input.params.b in [x | some x in input.params]
said contains "member" if {"x": {"y": 1}} in {input.params.b}
said contains sprintf("set %v", [{v | some v in [input.params.b, input.params.b2, input.params.c]}])
said contains sprintf("sum %v", [sum([input.params.n, input.params.big])])
said contains sprintf("missing %v", [object.get(input.params, "none", input.params.b)])
said contains "undefined" if not input.params.none.at.all
said contains sprintf("with %v", [inner]) if { inner := copied with input.params as input.context }
said contains sprintf("index %v", [{"x": {"y": 1}} == input.params.b])
said contains sprintf("keyed %v", [{input.params.b: 1}[{"x": {"y": 1}}]])
copied := input.params

warn contains msg if some msg in said
`

// TestMessageAsFlights holds that policies see the same in a message as in a document
// of a flight, in whatever way they look.
func TestMessageAsFlights(t *testing.T) {
	t.Parallel()
	doc, err := protocol.DecodeAny([]byte(`{"params":{"a":{"inner":[null,{"x":true}]},"b":{"x":{"y":1}},"b2":{"x":{"y":1}},"c":{"x":{"y":2}},
		"n":1,"big":12345678901234567890,"t":"text","e":{},"l":[],"f":-0.5e3,"z":null},"context":{"phase":"request"}}`))
	if err != nil {
		t.Fatal(err)
	}
	message, ok := doc.(map[string]any)
	if !ok {
		t.Fatal("no object")
	}
	sets := []policies.Set{set("looks", "looks.rego", lookers)}
	reasons := func(findings []policies.Finding) (out []string) {
		for _, f := range findings {
			if f.Unjudged {
				t.Fatal(f.Reason)
			}
			out = append(out, f.Reason)
		}
		slices.Sort(out)
		return out
	}
	e, err := rego.New(t.Context(), sets, rego.Options{})
	if err != nil {
		t.Fatal(err)
	}
	eager, err := e.EvaluateDocument(t.Context(), message, "2026-01-01T00:00:00Z")
	if err != nil {
		t.Fatal(err)
	}
	m := mustMessages(t, rego.Options{}, sets...)
	for range 2 { // nothing of the first is left for the second
		got, err := m.Judge(t.Context(), message)
		if err != nil {
			t.Fatal(err)
		}
		if want, got := reasons(eager.Findings), reasons(got.Findings); !slices.Equal(want, got) || len(got) < 59 {
			t.Fatalf("%d and %d\n%s\n\n%s", len(want), len(got), strings.Join(want, "\n"), strings.Join(got, "\n"))
		}
	}
}

// TestMessageNoTree holds that what is no tree of JSON, or too deep, is refused.
func TestMessageNoTree(t *testing.T) {
	t.Parallel()
	m := mustMessages(t, rego.Options{}, mcpSet(t))
	deep := map[string]any{}
	for range 200 {
		deep = map[string]any{"a": []any{deep}}
	}
	for name, bad := range map[string]any{"an int": 1, "a float": 1.5, "a time": time.Now(), "too deep": deep} {
		doc := typicalCall(t)
		doc["params"] = map[string]any{"unread": []any{bad}}
		if got, err := m.Judge(t.Context(), doc); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

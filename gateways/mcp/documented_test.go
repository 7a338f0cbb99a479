package mcp_test

import (
	"os"
	"strings"
	"testing"
)

// TestPolicyInputIsDocumented: docs/policy-input.md names every field that policies get of
// a list, a call and their answers.
func TestPolicyInputIsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/policy-input.md")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, withLock(lock{"read": "Reads."}))
	tools := toolRead
	lister(r, &tools)
	r.one(list)
	r.one(call("2", "read", `{"path":"x"}`))
	r.one(`{"jsonrpc":"2.0","id":3,"method":"x/y","params":{}}`)
	fields := map[string]bool{}
	for _, d := range r.judge.docs {
		for name, v := range d.Input {
			fields["`"+name+"`"] = name != "context"
			inner, _ := v.(map[string]any)
			if name != "context" {
				continue
			}
			for name, v := range inner {
				fields["`context."+name+"`"] = true
				if more, _ := v.(map[string]any); name == "tool" {
					for name := range more {
						fields["`"+name+"`"] = true
					}
				}
			}
		}
	}
	if len(fields) < 15 {
		t.Fatalf("only %d fields", len(fields))
	}
	for name, wanted := range fields {
		if wanted && !strings.Contains(string(text), name) {
			t.Errorf("%s is not described", name)
		}
	}
}

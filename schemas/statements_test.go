package schemas

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

const statementsPage = "../docs/statements.md"

// described is what a table tells of a schema.
type described struct {
	Title       string                     `json:"title"`
	Description string                     `json:"description"`
	Required    []string                   `json:"required"`
	Properties  map[string]json.RawMessage `json:"properties"`
	Items       json.RawMessage            `json:"items"`
	Ref         string                     `json:"$ref"`
	Type        string                     `json:"type"`
}

// TestStatementsAreDocumented keeps docs/statements.md equal to the schemas. Run it
// with -update after a change of one.
func TestStatementsAreDocumented(t *testing.T) {
	t.Parallel()
	var tables strings.Builder
	for _, kind := range []string{"statement", "flight-plan-predicate", "approval-predicate", "take-off-predicate", "derived", "audit-head"} {
		text, err := Schema(kind)
		if err != nil {
			t.Fatal(err)
		}
		var s described
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&tables, "\n## %s\n\n%s\n\n| member | meaning |\n|---|---|\n", s.Title, s.Description)
		rows(t, &tables, "", text)
	}
	raw, err := os.ReadFile(statementsPage)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "do not edit -->\n", "<!-- end of the tables -->\n"
	head, rest, ok := strings.Cut(string(raw), begin)
	have, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks", statementsPage)
	}
	if have == tables.String() {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the schemas say; run: go test ./schemas -run Statements -update", statementsPage)
	}
	if err := os.WriteFile(statementsPage, []byte(head+begin+tables.String()+end+tail), 0o600); err != nil {
		t.Fatal(err)
	}
}

// rows writes a row for each member, in the order of the schema.
func rows(t *testing.T, b *strings.Builder, at string, text []byte) {
	t.Helper()
	var s described
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	for _, name := range membersInOrder(t, text) {
		var p described
		if err := json.Unmarshal(s.Properties[name], &p); err != nil {
			t.Fatal(err)
		}
		meaning := p.Description
		switch {
		case p.Ref == "derived.schema.json":
			meaning = "See [Derived](#derived)."
		case p.Ref == "audit-head.schema.json":
			meaning = "See [AuditHead](#audithead)."
		case p.Ref != "":
			kind := strings.TrimSuffix(p.Ref, ".schema.json")
			meaning = "A `" + kind + "` ([protocol.md](protocol.md))."
		case meaning == "":
			t.Errorf("%s%s has no description", at, name)
		}
		optional := ", may be missing"
		for _, r := range s.Required {
			if r == name {
				optional = ""
			}
		}
		fmt.Fprintf(b, "| `%s%s`%s | %s |\n", at, name, optional, meaning)
		if len(p.Properties) > 0 {
			rows(t, b, at+name+".", s.Properties[name])
		}
		if p.Type == "array" && strings.Contains(string(p.Items), `"properties"`) {
			rows(t, b, at+name+"[].", p.Items)
		}
	}
}

// inOrder gives the names of a schema's members as the file has them.
func membersInOrder(t *testing.T, text []byte) []string {
	t.Helper()
	var names []string
	var s struct {
		Properties json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(s.Properties)))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		var skipped json.RawMessage
		if err := dec.Decode(&skipped); err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprint(key))
	}
	return names
}

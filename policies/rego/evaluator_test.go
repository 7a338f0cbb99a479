package rego_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/protocol"
)

const now = "2026-01-02T03:04:05Z"

func set(name string, files ...string) policies.Set {
	s := policies.Set{Name: name}
	for i := 0; i < len(files); i += 2 {
		s.Files = append(s.Files, policies.SetFile{Path: files[i], Data: []byte(files[i+1])})
	}
	return s
}

func mustNew(tb testing.TB, o rego.Options, sets ...policies.Set) *rego.Evaluator {
	tb.Helper()
	if o.Time == 0 {
		// Only TestHostile is about time: a loaded machine must not fail the others.
		o.Time = 2 * time.Minute
	}
	o.CompileMemory = 16 << 30 // the heap is that of all tests, of which some fill it
	e, err := rego.New(tb.Context(), sets, o)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func evaluate(tb testing.TB, e *rego.Evaluator, in policies.Input) []policies.Finding {
	tb.Helper()
	r, err := e.Evaluate(tb.Context(), in, now)
	if err != nil {
		tb.Fatal(err)
	}
	return r.Findings
}

// brief writes findings as lines of "decision policy_id [role] reason".
func brief(findings []policies.Finding) []string {
	out := []string{}
	for _, f := range findings {
		line := string(f.Decision) + " " + f.PolicyID
		if f.Role != "" {
			line += " " + f.Role
		}
		if f.Unjudged {
			line += " UNJUDGED"
		}
		out = append(out, line+": "+f.Reason)
	}
	return out
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, rego string
		want       []string // prefixes
	}{
		{"strings", "package main\ndeny contains \"b\"\ndeny contains \"a\"\n", []string{"deny main/deny: a", "deny main/deny: b"}},
		{"all sets in order", "package cabincrew.x\nwarn contains \"w\"\nrequire_approval contains \"r\"\nviolation contains \"v\"\ndeny contains \"d\"\n", []string{
			"deny cabincrew.x/deny: d", "deny cabincrew.x/violation: v", "require_approval cabincrew.x/require_approval maintainer: r", "warn cabincrew.x/warn: w",
		}},
		{"object", `package main
require_approval contains {"msg": "m", "role": "security", "id": "the-rule", "artifact": "a", "extra": {"x": 1}}`, []string{"require_approval main/require_approval/the-rule security: m"}},
		{"named sets", "package main\ndeny_root contains \"r\"\nwarn_x contains \"w\"\n", []string{"deny main/deny_root: r", "warn main/warn_x: w"}},
		{"helpers with such names", "package main\ndeny_list := [1]\nwarn contains \"w\"\n", []string{"warn main/warn: w"}},
		{"nothing found", "package cabincrew.x\ndeny contains \"d\" if input.mode == \"never\"\n", []string{"allow cabincrew.x: evaluated"}},
		{"set by comprehension", "package main\ndeny := {x | some x in [\"b\", \"a\"]}\n", []string{"deny main/deny: a", "deny main/deny: b"}},
		{"package cabincrew itself", "package cabincrew\ndeny contains \"x\"\n", []string{"deny cabincrew/deny: x"}},
		{"dotted rule", "package cabincrew\nteam.deny contains \"x\"\n", []string{"deny cabincrew.team/deny: x"}},
		{"decision text", "package cabincrew.x\ndecision := \"warn\"\n", []string{"warn cabincrew.x/decision: decision: warn"}},
		{"decision in main too", "package main\ndecision := \"allow\"\n", []string{"allow main/decision: decision: allow"}},
		{"decision object", `package cabincrew.x
decision := {"decision": "require_approval", "requires": {"role": "ops", "reason": "why"}, "warnings": ["w"]}`, []string{"require_approval cabincrew.x/decision ops: why; w"}},
		{"decision with violations", `package cabincrew.x
decision := {"decision": "allow", "violations": ["v2", "v1"]}`, []string{"deny cabincrew.x/decision: v1; v2"}},
		{"decision with warnings", `package cabincrew.x
decision := {"decision": "allow", "warnings": ["w"]}`, []string{"warn cabincrew.x/decision: w"}},
		{"input is a document", `package main
warn contains sprintf("%v %v %v", [input.mode, input.opaque, count(input.artifacts)])`, []string{"warn main/warn: take-off true 0"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			// a second policy, so that a set that judges nothing is one of two files
			e := mustNew(t, rego.Options{}, set("s", "a.rego", tc.rego, "z.rego", "package cabincrew.zz\nwarn contains \"zz\"\n"))
			got := brief(evaluate(t, e, policies.Input{Mode: protocol.TakeOff, Opaque: true}))
			want := append([]string{}, tc.want...)
			if len(want) > 0 && strings.Contains(want[0], " main") {
				want = append([]string{"warn cabincrew.zz/warn: zz"}, want...)
			} else {
				want = append(want, "warn cabincrew.zz/warn: zz")
			}
			if len(got) != len(want) {
				t.Fatalf("got %q\nwant %q", got, want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], want[i]) {
					t.Errorf("%d: got %q, want %q", i, got[i], want[i])
				}
			}
		})
	}
}

// TestManyFiles: a finding may be about more files than are kept, and says so.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	for n, cut := range map[int]bool{1000: false, 1001: true} {
		for _, list := range []string{"[", "{"} {
			e := mustNew(t, rego.Options{}, set("s", "a.rego", fmt.Sprintf("package main\n\nwarn contains {\"msg\": \"m\", \"files\": %sx | some x in names%s}\n\nnames := {sprintf(\"f%%d\", [i]) | some i in numbers.range(1, %d)}\n",
				list, map[string]string{"[": "]", "{": "}"}[list], n)))
			got := evaluate(t, e, policies.Input{})
			if len(got) != 1 || got[0].Unjudged || got[0].Cut != cut || len(got[0].Files) != 1000 {
				t.Errorf("%d in %s: %d findings, cut %v, %d files, %s", n, list, len(got), got[0].Cut, len(got[0].Files), got[0].Reason)
			}
		}
	}
}

func TestFindingFields(t *testing.T) {
	t.Parallel()
	e := mustNew(t, rego.Options{Role: "boss"}, set("s", "dir/a.rego", `package main

require_approval contains {"msg": "m", "artifact": "changes", "id": "r", "files": {"b", "a"}, "file": "f"}
`))
	got := evaluate(t, e, policies.Input{})
	got[0].Spent = 0 // as long as it takes
	want := []policies.Finding{{
		PolicyEvaluation: protocol.PolicyEvaluation{
			Source: "opa", PolicyID: "main/require_approval/r", Decision: protocol.RequireApproval, Severity: 2, Reason: "m", EvaluatedAt: now,
			Evidence: map[string]any{"at": "s/dir/a.rego:3", "artifact": "changes", "file": "f", "files": []string{"a", "b"}, "role": "boss", "rule": "r"},
		},
		Role: "boss", Artifact: "changes", Rule: "r", Files: []string{"f", "a", "b"},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v\nwant %+v", got, want)
	}
	if _, err := protocol.Canonical(got[0].PolicyEvaluation); err != nil {
		t.Errorf("an evaluation has no canonical form: %v", err)
	}
}

// TestUnjudged holds the answers that are denials because nobody can judge by them.
func TestUnjudged(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, rego, want string }{
		{"boolean", "package main\ndeny if true\n", "not a set"},
		{"undefined", "package main\ndeny if input.mode == \"never\"\n", "undefined where"},
		{"partial object", "package main\ndeny[msg] if msg := \"x\"\n", "not a set"},
		{"partial object with a longer name", "package main\ndeny_x[msg] if msg := \"x\"\n", "not a set"},
		{"list", "package main\nwarn := [\"x\"]\n", "not a set"},
		{"number in a set", "package main\nwarn contains 1\n", "neither a text"},
		{"empty text", "package main\nwarn contains \" \"\n", "empty"},
		{"no msg", "package main\nwarn contains {\"message\": \"x\"}\n", "no msg"},
		{"msg is a number", "package main\nwarn contains {\"msg\": 1}\n", "no text"},
		{"role is a list", "package main\nrequire_approval contains {\"msg\": \"x\", \"role\": []}\n", "no text"},
		{"role with a newline", "package main\nrequire_approval contains {\"msg\": \"x\", \"role\": \"a\\u0000\"}\n", "control characters"},
		{"bad id", "package main\nwarn contains {\"msg\": \"x\", \"id\": \"a b\"}\n", "the id"},
		{"files are texts", "package main\nwarn contains {\"msg\": \"x\", \"files\": [1]}\n", "no list of texts"},
		{"unknown decision", "package cabincrew.x\ndecision := \"maybe\"\n", "unknown"},
		{"undefined decision", "package cabincrew.x\ndecision := \"allow\" if input.mode == \"never\"\n", "undefined where"},
		{"boolean decision", "package cabincrew.x\ndecision := true\n", "neither a text"},
		{"decision set", "package cabincrew.x\ndecision contains \"allow\"\n", "neither a text"},
		{"decision object without decision", "package cabincrew.x\ndecision := {}\n", "no decision"},
		{"decision object with unknown member", "package cabincrew.x\ndecision := {\"decision\": \"allow\", \"allow\": true}\n", "unknown member"},
		{"decision object with unknown word", "package cabincrew.x\ndecision := {\"decision\": \"ok\"}\n", "unknown"},
		{"violations of another kind", "package cabincrew.x\ndecision := {\"decision\": \"allow\", \"violations\": \"none\"}\n", "no list of texts"},
		{"requires of another kind", "package cabincrew.x\ndecision := {\"decision\": \"allow\", \"requires\": [\"x\"]}\n", "no object"},
		{"requires with unknown member", "package cabincrew.x\ndecision := {\"decision\": \"allow\", \"requires\": {\"who\": \"x\"}}\n", "unknown member"},
		{"conflict", "package cabincrew.x\ndecision := \"allow\" if true\ndecision := \"deny\" if true\n", "eval_conflict_error"},
		{"conflict in a helper", "package main\nh := 1 if true\nh := 2 if true\ndeny contains \"x\" if h == 3\n", "eval_conflict_error"},
		{"built-in function fails", "package main\ndeny contains \"x\" if to_number(input.mode) > 1\n", "eval_builtin_error"},
		{"division by zero", "package main\ndeny contains \"x\" if 1 / count(input.artifacts) > 1\n", "eval_builtin_error"},
		{"too many findings", "package main\nwarn contains sprintf(\"%d\", [x]) if some x in numbers.range(1, 1001)\n", "more than 1000"},
		{"too much text", "package main\nlong := concat(\"\", [\"abcdefghij\" | numbers.range(1, 400)[_]])\nwarn contains sprintf(\"%d%s\", [x, long]) if some x in numbers.range(1, 900)\n", "texts have more than"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			found := evaluate(t, mustNew(t, rego.Options{}, set("s", "a.rego", tc.rego)), policies.Input{})
			last := found[len(found)-1]
			if !last.Unjudged || last.Decision != protocol.Deny || last.Severity != 3 || !strings.Contains(last.Reason, tc.want) {
				t.Fatalf("%q lacks a denial with %q", brief(found), tc.want)
			}
			if !strings.Contains(last.Reason, "s/a.rego:") || !strings.HasPrefix(last.Evidence["at"].(string), "s/a.rego:") {
				t.Errorf("no file and line in %q, %v", last.Reason, last.Evidence)
			}
			if d, err := policies.Decide(found, policies.AggregateOptions{Method: protocol.Majority}); d != protocol.Deny || err != nil {
				t.Errorf("decision %s, %v", d, err)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	ok := "package cabincrew.a\ndeny contains \"x\" if false\n"
	one := func(rego string) []policies.Set { return []policies.Set{set("s", "ok.rego", ok, "x.rego", rego)} }
	two := func(files ...string) []policies.Set {
		return []policies.Set{set("s", "ok.rego", ok), set("t", files...)}
	}
	tests := []struct {
		name string
		sets []policies.Set
		want string
		at   string
	}{
		{"syntax", one("package main\n\ndeny contains {"), "rego_parse_error", "s/x.rego:3"},
		{"no package", one("deny := 1"), "rego_parse_error", "s/x.rego:1"},
		{"empty file", one("  \n"), "empty", "s/x.rego"},
		{"old syntax", one("package main\ndeny[msg] { msg := \"x\" }"), "rego_parse_error", "s/x.rego:2"},
		{"recursion", one("package main\ndeny contains x if some x in deny"), "rego_recursion_error", "s/x.rego:2"},
		{"unknown variable", one("package main\ndeny contains x if y == 1"), "rego_unsafe_var_error", "s/x.rego:2"},
		{"http.send", one("package main\ndeny contains x if x := http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1\"}).body"), "undefined function http.send", "s/x.rego:2"},
		{"clock", one("package main\ndeny contains \"x\" if time.now_ns() > 1"), "undefined function", "s/x.rego:2"},
		{"environment", one("package main\ndeny contains x if x := opa.runtime().env.HOME"), "undefined function", "s/x.rego:2"},
		{"schema from a file", one("package main\ndeny contains \"x\" if json.match_schema({}, {\"$ref\": \"file:///etc/passwd\"})[0]"), "undefined function", "s/x.rego:2"},
		{"huge shift", one("package main\ndeny contains \"x\" if bits.lsh(1, 1000000000000) > 1"), "undefined function", "s/x.rego:2"},
		{"replaced by with", one("package main\ndeny contains \"x\" if count([]) == 0 with count as http.send"), "", "s/x.rego:2"},
		{"a function", one("package main\ndeny(x) := x"), "is a function", "s/x.rego:2"},
		{"hidden answer", one("package cabincrew\nteams[t].deny contains \"x\" if some t in [\"a\"]"), "nobody looks", "s/x.rego:2"},
		{"the canary's package", one("package cabincrew_internal.canary\ndeny contains \"x\""), "reserved", "s/x.rego:1"},
		{"below the canary's package", one("package cabincrew_internal\ncanary.deny contains \"x\""), "reserved", "s/x.rego:1"},
		{"the canary mentioned", one("package main\ndeny contains \"x\" if data.cabincrew_internal.canary.deny"), "reserved", "s/x.rego:2"},
		{"the canary replaced", one("package main\nx if true with data.cabincrew_internal.canary.deny as set()\ndeny contains \"x\" if x"), "reserved", "s/x.rego:2"},
		{"what conftest tells", one("package main\ndeny contains \"x\" if data.conftest.file.name == \"y\""), "is not there", "s/x.rego:2"},
		{"the canary's data", two("data.json", `{"cabincrew_internal": {}}`), "reserved", "t/data.json"},
		{"the canary's data by directory", two("cabincrew_internal/data.json", `{}`, "data.json", `{"a":1}`), "reserved", "t/cabincrew_internal/data.json"},
		{"same package in two sets", two("a.rego", ok), "declared in the policy set s too", "t/a.rego:1"},
		{"reach into a package", two("a.rego", "package cabincrew\na.deny contains \"x\""), "reaches into package cabincrew.a", "t/a.rego:2"},
		{"reach over a package", two("a.rego", "package cabincrew\na := {}\ndeny contains \"y\""), "reaches into package cabincrew.a", "t/a.rego:2"},
		{"data in a package", two("data.json", `{"cabincrew": {"a": {"x": 1}}}`), "reaches into package", "t/data.json"},
		{"same data in two sets", []policies.Set{set("s", "ok.rego", ok, "data.json", `{"x": {"y": 1}}`), set("t", "x/data.yaml", "y: 2\n")}, "data.x.y is in s/data.json too", "t/x/data.yaml"},
		{"object against value", []policies.Set{set("s", "ok.rego", ok, "data.json", `{"x": 1}`), set("t", "data.json", `{"x": {"y": 1}}`)}, "is in s/data.json too", "t/data.json"},
		{"data where a rule is", []policies.Set{set("s", "ok.rego", ok, "data.json", `{"cabincrew": {"a": {"deny": []}}}`)}, "conflict", ""},
		{"duplicate keys", two("data.json", `{"a": 1, "a": 2}`), "duplicate", "t/data.json"},
		{"data is a list", two("data.json", `[]`), "object", "t/data.json"},
		{"bad JSON", two("data.json", `{`), "cannot be read", "t/data.json"},
		{"duplicate keys in YAML", two("data.yaml", "a: 1\nb: {c: 1, \"c\": 2}\n"), "line 2: the key \"c\" is there twice", "t/data.yaml"},
		{"duplicate keys by an anchor", two("data.yaml", "a: &x b\n*x : 1\nb: 2\n"), "twice", "t/data.yaml"},
		{"a name of another set's data", []policies.Set{set("s", "ok.rego", ok, "data.json", `{"x": {"y": 1}}`), set("t", "data.json", `{"x": {"z": 1}}`)}, "belongs to the policy set s", "t/data.json"},
		{"a package in another set's data", []policies.Set{set("s", "ok.rego", ok, "data.json", `{"x": {"y": 1}}`), set("t", "b.rego", "package x.z\ny := 1\n")}, "belongs to the policy set s", "t/b.rego:1"},
		{"data below cabincrew of two sets", []policies.Set{set("s", "ok.rego", ok, "cabincrew/b/data.json", `{"y": 1}`), set("t", "data.json", `{"cabincrew": {"b": {"z": 1}}}`)}, "data.cabincrew.b, which belongs to the policy set s", "t/data.json"},
		{"data of a bundled set", append(two("data.json", `{"cabincrew_agents": {"scopes": {"s": ["**"]}}}`), bundled("agents")), "belongs to the policy set agents", "t/data.json"},
		{"new data of a bundled set", append([]policies.Set{bundled("agents")}, two("cabincrew_agents/data.yaml", "more: {}\n")...), "belongs to the policy set agents", "t/cabincrew_agents/data.yaml"},
		{"a package in data of a bundled set", append(two("a.rego", "package cabincrew_agents\nmore := 1\n"), bundled("agents")), "belongs to the policy set agents", "t/a.rego:1"},
		{"places as numbers", one("package main\n\ndeny contains a if true\n\n\n\n\n\ndeny contains x if y == 1\n\ndeny contains x if z == 1\n"), "rego_unsafe_var_error", "s/x.rego:3"},
		{"bad YAML", two("data.yaml", "a: [\n"), "cannot be read", "t/data.yaml"},
		{"two YAML documents", two("data.yaml", "a: 1\n---\nb: 2\n"), "more than one", "t/data.yaml"},
		{"YAML bomb", two("data.yaml", yamlBomb()), "cannot be read", "t/data.yaml"},
		{"sets of one name", []policies.Set{set("s", "a.rego", ok), set("s", "b.rego", "package main\ndeny contains \"x\"")}, "two policy sets", "s"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := rego.New(t.Context(), tc.sets, rego.Options{})
			var pe *protocol.Error
			if !errors.As(err, &pe) || pe.Code != "policy_error" || pe.Exit != protocol.ExitDenied {
				t.Fatalf("%v is no policy error", err)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v lacks %q", err, tc.want)
			}
			if tc.at != "" && pe.Where != tc.at {
				t.Errorf("at %q, want %q (%v)", pe.Where, tc.at, err)
			}
		})
	}
}

func bundled(name string) policies.Set {
	s, err := policies.Bundled(name)
	if err != nil {
		panic(err)
	}
	return s
}

func yamlBomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := range 12 {
		fmt.Fprintf(&b, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i+1, i+1, i, i, i, i, i, i, i, i, i)
	}
	return b.String()
}

// TestHostile has policies that would run or grow without end.
func TestHostile(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, rego, want string }{
		{"endless comprehension", `package main
r := numbers.range(1, 100000)
deny contains "x" if count([1 | some a in r; some b in r; some c in r; a + b + c == 0]) > 0`, "longer than"},
		{"huge range", `package main
deny contains "x" if count(numbers.range(1, 100000000000)) == 0`, "took"},
		{"huge list", `package main
r := numbers.range(1, 100000)
deny contains "x" if count([[a, b] | some a in r; some b in r]) == 0`, "took"},
		{"doubling text", "package main\ns0 := \"0123456789012345678901234567890123456789\"\n" + doubling(40) + "deny contains s40\n", "would give"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			// Not parallel with its siblings: memory is that of the whole process.
			limit := 15 * time.Second // which a loaded machine does not reach before it is refused for its size
			if tc.want == "longer than" {
				limit = 1500 * time.Millisecond
			}
			e := mustNew(t, rego.Options{Time: limit, Memory: 256 << 20}, set("s", "a.rego", tc.rego))
			start := time.Now()
			found := evaluate(t, e, policies.Input{})
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
			if len(found) != 1 || !found[0].Unjudged || !strings.Contains(found[0].Reason, tc.want) || !strings.Contains(found[0].Reason, "s/a.rego:") {
				t.Errorf("%q", brief(found))
			}
		})
	}
}

func doubling(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "s%d := concat(\"\", [s%d, s%d])\n", i+1, i, i)
	}
	return b.String()
}

// TestOthersGoOn proves that one policy that fails leaves the others judged.
func TestOthersGoOn(t *testing.T) {
	t.Parallel()
	e := mustNew(t, rego.Options{}, set("s",
		"a.rego", "package cabincrew.a\ndeny contains \"x\" if to_number(\"x\") > 1\n",
		"b.rego", "package cabincrew.b\nwarn contains \"w\"\n"))
	got := brief(evaluate(t, e, policies.Input{}))
	if len(got) != 2 || !strings.HasPrefix(got[0], "deny cabincrew.a UNJUDGED") || got[1] != "warn cabincrew.b/warn: w" {
		t.Fatalf("%q", got)
	}
}

func TestHostileTexts(t *testing.T) {
	t.Parallel()
	e := mustNew(t, rego.Options{}, set("s", "a.rego", `package main
deny contains sprintf("name %s", [input.artifacts[_].name])
warn contains base64.decode("//8=")
`))
	got := evaluate(t, e, policies.Input{Artifacts: []policies.Artifact{{Name: "a\x1b[2J\u202eb\x00" + strings.Repeat("é", limits.PolicyText)}}})
	if len(got) != 2 || !strings.HasPrefix(got[0].Reason, `name a\u{1b}[2J\u{202e}b\u{0}é`) || len(got[0].Reason) > limits.PolicyText ||
		!strings.HasSuffix(got[0].Reason, "(cut off)") {
		t.Errorf("%q", brief(got))
	}
	for _, f := range got {
		if _, err := protocol.Canonical(f.PolicyEvaluation); err != nil {
			t.Errorf("%q has no canonical form: %v", f.Reason, err)
		}
	}
}

func TestExactNumbers(t *testing.T) {
	t.Parallel()
	e := mustNew(t, rego.Options{}, set("s", "a.rego", "package main\ndeny contains \"exact\" if input.artifacts[0].metadata.id == 12345678901234567891\nwarn contains \"near\" if input.artifacts[0].metadata.id == 12345678901234567890\n"))
	in := policies.Input{Artifacts: []policies.Artifact{{Metadata: map[string]any{"id": protocol.Number("12345678901234567891")}}}}
	if got := brief(evaluate(t, e, in)); len(got) != 1 || got[0] != "deny main/deny: exact" {
		t.Fatalf("%q", got)
	}
}

func TestEvaluateStops(t *testing.T) {
	t.Parallel()
	e := mustNew(t, rego.Options{}, baseline(t)...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := e.Evaluate(ctx, policies.Input{}, now); !errors.Is(err, context.Canceled) || len(r.Findings) > 0 {
		t.Errorf("%v, %v", r, err)
	}
}

func TestConcurrentAndOrderless(t *testing.T) {
	t.Parallel()
	other := set("s", "b.rego", "package main\nwarn contains \"b\"\n", "a.rego", "package cabincrew.a\nwarn contains \"a\"\n")
	e := mustNew(t, rego.Options{}, append(baseline(t), other)...)
	f := mustNew(t, rego.Options{}, append([]policies.Set{other}, baseline(t)...)...)
	in := bigPatch()
	in.Opaque = true
	want := brief(evaluate(t, e, in))
	if len(want) != 4 {
		t.Fatalf("%q", want)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r, err := []*rego.Evaluator{e, f}[i%2].Evaluate(t.Context(), in, now)
			if got := brief(r.Findings); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	wg.Wait()
}

func TestData(t *testing.T) {
	t.Parallel()
	s := set("s", "a.rego", "package main\nwarn contains sprintf(\"%v %v %v\", [data.lim.max, data.lim.deep.x, data.words])\n",
		"data.json", `{"lim": {"max": 5}, "words": ["a"], "open": {}}`, "lim/deep/data.yaml", "x: text\n")
	for _, tc := range []struct {
		over map[string]any
		want string
	}{
		{nil, `5 text ["a"]`},
		{map[string]any{"lim": map[string]any{"max": 7}, "words": []string{"b"}}, `7 text ["b"]`},
		{map[string]any{"open": map[string]any{"x": 1, "y": 2}}, `5 text ["a"]`},
	} {
		got := evaluate(t, mustNew(t, rego.Options{Data: tc.over}, s), policies.Input{})
		if len(got) != 1 || got[0].Reason != tc.want {
			t.Errorf("%v: %q", tc.over, brief(got))
		}
	}
	for _, tc := range []struct {
		over map[string]any
		at   string
	}{
		{map[string]any{"limm": 1}, "policies.data.limm"},
		{map[string]any{"lim": map[string]any{"maxx": 1}}, "policies.data.lim.maxx"},
		{map[string]any{"lim": map[string]any{"max": "7"}}, "policies.data.lim.max"},
		{map[string]any{"words": 1}, "policies.data.words"},
	} {
		_, err := rego.New(t.Context(), []policies.Set{s}, rego.Options{Data: tc.over})
		var pe *protocol.Error
		if !errors.As(err, &pe) || pe.Where != tc.at {
			t.Errorf("%v: %v", tc.over, err)
		}
	}
}

func TestNoPolicies(t *testing.T) {
	t.Parallel()
	found := evaluate(t, mustNew(t, rego.Options{}), policies.Input{})
	if d, err := policies.Decide(found, policies.AggregateOptions{}); len(found) != 0 || d != protocol.Deny || err != nil {
		t.Errorf("%v, %s, %v", found, d, err)
	}
}

func TestCustomAggregation(t *testing.T) {
	t.Parallel()
	agg := set("agg", "a.rego", `package cabincrew.aggregate
default decision := "deny"
decision := "warn" if { some e in input.evaluations; e.decision == "allow" }
broken := to_number("x")
silent := "allow" if count(input.evaluations) > 100
odd := "perhaps"
deny contains "a policy of its own"
`)
	ctx := t.Context()
	e := mustNew(t, rego.Options{AggregationRule: "data.cabincrew.aggregate.decision"}, agg)
	found := evaluate(t, e, policies.Input{})
	if len(found) != 1 || found[0].PolicyID != "cabincrew.aggregate/deny" {
		t.Errorf("the aggregation rule is a policy: %q", brief(found))
	}
	for in, want := range map[protocol.Decision]protocol.Decision{"allow": "warn", "warn": "deny"} {
		if d, err := e.Custom(ctx, []protocol.PolicyEvaluation{{Decision: in}}); d != want || err != nil {
			t.Errorf("%s: %s, %v", in, d, err)
		}
	}
	for _, rule := range []string{"broken", "silent", "odd"} {
		e := mustNew(t, rego.Options{AggregationRule: "cabincrew.aggregate." + rule}, agg)
		if d, err := e.Custom(ctx, nil); d != protocol.Deny || !errors.Is(err, protocol.Code("policy_error")) {
			t.Errorf("%s: %s, %v", rule, d, err)
		}
	}
	for _, rule := range []string{"data.cabincrew.aggregate.none", "x", "data.cabincrew[x].y", "1+", ""} {
		e, err := rego.New(ctx, []policies.Set{agg}, rego.Options{AggregationRule: rule})
		if rule == "" {
			if d, err := e.Custom(ctx, nil); d != protocol.Deny || !errors.Is(err, protocol.Code("policy_error")) {
				t.Errorf("no rule: %s, %v", d, err)
			}
		} else if !errors.Is(err, protocol.Code("policy_error")) {
			t.Errorf("%q: %v", rule, err)
		}
	}
}

func TestRegoTests(t *testing.T) {
	t.Parallel()
	s := set("s", "a.rego", "package main\ndeny contains \"x\" if input.x\nwarn contains \"never\" if input.y\n",
		"a_test.rego", `package main_test
import data.main
test_fires if count(main.deny) == 1 with input as {"x": true}
test_fails if count(main.deny) == 2 with input as {"x": true}
test_breaks if to_number("x") == 1
todo_test_later if false
`)
	r, err := rego.Test(t.Context(), []policies.Set{s}, "", rego.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]rego.TestOutcome{}
	for _, c := range r.Tests {
		got[c.Name] = c.Outcome
		if c.File != "s/a_test.rego" || c.Line == 0 || c.Package != "main_test" {
			t.Errorf("%+v", c)
		}
	}
	want := map[string]rego.TestOutcome{"test_fires": "pass", "test_fails": "fail", "test_breaks": "error", "todo_test_later": "skip"}
	if !reflect.DeepEqual(got, want) || r.Passed() {
		t.Errorf("%v, passed %v", got, r.Passed())
	}
	if !reflect.DeepEqual(r.Missed, map[string][]int{"s/a.rego": {3}}) {
		t.Errorf("missed %v", r.Missed)
	}
	r, err = rego.Test(t.Context(), []policies.Set{s}, "fires", rego.Options{})
	if err != nil || len(r.Tests) != 1 || !r.Passed() {
		t.Errorf("filtered: %+v, %v", r, err)
	}
	s.Files = append(s.Files, policies.SetFile{Path: "b_test.rego", Data: []byte("package b_test\ntest_x if http.send({})\n")})
	if _, err := rego.Test(t.Context(), []policies.Set{s}, "", rego.Options{}); !errors.Is(err, protocol.Code("policy_error")) {
		t.Errorf("a test that reaches out: %v", err)
	}
}

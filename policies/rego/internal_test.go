package rego

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// TestCapabilities keeps the list of allowed functions and OPA in step.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	c := capabilities()
	var have []string
	for _, b := range c.Builtins {
		have = append(have, b.Name)
		if b.Nondeterministic {
			t.Errorf("%s is not deterministic", b.Name)
		}
	}
	for name := range strings.FieldsSeq(allowed) {
		if !slices.Contains(have, name) {
			t.Errorf("this OPA has no %s", name)
		}
	}
	if len(have) != len(strings.Fields(allowed)) {
		t.Errorf("%d functions, %d allowed", len(have), len(strings.Fields(allowed)))
	}
	for _, name := range []string{
		"http.send", "opa.runtime", "net.lookup_ip_addr", "time.now_ns", "rand.intn", "uuid.rfc4122", "io.jwt.decode_verify",
		"io.jwt.encode_sign", "json.match_schema", "json.verify_schema", "bits.lsh", "net.cidr_expand", "strings.render_template",
	} {
		if slices.Contains(have, name) {
			t.Errorf("%s is allowed", name)
		}
	}
	if c.AllowNet == nil || len(c.AllowNet) > 0 {
		t.Errorf("hosts %v", c.AllowNet)
	}
}

// TestCanary takes the canary away and turns it around.
func TestCanary(t *testing.T) {
	t.Parallel()
	good := policies.Set{Name: "s", Files: []policies.SetFile{{Path: "a.rego", Data: []byte(`package cabincrew.x
warn contains "w"
silent contains "x" if false
always contains {"msg": "x", "artifact": "canary"}
`)}}}
	for _, rule := range []string{"silent", "always", "none"} {
		e, err := New(t.Context(), []policies.Set{good}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := newReading(e.options).compile(t.Context(), []policies.Set{good}, e.options, false)
		if err != nil {
			t.Fatal(err)
		}
		canary, err := p.prepare(t.Context(), entry{
			set: "s", path: ast.MustParseRef("data.cabincrew.x"), name: "x", rules: []answer{{name: rule, decision: protocol.Deny, at: "x:1"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		e.canaries = append(e.canaries, canary)
		r, err := e.Evaluate(t.Context(), policies.Input{}, "")
		if !errors.Is(err, protocol.Code("policy_canary")) || protocol.ExitCode(err) != protocol.ExitDenied || len(r.Findings) > 0 {
			t.Errorf("canary %s: %v, %v", rule, r, err)
		}
	}
}

func TestBrokenEngine(t *testing.T) {
	t.Parallel()
	e, err := New(t.Context(), nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	// a query that was never prepared makes OPA panic
	p := prepared{entry: entry{name: "x", rules: []answer{{name: "deny", decision: protocol.Deny, at: "x:1"}}}}
	found, err := e.judge(t.Context(), p, ast.NewObject(), nil)
	if err != nil || len(found) != 1 || !found[0].Unjudged || !strings.Contains(found[0].Reason, "engine broke") {
		t.Errorf("%v, %v", found, err)
	}
}

// FuzzAnswers gives rules any value: no panic, no allow by mistake, no text that
// cannot be written down.
func FuzzAnswers(f *testing.F) {
	for _, s := range []string{
		`["a", {"msg": "x", "role": "r", "id": "i", "artifact": "a", "files": ["b"]}]`, `[1]`, `[[]]`, `[{"msg": 1}]`, `{}`, `"allow"`, `"x"`,
		`{"decision": "allow"}`, `{"decision": "allow", "violations": ["x"], "warnings": [], "requires": {"role": "a", "reason": "b"}}`,
		`{"decision": 1}`, `null`, `true`, `["\u202e\u001b"]`, `[{"msg": "\ufffd", "id": ".."}]`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		doc, err := protocol.DecodeAny([]byte(src))
		if err != nil {
			return
		}
		value, err := ast.InterfaceToValue(doc)
		if err != nil {
			return
		}
		asSet := value
		if a, ok := value.(*ast.Array); ok {
			s := ast.NewSet()
			a.Foreach(s.Add)
			asSet = s
		}
		j := judgement{entry: entry{name: "p"}, role: "maintainer"}
		j.rule(answer{name: "deny", decision: protocol.Deny, at: "f:1"}, ast.ArrayTerm(ast.NewTerm(asSet)))
		for _, x := range j.findings {
			if x.Decision != protocol.Deny {
				t.Errorf("%s from a deny", x.Decision)
			}
		}
		n := len(j.findings)
		j.rule(answer{name: "decision", at: "f:1"}, ast.ArrayTerm(ast.NewTerm(value)))
		if len(j.findings) != n+1 {
			t.Errorf("%d findings of one decision", len(j.findings)-n)
		}
		for _, x := range j.findings {
			if !x.Decision.Valid() || x.Reason == "" || !utf8.ValidString(x.Reason) || len(x.Reason) > 2*limits.PolicyText {
				t.Errorf("bad finding %+v", x)
			}
			if (x.Role != "") != (x.Decision == protocol.RequireApproval) {
				t.Errorf("role %q of %s", x.Role, x.Decision)
			}
			if _, err := protocol.Canonical(x.PolicyEvaluation); err != nil {
				t.Errorf("%+v: %v", x, err)
			}
		}
	})
}

// FuzzCompile reads any bytes as policy and data.
func FuzzCompile(f *testing.F) {
	f.Add("package main\ndeny contains \"x\"", `{"a": 1}`, "a: 1")
	f.Add("package cabincrew\na[b].c.deny contains x if some x in input", `[]`, "&a [*a]")
	f.Add("package cabincrew_internal", ``, "\x00")
	f.Fuzz(func(t *testing.T, src, js, yml string) {
		if len(src)+len(js)+len(yml) > 4096 {
			return
		}
		set := policies.Set{Name: "s", Files: []policies.SetFile{
			{Path: "a.rego", Data: []byte(src)}, {Path: "data.json", Data: []byte(js)}, {Path: "d/data.yaml", Data: []byte(yml)},
		}}
		_, err := newReading(Options{}).compile(t.Context(), []policies.Set{set}, Options{}, false)
		var pe *protocol.Error
		if err != nil && (!errors.As(err, &pe) || pe.Exit != protocol.ExitDenied) {
			t.Errorf("%v", err)
		}
	})
}

package gateways_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/protocol"
)

// message gives a call of a tool as a gateway shows it; patches replace members of it.
func message(t testing.TB, patches ...func(map[string]any)) gateways.Document {
	t.Helper()
	v, err := protocol.DecodeAny([]byte(`{"request_id":"r","timestamp":"2026-01-01T00:00:00Z","source":"agent","server_id":"files","method":"tools/call",
		"params":{"name":"write_file","arguments":{"path":"/w/a/b.txt","count":1.0,"tags":["x","y"],"o":{"p/q":"z"},"force":true}},
		"context":{"phase":"request","direction":"client_to_server","environment":"local","known":true,"principal":"agent","revision":"2025-11-25","transport":"http",
		"tool":{"name":"write_file","annotations":{"destructiveHint":true,"readOnlyHint":false},"pin":"sha256:0","state":"changed"},
		"paths":[{"at":"/params/arguments/path","value":"a/b.txt","path":"/w/a/b.txt","inside":true,"protected":false}],"roots":["/w"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	m := v.(map[string]any)
	for _, p := range patches {
		p(m)
	}
	return gateways.Document{Phase: gateways.PhaseRequest, Input: m, Texts: []gateways.Text{{At: "/params/arguments/path", Value: "/w/a/b.txt", Kind: gateways.KindArgument}}}
}

func matchOf(t testing.TB, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func verdict(t testing.TB, o gateways.PanelOptions, d gateways.Document) gateways.Verdict {
	t.Helper()
	p, err := gateways.NewPanel(o)
	if err != nil {
		t.Fatal(err)
	}
	v, err := p.Judge(t.Context(), d, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestRulesMatch(t *testing.T) {
	t.Parallel()
	for match, want := range map[string]bool{
		`{"method":"tools/call"}`:                               true,
		`{"method":"tools/*"}`:                                  true,
		`{"method":"*"}`:                                        false, // no slash
		`{"method":"**"}`:                                       true,
		`{"method":["resources/*","tools/call"]}`:               true,
		`{"method":"prompts/*"}`:                                false,
		`{"server":"files"}`:                                    true,
		`{"server":"f?les"}`:                                    true,
		`{"server":"file"}`:                                     false,
		`{"tool":"write_*"}`:                                    true,
		`{"tool":"read_*"}`:                                     false,
		`{"tool":"write.file"}`:                                 false, // a dot is a dot
		`{"direction":"client_to_server","phase":"request"}`:    true,
		`{"phase":"response"}`:                                  false,
		`{"principal":"agent","environment":"local"}`:           true,
		`{"principal":"somebody"}`:                              false,
		`{"state":["new","changed"]}`:                           true,
		`{"state":"pinned"}`:                                    false,
		`{"known":true}`:                                        true,
		`{"known":false}`:                                       false,
		`{"path":"/w/**"}`:                                      true,
		`{"path":"/w/*"}`:                                       false,
		`{"path":"/etc/**"}`:                                    false,
		`{"annotations":{"destructiveHint":true}}`:              true,
		`{"annotations":{"destructiveHint":false}}`:             false,
		`{"annotations":{"idempotentHint":false}}`:              false, // it is not said
		`{"arguments":{"/path":"**.txt"}}`:                      true,
		`{"arguments":{"/path":"*.txt"}}`:                       false,
		`{"arguments":{"/count":{"equals":1}}}`:                 true, // 1.0
		`{"arguments":{"/count":{"equals":2}}}`:                 false,
		`{"arguments":{"/count":{"equals":"1"}}}`:               false,
		`{"arguments":{"/count":"1"}}`:                          false, // globs are for texts
		`{"arguments":{"/tags/1":"y"}}`:                         true,
		`{"arguments":{"/tags/01":"y"}}`:                        false,
		`{"arguments":{"/tags":{"equals":["x","y"]}}}`:          true,
		`{"arguments":{"/o/p~1q":{"one_of":["a","z"]}}}`:        true,
		`{"arguments":{"/force":{"equals":true}}}`:              true,
		`{"arguments":{"/force":{"one_of":[1,"true"]}}}`:        false,
		`{"arguments":{"/gone":{"present":false}}}`:             true,
		`{"arguments":{"/path":{"present":false}}}`:             false,
		`{"arguments":{"/path":"**","/gone":"**"}}`:             false,
		`{"server":"files","tool":"write_file","state":"gone"}`: false,
		`{"suspicion":"*"}`:                                     false,
	} {
		o := gateways.PanelOptions{AllowWithoutPolicies: true, Rules: []protocol.MCPGatewayRule{{Match: matchOf(t, match), Action: "warn"}}}
		got := verdict(t, o, message(t))
		if fired := got.Decision == protocol.Warn; fired != want {
			t.Errorf("%s: fired %v", match, fired)
		}
	}
}

func TestRulesAreChecked(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]protocol.MCPGatewayRule{
		"no match":         {Action: "deny"},
		"unknown key":      {Match: map[string]any{"tools": "x"}, Action: "deny"},
		"unknown action":   {Match: map[string]any{"tool": "x"}, Action: "block"},
		"no action":        {Match: map[string]any{"tool": "x"}},
		"empty glob":       {Match: map[string]any{"tool": ""}, Action: "deny"},
		"long glob":        {Match: map[string]any{"tool": strings.Repeat("*a", 600)}, Action: "deny"},
		"no text":          {Match: map[string]any{"tool": 1}, Action: "deny"},
		"empty list":       {Match: map[string]any{"tool": []any{}}, Action: "deny"},
		"list of numbers":  {Match: map[string]any{"tool": []any{1}}, Action: "deny"},
		"known":            {Match: map[string]any{"known": "yes"}, Action: "deny"},
		"annotations":      {Match: map[string]any{"annotations": "x"}, Action: "deny"},
		"annotation":       {Match: map[string]any{"annotations": map[string]any{"a": "true"}}, Action: "deny"},
		"arguments":        {Match: map[string]any{"arguments": []any{}}, Action: "deny"},
		"pointer":          {Match: map[string]any{"arguments": map[string]any{"path": "x"}}, Action: "deny"},
		"argument":         {Match: map[string]any{"arguments": map[string]any{"/path": map[string]any{"like": "x"}}}, Action: "deny"},
		"two ways":         {Match: map[string]any{"arguments": map[string]any{"/path": map[string]any{"equals": "x", "present": true}}}, Action: "deny"},
		"redact what":      {Match: map[string]any{"tool": "x"}, Action: "redact"},
		"hide what":        {Match: map[string]any{"server": "x"}, Action: "hide"},
		"unknown metadata": {Match: map[string]any{"tool": "x"}, Action: "deny", Metadata: map[string]any{"title": "x"}},
		"id":               {Match: map[string]any{"tool": "x"}, Action: "deny", Metadata: map[string]any{"id": "a b"}},
		"role":             {Match: map[string]any{"tool": "x"}, Action: "deny", Metadata: map[string]any{"role": 1}},
		"at":               {Match: map[string]any{"tool": "x"}, Action: "redact", Metadata: map[string]any{"at": "/method"}},
	} {
		_, err := gateways.NewPanel(gateways.PanelOptions{Rules: []protocol.MCPGatewayRule{r}})
		if !errors.Is(err, protocol.Code("gateway_rule")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	twice := []protocol.MCPGatewayRule{{Match: map[string]any{"tool": "x"}, Action: "deny", Metadata: map[string]any{"id": "a"}}}
	if _, err := gateways.NewPanel(gateways.PanelOptions{Rules: append(twice, twice...)}); !errors.Is(err, protocol.Code("gateway_rule")) {
		t.Error(err)
	}
}

// TestRulesDecide has all rules that fire count, whatever their order.
func TestRulesDecide(t *testing.T) {
	t.Parallel()
	rule := func(action string) protocol.MCPGatewayRule {
		return protocol.MCPGatewayRule{Match: map[string]any{"tool": "write_file"}, Action: action, Metadata: map[string]any{"id": action, "role": "owner", "reason": "because " + action}}
	}
	for _, c := range []struct {
		actions string
		want    protocol.Decision
	}{
		{"allow", protocol.Allow},
		{"allow warn", protocol.Warn},
		{"allow require_approval warn", protocol.RequireApproval},
		{"deny allow require_approval", protocol.Deny},
	} {
		var o gateways.PanelOptions
		for a := range strings.FieldsSeq(c.actions) {
			o.Rules = append(o.Rules, rule(a))
		}
		got := verdict(t, o, message(t))
		if got.Decision != c.want || len(got.Evaluations) != len(o.Rules) {
			t.Errorf("%s: %+v", c.actions, got)
		}
		if c.want == protocol.RequireApproval && (len(got.Requires) != 1 || got.Requires[0].Role != "owner" || got.Requires[0].Reason != "because require_approval") {
			t.Errorf("%+v", got.Requires)
		}
		if e := got.Evaluations[0]; e.Source != protocol.SourceMCPGateway || e.PolicyID != "gateway/rules/"+o.Rules[0].Action || e.EvaluatedAt != "1970-01-01T00:00:01Z" {
			t.Errorf("%+v", e)
		}
	}
}

func TestNobodyJudges(t *testing.T) {
	t.Parallel()
	other := []protocol.MCPGatewayRule{{Match: map[string]any{"tool": "other"}, Action: "allow"}}
	if got := verdict(t, gateways.PanelOptions{Rules: other}, message(t)); got.Decision != protocol.Deny || len(got.Violations) != 1 {
		t.Errorf("%+v", got)
	}
	if got := verdict(t, gateways.PanelOptions{Rules: other, AllowWithoutPolicies: true}, message(t)); got.Decision != protocol.Allow {
		t.Errorf("%+v", got)
	}
}

func TestRedactRule(t *testing.T) {
	t.Parallel()
	o := gateways.PanelOptions{Rules: []protocol.MCPGatewayRule{{
		Match: matchOf(t, `{"arguments":{"/path":"/w/**"}}`), Action: "redact", Metadata: map[string]any{"id": "no-paths"},
	}}, AllowWithoutPolicies: true}
	got := verdict(t, o, message(t))
	if got.Decision != protocol.Allow || len(got.Changes) != 1 || got.Changes[0] != (gateways.Change{At: "/params/arguments/path", Value: "[REDACTED:no-paths]"}) {
		t.Errorf("%+v", got)
	}
	// What is redacted is not redacted once more.
	o.Rules[0].Match = matchOf(t, `{"arguments":{"/path":"**"}}`)
	again := message(t, func(m map[string]any) {
		m["params"].(map[string]any)["arguments"].(map[string]any)["path"] = "[REDACTED:no-paths]"
	})
	if got := verdict(t, o, again); len(got.Changes) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestHideRule(t *testing.T) {
	t.Parallel()
	o := gateways.PanelOptions{AllowWithoutPolicies: true, Rules: []protocol.MCPGatewayRule{{Match: map[string]any{"server": "files", "tool": "write_*"}, Action: "hide"}}}
	if got := verdict(t, o, message(t)); got.Decision != protocol.Deny || !strings.Contains(strings.Join(got.Violations, ""), "hidden") {
		t.Errorf("%+v", got)
	}
	list := message(t, func(m map[string]any) {
		m["method"] = "tools/list"
		c := m["context"].(map[string]any)
		c["phase"] = "response"
		c["result"] = map[string]any{"tools": []any{map[string]any{"name": "read_file"}, map[string]any{"name": "write_file"}, map[string]any{"name": "write_all"}}}
	})
	list.Phase = gateways.PhaseResponse
	got := verdict(t, o, list)
	if got.Decision != protocol.Allow || len(got.Changes) != 2 || got.Changes[0] != (gateways.Change{At: "/result/tools/1"}) || got.Changes[1] != (gateways.Change{At: "/result/tools/2"}) {
		t.Errorf("%+v", got)
	}
	o.Rules[0].Match["server"] = "other"
	if got := verdict(t, o, list); len(got.Changes) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestLongTextsMatchFast has a pattern that goes back and forth over a long text.
func TestLongTextsMatchFast(t *testing.T) {
	t.Parallel()
	o := gateways.PanelOptions{AllowWithoutPolicies: true, Rules: []protocol.MCPGatewayRule{{
		Match: map[string]any{"arguments": map[string]any{"/path": strings.Repeat("**a*", 50) + "b"}}, Action: "deny",
	}}}
	long := message(t, func(m map[string]any) {
		m["params"].(map[string]any)["arguments"].(map[string]any)["path"] = strings.Repeat("a", 2_000)
	})
	began := time.Now()
	if got := verdict(t, o, long); got.Decision != protocol.Allow {
		t.Errorf("%+v", got)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

// TestApprovalIsOfTheCall holds that a rule which asks for an approval of a tool does not
// ask again for the answer, unless it says so.
func TestApprovalIsOfTheCall(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		match map[string]any
		phase gateways.Phase
		want  protocol.Decision
	}{
		{map[string]any{"tool": "rm"}, gateways.PhaseRequest, protocol.RequireApproval},
		{map[string]any{"tool": "rm"}, gateways.PhaseResponse, protocol.Allow},
		{map[string]any{"tool": "rm", "phase": "response"}, gateways.PhaseResponse, protocol.RequireApproval},
	} {
		p, err := gateways.NewPanel(gateways.PanelOptions{Rules: []protocol.MCPGatewayRule{{Match: c.match, Action: gateways.ActionRequireApproval}}, AllowWithoutPolicies: true})
		if err != nil {
			t.Fatal(err)
		}
		v, err := p.Judge(t.Context(), gateways.Document{Phase: c.phase, Input: map[string]any{
			"server_id": "s", "method": "tools/call", "params": map[string]any{"name": "rm"}, "context": map[string]any{"direction": "client_to_server", "tool": map[string]any{"name": "rm"}},
		}}, time.Time{})
		if err != nil || v.Decision != c.want {
			t.Errorf("%v in a %s: %s, %v", c.match, c.phase, v.Decision, err)
		}
	}
}

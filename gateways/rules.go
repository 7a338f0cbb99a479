package gateways

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Actions of a rule.
const (
	ActionAllow           = "allow"
	ActionWarn            = "warn"
	ActionDeny            = "deny"
	ActionRequireApproval = "require_approval"
	ActionRedact          = "redact"
	ActionHide            = "hide"
)

// rule is one rule of the configuration. It fires if all its conditions hold; every rule
// that fires counts, whatever stands before it.
type rule struct {
	id, action, reason, role string
	decision                 protocol.Decision
	conditions               []func(*matter) bool
	tools                    []glob   // for hide
	methods                  []string // that it names letter by letter
	at                       []string // for redact: pointers into the message
}

var ruleName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

func newRules(list []protocol.MCPGatewayRule, role string) ([]rule, error) {
	if len(list) > limits.GatewayRules {
		return nil, ruleError("rules", "there are %d rules, more than %d", len(list), limits.GatewayRules)
	}
	out := make([]rule, len(list))
	seen := map[string]bool{}
	for i, r := range list {
		where := fmt.Sprintf("rules[%d]", i)
		got, err := newRule(r, where, fmt.Sprintf("rule-%d", i+1), role)
		if err != nil {
			return nil, err
		}
		if seen[got.id] {
			return nil, ruleError(where+".metadata.id", "two rules have the id %q", got.id)
		}
		seen[got.id] = true
		out[i] = got
	}
	return out, nil
}

func ruleError(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "gateway_rule", format, args...).At(where).
		WithHint("docs/policies.md says what rules of a gateway may hold")
}

func newRule(r protocol.MCPGatewayRule, where, id, role string) (rule, error) {
	out := rule{id: id, action: r.Action, role: role}
	switch r.Action {
	case ActionAllow, ActionWarn, ActionDeny, ActionRequireApproval:
		out.decision = protocol.Decision(r.Action)
	case ActionRedact, ActionHide:
		out.decision = protocol.Allow
	default:
		return out, ruleError(where+".action", "there is no action %q; it is allow, warn, deny, require_approval, redact or hide", r.Action)
	}
	for _, key := range slices.Sorted(maps.Keys(r.Metadata)) {
		if err := out.metadata(key, r.Metadata[key], where+".metadata."+key); err != nil {
			return out, err
		}
	}
	if len(r.Match) == 0 {
		return out, ruleError(where+".match", "the rule matches nothing by name").WithHint(`to match every message, write match: {method: "**"}`)
	}
	for _, key := range slices.Sorted(maps.Keys(r.Match)) {
		if err := out.condition(key, r.Match[key], where+".match."+key); err != nil {
			return out, err
		}
	}
	if out.decision == protocol.RequireApproval && r.Match["phase"] == nil && r.Match["suspicion"] == nil {
		// Who approves a call approves what it does: its answer is not held again.
		out.conditions = append(out.conditions, func(m *matter) bool { return m.d.Phase != PhaseResponse })
	}
	if r.Action == ActionRedact && len(out.at) == 0 {
		return out, ruleError(where, "the rule does not say what is redacted").WithHint("match arguments, or name pointers under metadata.at")
	}
	if r.Action == ActionHide && len(out.tools) == 0 {
		return out, ruleError(where, "the rule does not say which tools it hides").WithHint("match tool")
	}
	return out, nil
}

func (r *rule) metadata(key string, v any, where string) error {
	text, is := v.(string)
	switch key {
	case "id":
		if !ruleName.MatchString(text) {
			return ruleError(where, "an id is made of letters, digits, dots, dashes and underscores")
		}
		r.id = text
	case "reason":
		r.reason = text
	case "role":
		r.role = text
	case "at":
		var err error
		r.at, err = words(v, where)
		for _, p := range r.at {
			if !strings.HasPrefix(p, "/params/") && !strings.HasPrefix(p, "/result/") {
				return ruleError(where, "%q is no pointer below /params or /result", p)
			}
		}
		return err
	default:
		return ruleError(where, "metadata has no %s; it has id, reason, role and at", key)
	}
	if !is || text == "" {
		return ruleError(where, "it must be a text")
	}
	return nil
}

// condition adds one condition. Texts are globs, one or a list of which one must match.
func (r *rule) condition(key string, v any, where string) error {
	add := func(c func(*matter) bool) { r.conditions = append(r.conditions, c) }
	globs := func(what func(*matter) []string) error {
		list, err := newGlobs(v, where)
		add(func(m *matter) bool {
			return slices.ContainsFunc(what(m), func(s string) bool { return matchAny(list, s) })
		})
		return err
	}
	one := func(get func(*matter) string) error {
		return globs(func(m *matter) []string { return []string{get(m)} })
	}
	switch key {
	case "server":
		return one(func(m *matter) string { s, _ := m.d.Input["server_id"].(string); return s })
	case "method":
		list, err := newGlobs(v, where)
		r.methods = literals(list)
		add(func(m *matter) bool { return matchAny(list, m.method) })
		return err
	case "direction", "principal", "environment", "revision", "transport":
		return one(func(m *matter) string { return m.text(key) })
	case "phase":
		return one(func(m *matter) string { return string(m.d.Phase) })
	case "tool":
		list, err := newGlobs(v, where)
		r.tools = list
		if r.action != ActionHide {
			add(func(m *matter) bool { return m.tool != "" && matchAny(list, m.tool) })
		}
		return err
	case "state":
		return one(func(m *matter) string { s, _ := m.described()["state"].(string); return s })
	case "path":
		return globs((*matter).paths)
	case "suspicion":
		return globs((*matter).suspicions)
	case "known":
		want, ok := v.(bool)
		if !ok {
			return ruleError(where, "known is true or false")
		}
		add(func(m *matter) bool { known, is := m.context["known"].(bool); return is && known == want })
	case "annotations":
		return r.annotations(v, where)
	case "arguments":
		return r.arguments(v, where)
	default:
		return ruleError(where, "nothing is matched by %q; it is server, method, tool, direction, phase, principal, environment, revision, transport, state, path, suspicion, known, annotations or arguments", key)
	}
	return nil
}

func (r *rule) annotations(v any, where string) error {
	want, ok := v.(map[string]any)
	if !ok || len(want) == 0 {
		return ruleError(where, "annotations are names with true or false")
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		is, ok := want[name].(bool)
		if !ok {
			return ruleError(where+"."+name, "an annotation is matched by true or false")
		}
		r.conditions = append(r.conditions, func(m *matter) bool {
			has, _ := m.described()["annotations"].(map[string]any)
			said, known := has[name].(bool)
			return known && said == is
		})
	}
	return nil
}

// arguments matches arguments of a tool, each by its pointer: a glob or a list of globs,
// or {"equals": value}, {"one_of": [values]}, {"present": bool}.
func (r *rule) arguments(v any, where string) error {
	want, ok := v.(map[string]any)
	if !ok || len(want) == 0 {
		return ruleError(where, "arguments are JSON pointers with what is there")
	}
	for _, pointer := range slices.Sorted(maps.Keys(want)) {
		here := where + "." + pointer
		if !strings.HasPrefix(pointer, "/") {
			return ruleError(here, "%q is no JSON pointer such as /path", pointer)
		}
		fits, err := argument(want[pointer], here)
		if err != nil {
			return err
		}
		r.conditions = append(r.conditions, func(m *matter) bool {
			found, there := lookup(m.params["arguments"], pointer)
			return fits(found, there)
		})
		if r.action == ActionRedact {
			r.at = append(r.at, "/params/arguments"+pointer)
		}
	}
	return nil
}

func argument(v any, where string) (func(found any, there bool) bool, error) {
	o, ok := v.(map[string]any)
	if !ok {
		list, err := newGlobs(v, where)
		return func(found any, there bool) bool {
			s, is := found.(string)
			return there && is && matchAny(list, s)
		}, err
	}
	if len(o) != 1 {
		return nil, ruleError(where, "an argument is matched by one of equals, one_of and present")
	}
	if want, ok := o["equals"]; ok {
		return func(found any, there bool) bool { return there && equal(found, want) }, nil
	}
	if list, ok := o["one_of"].([]any); ok {
		return func(found any, there bool) bool {
			return there && slices.ContainsFunc(list, func(want any) bool { return equal(found, want) })
		}, nil
	}
	if want, ok := o["present"].(bool); ok {
		return func(_ any, there bool) bool { return there == want }, nil
	}
	return nil, ruleError(where, "an argument is matched by a glob, a list of globs, or one of equals, one_of and present")
}

// judgeRules gives what the rules that fire say, in their order.
func (p *Panel) judgeRules(m *matter) (out policies.Opinion) {
	for i := range p.rules {
		r := &p.rules[i]
		if slices.ContainsFunc(r.conditions, func(c func(*matter) bool) bool { return !c(m) }) {
			continue
		}
		switch r.action {
		case ActionHide:
			out.Hide = append(out.Hide, r.hides(m)...)
			continue
		case ActionRedact:
			changes := r.redacts(m)
			out.Changes = append(out.Changes, changes...)
			if len(changes) == 0 {
				continue
			}
		}
		// A rule that does something else than decide says nothing of the method.
		if r.action == string(r.decision) && slices.Contains(r.methods, m.method) {
			m.named = true
		}
		f := finding("gateway/rules/"+r.id, r.decision, r.why())
		f.Rule = r.id
		f.Evidence = map[string]any{"rule": r.id, "action": r.action}
		if r.decision == protocol.RequireApproval {
			f.Role = r.role
			f.Evidence["role"] = r.role
		}
		out.Findings = append(out.Findings, f)
	}
	return out
}

func (r *rule) why() string {
	if r.reason != "" {
		return r.reason
	}
	return "rule " + r.id + " of the gateway's configuration: " + r.action
}

// hides gives the tools of the message that a rule hides.
func (r *rule) hides(m *matter) (out []string) {
	if m.tool != "" && matchAny(r.tools, m.tool) {
		out = append(out, m.tool)
	}
	if m.method == "tools/list" && m.d.Phase == PhaseResponse {
		for _, n := range m.listed() {
			if name, ok := n.(string); ok && matchAny(r.tools, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// redacts gives the changes of what a rule redacts and is not redacted yet.
func (r *rule) redacts(m *matter) (out []Change) {
	mark := "[REDACTED:" + r.id + "]"
	for _, at := range r.at {
		var found any
		var there bool
		if rest, ok := strings.CutPrefix(at, "/params"); ok && m.d.Phase != PhaseResponse {
			found, there = lookup(m.d.Input["params"], rest)
		} else if rest, ok := strings.CutPrefix(at, "/result"); ok && m.d.Phase == PhaseResponse {
			found, there = lookup(m.context["result"], rest)
		}
		if there && found != any(mark) {
			out = append(out, Change{At: at, Value: mark})
		}
	}
	return out
}

func (m *matter) described() map[string]any {
	t, _ := m.context["tool"].(map[string]any)
	return t
}

func (m *matter) paths() (out []string) {
	list, _ := m.context["paths"].([]any)
	for _, p := range list {
		o, _ := p.(map[string]any)
		if s, ok := o["path"].(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func (m *matter) suspicions() (out []string) {
	if !m.reads {
		return nil
	}
	for _, t := range m.d.Texts {
		out = append(out, Suspicions(t.Value)...)
	}
	return out
}

// words reads a text or a list of texts.
func words(v any, where string) ([]string, error) {
	switch v := v.(type) {
	case string:
		return []string{v}, nil
	case []string:
		return v, nil
	case []any:
		var out []string
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, ruleError(where, "it must be a text or a list of texts")
			}
			out = append(out, s)
		}
		if len(out) > 0 {
			return out, nil
		}
	}
	return nil, ruleError(where, "it must be a text or a list of texts")
}

// lookup gives the value at an RFC 6901 pointer.
func lookup(v any, pointer string) (any, bool) {
	if pointer == "" {
		return v, v != nil
	}
	for step := range strings.SplitSeq(pointer[1:], "/") {
		step = strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
		switch node := v.(type) {
		case map[string]any:
			var ok bool
			if v, ok = node[step]; !ok {
				return nil, false
			}
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(node) || itoa(i) != step {
				return nil, false
			}
			v = node[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// equal compares values of JSON, numbers by their value: 1, 1.0 and 10e-1 are the same
// to a server.
func equal(a, b any) bool { return reflect.DeepEqual(plainValue(a), plainValue(b)) }

// decimal is a number as its digits without zeros around them, and a power of ten.
type decimal struct {
	minus  bool
	digits string
	power  int
}

func plainValue(v any) any {
	switch v := v.(type) {
	case int:
		return decimalOf(strconv.Itoa(v))
	case int64:
		return decimalOf(strconv.FormatInt(v, 10))
	case float64:
		return decimalOf(strconv.FormatFloat(v, 'g', -1, 64))
	case json.Number:
		return decimalOf(string(v))
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = plainValue(e)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = plainValue(e)
		}
		return out
	}
	return v
}

func decimalOf(s string) any {
	var d decimal
	text := s
	text, d.minus = strings.CutPrefix(text, "-")
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		var err error
		if d.power, err = strconv.Atoi(strings.TrimPrefix(text[i+1:], "+")); err != nil {
			return s // no power that any program computes with
		}
		text = text[:i]
	}
	whole, places, _ := strings.Cut(text, ".")
	d.digits = strings.TrimLeft(whole+places, "0")
	d.power -= len(places)
	n := len(d.digits)
	d.digits = strings.TrimRight(d.digits, "0")
	if d.power += n - len(d.digits); d.digits == "" {
		return decimal{}
	}
	return d
}

func number(n int) json.Number { return json.Number(strconv.Itoa(n)) }

func itoa(n int) string { return strconv.Itoa(n) }

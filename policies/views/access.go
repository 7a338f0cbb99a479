package views

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Resources hold policies of access as JSON in a text. Judges get what they say in
// one form, so that another spelling of the same is not another thing.

// access is what the policies of one side of a resource change say.
type access struct {
	statements []policies.Statement
	bindings   []policies.Binding
	unread     []string
}

// reader reads the policies of one plan.
type reader struct{ left int }

// policies adds what the resource's policies say to it.
func (p *reader) policies(r *policies.TerraformResource) error {
	var before, after access
	if err := errors.Join(p.walk(&after, "", r.After), p.walk(&before, "", r.Before)); err != nil {
		return err
	}
	had := map[string]bool{}
	for _, s := range before.statements {
		had[key(s)] = true
	}
	for i := range after.statements {
		after.statements[i].New = !had[key(after.statements[i])]
	}
	members := map[[3]string]bool{}
	for _, b := range before.bindings {
		for _, m := range b.Members {
			members[[3]string{b.Attribute, b.Role, m}] = true
		}
	}
	for i, b := range after.bindings {
		after.bindings[i].NewMembers = slices.DeleteFunc(slices.Clone(b.Members), func(m string) bool { return members[[3]string{b.Attribute, b.Role, m}] })
	}
	slices.Sort(after.unread)
	r.Statements, r.Bindings, r.Unread = after.statements, after.bindings, slices.Compact(after.unread)
	return nil
}

// key tells statements apart by what they say.
func key(s policies.Statement) string { return fmt.Sprintf("%#v", s) }

// walk looks for policies in a value and all that it holds. Attributes are named
// without the numbers of blocks: another order of blocks says nothing else.
func (p *reader) walk(to *access, at string, v any) error {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if err := p.walk(to, strings.TrimPrefix(at+"."+name, "."), v[name]); err != nil {
				return err
			}
		}
	case []any:
		for _, x := range v {
			if err := p.walk(to, at, x); err != nil {
				return err
			}
		}
	case string:
		if text := strings.TrimSpace(v); strings.HasPrefix(text, "{") {
			return p.text(to, at, text)
		}
	}
	return nil
}

// text reads a text that may be a policy.
func (p *reader) text(to *access, at, text string) error {
	doc, err := protocol.DecodeAny([]byte(text))
	o, ok := doc.(map[string]any)
	if err != nil || !ok {
		if strings.Contains(strings.ToLower(at), "policy") || suspect(text) {
			to.unread = append(to.unread, clip(at))
		}
		return nil
	}
	if list, ok := o["bindings"].([]any); ok && slices.ContainsFunc(list, hasRole) {
		for _, b := range list {
			if !to.binding(at, b) {
				to.unread = append(to.unread, clip(at))
			}
		}
		p.left -= len(list)
	}
	for _, name := range slices.Sorted(maps.Keys(o)) {
		list := listed(o[name])
		if !strings.EqualFold(name, "Statement") || name != "Statement" && !slices.ContainsFunc(list, hasEffect) {
			continue
		}
		for _, s := range list {
			if !to.statement(at, s) {
				to.unread = append(to.unread, clip(at))
			}
		}
		p.left -= len(list)
	}
	if p.left < 0 {
		return fmt.Errorf("its policies have more than %d statements", limits.ViewStatements)
	}
	return nil
}

// suspect says whether a text that is no strict JSON is a policy for a reader that
// is not strict, for whom the last of two equal keys counts.
func suspect(text string) bool {
	var doc map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &doc) != nil {
		return false
	}
	for name := range doc {
		if strings.EqualFold(name, "Statement") || name == "bindings" {
			return true
		}
	}
	return false
}

func hasEffect(v any) bool { return member(v, "Effect") != nil }

func hasRole(v any) bool { return member(v, "role") != nil }

// member gives a member of an object by its name in any case.
func member(v any, name string) any {
	o, _ := v.(map[string]any)
	if x, ok := o[name]; ok {
		return x
	}
	for _, k := range slices.Sorted(maps.Keys(o)) {
		if strings.EqualFold(k, name) {
			return o[k]
		}
	}
	return nil
}

// listed gives a list as it is, nothing for null, and a list of one for all else.
func listed(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}

// texts gives the texts of a value or list, each after the prefix, sorted. It is
// not ok if there is anything else than plain values.
func texts(prefix string, v any) (out []string, ok bool) {
	out = []string{}
	for _, x := range listed(v) {
		switch x := x.(type) {
		case string:
			out = append(out, prefix+x)
		case bool, protocol.Number:
			out = append(out, fmt.Sprint(prefix, x))
		default:
			return out, false
		}
	}
	slices.Sort(out)
	return slices.Compact(out), true
}

func (to *access) binding(at string, v any) bool {
	o, ok := v.(map[string]any)
	role, ok2 := o["role"].(string)
	members, ok3 := texts("", o["members"])
	to.bindings = append(to.bindings, policies.Binding{Attribute: at, Role: role, Members: members})
	return ok && ok2 && ok3
}

// statement adds a statement; what can be read of it also where something cannot.
func (to *access) statement(at string, v any) bool {
	o, ok := v.(map[string]any)
	if !ok {
		return false
	}
	s := policies.Statement{Attribute: at, Effect: "allow"}
	effect, ok := member(o, "Effect").(string)
	if strings.EqualFold(effect, "Deny") {
		s.Effect = "deny"
	}
	for name, to := range map[string]*[]string{"Action": &s.Actions, "NotAction": &s.NotActions, "Resource": &s.Resources, "NotResource": &s.NotResources} {
		list, read := texts("", member(o, name))
		*to, ok = list, ok && read
	}
	var read [3]bool
	s.Principals, read[0] = principals(member(o, "Principal"))
	s.NotPrincipals, read[1] = principals(member(o, "NotPrincipal"))
	s.Conditions, read[2] = conditions(member(o, "Condition"))
	to.statements = append(to.statements, s)
	return ok && read == [3]bool{true, true, true} && distinct(o)
}

// distinct says whether no two members differ only in case, of which nobody could
// say which counts.
func distinct(o map[string]any) bool {
	seen := map[string]bool{}
	for name := range o {
		if seen[strings.ToLower(name)] {
			return false
		}
		seen[strings.ToLower(name)] = true
	}
	return true
}

func principals(v any) ([]string, bool) {
	kinds, ok := v.(map[string]any)
	if !ok {
		return texts("", v)
	}
	out, good := []string{}, true
	for kind, names := range kinds {
		list, ok := texts(kind+":", names)
		out, good = append(out, list...), good && ok
	}
	slices.Sort(out)
	return out, good
}

func conditions(v any) ([]policies.Condition, bool) {
	out := []policies.Condition{}
	operators, good := v.(map[string]any)
	for operator, v := range operators {
		keys, ok := v.(map[string]any)
		good = good && ok
		for name, values := range keys {
			list, ok := texts("", values)
			good = good && ok
			out = append(out, policies.Condition{Operator: operator, Key: name, Values: list})
		}
	}
	slices.SortFunc(out, func(a, b policies.Condition) int {
		return cmp.Or(cmp.Compare(a.Operator, b.Operator), cmp.Compare(a.Key, b.Key))
	})
	return out, good || v == nil
}

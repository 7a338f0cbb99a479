package config

import (
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// reader collects the problems of one file while it is read.
type reader struct {
	name     string
	ofGate   bool // it is the configuration of a gateway
	nodes    int
	problems []problem
	dropped  int
	unfilled int                   // values that init left to people
	places   map[string]*yaml.Node // by path, for the checks across the document
}

type problem struct {
	line, column int
	err          *protocol.Error
}

// err gives all problems in the order of the file, or nil.
func (r *reader) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b problem) int {
		if a.line != b.line {
			return a.line - b.line
		}
		return a.column - b.column
	})
	list := make([]error, 0, len(r.problems)+1)
	for _, p := range r.problems {
		list = append(list, p.err)
	}
	if r.dropped > 0 {
		list = append(list, protocol.Errorf(protocol.ExitUsage, "config_problems", "%d more problems", r.dropped).At(r.name).
			WithHint("repair the ones above first"))
	}
	if len(list) == 1 {
		return list[0]
	}
	return errors.Join(list...)
}

func (r *reader) add(line, column int, err *protocol.Error) {
	if len(r.problems) >= limits.ConfigProblems {
		r.dropped++
		return
	}
	r.problems = append(r.problems, problem{line, column, err})
}

func (r *reader) failFilef(code, hint, format string, args ...any) {
	r.add(0, 0, protocol.Errorf(protocol.ExitUsage, code, format, args...).At(r.name).WithHint("%s", hint))
}

func (r *reader) failf(n *yaml.Node, code, hint, format string, args ...any) {
	r.add(n.Line, n.Column, protocol.Errorf(protocol.ExitUsage, code, format, args...).At(r.where(n)).WithHint("%s", hint))
}

func (r *reader) where(n *yaml.Node) string {
	return fmt.Sprintf("%s:%d:%d", r.name, n.Line, n.Column)
}

// object is a map of the file whose keys are known. A nil object reads as empty,
// so that one wrong type is one problem.
type object struct {
	r      *reader
	node   *yaml.Node
	path   string
	values map[string]*yaml.Node
}

// object reads a map and reports the keys that are not known.
func (r *reader) object(n *yaml.Node, path string, known ...string) *object {
	if n == nil || !r.is(n, path, yaml.MappingNode) {
		return nil
	}
	o := &object{r: r, node: n, path: path, values: make(map[string]*yaml.Node, len(n.Content)/2)}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !plainKey(key) {
			continue // reported by structure
		}
		if !slices.Contains(known, key.Value) {
			r.unknownKey(key, path, known)
			continue
		}
		if _, twice := o.values[key.Value]; !twice { // reported by structure
			o.values[key.Value] = value
			r.places[join(path, key.Value)] = value
		}
	}
	return o
}

func (r *reader) unknownKey(key *yaml.Node, path string, known []string) {
	hint := "known here: " + list(known)
	if s := closest(key.Value, known); s != "" {
		hint = fmt.Sprintf("did you mean %q?", s)
	} else if home := homeOf(key.Value); home != "" {
		hint = fmt.Sprintf("%q belongs under %s", key.Value, home)
	}
	r.failf(key, "config_unknown_key", hint, "unknown key %q%s", short(key.Value), under(path))
}

// homeOf names the place of keys that people look for somewhere else.
func homeOf(key string) string {
	switch key {
	case "allow_without_policies", "aggregation", "bundled", "rego", "custom_rule", "exemptions", "explain", "sources":
		return "policies"
	case "approvers", "self_approval", "expire", "binding", "default_role", "roles", "distinct", "carry_over", "environments", "break_glass":
		return "approvals"
	case "on_stale":
		return "take_off"
	case "refs":
		return "governance"
	case "keyless":
		return "signing"
	case "run", "use", "with":
		return "engine"
	}
	return ""
}

func under(path string) string {
	if path == "" {
		return ""
	}
	return " in " + path
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (o *object) at(key string) (*yaml.Node, string) {
	if o == nil {
		return nil, key
	}
	return o.values[key], join(o.path, key)
}

// require reports keys that are not there.
func (o *object) require(keys ...string) {
	if o == nil {
		return
	}
	for _, k := range keys {
		if o.values[k] == nil {
			o.r.failf(o.node, "config_missing", "add "+k+":", "%s is missing", join(o.path, k))
		}
	}
}

// check gives what is wrong with a text and what to do about it, or "".
type check func(text string) (wrong, hint string)

// text reads a text; absent or wrong gives the default.
func (o *object) text(key, def string, ok check) string {
	n, path := o.at(key)
	if n == nil {
		return def
	}
	s, good := o.r.text(n, path, ok)
	if !good {
		return def
	}
	return s
}

func (r *reader) text(n *yaml.Node, path string, ok check) (string, bool) {
	if !r.is(n, path, yaml.ScalarNode) {
		return "", false
	}
	if k := scalarKind(n); k != kindText {
		r.failf(n, "config_type", quoteHint(n, k), "%s must be text, not %s", path, k)
		return "", false
	}
	if wrong, hint := ok(n.Value); wrong != "" {
		r.failf(n, "config_value", hint, "%s %s", path, wrong)
		return "", false
	}
	return n.Value, true
}

func quoteHint(n *yaml.Node, k kind) string {
	if k == kindNull {
		return "give it a value, or leave the key out"
	}
	return fmt.Sprintf("write it in quotes: %q", short(n.Value))
}

// bool reads true or false; set says whether it was given.
func (o *object) bool(key string) (value, set bool) {
	n, path := o.at(key)
	if n == nil || !o.r.is(n, path, yaml.ScalarNode) {
		return false, false
	}
	if k := scalarKind(n); k != kindBool {
		o.r.failf(n, "config_type", "write true or false", "%s must be true or false, not %s", path, k)
		return false, false
	}
	return n.Value[0] == 't' || n.Value[0] == 'T', true
}

// int reads a whole number between two bounds.
func (o *object) int(key string, def, low, high int64) int64 {
	n, path := o.at(key)
	if n == nil || !o.r.is(n, path, yaml.ScalarNode) {
		return def
	}
	if k := scalarKind(n); k != kindInt {
		o.r.failf(n, "config_type", fmt.Sprintf("write a number from %d to %d, without quotes", low, high), "%s must be a whole number, not %s", path, k)
		return def
	}
	v, err := parseInt(n.Value)
	if err != nil || v < low || v > high {
		o.r.failf(n, "config_value", fmt.Sprintf("write a number from %d to %d", low, high), "%s is out of bounds: %s", path, clip(n.Value))
		return def
	}
	return v
}

// texts reads a list of texts without repetitions.
func (o *object) texts(key string, least int, unique bool, ok check) []string {
	n, path := o.at(key)
	out := []string{}
	if n == nil || !o.r.list(n, path, least, limits.ConfigList) {
		return out
	}
	for i, e := range n.Content {
		p := fmt.Sprintf("%s[%d]", path, i)
		s, good := o.r.text(e, p, ok)
		if !good {
			continue
		}
		if unique && slices.Contains(out, s) {
			o.r.failf(e, "config_value", "remove one of them", "%s repeats %q", p, short(s))
			continue
		}
		out = append(out, s)
	}
	return out
}

func (r *reader) list(n *yaml.Node, path string, least, most int) bool {
	if !r.is(n, path, yaml.SequenceNode) {
		return false
	}
	if len(n.Content) < least {
		r.failf(n, "config_value", "add an element", "%s is empty", path)
		return false
	}
	if len(n.Content) > most {
		r.failf(n, "config_value", fmt.Sprintf("at most %d", most), "%s has %d elements", path, len(n.Content))
		return false
	}
	return true
}

// entries calls f for each entry of a map with free keys, in the file's order.
func (o *object) entries(key string, ok check, f func(name, path string, value *yaml.Node)) {
	n, path := o.at(key)
	if n == nil || !o.r.is(n, path, yaml.MappingNode) {
		return
	}
	if len(n.Content)/2 > limits.ConfigList {
		o.r.failf(n, "config_value", fmt.Sprintf("at most %d", limits.ConfigList), "%s has %d entries", path, len(n.Content)/2)
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if !plainKey(k) {
			continue // reported by structure
		}
		if wrong, hint := ok(k.Value); wrong != "" {
			o.r.failf(k, "config_value", hint, "%s: the name %s", path, wrong)
			continue
		}
		f(k.Value, join(path, k.Value), n.Content[i+1])
	}
}

// free reads a map that only the engine knows.
func (o *object) free(key string) map[string]any {
	n, path := o.at(key)
	if n == nil || !o.r.is(n, path, yaml.MappingNode) {
		return map[string]any{}
	}
	m, _ := o.r.value(n, path).(map[string]any)
	return m
}

// is checks the kind of a node. An alias was reported by structure.
func (r *reader) is(n *yaml.Node, path string, want yaml.Kind) bool {
	if n.Kind == want {
		return true
	}
	if n.Kind != yaml.AliasNode {
		if path == "" {
			path = "the configuration"
		}
		r.failf(n, "config_type", "see: cabincrew schema config", "%s must be %s, not %s", path, kindName(want), nodeName(n))
	}
	return false
}

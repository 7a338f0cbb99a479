package terraform

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/cabincrew/action/protocol"
)

// checkFormat refuses plans whose meaning may be another one.
func checkFormat(root map[string]any) error {
	version := text(root["format_version"])
	if major, _, _ := strings.Cut(version, "."); major != "1" {
		return badPlan("its format_version is %.20q, and only 1.x is known", version)
	}
	if root["errored"] == true {
		return badPlan("it says that planning failed")
	}
	return nil
}

// configuration cleans the values of variables, and what the configuration has
// of constants.
func (d *document) configuration(secrets []string) {
	config := d.object(d.root, "configuration")
	top := d.object(config, "root_module")
	declared := d.members(top, "variables")
	for name, v := range d.members(d.root, "variables") {
		mask := hiddenVariable(declared[name]) || slices.Contains(secrets, name)
		d.hide.value(v, "value", mask)
	}
	for _, name := range secrets {
		if v := declared[name]; v != nil {
			d.hide.value(v, "default", true)
		}
	}
	d.configModule(top)
	d.constants(config)
}

// hiddenVariable says whether a variable's value is not to be shown.
func hiddenVariable(v map[string]any) bool { return v["sensitive"] == true || v["ephemeral"] == true }

// configModule covers the defaults of sensitive variables, and what calls give them.
func (d *document) configModule(m map[string]any) {
	if m == nil {
		return
	}
	for _, v := range d.members(m, "variables") {
		if hiddenVariable(v) {
			d.hide.value(v, "default", true)
		}
	}
	for _, call := range d.members(m, "module_calls") {
		child := d.object(call, "module")
		expressions := d.object(call, "expressions")
		for name, v := range d.members(child, "variables") {
			if e, ok := expressions[name].(map[string]any); ok && hiddenVariable(v) {
				d.hide.value(e, "constant_value", true)
			}
		}
		d.configModule(child)
	}
}

// constants makes slots of all constants and defaults of the configuration.
func (d *document) constants(v any) {
	switch x := v.(type) {
	case []any:
		for i := range x {
			d.constants(x[i])
		}
	case map[string]any:
		for k := range x {
			if k == "constant_value" || k == "default" {
				d.hide.value(x, k, nil)
			} else {
				d.constants(x[k])
			}
		}
	}
}

func text(v any) string {
	s, _ := v.(string) // what is no text counts as none
	return s
}

func canonicalKey(m map[string]any) string {
	b, err := json.Marshal(m)
	if err != nil {
		return "" // what came from JSON always marshals
	}
	return string(b)
}

// sortObjects orders a list of objects, of which m[name] was seen to be one.
func sortObjects(m map[string]any, name string, key func(map[string]any) string) {
	list, ok := m[name].([]any)
	if !ok {
		return
	}
	type keyed struct {
		key string
		v   any
	}
	all := make([]keyed, 0, len(list))
	for _, v := range list {
		o, _ := v.(map[string]any) // anything else sorts first
		all = append(all, keyed{key(o), v})
	}
	slices.SortStableFunc(all, func(a, b keyed) int { return strings.Compare(a.key, b.key) })
	for i := range all {
		list[i] = all[i].v
	}
}

// textNumbers writes numbers that the canonical form does not have as text.
// SPEC: docs/protocol.md 3.
func textNumbers(v any) any {
	switch x := v.(type) {
	case json.Number:
		if _, err := protocol.Canonical(x); err != nil {
			return x.String()
		}
	case []any:
		for i := range x {
			x[i] = textNumbers(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = textNumbers(x[k])
		}
	}
	return v
}

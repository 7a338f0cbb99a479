package terraform

import (
	"maps"
	"slices"

	"github.com/cabincrew/action/protocol"
)

// The members of a plan's JSON that are known, and so can be cleaned. What is not
// here is left out, since nothing says where its sensitive values are.
var (
	planMembers = set("format_version", "terraform_version", "variables", "planned_values", "resource_drift", "resource_changes",
		"deferred_changes", "output_changes", "prior_state", "configuration", "relevant_attributes", "checks", "applyable", "complete",
		"errored")
	deferredMembers = set("reason", "resource_change")
	resourceMembers = set("address", "previous_address", "module_address", "mode", "type", "name", "index", "provider_name", "deposed",
		"change", "action_reason")
	changeMembers = set("actions", "before", "after", "after_unknown", "before_sensitive", "after_sensitive", "replace_paths", "importing",
		"generated_config", "before_identity", "after_identity")
	valuesMembers = set("address", "mode", "type", "name", "index", "provider_name", "schema_version", "values", "sensitive_values",
		"deposed_key", "depends_on", "tainted", "identity", "identity_schema_version")
	outputMembers = set("sensitive", "type", "value", "deprecated")
	moduleMembers = set("address", "resources", "child_modules")
)

func set(names ...string) map[string]bool {
	out := make(map[string]bool, len(names))
	for _, n := range names {
		out[n] = true
	}
	return out
}

// deepest leaves room for what is put around a plan: the artifact, and the
// document that policies read.
const deepest = protocol.MaxDepth - 8

func deeper(v any, most int) bool {
	switch x := v.(type) {
	case map[string]any:
		for k := range x {
			if most == 0 || deeper(x[k], most-1) {
				return true
			}
		}
	case []any:
		return len(x) > 0 && most == 0 || slices.ContainsFunc(x, func(v any) bool { return deeper(v, most-1) })
	}
	return false
}

// document is a plan's JSON while it is made fit for evidence.
type document struct {
	root    map[string]any
	hide    *hider
	left    map[string]bool // members that were left out, by the path of their kind
	problem error           // the first one
}

// cleanPlan makes evidence of what "show -json" printed: without sensitive
// values, without its time, and in an order that does not change. secrets names
// the root module's variables whose values are secrets of the step.
func cleanPlan(show []byte, secrets []string) (root map[string]any, left []string, err error) {
	tree, err := protocol.DecodeAny(show)
	if err != nil {
		return nil, nil, badPlan("it cannot be read: %w", err)
	}
	root, ok := tree.(map[string]any)
	if !ok {
		return nil, nil, badPlan("it is not an object")
	}
	if deeper(root, deepest) {
		return nil, nil, badPlan("it is nested deeper than %d", deepest)
	}
	if err := checkFormat(root); err != nil {
		return nil, nil, err
	}
	d := &document{root: root, hide: newHider(), left: map[string]bool{}}
	delete(root, "timestamp")
	d.keep("", root, planMembers)
	d.configuration(secrets)
	d.states()
	d.changes()
	d.checks()
	if d.problem != nil {
		return nil, nil, d.problem
	}
	if err := d.hide.finish(); err != nil {
		return nil, nil, err
	}
	plain, _ := textNumbers(root).(map[string]any) // a map stays a map
	return plain, slices.Sorted(maps.Keys(d.left)), nil
}

// keep removes the members that are not known.
func (d *document) keep(kind string, m map[string]any, known map[string]bool) {
	for name := range m {
		if !known[name] {
			delete(m, name)
			if kind != "" {
				name = kind + "." + name
			}
			d.left[name] = true
		}
	}
}

func (d *document) failf(format string, args ...any) {
	if d.problem == nil {
		d.problem = badPlan(format, args...)
	}
}

// object gives a member that must be an object if it is there.
func (d *document) object(m map[string]any, name string) map[string]any {
	v, ok := m[name]
	if !ok || v == nil {
		return nil
	}
	o, ok := v.(map[string]any)
	if !ok {
		d.failf("%s is not an object", name)
	}
	return o
}

// objects gives the elements of a member that must be a list of objects.
func (d *document) objects(m map[string]any, name string) []map[string]any {
	v, ok := m[name]
	if !ok || v == nil {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		d.failf("%s is not a list", name)
	}
	out := make([]map[string]any, 0, len(list))
	for _, v := range list {
		o, ok := v.(map[string]any)
		if !ok {
			d.failf("%s has an element that is not an object", name)
			return nil
		}
		out = append(out, o)
	}
	return out
}

// members gives the members of an object, each of which must be an object.
func (d *document) members(m map[string]any, name string) map[string]map[string]any {
	out := map[string]map[string]any{}
	for k, v := range d.object(m, name) {
		o, ok := v.(map[string]any)
		if !ok {
			d.failf("%s has a member that is not an object", name)
			return nil
		}
		out[k] = o
	}
	return out
}

// states cleans what the state is and what it shall become.
func (d *document) states() {
	d.state(d.object(d.root, "planned_values"))
	if prior := d.object(d.root, "prior_state"); prior != nil {
		d.keep("prior_state", prior, set("format_version", "terraform_version", "values", "checks"))
		d.stateChecks(prior)
		d.state(d.object(prior, "values"))
	}
}

func (d *document) state(values map[string]any) {
	if values == nil {
		return
	}
	d.keep("values", values, set("outputs", "root_module"))
	for _, o := range d.members(values, "outputs") {
		d.keep("output", o, outputMembers)
		d.hide.value(o, "value", o["sensitive"])
	}
	d.module(d.object(values, "root_module"))
}

// module cleans the resources of a module and of those below it. The depth of
// the document bounds the recursion.
func (d *document) module(m map[string]any) {
	if m == nil {
		return
	}
	d.keep("module", m, moduleMembers)
	for _, r := range d.objects(m, "resources") {
		d.keep("resource", r, valuesMembers)
		d.hide.value(r, "values", withOutput(r["type"], maskOf(r, "sensitive_values")))
		d.hide.value(r, "identity", nil)
	}
	for _, child := range d.objects(m, "child_modules") {
		d.module(child)
	}
}

// maskOf gives a mask; where terraform gave none, everything is covered.
func maskOf(m map[string]any, name string) any {
	if mask, ok := m[name]; ok && mask != nil {
		return mask
	}
	return true
}

// withOutput covers the output of a terraform_data resource like its input, of
// which it is a copy that terraform does not mark in a state.
func withOutput(kind, mask any) any {
	m, ok := mask.(map[string]any)
	if kind != "terraform_data" || !ok || !covers(m["input"]) {
		return mask
	}
	m = maps.Clone(m)
	m["output"] = true
	return m
}

// changes cleans what happens to resources and outputs.
func (d *document) changes() {
	for _, name := range []string{"resource_drift", "resource_changes"} {
		for _, r := range d.objects(d.root, name) {
			d.resourceChange(r)
		}
		d.sort(name, func(m map[string]any) string { return text(m["address"]) + "\x00" + text(m["deposed"]) })
	}
	for _, c := range d.objects(d.root, "deferred_changes") {
		d.keep("deferred_change", c, deferredMembers)
		if r := d.object(c, "resource_change"); r != nil {
			d.resourceChange(r)
		}
	}
	d.sort("deferred_changes", func(m map[string]any) string {
		r, _ := m["resource_change"].(map[string]any) // one that is missing sorts first
		return text(r["address"])
	})
	for _, c := range d.members(d.root, "output_changes") {
		d.change(nil, c)
	}
	d.sort("relevant_attributes", canonicalKey)
}

func (d *document) resourceChange(r map[string]any) {
	d.keep("resource_change", r, resourceMembers)
	c := d.object(r, "change")
	if c == nil {
		d.failf("a resource has no change")
		return
	}
	d.change(r["type"], c)
}

func (d *document) change(kind any, c map[string]any) {
	d.keep("change", c, changeMembers)
	d.hide.value(c, "before", withOutput(kind, maskOf(c, "before_sensitive")))
	d.hide.value(c, "after", withOutput(kind, maskOf(c, "after_sensitive")))
	for _, name := range []string{"generated_config", "importing", "before_identity", "after_identity"} {
		d.hide.value(c, name, nil)
	}
}

func (d *document) checks() {
	d.stateChecks(d.root)
}

// stateChecks treats the messages of failed checks as values.
func (d *document) stateChecks(m map[string]any) {
	for _, c := range d.objects(m, "checks") {
		for _, i := range d.objects(c, "instances") {
			for _, p := range d.objects(i, "problems") {
				d.hide.value(p, "message", nil)
			}
		}
	}
	sortObjects(m, "checks", func(m map[string]any) string {
		a, _ := m["address"].(map[string]any) // one that is missing sorts first
		return text(a["to_display"])
	})
}

func (d *document) sort(name string, key func(map[string]any) string) { sortObjects(d.root, name, key) }

func badPlan(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitFailure, "terraform_plan_format", "the plan's JSON: "+format, args...).
		WithHint("this engine reads plans of format version 1, as Terraform from 1.1 on and OpenTofu print them")
}

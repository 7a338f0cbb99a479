package config

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/cabincrew/action/protocol"
)

// check looks at what no single key can say.
func (r *reader) check(c *Config) {
	r.checkSteps(c)
	r.checkPolicies(c)
	r.checkApprovers(c)
}

func (r *reader) checkSteps(c *Config) {
	first := map[string]int{}
	ids := make([]string, 0, len(c.Steps))
	for i, s := range c.Steps {
		if s.ID == "" {
			continue // reported
		}
		if f, twice := first[s.ID]; twice {
			r.failf(r.places[fmt.Sprintf("steps[%d].id", i)], "config_step_id", "choose another id",
				"steps[%d] already has the id %q", f, s.ID)
			continue
		}
		first[s.ID] = i
		ids = append(ids, s.ID)
	}
	for i, s := range c.Steps {
		at := r.places[fmt.Sprintf("steps[%d].needs", i)]
		for _, need := range s.Needs {
			if _, ok := first[need]; ok {
				continue
			}
			hint := "the steps are: " + list(ids)
			if w := closest(need, ids); w != "" {
				hint = fmt.Sprintf("did you mean %q?", w)
			}
			r.failf(element(at, need), "config_needs", hint, "step %q needs %q, which does not exist", s.ID, need)
		}
	}
	if _, cycle := planOrder(c.Steps); cycle != nil {
		i := first[cycle[0]]
		r.failf(r.places[fmt.Sprintf("steps[%d].needs", i)], "config_cycle", "remove one of these needs",
			"steps need each other in a circle: %s", strings.Join(append(cycle, cycle[0]), " -> "))
	}
}

// element gives the element of a list that has a text.
func element(n *yaml.Node, text string) *yaml.Node {
	for _, e := range n.Content {
		if e.Value == text {
			return e
		}
	}
	return n
}

// PlanOrder gives the ids of the steps such that each comes after those that it
// needs; among those that could come next, the first in the file does.
// SPEC: docs/protocol.md 3
func (c *Config) PlanOrder() []string {
	order, _ := planOrder(c.Steps) // a Config has no cycle
	return order
}

// Only leaves out every step but one and those that it needs, directly or not.
func (c *Config) Only(id string) error {
	if _, ok := c.Step(id); !ok {
		_, hint := oneOf(c.PlanOrder()...)(id)
		return protocol.Errorf(protocol.ExitUsage, "step_unknown", "the workflow has no step %q", short(id)).At(c.Name).WithHint("%s", hint)
	}
	wanted := map[string]bool{id: true}
	order := c.PlanOrder()
	for _, name := range slices.Backward(order) {
		if step, _ := c.Step(name); wanted[name] {
			for _, n := range step.Needs {
				wanted[n] = true
			}
		}
	}
	c.Steps = slices.DeleteFunc(slices.Clone(c.Steps), func(s Step) bool { return !wanted[s.ID] })
	return nil
}

// planOrder gives the order, or the steps of one cycle. Needs that do not exist
// and repeated ids are left to others to report.
func planOrder(steps []Step) (order, cycle []string) {
	byID := make(map[string]*Step, len(steps))
	for i := range steps {
		if s := &steps[i]; s.ID != "" && byID[s.ID] == nil {
			byID[s.ID] = s
		}
	}
	done := make(map[string]bool, len(steps))
	waits := func(s *Step) string {
		for _, n := range s.Needs {
			if byID[n] != nil && !done[n] {
				return n
			}
		}
		return ""
	}
	for len(order) < len(byID) {
		i := slices.IndexFunc(steps, func(s Step) bool {
			return byID[s.ID] != nil && !done[s.ID] && waits(byID[s.ID]) == ""
		})
		if i < 0 {
			return order, findCycle(steps, byID, done, waits)
		}
		done[steps[i].ID] = true
		order = append(order, steps[i].ID)
	}
	return order, nil
}

// findCycle follows what each step waits for until it meets itself. It begins
// with the step that is first in the file, so that messages are stable.
func findCycle(steps []Step, byID map[string]*Step, done map[string]bool, waits func(*Step) string) []string {
	var at string
	for _, s := range steps {
		if byID[s.ID] != nil && !done[s.ID] {
			at = s.ID
			break
		}
	}
	var way []string
	for !slices.Contains(way, at) {
		way = append(way, at)
		at = waits(byID[at])
	}
	way = way[slices.Index(way, at):]
	least := 0
	for i, id := range way {
		if slices.IndexFunc(steps, func(s Step) bool { return s.ID == id }) <
			slices.IndexFunc(steps, func(s Step) bool { return s.ID == way[least] }) {
			least = i
		}
	}
	return append(slices.Clone(way[least:]), way[:least]...)
}

func (r *reader) checkPolicies(c *Config) {
	custom := c.Policies.Aggregation == protocol.CustomRule
	rule, at := r.places["policies.custom_rule"], r.places["policies.aggregation"]
	switch {
	case custom && rule == nil:
		r.failf(at, "config_missing", "add custom_rule: data.PACKAGE.RULE", "policies.custom_rule is missing")
	case !custom && rule != nil:
		r.failf(rule, "config_value", "set aggregation: custom, or remove it", "policies.custom_rule has no effect")
	}
	// SPEC: docs/protocol.md 3: a set is known by its path with / as _.
	sets := map[string]string{}
	for _, dir := range c.Policies.Rego {
		set := strings.ReplaceAll(dir, "/", "_")
		if other, twice := sets[set]; twice {
			r.failf(r.places["policies.rego"], "config_value", "rename or remove one of them",
				"policies.rego: %q and %q are the same set", clip(other), clip(dir))
		}
		sets[set] = dir
	}
}

// checkApprovers makes sure that two approvers are two people with two keys.
func (r *reader) checkApprovers(c *Config) {
	seen := map[string]int{}
	for i, a := range c.Approvals.Approvers {
		p := fmt.Sprintf("approvals.approvers[%d]", i)
		for _, f := range []struct{ key, value string }{
			{"name", strings.ToLower(a.Name)}, {"email", strings.ToLower(a.Email)}, {"key", a.Key},
		} {
			if f.value == "" {
				continue
			}
			if other, twice := seen[f.key+"\n"+f.value]; twice {
				r.failf(r.places[p+"."+f.key], "config_approver", "list each approver once, with all roles",
					"%s.%s is the %s of approvers[%d] too", p, f.key, f.key, other)
			}
			seen[f.key+"\n"+f.value] = i
		}
		if !a.NotAfter.IsZero() && !a.NotAfter.After(a.NotBefore) {
			r.failf(r.places[p+".not_after"], "config_value", "write a later time", "%s.not_after is not after not_before", p)
		}
	}
}

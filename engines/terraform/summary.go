package terraform

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// kinds are the things that can happen to a resource, in the order in which a
// title names them.
func kinds() []string {
	return []string{"create", "update", "replace", "delete", "forget", "import", "move", "read", "no-op", "defer", "other"}
}

// summarise makes the readable summary of a cleaned plan.
func summarise(plan map[string]any, left []string) map[string]any {
	counts := map[string]int{}
	for _, k := range kinds() {
		counts[k] = 0
	}
	resources := []any{}
	for _, r := range objectsOf(plan["resource_changes"]) {
		if item := resource(r, counts); item != nil {
			resources = append(resources, item)
		}
	}
	deferred := []any{}
	for _, c := range objectsOf(plan["deferred_changes"]) {
		r, _ := c["resource_change"].(map[string]any) // without one there is nothing to name
		item := entry(r)
		item["reason"] = text(c["reason"])
		counts["defer"]++
		deferred = append(deferred, item)
	}
	drift := []any{}
	for _, r := range objectsOf(plan["resource_drift"]) {
		drift = append(drift, entry(r))
	}
	runs := programs(plan)
	body := map[string]any{
		"title": title(counts) + programsTitle(runs), "programs": runs, "counts": counts, "resources": resources, "outputs": outputs(plan["output_changes"]),
		"drift": drift, "deferred": deferred, "checks": failing(plan["checks"]), "terraform_version": text(plan["terraform_version"]),
	}
	if len(left) > 0 {
		body["left_out"] = left
	}
	if plan["complete"] == false {
		body["incomplete"] = true
	}
	return body
}

// resource counts one change and describes it, unless nothing happens.
func resource(r map[string]any, counts map[string]int) map[string]any {
	item := entry(r)
	action := text(item["action"])
	if _, known := counts[action]; known {
		counts[action]++
	} else {
		counts["other"]++
	}
	if previous := text(r["previous_address"]); previous != "" && previous != text(r["address"]) {
		counts["move"]++
		item["previous_address"] = previous
	}
	c, _ := r["change"].(map[string]any) // cleaning made sure of it
	if c["importing"] != nil {
		counts["import"]++
		item["import"] = true
	}
	if action == "no-op" && item["previous_address"] == nil && item["import"] == nil {
		return nil
	}
	return item
}

// entry names a resource and what happens to it.
func entry(r map[string]any) map[string]any {
	c, _ := r["change"].(map[string]any) // nil gives an unknown action
	item := map[string]any{"address": text(r["address"]), "type": text(r["type"]), "action": actionOf(c["actions"])}
	if mode := text(r["mode"]); mode != "" && mode != "managed" {
		item["mode"] = mode
	}
	if reason := text(r["action_reason"]); reason != "" {
		item["reason"] = reason
	}
	if key := text(r["deposed"]); key != "" {
		item["deposed"] = key
	}
	return item
}

// actionOf gives one word for a list of actions. One that is not known is spelled out.
func actionOf(actions any) string {
	list, _ := actions.([]any) // anything else has no words
	words := make([]string, 0, len(list))
	for _, a := range list {
		words = append(words, text(a))
	}
	switch all := strings.Join(words, "+"); all {
	case "delete+create", "create+delete":
		return "replace"
	case "":
		return "unknown"
	default:
		return all
	}
}

func outputs(changes any) []any {
	out := []any{}
	m, _ := changes.(map[string]any) // none is an empty list
	for _, name := range slices.Sorted(maps.Keys(m)) {
		c, _ := m[name].(map[string]any) // cleaning made sure of it
		action := actionOf(c["actions"])
		if action == "no-op" {
			continue
		}
		item := map[string]any{"name": name, "action": action}
		if covers(c["before_sensitive"]) || covers(c["after_sensitive"]) {
			item["sensitive"] = true
		}
		out = append(out, item)
	}
	return out
}

// failing lists the checks that did not pass.
func failing(checks any) []any {
	out := []any{}
	for _, c := range objectsOf(checks) {
		if status := text(c["status"]); status != "pass" {
			a, _ := c["address"].(map[string]any) // one that is missing has no name
			out = append(out, map[string]any{"address": text(a["to_display"]), "status": status})
		}
	}
	return out
}

func title(counts map[string]int) string {
	var parts []string
	for _, k := range kinds() {
		if counts[k] > 0 && k != "no-op" {
			parts = append(parts, fmt.Sprintf("%d to %s", counts[k], k))
		}
	}
	if len(parts) == 0 {
		return "No changes"
	}
	return strings.Join(parts, ", ")
}

func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func objectsOf(v any) []map[string]any {
	list, _ := v.([]any) // cleaning made sure of the type
	out := make([]map[string]any, 0, len(list))
	for _, e := range list {
		if o, ok := e.(map[string]any); ok {
			out = append(out, o)
		}
	}
	return out
}

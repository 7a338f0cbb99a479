package terraform

import (
	"maps"
	"slices"
	"strings"
)

// Where terraform starts programs that no resource's change shows.
const (
	runsAtTakeOff = "take-off"
	runsAtBoth    = "flight-plan and take-off"
)

// programs lists, from the configuration of a cleaned plan, what runs programs:
// provisioners (local-exec runs one here, remote-exec and file act on another
// machine) and data sources of type external. planned says whether something of
// the plan makes it run; terraform does not tell which provisioners wait for a
// resource's end, so both count.
func programs(plan map[string]any) []any {
	touched := map[string]bool{}
	for _, r := range objectsOf(plan["resource_changes"]) {
		if c, _ := r["change"].(map[string]any); starts(actionOf(c["actions"])) {
			touched[declaredAt(r)] = true
		}
	}
	for _, c := range objectsOf(plan["deferred_changes"]) {
		r, _ := c["resource_change"].(map[string]any) // without one it is nothing's
		touched[declaredAt(r)] = true
	}
	config, _ := plan["configuration"].(map[string]any)
	top, _ := config["root_module"].(map[string]any) // cleaning made sure of both
	var list []map[string]any
	programsOf(top, "", touched, &list)
	slices.SortStableFunc(list, func(a, b map[string]any) int {
		return strings.Compare(text(a["address"])+"\x00"+text(a["type"]), text(b["address"])+"\x00"+text(b["type"]))
	})
	out := make([]any, len(list))
	for i := range list {
		out[i] = list[i]
	}
	return out
}

// programsOf adds what one module and those that it calls run. The depth of the
// document bounds the recursion.
func programsOf(module map[string]any, at string, touched map[string]bool, out *[]map[string]any) {
	for _, r := range objectsOf(module["resources"]) {
		address := at + text(r["address"])
		for _, p := range objectsOf(r["provisioners"]) {
			*out = append(*out, map[string]any{"kind": "provisioner", "type": text(p["type"]), "address": address, "runs": runsAtTakeOff, "planned": touched[address]})
		}
		if text(r["mode"]) == "data" && text(r["type"]) == "external" {
			*out = append(*out, map[string]any{"kind": "data source", "type": "external", "address": address, "runs": runsAtBoth, "planned": true})
		}
	}
	calls, _ := module["module_calls"].(map[string]any) // cleaning made sure of it
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		call, _ := calls[name].(map[string]any)
		child, _ := call["module"].(map[string]any)
		programsOf(child, at+"module."+name+".", touched, out)
	}
}

// starts says whether provisioners can run with an action.
func starts(action string) bool {
	switch action {
	case "no-op", "read", "update", "forget":
		return false
	}
	return true
}

// declaredAt gives the address of a change's resource in the configuration, where
// no instance is named.
func declaredAt(r map[string]any) string {
	at := text(r["type"]) + "." + text(r["name"])
	if text(r["mode"]) == "data" {
		at = "data." + at
	}
	if module := uninstanced(text(r["module_address"])); module != "" {
		at = module + "." + at
	}
	return at
}

// uninstanced takes the keys of instances, numbers or quoted text, out of an address.
func uninstanced(address string) string {
	var b strings.Builder
	inKey, quoted := false, false
	for i := 0; i < len(address); i++ {
		c := address[i]
		switch {
		case quoted && c == '\\':
			i++ // what follows is text, also a quote
		case inKey && c == '"':
			quoted = !quoted
		case quoted:
		case c == '[':
			inKey = true
		case c == ']':
			inKey = false
		case !inKey:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// programsTitle is what a title says of programs that run.
func programsTitle(list []any) string {
	provisioners, sources := 0, 0
	for _, p := range objectsOf(list) {
		switch {
		case p["kind"] == "data source":
			sources++
		case p["planned"] == true:
			provisioners++
		}
	}
	out := ""
	if provisioners > 0 {
		out += "; runs programs at take-off: " + counted(provisioners, "provisioner")
	}
	if sources > 0 {
		out += "; runs programs to plan: " + counted(sources, "external data source")
	}
	return out
}

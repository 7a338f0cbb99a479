package cabincrew.infrastructure

import data.cabincrew_infrastructure as config

# METADATA
# title: Stateful resource destroyed
# description: A resource that holds data is destroyed or replaced - databases, buckets, disks, queues, keys, clusters, zones (types in stateful), or a Kubernetes object of a kind in stateful_kinds (StatefulSet, PersistentVolumeClaim, Namespace ...) is deleted.
# custom:
#   id: stateful-destroy
#   remedy: Back it up and say so, import or move it instead of replacing it, or leave it in place.
require_approval contains f if some f in asked(
	"stateful-destroy", lost_data | lost_objects,
	"destroys what holds data",
	"Change it in place, or make sure that its data is saved",
)

lost_data contains [c.artifact, c.r.address, cause(c.r)] if {
	some c in ended
	c.r.type in config.stateful
}

cause(r) := r.action if count(as_list(r.replace_paths)) == 0

cause(r) := sprintf("%s, since %s changes", [r.action, concat(", ", {sprintf("%v", [p]) | some list in r.replace_paths; p := as_list(list)[0]})]) if {
	count(as_list(r.replace_paths)) > 0
}

lost_objects contains [k.artifact, k.at, "deleted"] if {
	some k in objects
	k.gone
	k.o.kind in config.stateful_kinds
}

# METADATA
# title: Stateful resource forgotten
# description: A resource that holds data leaves the state without being destroyed, so nobody manages it any more.
# custom:
#   id: stateful-forgotten
#   remedy: Say who takes it over, and import it there.
warn contains f if some f in told(
	"stateful-forgotten", {[c.artifact, c.r.address, ""] |
		some c in changing
		c.r.action == "forget"
		c.r.type in config.stateful
	},
	"forgets resources that hold data",
	"Import them where they are to be managed",
)

# METADATA
# title: Blast radius
# description: More than max_changes resources (50) change, or more than max_destroys (5) are destroyed, or more than max_replaces (5) replaced, over all plans of the step.
# custom:
#   id: blast-radius
#   remedy: Plan smaller steps (by target or module), or a maintainer must look at the whole plan.
require_approval contains {
	"id": "blast-radius",
	"role": config.role,
	"msg": sprintf("the step would %s %d resources; the limit is %d. Plan smaller steps, or look at the whole plan and approve as %s.", [verb, n, limit, config.role]),
} if {
	some [verb, n, limit] in [
		["change", count(changing), config.max_changes],
		["destroy", count([1 | some c in changing; c.r.action in {"destroy", "delete"}]), config.max_destroys],
		["replace", count([1 | some c in changing; c.r.action == "replace"]), config.max_replaces],
	]
	n > limit
}

# METADATA
# title: Deletion protection removed
# description: What protects data from deletion is turned off (deletion_protection, purge protection, versioning ...) or deletion of what is not empty is allowed (force_destroy, skip_final_snapshot).
# custom:
#   id: deletion-protection-off
#   remedy: Keep the protection until the resource is really to go, in a change of its own.
require_approval contains f if some f in asked(
	"deletion-protection-off", settings("deletion-protection-off"),
	"removes protection from deletion",
	"Keep it until the resource is really to go",
)

# METADATA
# title: Encryption disabled
# description: A resource is made without encryption, or its encryption at rest or in transit is turned off.
# custom:
#   id: encryption-off
#   remedy: Turn encryption on; the default key of the provider is enough to begin with.
require_approval contains f if some f in asked(
	"encryption-off", settings("encryption-off") | {[c.artifact, c.r.address, "destroyed"] |
		some c in ended
		c.r.action != "replace"
		c.r.type in config.encryption_types
	},
	"stores or sends data without encryption",
	"Turn encryption on",
)

# METADATA
# title: Logging disabled
# description: Audit trails, flow logs, access logs or diagnostic settings are destroyed or turned off.
# custom:
#   id: logging-off
#   remedy: Keep the log, or say where the same is logged from now on.
require_approval contains f if some f in asked(
	"logging-off", settings("logging-off") | {[c.artifact, c.r.address, "destroyed"] |
		some c in ended
		c.r.action != "replace"
		c.r.type in config.log_types
	},
	"turns logs off",
	"Keep them, or say where the same is logged from now on",
)

# [artifact, address, attribute and value] of settings that become what they
# should not be; of some it counts only that they were something else before
settings(rule) := {[artifact, address, what] | some [id, artifact, address, what] in bad_settings; id == rule}

bad_settings contains [row.rule, c.artifact, c.r.address, sprintf("%s = %v", [name, value])] if {
	some c in written
	some name in object.keys(c.after) & watched
	value := c.after[name]
	some row in config.settings[name]
	value in row.bad
	worse(row.created, c.before, [name], value)
}

bad_settings contains [row.rule, c.artifact, c.r.address, sprintf("%s = %v", [concat(".", [p | some p in row.path; is_string(p)]), value])] if {
	some c in written
	some row in config.nested
	c.after[row.path[0]]
	value := object.get(c.after, row.path, null)
	value in row.bad
	worse(row.created, c.before, row.path, value)
}

watched := object.keys(config.settings)

worse(true, before, path, value) if object.get(before, path, null) != value

worse(false, before, path, value) if not object.get(before, path, value) in {value, null}

# METADATA
# title: Sensitive value not known
# description: An attribute that decides about access or data is known only after take-off (policy, cidr_blocks, ingress, principals, acl, publicly_accessible, deletion_protection ...), so no rule could judge it.
# custom:
#   id: unknown-sensitive
#   remedy: Make the value known when planning (a variable or data source instead of a computed value), or plan in two steps.
require_approval contains f if some f in asked(
	"unknown-sensitive", {[c.artifact, c.r.address, name] |
		some c in written
		some name, v in members(c.r.unknown)
		sensitive(c.r.type, name)
		unknown(v)
	},
	"sets what decides about access or data to values that nobody knows yet",
	"Make them known when planning, or plan in two steps",
)

sensitive(_, name) if name in config.sensitive

sensitive(type, name) if sprintf("%s.%s", [type, name]) in config.sensitive

unknown(v) if v == true

unknown(v) if {
	type_name(v) in {"array", "object"}
	walk(v, [_, x])
	x == true
}

# METADATA
# title: Plan that cannot be read
# description: An artifact of type terraform-plan, or that looks like a plan, has no readable list of resources, or the plan is errored, so nobody can say what it would change.
# custom:
#   id: plan-unreadable
#   remedy: Plan smaller steps, or let the engine write the plan as "terraform show -json" prints it.
deny contains f if some f in told(
	"plan-unreadable", {[a.name, object.get(a, "view_error", "no list of resources"), ""] |
		some a in input.artifacts
		seems_plan(a)
		not readable(a)
	},
	"is a plan, but what it changes cannot be read",
	"Plan smaller steps, or let the engine write the plan as \"terraform show -json\" prints it",
)

seems_plan(a) if a.artifact_type == "terraform-plan"

seems_plan(a) if a.seems == "terraform"

readable(a) if is_array(a.terraform.resources)

# METADATA
# title: Thresholds of infrastructure are missing
# description: A value in data.cabincrew_infrastructure is missing or of the wrong kind, so rules could not fire.
# custom:
#   id: infrastructure-thresholds
#   remedy: Give each value under policies.data.cabincrew_infrastructure the kind that the bundled data.json has.
deny contains {
	"id": "infrastructure-thresholds",
	"msg": sprintf("data.cabincrew_infrastructure.%s is missing or no %s; rules that need it could not fire. Mend policies.data in the configuration.", [name, kind]),
} if {
	some kind, names in {
		"array": [
			"stateful", "stateful_kinds", "deletes", "encryption_types", "log_types", "nested", "sensitive", "sensitive_ports", "admin_policies", "admin_roles",
			"privileged_actions", "capabilities", "only_deletes", "idle_conditions",
		],
		"number": ["max_changes", "max_destroys", "max_replaces", "max_public_ports", "max_public_addresses"],
		"object": ["settings"],
		"string": ["role"],
	}
	some name in names
	type_name(object.get(config, name, null)) != kind
}

# METADATA
# scope: package
# schemas:
#   - input: schema.input
package cabincrew.infrastructure

import data.cabincrew_infrastructure as config

# Resources of Terraform plans that would change, and objects of Kubernetes.

changing := [{"artifact": a.name, "r": r, "before": members(r.before), "after": members(r.after)} |
	some a in input.artifacts
	some r in a.terraform.resources
	r.mode != "data"
	not r.action in {"no-op", "read"}
]

# what is there after the change
written := [c | some c in changing; not c.r.action in {"destroy", "delete", "forget"}]

# what is there before and not after
ended := [c | some c in changing; c.r.action in {"destroy", "delete", "replace"}]

members(v) := v if is_object(v)

members(v) := {} if not is_object(v)

as_list(v) := v if is_array(v)

as_list(v) := [v] if not type_name(v) in {"array", "null"}

as_list(null) := []

# blocks of an attribute, which Terraform gives as a list of objects
blocks(v, key) := [b | some b in as_list(v[key]); is_object(b)]

# Kubernetes objects, also those of Terraform's kubernetes_manifest
objects := array.concat(
	[{"artifact": a.name, "at": place(o), "o": o, "gone": acts(a, config.deletes), "stays": not_only(a)} |
		some a in input.artifacts
		some o in a.kubernetes
		is_object(o)
	],
	[{"artifact": c.artifact, "at": c.r.address, "o": c.after.manifest, "gone": false, "stays": true} |
		some c in written
		is_object(c.after.manifest)
	],
)

# what is in the cluster afterwards; an action that replaces or prunes does both
applied := [k | some k in objects; k.stays]

default acts(_, _) := false

acts(a, names) if lower(trim_space(a.action)) in names

default not_only(_) := true

not_only(a) := false if acts(a, config.only_deletes)

place(o) := sprintf("%v %v", [object.get(o, "kind", "object"), concat("/", [p | some key in ["namespace", "name"]; p := o.metadata[key]; is_string(p)])])

# Findings of a rule, one an artifact. Hits are [artifact, address, what it is].
told(id, list, what, remedy) := {f |
	some name in {h[0] | some h in list}
	mine := sort({sprintf("%s%s", [h[1], said(h[2])]) | some h in list; h[0] == name})
	f := {"id": id, "artifact": name, "msg": sprintf("artifact %s %s: %s%s. %s.", [
		name, what, concat(", ", array.slice(mine, 0, 10)), more(count(mine) - 10), remedy,
	])}
}

asked(id, list, what, remedy) := {object.union(f, {"role": config.role}) |
	some f in told(id, list, what, sprintf("%s; else approve as %s", [remedy, config.role]))
}

more(n) := "" if n <= 0

more(n) := sprintf(" and %d more", [n]) if n > 0

said(what) := "" if what == ""

said(what) := sprintf(" (%s)", [what]) if what != ""

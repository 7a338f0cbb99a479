package cabincrew.infrastructure

import data.cabincrew_infrastructure as config

# pod specifications, wherever kinds keep them
pods contains [k.artifact, k.at, spec] if {
	some k in applied
	k.o.kind == "Pod"
	spec := k.o.spec
}

pods contains [k.artifact, k.at, spec] if {
	some k in applied
	some path in [["spec", "template", "spec"], ["template", "spec"], ["spec", "jobTemplate", "spec", "template", "spec"]]
	spec := object.get(k.o, path, null)
	is_object(spec)
}

# METADATA
# title: Pod that reaches its node
# description: A pod runs privileged or with capabilities in capabilities (SYS_ADMIN, NET_ADMIN, ALL ...), shares the node's network, processes or IPC, or mounts its directories (hostPath).
# custom:
#   id: k8s-node-access
#   remedy: Take the privilege away; where a system service needs it, keep it in a namespace of its own.
require_approval contains f if some f in asked(
	"k8s-node-access", node_access,
	"lets pods reach their nodes",
	"Take the privilege away, or keep it to system services",
)

node_access contains [a, at, key] if {
	some [a, at, spec] in pods
	some key in ["hostNetwork", "hostPID", "hostIPC"]
	spec[key] == true
}

node_access contains [a, at, sprintf("hostPath %v", [v.hostPath.path])] if {
	some [a, at, spec] in pods
	some v in as_list(spec.volumes)
	v.hostPath
}

node_access contains [a, at, sprintf("%s of container %v", [what, object.get(c, "name", "")])] if {
	some [a, at, spec] in pods
	some key in ["containers", "initContainers", "ephemeralContainers"]
	some c in as_list(spec[key])
	some what in privileges(c.securityContext)
}

privileges(s) := {"privileged" | s.privileged == true} | {sprintf("capability %s", [x]) |
	some x in as_list(s.capabilities.add)
	trim_prefix(upper(sprintf("%v", [x])), "CAP_") in config.capabilities
}

# METADATA
# title: Service for everybody
# description: A Service of type LoadBalancer without an annotation that keeps it internal, or with external addresses.
# custom:
#   id: k8s-load-balancer
#   remedy: Use ClusterIP behind an Ingress, or annotate the load balancer as internal.
require_approval contains f if some f in asked(
	"k8s-load-balancer", {[k.artifact, k.at, "LoadBalancer"] |
		some k in applied
		k.o.kind == "Service"
		k.o.spec.type == "LoadBalancer"
		not kept_inside(k.o)
	} | {[k.artifact, k.at, "externalIPs"] |
		some k in applied
		k.o.kind == "Service"
		count(as_list(k.o.spec.externalIPs)) > 0
	},
	"opens services to the outside",
	"Use ClusterIP behind an Ingress, or keep the load balancer internal",
)

kept_inside(o) if {
	some key, value in o.metadata.annotations
	regex.match(`(?i)internal|load-balancer-type|load-balancer-scheme`, key)
	regex.match(`(?i)^(true|internal)$`, sprintf("%v", [value]))
}

# METADATA
# title: Ingress without TLS
# description: An Ingress has rules, but no TLS.
# custom:
#   id: k8s-ingress-plain
#   remedy: Add spec.tls with a certificate.
warn contains f if some f in told(
	"k8s-ingress-plain", {[k.artifact, k.at, ""] |
		some k in applied
		k.o.kind == "Ingress"
		count(as_list(object.get(k.o, ["spec", "tls"], []))) == 0
	},
	"serves without TLS",
	"Add spec.tls with a certificate",
)

# METADATA
# title: Cluster rights widened
# description: A binding gives cluster-admin, or a role has verbs or resources "*", or may escalate, bind or impersonate, or read all secrets of the cluster.
# custom:
#   id: k8s-rbac-widened
#   remedy: Name the verbs and resources that are needed, in a Role of one namespace.
require_approval contains f if some f in asked(
	"k8s-rbac-widened", wide_rbac,
	"widens rights in the cluster",
	"Name the verbs and resources that are needed, in one namespace",
)

wide_rbac contains [k.artifact, k.at, k.o.roleRef.name] if {
	some k in applied
	k.o.kind in {"ClusterRoleBinding", "RoleBinding"}
	k.o.roleRef.name in {"cluster-admin", "admin", "system:masters"}
}

wide_rbac contains [k.artifact, k.at, what] if {
	some k in applied
	k.o.kind in {"ClusterRole", "Role"}
	some rule in as_list(k.o.rules)
	some what in wide_rule(k.o.kind, rule)
}

wide_rule(kind, rule) := {sprintf("verb %s", [v]) | some v in as_list(rule.verbs); v in {"*", "escalate", "bind", "impersonate"}} |
	{"resources *" | "*" in as_list(rule.resources)} |
	{"secrets" | kind == "ClusterRole"; "secrets" in as_list(rule.resources); object.get(rule, "resourceNames", []) == []}

# METADATA
# title: Cluster rights for everybody
# description: A binding names system:anonymous, system:unauthenticated or system:authenticated.
# custom:
#   id: k8s-rbac-anyone
#   remedy: Bind to named users, groups or service accounts.
deny contains f if some f in told(
	"k8s-rbac-anyone", {[k.artifact, k.at, s.name] |
		some k in applied
		k.o.kind in {"ClusterRoleBinding", "RoleBinding"}
		some s in as_list(k.o.subjects)
		s.name in {"system:anonymous", "system:unauthenticated", "system:authenticated"}
	},
	"gives everybody rights in the cluster",
	"Bind to named users, groups or service accounts",
)

# METADATA
# title: Manifest that cannot be read
# description: A body that looks like Kubernetes objects, or is said to be such, cannot be read as a cluster would read it (nested too deep, a key twice, merge keys, odd tags, too large), so no rule could judge it.
# custom:
#   id: manifest-unreadable
#   remedy: Write it as plain YAML or JSON, each key once and without merge keys, in files of less than 4 MiB.
deny contains f if some f in told(
	"manifest-unreadable", {[a.name, a.view_error, ""] | some a in unread; seems_manifest(a)},
	"looks like Kubernetes objects, but cannot be read",
	"Write it as plain YAML or JSON, each key once, in smaller files",
)

# METADATA
# title: Body that cannot be read
# description: A body that says it is YAML or JSON, or could be, was not looked into, since it is too large.
# custom:
#   id: body-unread
#   remedy: Let the engine write smaller files, or look at it.
require_approval contains f if some f in asked(
	"body-unread", {[a.name, a.view_error, ""] | some a in unread; not a.seems; not seems_manifest(a)},
	"was not looked into",
	"Let the engine write smaller files",
)

# plans are another rule's
unread := [a |
	some a in input.artifacts
	a.view_error != ""
	not seems_plan(a)
]

seems_manifest(a) if a.seems == "kubernetes"

seems_manifest(a) if {
	not a.seems
	regex.match(`(?i)yaml`, a.mime)
}

seems_manifest(a) if {
	not a.seems
	regex.match(`(?i)kubernetes|k8s|manifest|helm|kustomiz`, a.artifact_type)
}

package cabincrew.infrastructure

import data.cabincrew_infrastructure as config

# METADATA
# title: Dangerous ports open to everybody
# description: A firewall or security group begins to let the whole Internet (0.0.0.0/0, ::/0 or nearly so) in to a port in sensitive_ports (SSH, RDP, databases, orchestrators ...) or to more than max_public_ports ports (100).
# custom:
#   id: open-to-world
#   remedy: Allow known networks only, or go through a bastion, VPN or load balancer.
deny contains f if some f in told(
	"open-to-world", {[a, at, ports_of(from, to)] | some [a, at, from, to] in openings; dangerous(from, to)},
	"lets everybody in to dangerous ports",
	"Allow known networks only, or go through a bastion, VPN or load balancer",
)

# METADATA
# title: Ports open to everybody
# description: A firewall or security group begins to let the whole Internet in to other ports, such as those of a web server.
# custom:
#   id: public-ingress
#   remedy: Make sure that the service is meant for everybody.
warn contains f if some f in told(
	"public-ingress", {[a, at, ports_of(from, to)] | some [a, at, from, to] in openings; not dangerous(from, to)},
	"lets everybody in",
	"Make sure that the service is meant for everybody",
)

dangerous(from, to) if to - from >= config.max_public_ports

dangerous(from, to) if {
	some p in config.sensitive_ports
	p >= from
	p <= to
}

ports_of(from, to) := sprintf("port %v", [from]) if from == to

ports_of(from, to) := sprintf("ports %v to %v", [from, to]) if from != to

# [artifact, address, first port, last port] that the whole Internet may reach and
# could not before
openings contains [artifact, at, from, to] if {
	some [artifact, at, network, from, to] in reach
	world(network)
}

# the same with the network, in one spelling, for all that is new
reach contains [c.artifact, c.r.address, x[0], x[1], x[2]] if {
	some c in written
	not computed_sources(c)
	some x in reached(c.r.type, c.after) - reached(c.r.type, c.before)
}

reached(type, v) := {[plain(network), ends[0], ends[1]] |
	some rule in firewall_rules(type, v)
	not lower(sprintf("%v", [rule.protocol])) in {"icmp", "icmpv6", "1", "58", "esp", "ah", "egp", "igmp"}
	some network in rule.from
	some port in rule.ports
	ends := span(trim_space(sprintf("%v", [port])))
	not usual_acl(type, ends)
}

# Network access lists of AWS let everything in by default; security groups decide.
usual_acl(type, ends) if {
	contains(type, "network_acl")
	ends[1] - ends[0] >= config.max_public_ports
}

# Without sources, Google lets everybody in; but if they are known only later, that
# is another rule's.
computed_sources(c) if {
	c.r.type == "google_compute_firewall"
	count(as_list(object.get(c.after, "source_ranges", []))) == 0
	unknown(members(c.r.unknown).source_ranges)
}

# one spelling of a network: no blanks, capitals and needless zeros
plain(network) := regex.replace(lower(trim_space(sprintf("%v", [network]))), `(^|[./:])0+([0-9a-f])`, "${1}${2}")

world(network) if {
	regex.match(`/[0-7]$|/0\.0\.0\.0$|^(\*|internet|any|0\.0\.0\.0|::)$`, network)
	not private(network)
}

private(network) if regex.match(
	`^(10\.|127\.|169\.254\.|172\.(1[6-9]|2[0-9]|3[01])\.|192\.168\.|100\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\.|2(2[4-9]|[34][0-9]|5[0-5])\.|f[cdef][0-9a-f]{2}:).*/([89]|[1-9][0-9]+)$|^f[cd]0*:+/7$`,
	network,
)

# Many networks that are nearly the whole Internet together, each port by itself.
openings contains [artifact, at, p, p] if {
	some artifact in {h[0] | some h in reach}
	too_many({n | some [a, _, n, _, _] in reach; a == artifact})
	some p in config.sensitive_ports
	mine := {x | some x in reach; x[0] == artifact; x[3] <= p; x[4] >= p}
	too_many({x[2] | some x in mine})
	some [_, at, network, _, _] in mine
	size_of(network)
}

too_many(networks) if {
	sum([size_of(n) | some n in networks]) * 256 > config.max_public_addresses
	public := {n | some n in networks; size_of(n)}
	sum([size_of(n) | some n in net.cidr_merge(public)]) * 256 > config.max_public_addresses
}

# the size of a public network in networks of 256 addresses; IPv6 is reckoned as if
# all that is in use of it were as large as the Internet of IPv4
size_of(network) := powers[bits] if {
	net.cidr_is_valid(network)
	bits := {true: 27, false: 24}[contains(network, ":")] - to_number(split(network, "/")[1])
	bits >= 0
	not private(network)
}

powers := [
	1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576, 2097152, 4194304, 8388608, 16777216,
	33554432, 67108864, 134217728,
]

span(text) := [0, 65535] if not regex.match(`^\d{1,9}(-\d{1,9})?$`, text)

span(text) := [to_number(ends[0]), to_number(ends[count(ends) - 1])] if {
	regex.match(`^\d{1,9}(-\d{1,9})?$`, text)
	ends := split(regex.replace(text, `(^|-)0+(\d)`, "${1}${2}"), "-")
}

# rules that let in, of all providers in one form: from, protocol, ports
firewall_rules("aws_security_group", v) := [aws_rule(b) | some b in blocks(v, "ingress")]

firewall_rules("aws_default_security_group", v) := [aws_rule(b) | some b in blocks(v, "ingress")]

firewall_rules("aws_security_group_rule", v) := [aws_rule(v) | v.type == "ingress"]

firewall_rules("aws_vpc_security_group_ingress_rule", v) := [aws_rule(v)]

firewall_rules("aws_network_acl_rule", v) := [aws_rule(v) | object.get(v, "egress", false) != true; allows(v, "rule_action")]

firewall_rules("aws_network_acl", v) := [aws_rule(b) | some b in blocks(v, "ingress"); allows(b, "action")]

firewall_rules("aws_default_network_acl", v) := [aws_rule(b) | some b in blocks(v, "ingress"); allows(b, "action")]

firewall_rules("google_compute_firewall", v) := [{"from": google_sources(v), "protocol": object.get(b, "protocol", "all"), "ports": some_ports(object.get(b, "ports", []))} |
	upper(sprintf("%v", [object.get(v, "direction", "INGRESS")])) != "EGRESS"
	object.get(v, "disabled", false) != true
	some b in blocks(v, "allow")
]

firewall_rules("azurerm_network_security_rule", v) := [azure_rule(v) | lets_in(v)]

firewall_rules("azurerm_network_security_group", v) := [azure_rule(b) | some b in blocks(v, "security_rule"); lets_in(b)]

allows(b, key) if lower(sprintf("%v", [b[key]])) == "allow"

google_sources(v) := as_list(v.source_ranges) if count(as_list(v.source_ranges)) > 0

google_sources(v) := ["0.0.0.0/0"] if {
	every key in ["source_ranges", "source_tags", "source_service_accounts"] {
		count(as_list(object.get(v, key, []))) == 0
	}
}

aws_rule(b) := {
	"from": [n | some key in ["cidr_blocks", "ipv6_cidr_blocks", "cidr_ipv4", "cidr_ipv6", "cidr_block", "ipv6_cidr_block"]; some n in as_list(b[key])],
	"protocol": protocol,
	"ports": [text | text := {true: "*", false: sprintf("%v-%v", [object.get(b, "from_port", "*"), object.get(b, "to_port", "*")])}[protocol in {"-1", -1, "all"}]],
} if {
	protocol := object.get(b, "protocol", object.get(b, "ip_protocol", "-1"))
}

azure_rule(b) := {
	"from": array.concat(as_list(object.get(b, "source_address_prefix", [])), as_list(object.get(b, "source_address_prefixes", []))),
	"protocol": object.get(b, "protocol", "*"),
	"ports": array.concat(as_list(object.get(b, "destination_port_range", [])), as_list(object.get(b, "destination_port_ranges", []))),
}

lets_in(b) if {
	regex.match(`(?i)^inbound$`, sprintf("%v", [b.direction]))
	regex.match(`(?i)^allow$`, sprintf("%v", [b.access]))
}

some_ports(p) := p if {
	is_array(p)
	count(p) > 0
} else := ["*"]

# METADATA
# title: Public storage
# description: A bucket, container or blob store becomes readable for everybody by its access list or because its public access block is lifted.
# custom:
#   id: public-storage
#   remedy: Keep it private and serve what is public through a CDN; else say that all in it is public.
require_approval contains f if some f in asked(
	"public-storage", settings("public-storage"),
	"makes storage public",
	"Keep it private, and serve what is public through a CDN",
)

# METADATA
# title: Public database or control plane
# description: A database, cache or control plane gets a public address or a firewall rule for all addresses.
# custom:
#   id: public-database
#   remedy: Keep it in private networks.
require_approval contains f if some f in asked(
	"public-database", settings("public-database") | {[c.artifact, c.r.address, "all addresses"] |
		some c in written
		regex.match(`^azurerm_.*_firewall_rule$`, c.r.type)
		first_byte(c.after.start_ip_address) < 2
		first_byte(c.after.end_ip_address) > 222
	} | {[c.artifact, c.r.address, sprintf("authorized network %v", [n.value])] |
		some c in written
		c.r.type == "google_sql_database_instance"
		some s in as_list(c.after.settings)
		some ip in as_list(s.ip_configuration)
		some n in as_list(ip.authorized_networks)
		world(plain(n.value))
	},
	"gives databases or control planes a public address",
	"Keep them in private networks",
)

first_byte(address) := to_number(parts[0]) if {
	parts := split(plain(address), ".")
	regex.match(`^\d{1,3}$`, parts[0])
}

# METADATA
# title: Anybody may take the role
# description: A trust policy lets every principal assume a role (also all but some, with NotPrincipal), without a condition that restricts who; conditions that all fulfil, or that anybody can fulfil (idle_conditions), do not count.
# custom:
#   id: trust-anyone
#   remedy: Name the accounts, services or identity provider that may take the role, with a condition for the latter.
deny contains f if some f in told(
	"trust-anyone", {[a, at, s.attribute] | some [a, at, s] in statements; trust(s); anybody(s)},
	"lets anybody take a role",
	"Name the principals, with a condition for identity providers",
)

# METADATA
# title: Access for everybody
# description: A policy of a resource allows every principal without a condition that restricts who, or a Google Cloud binding or policy names allUsers or allAuthenticatedUsers.
# custom:
#   id: public-policy
#   remedy: Name the principals, or add a condition.
require_approval contains f if some f in asked(
	"public-policy", {[a, at, s.attribute] | some [a, at, s] in statements; not trust(s); anybody(s)} | {[c.artifact, c.r.address, m] |
		some c in written
		some m in new_members(c)
		lower(m) in {"allusers", "allauthenticatedusers"}
	},
	"gives everybody access",
	"Name the principals, or add a condition",
)

new_members(c) := {m |
	startswith(c.r.type, "google_")
	some key in ["member", "members"]
	some m in as_list(c.after[key])
	is_string(m)
	not m in as_list(object.get(c.before, key, []))
} | {m | some b in c.r.bindings; some m in b.new_members}

# METADATA
# title: Rights widened
# description: An identity gets an administrator's rights - Action "*", a service's "*" or a privileged action (also by wildcards) on all resources, NotAction, a policy in admin_policies (AdministratorAccess ...), a role in admin_roles (roles/owner, Owner ...), a role of Azure that may do everything.
# custom:
#   id: iam-widened
#   remedy: Name the actions and resources that are needed.
require_approval contains f if some f in asked(
	"iam-widened", wide_statements | wide_roles,
	"widens rights",
	"Name the actions and resources that are needed",
)

wide_statements contains [a, at, sprintf("%s allows %v", [s.attribute, what])] if {
	some [a, at, s] in statements
	s.effect != "deny"
	what := too_wide(s)
}

too_wide(s) := sprintf("all but %s", [concat(", ", s.not_actions)]) if {
	count(s.not_actions) > 0
} else := "*" if {
	some x in s.actions
	all_of(x)
} else := concat(", ", actions) if {
	everywhere(s)
	actions := {x | some x in s.actions; wide_action(x)}
	count(actions) > 0
}

all_of(x) if regex.match(`^[*?:]+$`, x)

# A statement with principals is a resource's own policy: all there is that resource.
everywhere(s) if {
	count(s.not_resources) > 0
	count(s.principals) + count(s.not_principals) == 0
}

everywhere(s) if {
	count(s.principals) + count(s.not_principals) == 0
	some x in s.resources
	regex.match(`(?i)^(arn:)?([*?]+|(aws[a-z-]*|[*?]+):[a-z0-9-]*[*?:/]+)$`, x)
	regex.match(`[*?]`, x)
}

wide_action(x) if regex.match(`:[*?]+$`, x)

wide_action(x) if lower(x) in config.privileged_actions

wide_action(x) if {
	regex.match(`^[A-Za-z0-9:*?-]{1,128}$`, x)
	regex.match(`[*?]`, x)
	pattern := concat("", ["^", replace(replace(lower(x), "*", ".*"), "?", "."), "$"])
	some action in config.privileged_actions
	regex.match(pattern, action)
}

wide_roles contains [c.artifact, c.r.address, role] if {
	some c in written
	some [names, keys] in [
		[config.admin_policies, ["policy_arn", "managed_policy_arns", "policy_arns"]],
		[config.admin_roles, ["role", "role_definition_name", "role_definition_id"]],
	]
	some key in keys
	some role in as_list(c.after[key])
	is_string(role)
	named(role, names)
	not role in as_list(object.get(c.before, key, []))
}

wide_roles contains [c.artifact, c.r.address, b.role] if {
	some c in written
	some b in c.r.bindings
	count(b.new_members) > 0
	named(b.role, config.admin_roles)
}

wide_roles contains [c.artifact, c.r.address, x] if {
	some c in written
	c.r.type == "azurerm_role_definition"
	some b in blocks(c.after, "permissions")
	some x in as_list(b.actions)
	regex.match(`(?i)^(\*|\*/write|microsoft\.authorization/(\*|\*/write|roleassignments/(\*|write)))$`, sprintf("%v", [x]))
	not c.after.permissions == object.get(c.before, "permissions", null)
}

named(role, names) if regex.replace(lower(role), `^(arn:|/).*/`, "") in {lower(n) | some n in names}

# METADATA
# title: Policy that cannot be read
# description: An attribute holds a policy as JSON that readers do not agree upon (a key twice, elements of the wrong kind), so no rule could judge it.
# custom:
#   id: policy-unreadable
#   remedy: Let the provider's own functions write the policy (jsonencode, aws_iam_policy_document).
deny contains f if some f in told(
	"policy-unreadable", {[c.artifact, c.r.address, name] | some c in written; some name in c.r.unread},
	"holds policies that cannot be read",
	"Write them with jsonencode or a policy document of the provider",
)

# [artifact, address, statement] for statements that were not there before
statements contains [c.artifact, c.r.address, s] if {
	some c in written
	some s in c.r.statements
	s.new
}

trust(s) if endswith(s.attribute, "assume_role_policy")

anybody(s) if {
	s.effect != "deny"
	everyone(s)
	not restricted(s)
}

everyone(s) if {
	some p in s.principals
	regex.match(`^([A-Za-z]+:)?[*?]+$`, p)
}

everyone(s) if count(s.not_principals) > 0

# All conditions must hold, so one that tells who is enough.
restricted(s) if {
	some c in s.conditions
	operator := lower(c.operator)
	regex.match(`^(foranyvalue:)?(stringequals|stringequalsignorecase|stringlike|arnequals|arnlike|binaryequals|ipaddress|bool)$`, operator)
	key := lower(c.key)
	not strings.any_prefix_match(key, config.idle_conditions)
	count(c.values) > 0
	every v in c.values {
		not idle(operator, key, lower(v))
	}
}

# values that everybody fulfils
idle(_, _, v) if regex.replace(v, `arn|aws[a-z-]*|iam|sts|assumed-role|role|user|root|aroa|aida|^o-|[*?:/]`, "") == ""

idle(_, key, v) if contains(v, concat("", ["${", key, "}"]))

# a pattern of accounts takes in strangers' accounts, too
idle(operator, key, v) if {
	endswith(operator, "like")
	endswith(key, "account")
	regex.match(`[*?]`, v)
}

idle("bool", _, v) if v != "true"

idle("ipaddress", _, v) if world(plain(v))

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
openings contains [c.artifact, c.r.address, span[0], span[1]] if {
	some c in written
	some span in open_spans(c.r.type, c.after) - open_spans(c.r.type, c.before)
}

open_spans(type, v) := {span(text) |
	some rule in firewall_rules(type, v)
	some network in rule.from
	world(sprintf("%v", [network]))
	not lower(sprintf("%v", [rule.protocol])) in {"icmp", "icmpv6", "1", "58", "esp", "ah", "egp", "igmp"}
	some port in rule.ports
	text := sprintf("%v", [port])
}

world(network) if regex.match(`/[0-7]$|^(\*|[Ii]nternet|[Aa]ny)$`, network)

span(text) := [0, 65535] if not regex.match(`^\d+(-\d+)?$`, text)

span(text) := [to_number(ends[0]), to_number(ends[count(ends) - 1])] if {
	regex.match(`^\d+(-\d+)?$`, text)
	ends := split(text, "-")
}

# rules that let in, of all providers in one form: from, protocol, ports
firewall_rules("aws_security_group", v) := [aws_rule(b) | some b in blocks(v, "ingress")]

firewall_rules("aws_default_security_group", v) := [aws_rule(b) | some b in blocks(v, "ingress")]

firewall_rules("aws_security_group_rule", v) := [aws_rule(v) | v.type == "ingress"]

firewall_rules("aws_vpc_security_group_ingress_rule", v) := [aws_rule(v)]

firewall_rules("google_compute_firewall", v) := [{"from": as_list(v.source_ranges), "protocol": b.protocol, "ports": some_ports(b.ports)} |
	object.get(v, "direction", "INGRESS") != "EGRESS"
	some b in blocks(v, "allow")
]

firewall_rules("azurerm_network_security_rule", v) := [azure_rule(v) | lets_in(v)]

firewall_rules("azurerm_network_security_group", v) := [azure_rule(b) | some b in blocks(v, "security_rule"); lets_in(b)]

aws_rule(b) := {
	"from": [n | some key in ["cidr_blocks", "ipv6_cidr_blocks", "cidr_ipv4", "cidr_ipv6"]; some n in as_list(b[key])],
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
		c.after.start_ip_address == "0.0.0.0"
		c.after.end_ip_address == "255.255.255.255"
	} | {[c.artifact, c.r.address, sprintf("authorized network %v", [n.value])] |
		some c in written
		c.r.type == "google_sql_database_instance"
		some s in as_list(c.after.settings)
		some ip in as_list(s.ip_configuration)
		some n in as_list(ip.authorized_networks)
		world(n.value)
	},
	"gives databases or control planes a public address",
	"Keep them in private networks",
)

# METADATA
# title: Anybody may take the role
# description: A trust policy lets every principal assume a role, without a condition.
# custom:
#   id: trust-anyone
#   remedy: Name the accounts, services or identity provider that may take the role, with a condition for the latter.
deny contains f if some f in told(
	"trust-anyone", {[a, at, name] | some [a, at, name, s] in statements; name == "assume_role_policy"; anybody(s)},
	"lets anybody take a role",
	"Name the principals, with a condition for identity providers",
)

# METADATA
# title: Access for everybody
# description: A policy of a resource allows every principal without a condition, or a Google Cloud binding names allUsers or allAuthenticatedUsers.
# custom:
#   id: public-policy
#   remedy: Name the principals, or add a condition.
require_approval contains f if some f in asked(
	"public-policy", {[a, at, name] | some [a, at, name, s] in statements; name != "assume_role_policy"; anybody(s)} | {[c.artifact, c.r.address, m] |
		some c in written
		startswith(c.r.type, "google_")
		some key in ["member", "members"]
		some m in as_list(c.after[key])
		m in {"allUsers", "allAuthenticatedUsers"}
		not m in as_list(object.get(c.before, key, []))
	},
	"gives everybody access",
	"Name the principals, or add a condition",
)

# METADATA
# title: Rights widened
# description: An identity gets an administrator's rights - Action "*", a service's "*" or a privileged action on Resource "*", NotAction, a policy in admin_policies (AdministratorAccess ...), a role in admin_roles (roles/owner, Owner ...).
# custom:
#   id: iam-widened
#   remedy: Name the actions and resources that are needed.
require_approval contains f if some f in asked(
	"iam-widened", wide_statements | wide_roles,
	"widens rights",
	"Name the actions and resources that are needed",
)

wide_statements contains [a, at, sprintf("%s allows %v", [name, what])] if {
	some [a, at, name, s] in statements
	s.Effect == "Allow"
	what := too_wide(s)
}

too_wide(s) := sprintf("all but %v", [s.NotAction]) if {
	s.NotAction
} else := "*" if {
	"*" in as_list(s.Action)
} else := concat(", ", actions) if {
	"*" in as_list(s.Resource)
	actions := {x | some x in as_list(s.Action); wide_action(x)}
	count(actions) > 0
}

wide_action(x) if endswith(x, ":*")

wide_action(x) if lower(x) in config.privileged_actions

wide_roles contains [c.artifact, c.r.address, role] if {
	some c in written
	some [names, keys] in [
		[config.admin_policies, ["policy_arn", "managed_policy_arns", "policy_arns"]],
		[config.admin_roles, ["role", "role_definition_name"]],
	]
	some key in keys
	some role in as_list(c.after[key])
	is_string(role)
	regex.replace(role, `^arn:.*/`, "") in names
	not role in as_list(object.get(c.before, key, []))
}

# [artifact, address, attribute, statement] of policies, which are JSON in text,
# for statements that were not there before
statements contains [c.artifact, c.r.address, name, s] if {
	some c in written
	some [name, s] in stated(c.after) - stated(c.before)
}

stated(v) := {[name, s] |
	some [name, text] in texts(v)
	some s in as_list(parsed(text).Statement)
	is_object(s)
}

texts(v) := {[name, t] | some name, t in v; is_string(t); contains(t, `"Statement"`)} |
	{["inline_policy", b.policy] | some b in blocks(v, "inline_policy"); is_string(b.policy)}

parsed(text) := json.unmarshal(text) if json.is_valid(text)

anybody(s) if {
	s.Effect == "Allow"
	not s.Condition
	everyone(s.Principal)
}

everyone("*")

everyone(p) if {
	is_object(p)
	some _, names in p
	"*" in as_list(names)
}

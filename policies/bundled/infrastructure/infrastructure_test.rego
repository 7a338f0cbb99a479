package cabincrew.infrastructure_test

import data.cabincrew.infrastructure

# a resource change as "terraform show -json" gives it, in the form of the view
resource(type, action, before, after) := {
	"address": sprintf("%s.main", [type]), "mode": "managed", "type": type, "name": "main", "provider": "registry.terraform.io/hashicorp/x",
	"action": action, "before": before, "after": after, "unknown": {}, "replace_paths": [],
}

created(type, after) := resource(type, "create", null, after)

updated(type, before, after) := resource(type, "update", before, after)

destroyed(type) := resource(type, "destroy", {"id": "x"}, null)

plan(resources) := {"artifacts": [{
	"name": "plan", "artifact_type": "terraform-plan", "action": "apply",
	"terraform": {"format_version": "1.2", "resources": resources, "counts": {}},
}]}

manifests(action, objects) := {"artifacts": [{"name": "manifests", "artifact_type": "kubernetes", "action": action, "kubernetes": objects}]}

ids(set) := {m.id | some m in set}

doc_ids(doc) := found if {
	found := ids((infrastructure.deny | infrastructure.require_approval) | infrastructure.warn) with input as doc
}

judged(resources) := doc_ids(plan(resources))

applied(objects) := doc_ids(manifests("apply", objects))

test_ordinary_plan_is_quiet if judged([
	created("aws_instance", {"ami": "ami-1", "instance_type": "t3.micro", "ebs_block_device": []}),
	updated("aws_db_instance", {"allocated_storage": 20, "deletion_protection": false, "publicly_accessible": false}, {"allocated_storage": 40, "deletion_protection": false, "publicly_accessible": false}),
	created("aws_security_group", {"ingress": [{"cidr_blocks": ["10.0.0.0/8"], "from_port": 22, "to_port": 22, "protocol": "tcp"}], "egress": [{"cidr_blocks": ["0.0.0.0/0"], "from_port": 0, "to_port": 0, "protocol": "-1"}]}),
	created("aws_iam_role", {"assume_role_policy": `{"Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`}),
	resource("aws_s3_bucket", "no-op", {"acl": "public-read"}, {"acl": "public-read"}), destroyed("null_resource"), resource("aws_lambda_function", "replace", {}, {}),
	object.union(resource("aws_s3_bucket", "read", null, {"acl": "public-read"}), {"mode": "data"}),
]) == set()

test_nothing_is_quiet if {
	judged([]) == set()
	doc_ids({"artifacts": []}) == set()
	doc_ids({"artifacts": [{"name": "changes", "artifact_type": "patch", "action": "apply", "patch": {"files": []}}]}) == set()
	applied([]) == set()
}

test_stateful if {
	every type in ["aws_db_instance", "aws_s3_bucket", "azurerm_storage_account", "google_sql_database_instance", "kubernetes_namespace", "kubernetes_stateful_set_v1"] {
		judged([destroyed(type)]) == {"stateful-destroy"}
		judged([resource(type, "replace", {}, {})]) == {"stateful-destroy"}
		judged([resource(type, "forget", {}, null)]) == {"stateful-forgotten"}
		judged([updated(type, {"tags": {}}, {"tags": {"a": "b"}})]) == set()
	}
	judged([object.union(destroyed("aws_db_instance"), {"mode": "data"})]) == set()
	some m in infrastructure.require_approval with input as plan([object.union(resource("aws_db_instance", "replace", {}, {}), {"replace_paths": [["engine"], ["storage", 0, "x"]]})])
	contains(m.msg, "aws_db_instance.main (replace, since engine, storage changes)")
	m.role == "maintainer"
	m.artifact == "plan"
}

test_stateful_objects if {
	every kind in ["PersistentVolumeClaim", "StatefulSet", "Namespace"] {
		o := {"apiVersion": "v1", "kind": kind, "metadata": {"name": "data", "namespace": "prod"}}
		doc_ids(manifests("delete", [o])) == {"stateful-destroy"}
		doc_ids(manifests(" Replace", [o])) == {"stateful-destroy"}
		doc_ids(manifests("apply", [o])) == set()
	}
	doc_ids(manifests("delete", [{"kind": "ConfigMap", "metadata": {"name": "x"}}])) == set()
}

test_blast_radius if {
	judged([created("null_resource", {}) | some _ in numbers.range(1, 3)]) == set()
	many := {"blast-radius"}
	judged([object.union(created("null_resource", {}), {"address": sprintf("n[%d]", [i])}) | some i in numbers.range(1, 51)]) == many
	judged([object.union(created("null_resource", {}), {"address": sprintf("n[%d]", [i])}) | some i in numbers.range(1, 50)]) == set()
	judged([object.union(destroyed("null_resource"), {"address": sprintf("n[%d]", [i])}) | some i in numbers.range(1, 6)]) == many
	judged([object.union(resource("null_resource", "replace", {}, {}), {"address": sprintf("n[%d]", [i])}) | some i in numbers.range(1, 6)]) == many
	judged([object.union(destroyed("null_resource"), {"address": sprintf("n[%d]", [i])}) | some i in numbers.range(1, 5)]) == set()
}

test_deletion_protection if {
	every pair in [["deletion_protection", [true, false]], ["force_destroy", [false, true]], ["skip_final_snapshot", [false, true]], ["backup_retention_period", [7, 0]], ["versioning", [[{"enabled": true}], [{"enabled": false}]]]] {
		judged([updated("aws_x", {pair[0]: pair[1][0]}, {pair[0]: pair[1][1]})]) == {"deletion-protection-off"}
		judged([updated("aws_x", {pair[0]: pair[1][1]}, {pair[0]: pair[1][0]})]) == set()
		judged([updated("aws_x", {pair[0]: pair[1][1]}, {pair[0]: pair[1][1]})]) == set()
		judged([created("aws_x", {pair[0]: pair[1][1]})]) == set()
	}
}

test_encryption if {
	every after in [{"storage_encrypted": false}, {"encrypted": false}, {"min_tls_version": "TLS1_0"}, {"root_block_device": [{"encrypted": false}]}, {"https_traffic_only_enabled": false}] {
		judged([created("aws_x", after)]) == {"encryption-off"}
		judged([updated("aws_x", after, after)]) == set()
	}
	judged([updated("aws_x", {"enable_key_rotation": true}, {"enable_key_rotation": false})]) == {"encryption-off"}
	judged([destroyed("aws_s3_bucket_server_side_encryption_configuration")]) == {"encryption-off"}
	judged([created("aws_x", {"encrypted": true, "storage_encrypted": null, "root_block_device": [{"encrypted": true}], "enable_key_rotation": false})]) == set()
}

test_logging if {
	judged([destroyed("aws_cloudtrail")]) == {"logging-off"}
	judged([updated("aws_x", {"enable_logging": true}, {"enable_logging": false})]) == {"logging-off"}
	judged([updated("aws_x", {"logging": [{"target": "x"}]}, {"logging": []})]) == {"logging-off"}
	judged([created("aws_x", {"enable_logging": false, "logging": []}), resource("aws_flow_log", "replace", {}, {})]) == set()
}

test_unknown if {
	judged([object.union(created("aws_iam_policy", {"name": "x"}), {"unknown": {"policy": true, "id": true}})]) == {"unknown-sensitive"}
	judged([object.union(created("aws_security_group", {}), {"unknown": {"ingress": [{"cidr_blocks": [true]}]}})]) == {"unknown-sensitive"}
	judged([object.union(created("aws_x", {}), {"unknown": {"policy": {"a": {"b": true}}}})]) == {"unknown-sensitive"}
	judged([object.union(acl({"cidr_block": null}), {"unknown": {"cidr_block": true}})]) == {"unknown-sensitive"}
	judged([object.union(created("aws_subnet", {}), {"unknown": {"cidr_block": true}})]) == set()
	judged([object.union(created("aws_iam_policy", {}), {"unknown": {"arn": true, "id": true, "policy": false, "ingress": []}})]) == set()
	judged([object.union(created("aws_iam_policy", {}), {"unknown": false})]) == set()
}

test_unreadable if {
	doc_ids({"artifacts": [{"name": "plan", "artifact_type": "terraform-plan", "action": "apply", "view_error": "too deep"}]}) == {"plan-unreadable"}
	doc_ids({"artifacts": [{"name": "plan", "artifact_type": "terraform-plan", "action": "apply"}]}) == {"plan-unreadable"}
	doc_ids({"artifacts": [{"name": "plan", "artifact_type": "note", "action": "apply"}]}) == set()
	doc_ids({"artifacts": [object.union(unread, {"seems": "terraform"})]}) == {"plan-unreadable"}
}

unread := {"name": "a", "artifact_type": "note", "mime": "application/json", "action": "apply", "view_error": "too large"}

test_manifest_unreadable if {
	every a in [{"seems": "kubernetes"}, {"mime": "text/yaml"}, {"mime": "text/plain", "artifact_type": "Kubernetes-objects"}] {
		doc_ids({"artifacts": [object.union(unread, a)]}) == {"manifest-unreadable"}
	}
	doc_ids({"artifacts": [unread]}) == {"body-unread"}
	doc_ids({"artifacts": [object.union(unread, {"seems": "other"}), object.union(unread, {"seems": "other", "mime": "text/yaml"}), object.union(unread, {"view_error": ""})]}) == set()
}

group(from, to, cidr) := created("aws_security_group", {"ingress": [{"cidr_blocks": [cidr], "ipv6_cidr_blocks": [], "from_port": from, "to_port": to, "protocol": "tcp"}]})

test_open_to_world if {
	every r in [
		group(22, 22, "0.0.0.0/0"), group(0, 65535, "0.0.0.0/0"), group(5000, 6000, "128.0.0.0/1"), group(20, 25, "::/0"),
		created("aws_security_group", {"ingress": [{"ipv6_cidr_blocks": ["::/0"], "from_port": 0, "to_port": 0, "protocol": "-1"}]}),
		created("aws_default_security_group", {"ingress": [{"cidr_blocks": ["0.0.0.0/0"], "from_port": 3389, "to_port": 3389, "protocol": "6"}]}),
		created("aws_security_group_rule", {"type": "ingress", "cidr_blocks": ["0.0.0.0/0"], "from_port": 5432, "to_port": 5432, "protocol": "tcp"}),
		created("aws_vpc_security_group_ingress_rule", {"cidr_ipv4": "0.0.0.0/0", "from_port": 22, "to_port": 22, "ip_protocol": "tcp"}),
		created("aws_vpc_security_group_ingress_rule", {"cidr_ipv6": "::/0", "ip_protocol": "-1"}),
		created("google_compute_firewall", {"direction": "INGRESS", "source_ranges": ["0.0.0.0/0"], "allow": [{"protocol": "tcp", "ports": ["22"]}]}),
		created("google_compute_firewall", {"source_ranges": ["0.0.0.0/0"], "allow": [{"protocol": "all", "ports": []}]}),
		created("azurerm_network_security_rule", {"direction": "Inbound", "access": "Allow", "source_address_prefix": "*", "source_address_prefixes": null, "destination_port_range": "3389", "protocol": "Tcp"}),
		created("azurerm_network_security_group", {"security_rule": [{"direction": "Inbound", "access": "Allow", "source_address_prefix": "Internet", "destination_port_ranges": ["80", "20-25"], "destination_port_range": "", "protocol": "*"}]}),
	] {
		"open-to-world" in judged([r])
	}
}

test_spellings_of_everybody if every n in [
	"0.0.0.0/00", " 0.0.0.0/0 ", "00.0.0.0/0", "0/0", "0.0.0.0", "0.0.0.0/0.0.0.0", "::/00", "0:0::0/0", "2000::/3", "1.2.3.4/0", "ANY", "internet", "64.0.0.0/2",
] {
	judged([group(22, 22, n)]) == {"open-to-world"}
}

test_ports_are_read if every p in [" 22", "0022", "22.0", "20-25", "*", {}, null, "99999999999999"] {
	judged([created("azurerm_network_security_rule", {"direction": "Inbound", "access": "Allow", "source_address_prefix": "*", "destination_port_ranges": [p], "protocol": "Tcp"})]) == {"open-to-world"}
}

acl(rule) := created("aws_network_acl_rule", object.union({"egress": false, "rule_action": "allow", "cidr_block": "0.0.0.0/0", "from_port": 22, "to_port": 22, "protocol": "6"}, rule))

test_network_acl if {
	judged([acl({})]) == {"open-to-world"}
	judged([acl({"from_port": 443, "to_port": 443})]) == {"public-ingress"}
	judged([acl({"egress": true}), acl({"rule_action": "deny"}), acl({"protocol": "-1"}), acl({"from_port": 1024, "to_port": 65535}), acl({"cidr_block": "10.0.0.0/8"})]) == set()
	every type in ["aws_network_acl", "aws_default_network_acl"] {
		judged([created(type, {"ingress": [{"action": "allow", "ipv6_cidr_block": "::/0", "from_port": 3389, "to_port": 3389, "protocol": "6"}]})]) == {"open-to-world"}
		judged([created(type, {"ingress": [{"action": "allow", "cidr_block": "0.0.0.0/0", "from_port": 0, "to_port": 0, "protocol": "-1"}]})]) == set()
	}
}

test_google_sources if {
	allow := {"allow": [{"protocol": "tcp", "ports": ["22"]}]}
	judged([created("google_compute_firewall", allow)]) == {"open-to-world"}
	judged([created("google_compute_firewall", {"allow": [{}], "source_ranges": []})]) == {"open-to-world"}
	judged([object.union(created("google_compute_firewall", allow), {"unknown": {"source_ranges": true}})]) == {"unknown-sensitive"}
	judged([
		created("google_compute_firewall", object.union(allow, {"source_tags": ["web"]})), created("google_compute_firewall", object.union(allow, {"source_service_accounts": ["a@b"]})),
		created("google_compute_firewall", object.union(allow, {"disabled": true})), created("google_compute_firewall", object.union(allow, {"source_ranges": ["35.235.240.0/20"]})),
	]) == set()
}

eights(from, to) := [sprintf("%d.0.0.0/8", [i]) | some i in numbers.range(from, to)]

groups(networks) := [created("aws_security_group", {"ingress": [{"cidr_blocks": [n], "from_port": 22, "to_port": 22, "protocol": "tcp"}]}) | some n in networks]

test_many_networks if {
	judged([created("aws_security_group", {"ingress": [{"cidr_blocks": eights(1, 223), "from_port": 22, "to_port": 22, "protocol": "tcp"}]})]) == {"open-to-world"}
	judged(groups(eights(20, 40))) == {"open-to-world"}
	judged([created("aws_security_group", {"ingress": [{"ipv6_cidr_blocks": ["2400::/8", "2600::/8"], "from_port": 22, "to_port": 22, "protocol": "tcp"}]})]) == {"open-to-world"}
	judged(groups(eights(20, 22))) == set()
	judged(groups(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fd00::/8", "127.0.0.0/8", "sg-1", "pl-1", "203.0.113.0/24", "198.51.100.7/32"])) == set()

	# the same again and again is not more
	again := array.concat(["20.0.0.0/8"], [sprintf("20.%d.0.0/9", [i]) | some i in numbers.range(0, 120)])
	judged([created("aws_security_group", {"ingress": [{"cidr_blocks": again, "from_port": 22, "to_port": 22, "protocol": "tcp"}]})]) == set()
	judged([created("aws_security_group", {"ingress": [{"cidr_blocks": eights(20, 40), "from_port": 443, "to_port": 443, "protocol": "tcp"}]})]) == set()
	judged([updated("aws_security_group", {"ingress": [{"cidr_blocks": eights(20, 40), "from_port": 22, "to_port": 22, "protocol": "tcp"}]}, {"ingress": [{"cidr_blocks": eights(20, 41), "from_port": 22, "to_port": 22, "protocol": "tcp"}]})]) == set()
}

test_not_open_to_world if {
	every r in [
		group(22, 22, "10.0.0.0/8"), group(22, 22, "203.0.113.7/32"),
		created("aws_security_group_rule", {"type": "egress", "cidr_blocks": ["0.0.0.0/0"], "from_port": 22, "to_port": 22, "protocol": "tcp"}),
		created("aws_security_group", {"ingress": [{"cidr_blocks": ["0.0.0.0/0"], "from_port": 8, "to_port": 0, "protocol": "icmp"}]}),
		created("google_compute_firewall", {"direction": "EGRESS", "source_ranges": ["0.0.0.0/0"], "allow": [{"protocol": "tcp", "ports": ["22"]}]}),
		created("azurerm_network_security_rule", {"direction": "Inbound", "access": "Deny", "source_address_prefix": "*", "destination_port_range": "*", "protocol": "*"}),
	] {
		judged([r]) == set()
	}
	judged([group(443, 443, "0.0.0.0/0")]) == {"public-ingress"}
	same := group(22, 22, "0.0.0.0/0").after
	judged([updated("aws_security_group", same, object.union(same, {"tags": {"a": "b"}}))]) == set()
	some m in infrastructure.deny with input as plan([group(22, 23, "0.0.0.0/0")])
	contains(m.msg, "aws_security_group.main (ports 22 to 23)")
	contains(m.msg, "bastion")
}

test_public_storage if {
	every r in [
		created("aws_s3_bucket_acl", {"acl": "public-read"}), updated("aws_s3_bucket_public_access_block", {"block_public_acls": true}, {"block_public_acls": false}),
		created("azurerm_storage_container", {"container_access_type": "blob"}), created("azurerm_storage_account", {"allow_nested_items_to_be_public": true}),
	] {
		judged([r]) == {"public-storage"}
	}
	judged([created("aws_s3_bucket_acl", {"acl": "private"}), created("azurerm_storage_container", {"container_access_type": "private"})]) == set()
}

test_public_database if {
	every r in [
		created("aws_db_instance", {"publicly_accessible": true}), created("azurerm_mssql_server", {"public_network_access_enabled": true}),
		created("azurerm_mssql_firewall_rule", {"start_ip_address": "0.0.0.0", "end_ip_address": "255.255.255.255"}),
		created("google_sql_database_instance", {"settings": [{"ip_configuration": [{"ipv4_enabled": false, "authorized_networks": [{"value": "0.0.0.0/0"}]}]}]}),
		created("google_sql_database_instance", {"settings": [{"ip_configuration": [{"ipv4_enabled": true}]}]}),
	] {
		judged([r]) == {"public-database"}
	}
	judged([created("azurerm_mssql_firewall_rule", {"start_ip_address": "1.0.0.0", "end_ip_address": "255.255.255.254"})]) == {"public-database"}
	judged([created("azurerm_mssql_firewall_rule", {"start_ip_address": "0.0.0.0", "end_ip_address": "0.0.0.0"}), created("azurerm_mssql_firewall_rule", {"start_ip_address": 0, "end_ip_address": null})]) == set()
	judged([created("azurerm_mssql_firewall_rule", {"start_ip_address": "203.0.113.1", "end_ip_address": "203.0.113.2"})]) == set()
	judged([created("google_sql_database_instance", {"settings": [{"ip_configuration": [{"authorized_networks": [{"value": null}, 1]}]}]})]) == set()
}

listed(v) := v if is_array(v)

listed(v) := [v] if not is_array(v)

principals(v) := listed(v) if not is_object(v)

principals(v) := [sprintf("%s:%s", [kind, x]) | some kind, names in v; some x in listed(names)] if is_object(v)

# a statement of AWS in the form of the view
typed(attribute, s) := {
	"attribute": attribute, "new": true, "effect": lower(s.Effect), "principals": principals(object.get(s, "Principal", [])),
	"not_principals": principals(object.get(s, "NotPrincipal", [])), "actions": listed(object.get(s, "Action", [])), "not_actions": listed(object.get(s, "NotAction", [])),
	"resources": listed(object.get(s, "Resource", [])), "not_resources": listed(object.get(s, "NotResource", [])),
	"conditions": [{"operator": op, "key": key, "values": listed(values)} | some op, keys in object.get(s, "Condition", {}); some key, values in keys],
}

states(type, attribute, s) := object.union(created(type, {}), {"statements": [typed(attribute, s)]})

stated_before(r) := object.union(r, {"statements": [object.union(s, {"new": false}) | some s in r.statements]})

trusts(s) := judged([states("aws_iam_role", "assume_role_policy", object.union({"Effect": "Allow", "Action": "sts:AssumeRole"}, s))])

test_trust if {
	every p in ["*", {"AWS": "*"}, {"AWS": ["arn:aws:iam::1:root", "*"]}, {"Federated": "**"}] {
		trusts({"Principal": p}) == {"trust-anyone"}
	}
	trusts({"NotPrincipal": {"AWS": "arn:aws:iam::1:root"}}) == {"trust-anyone"}
	trusts({"Principal": {"AWS": "arn:aws:iam::1:root"}}) == set()
	trusts({"Effect": "Deny", "Principal": "*"}) == set()
	judged([stated_before(states("aws_iam_role", "assume_role_policy", {"Effect": "Allow", "Principal": "*"}))]) == set()
}

test_conditions_that_restrict if every c in [
	{"StringEquals": {"aws:PrincipalOrgID": "o-1"}}, {"StringEquals": {"aws:PrincipalAccount": "${aws:ResourceAccount}"}}, {"StringLike": {"aws:PrincipalArn": "arn:aws:iam::123456789012:role/*"}},
	{"ArnLike": {"aws:SourceArn": ["arn:aws:s3:::bucket"]}}, {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, {"ForAnyValue:StringEquals": {"aws:PrincipalOrgPaths": "o-1/r-1/"}},
	{"StringEquals": {"sts:ExternalId": "secret"}}, {"Bool": {"aws:PrincipalIsAWSService": "true"}}, {"Bool": {"aws:SecureTransport": "true"}, "StringEquals": {"aws:SourceVpce": "vpce-1"}},
] {
	trusts({"Principal": "*", "Condition": c}) == set()
}

test_conditions_that_do_not if every c in [
	{}, {"StringLike": {}}, {"StringLike": {"aws:PrincipalArn": "*"}}, {"StringLike": {"aws:PrincipalAccount": "*1*"}}, {"StringLike": {"aws:SourceAccount": "12345678901?"}}, {"StringLike": {"aws:PrincipalArn": ["arn:aws:iam::1:root", "?*"]}}, {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/*"}},
	{"StringLike": {"aws:PrincipalOrgID": "o-*"}}, {"StringNotEquals": {"aws:PrincipalArn": "arn:aws:iam::1:root"}}, {"Null": {"aws:PrincipalArn": "false"}},
	{"StringEqualsIfExists": {"aws:PrincipalOrgID": "o-1"}}, {"ForAllValues:StringEquals": {"aws:PrincipalOrgPaths": "o-1"}}, {"Bool": {"aws:PrincipalIsAWSService": "false"}},
	{"Bool": {"aws:SecureTransport": "true"}}, {"IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "0.0.0.0/00"]}}, {"StringEquals": {"aws:PrincipalArn": "${aws:PrincipalArn}"}},
	{"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, {"StringEquals": {"aws:PrincipalOrgID": []}}, {"StringLike": {"sts:RoleSessionName": "x"}},
] {
	trusts({"Principal": "*", "Condition": c}) == {"trust-anyone"}
}

test_public_policy if {
	every s in [{"Principal": "*"}, {"NotPrincipal": {"AWS": "arn:x"}}, {"Principal": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}] {
		judged([states("aws_s3_bucket_policy", "policy", object.union(s, {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:x"}))]) == {"public-policy"}
	}
	judged([created("google_storage_bucket_iam_member", {"member": "allUsers", "role": "roles/storage.objectViewer"})]) == {"public-policy"}
	judged([created("google_project_iam_binding", {"members": ["user:a@example.com", "allAuthenticatedUsers"]})]) == {"public-policy"}
	judged([created("google_storage_bucket_iam_member", {"member": "user:a@example.com"})]) == set()
	judged([created("google_storage_bucket_iam_binding", {"members": [null, 1, {}]})]) == set()
}

bound(role, members) := object.union(created("google_project_iam_policy", {}), {"bindings": [{"attribute": "policy_data", "role": role, "members": ["user:a", "allUsers"], "new_members": members}]})

test_bindings if {
	judged([bound("roles/viewer", ["allUsers"])]) == {"public-policy"}
	judged([bound("roles/owner", ["user:a"])]) == {"iam-widened"}
	judged([bound("roles/owner", ["allUsers"])]) == {"iam-widened", "public-policy"}
	judged([bound("roles/owner", []), bound("roles/viewer", ["user:a"])]) == set()
}

test_policy_unreadable if {
	judged([object.union(created("aws_iam_role", {}), {"unread": ["assume_role_policy"]})]) == {"policy-unreadable"}
	judged([object.union(destroyed("null_resource"), {"unread": ["policy"]})]) == set()
}

allowing(s) := judged([states("aws_iam_policy", "policy", object.union({"Effect": "Allow"}, s))])

test_iam if {
	every s in [
		{"Action": "*", "Resource": "*"}, {"Action": ["s3:GetObject", "s3:*"], "Resource": ["*"]}, {"NotAction": "iam:*", "Resource": "*"}, {"Action": "iam:PassRole", "Resource": "*"},
		{"Action": ["iam:P*", "iam:A*"], "Resource": "*"}, {"Action": "*:*", "Resource": "arn:aws:*"}, {"Action": "**", "Resource": "**"}, {"Action": "iam:*", "NotResource": "arn:aws:s3:::x"},
		{"Action": "iam:?assRole", "Resource": "arn:aws:iam::*:*"}, {"Action": "s3:**", "Resource": "arn:*:*:*:*:*"}, {"Action": "s3:*", "Resource": "arn:aws:s3:::*"},
	] {
		allowing(s) == {"iam-widened"}
		judged([states("aws_iam_role", "inline_policy.policy", object.union({"Effect": "Allow"}, s))]) == {"iam-widened"}
		judged([stated_before(states("aws_iam_policy", "policy", object.union({"Effect": "Allow"}, s)))]) == set()
	}
	every s in [
		{"Effect": "Deny", "Action": "*", "Resource": "*"}, {"Action": "s3:*", "Resource": "arn:aws:s3:::x"}, {"Action": ["ec2:DescribeInstances", "s3:Get*", "ec2:Describe*", "logs:Create*"], "Resource": "*"},
		{"Action": "s3:*", "Resource": ["arn:aws:s3:::x", "arn:aws:s3:::x/*"]}, {"Action": "iam:PassRole", "Resource": "arn:aws:iam::123456789012:role/web-*"}, {"Action": "iam:(.*", "Resource": "*"},
		{"Action": "kms:*", "Resource": "*", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}}, {"Action": "s3:*", "NotResource": "arn:x", "Principal": {"AWS": "arn:x"}},
	] {
		allowing(s) == set()
	}
}

test_roles if {
	every r in [
		created("aws_iam_role_policy_attachment", {"policy_arn": "arn:aws:iam::aws:policy/AdministratorAccess"}), created("aws_iam_role", {"managed_policy_arns": ["arn:aws:iam::aws:policy/IAMFullAccess"]}),
		created("google_project_iam_member", {"role": "roles/owner", "member": "user:a@example.com"}), created("azurerm_role_assignment", {"role_definition_name": "owner"}),
		created("azurerm_role_assignment", {"role_definition_id": "/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/8E3AF657-a8ff-443c-a75c-2fe8c4bcb635"}),
		created("azurerm_role_definition", {"permissions": [{"actions": ["Microsoft.Compute/*/read", "*"]}]}), created("azurerm_role_definition", {"permissions": [{"actions": ["Microsoft.Authorization/*/Write"]}]}),
	] {
		judged([r]) == {"iam-widened"}
		judged([updated(r.type, r.after, r.after)]) == set()
	}
	judged([
		created("aws_iam_role_policy_attachment", {"policy_arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}), created("google_project_iam_member", {"role": "roles/viewer"}),
		created("azurerm_role_definition", {"permissions": [{"actions": ["Microsoft.Compute/*", 1]}]}), created("azurerm_role_assignment", {"role_definition_id": "/x/acdd72a7-3385-48ef-bd42-f606fba81ae7"}),
	]) == set()
}

deployment(pod) := {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "prod"}, "spec": {"template": {"spec": pod}}}

test_node_access if {
	every pod in [
		{"hostNetwork": true}, {"hostPID": true}, {"volumes": [{"name": "x", "hostPath": {"path": "/var/run/docker.sock"}}]},
		{"containers": [{"name": "c", "securityContext": {"privileged": true}}]}, {"initContainers": [{"securityContext": {"capabilities": {"add": ["CAP_SYS_ADMIN"]}}}]},
	] {
		applied([deployment(pod)]) == {"k8s-node-access"}
		applied([{"kind": "Pod", "metadata": {"name": "x"}, "spec": pod}]) == {"k8s-node-access"}
		applied([{"kind": "CronJob", "metadata": {"name": "x"}, "spec": {"jobTemplate": {"spec": {"template": {"spec": pod}}}}}]) == {"k8s-node-access"}
		judged([created("kubernetes_manifest", {"manifest": deployment(pod)})]) == {"k8s-node-access"}
		every action in ["delete", "destroy", "remove", "uninstall"] { doc_ids(manifests(action, [deployment(pod)])) == set() }
		every action in ["replace", "prune", "Apply", "", "upgrade"] { doc_ids(manifests(action, [deployment(pod)])) == {"k8s-node-access"} }
		applied([{"kind": "PodTemplate", "metadata": {"name": "x"}, "template": {"spec": pod}}]) == {"k8s-node-access"}
	}
	applied([deployment({
		"hostNetwork": false, "volumes": [{"name": "x", "emptyDir": {}}],
		"containers": [{"name": "c", "securityContext": {"privileged": false, "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}}}, {"name": "d"}],
	})]) == set()
	some m in infrastructure.require_approval with input as manifests("apply", [deployment({"hostNetwork": true})])
	contains(m.msg, "Deployment prod/web (hostNetwork)")
}

service(spec, annotations) := {"kind": "Service", "metadata": {"name": "x", "annotations": annotations}, "spec": spec}

test_load_balancer if {
	applied([service({"type": "LoadBalancer"}, {})]) == {"k8s-load-balancer"}
	applied([service({"externalIPs": ["203.0.113.1"]}, {})]) == {"k8s-load-balancer"}
	applied([service({"type": "LoadBalancer"}, {"service.beta.kubernetes.io/aws-load-balancer-internal": false, "x": null})]) == {"k8s-load-balancer"}
	applied([service({"type": "LoadBalancer"}, {"service.beta.kubernetes.io/aws-load-balancer-internal": true})]) == set()
	applied([service({"type": "ClusterIP", "externalIPs": null}, {}), service({"type": "LoadBalancer"}, {"service.beta.kubernetes.io/aws-load-balancer-internal": "true"})]) == set()
}

test_ingress if {
	applied([{"kind": "Ingress", "metadata": {"name": "x"}, "spec": {"rules": []}}]) == {"k8s-ingress-plain"}
	applied([{"kind": "Ingress", "metadata": {"name": "x"}, "spec": {"tls": [{"hosts": ["x"]}]}}]) == set()
}

test_rbac if {
	every o in [
		{"kind": "ClusterRoleBinding", "metadata": {"name": "x"}, "roleRef": {"name": "cluster-admin"}, "subjects": [{"kind": "User", "name": "me"}]},
		{"kind": "ClusterRole", "metadata": {"name": "x"}, "rules": [{"verbs": ["*"], "resources": ["pods"]}]}, {"kind": "Role", "metadata": {"name": "x"}, "rules": [{"verbs": ["get"], "resources": ["*"]}]},
		{"kind": "ClusterRole", "metadata": {"name": "x"}, "rules": [{"verbs": ["get"], "resources": ["secrets"]}]},
	] {
		applied([o]) == {"k8s-rbac-widened"}
	}
	applied([{"kind": "RoleBinding", "metadata": {"name": "x"}, "roleRef": {"name": "view"}, "subjects": [{"kind": "Group", "name": "system:unauthenticated"}]}]) == {"k8s-rbac-anyone"}
	applied([
		{"kind": "Role", "metadata": {"name": "x"}, "rules": [{"verbs": ["get", "list"], "resources": ["secrets"]}]}, {"kind": "RoleBinding", "metadata": {"name": "x"}, "roleRef": {"name": "view"}},
		{"kind": "ClusterRole", "metadata": {"name": "x"}, "rules": [{"verbs": ["get"], "resources": ["secrets"], "resourceNames": ["one"]}]},
	]) == set()
}

test_thresholds if {
	ids(infrastructure.deny) == {"infrastructure-thresholds"} with input as plan([]) with data.cabincrew_infrastructure as {}
	ids(infrastructure.deny) == {"infrastructure-thresholds"} with input as plan([]) with data.cabincrew_infrastructure.max_changes as "9"
}

test_odd_documents_are_judged if {
	judged([resource("aws_security_group", "create", null, null), resource("aws_security_group", "create", "x", [1]), created("aws_security_group", {"ingress": "x"})]) == set()
	applied(["text", {"kind": 1}, {"kind": "Pod"}, {"kind": "Deployment", "metadata": null, "spec": {"template": null}}, {"kind": "Service", "spec": []}]) == set()
	judged([created("azurerm_network_security_rule", {"direction": 1, "access": null}), created("google_compute_firewall", {"source_ranges": 1, "allow": [{"protocol": 6}]})]) == set()
}

test_every_finding_is_complete if {
	doc := {"artifacts": array.concat(
		plan(array.concat([object.union(destroyed("aws_db_instance"), {"address": sprintf("db[%d]", [i])}) | some i in numbers.range(1, 12)], [group(22, 22, "0.0.0.0/0"), group(80, 80, "::/0")])).artifacts,
		manifests("apply", [deployment({"hostPID": true})]).artifacts,
	)}
	every set in [infrastructure.deny, infrastructure.require_approval, infrastructure.warn] {
		count(set) > 0
		every m in set {
			count(m.msg) > 40
			count(m.id) > 5
		}
	} with input as doc
	every m in infrastructure.require_approval { m.role == "maintainer" } with input as doc
	some m in infrastructure.require_approval with input as doc
	contains(m.msg, "and 2 more")
}

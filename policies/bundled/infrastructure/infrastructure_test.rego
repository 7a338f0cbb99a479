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
	judged([object.union(created("aws_iam_policy", {}), {"unknown": {"arn": true, "id": true, "policy": false, "ingress": []}})]) == set()
	judged([object.union(created("aws_iam_policy", {}), {"unknown": false})]) == set()
}

test_unreadable if {
	doc_ids({"artifacts": [{"name": "plan", "artifact_type": "terraform-plan", "action": "apply", "view_error": "too deep"}]}) == {"plan-unreadable"}
	doc_ids({"artifacts": [{"name": "plan", "artifact_type": "terraform-plan", "action": "apply"}]}) == {"plan-unreadable"}
	doc_ids({"artifacts": [{"name": "plan", "artifact_type": "note", "action": "apply"}]}) == set()
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
	judged([created("azurerm_mssql_firewall_rule", {"start_ip_address": "203.0.113.1", "end_ip_address": "203.0.113.2"})]) == set()
}

policy(statement) := json.marshal({"Version": "2012-10-17", "Statement": [statement]})

test_trust if {
	every p in ["*", {"AWS": "*"}, {"AWS": ["arn:aws:iam::1:root", "*"]}] {
		judged([created("aws_iam_role", {"assume_role_policy": policy({"Effect": "Allow", "Principal": p, "Action": "sts:AssumeRole"})})]) == {"trust-anyone"}
	}
	every s in [
		{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:root"}, "Action": "sts:AssumeRole"}, {"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole"},
		{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole", "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}},
	] {
		judged([created("aws_iam_role", {"assume_role_policy": policy(s)})]) == set()
	}
}

test_public_policy if {
	judged([created("aws_s3_bucket_policy", {"policy": policy({"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:x"})})]) == {"public-policy"}
	judged([created("google_storage_bucket_iam_member", {"member": "allUsers", "role": "roles/storage.objectViewer"})]) == {"public-policy"}
	judged([created("google_project_iam_binding", {"members": ["user:a@example.com", "allAuthenticatedUsers"]})]) == {"public-policy"}
	judged([created("google_storage_bucket_iam_member", {"member": "user:a@example.com"})]) == set()
}

test_iam if {
	every s in [
		{"Effect": "Allow", "Action": "*", "Resource": "*"}, {"Effect": "Allow", "Action": ["s3:GetObject", "s3:*"], "Resource": ["*"]}, {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"},
		{"Effect": "Allow", "Action": "iam:PassRole", "Resource": "*"},
	] {
		judged([created("aws_iam_policy", {"policy": policy(s)})]) == {"iam-widened"}
		judged([created("aws_iam_role", {"inline_policy": [{"name": "x", "policy": policy(s)}]})]) == {"iam-widened"}
		judged([updated("aws_iam_policy", {"policy": policy(s)}, {"policy": json.marshal({"Statement": s})})]) == set()
	}
	every s in [
		{"Effect": "Deny", "Action": "*", "Resource": "*"}, {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::x"}, {"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"},
	] {
		judged([created("aws_iam_policy", {"policy": policy(s)})]) == set()
	}
	judged([created("aws_iam_policy", {"policy": `"Statement" that is no JSON`})]) == set()
	judged([created("aws_iam_policy", {"policy": `{"Statement": "text"}`}), created("aws_iam_policy", {"policy": `["Statement", 1]`})]) == set()
}

test_roles if {
	every r in [
		created("aws_iam_role_policy_attachment", {"policy_arn": "arn:aws:iam::aws:policy/AdministratorAccess"}), created("aws_iam_role", {"managed_policy_arns": ["arn:aws:iam::aws:policy/IAMFullAccess"]}),
		created("google_project_iam_member", {"role": "roles/owner", "member": "user:a@example.com"}), created("azurerm_role_assignment", {"role_definition_name": "Owner"}),
	] {
		judged([r]) == {"iam-widened"}
		judged([updated(r.type, r.after, r.after)]) == set()
	}
	judged([created("aws_iam_role_policy_attachment", {"policy_arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}), created("google_project_iam_member", {"role": "roles/viewer"})]) == set()
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
		doc_ids(manifests("delete", [deployment(pod)])) == set()
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
	applied([service({"type": "ClusterIP"}, {}), service({"type": "LoadBalancer"}, {"service.beta.kubernetes.io/aws-load-balancer-internal": "true"})]) == set()
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

package cabincrew.baseline_test

import data.cabincrew.baseline

# a changed text file; members of extra win
file(path, extra) := object.union(
	{
		"op": "modify", "path": path, "old_path": path, "old_mode": "100644", "new_mode": "100644", "binary": false,
		"added": 1, "deleted": 0, "added_lines": ["x"], "deleted_lines": [], "truncated": false, "executable_changed": false,
	},
	extra,
)

patch(files) := {
	"artifacts": [{
		"name": "changes", "role": "evidence", "artifact_type": "patch", "action": "apply", "target": "",
		"mime": "text/x-diff", "metadata": {}, "hash": "sha256:0", "size": 1, "patch": {"files": files},
	}],
	"context": {}, "config": {}, "mode": "flight-plan", "isolation": {"tier": "A", "missing": []},
	"opaque": false, "governance": {"paths": []},
}

targeted(action, target) := {"artifacts": [{"name": "plan", "artifact_type": "note", "action": action, "target": target}], "isolation": {"tier": "A"}, "opaque": false}

ids(set) := {m.id | some m in set}

denied(doc) := found if found := ids(baseline.deny) with input as doc

asked(doc) := found if found := ids(baseline.require_approval) with input as doc

warned(doc) := found if found := ids(baseline.warn) with input as doc

quiet(doc) if {
	denied(doc) == set()
	asked(doc) == set()
	warned(doc) == set()
}

test_ordinary_change_is_quiet if quiet(patch([file("src/main.go", {}), file("docs/a b.md", {"op": "add", "old_path": "", "old_mode": ""})]))

test_nothing_is_quiet if quiet(patch([]))

test_outside[path] if {
	some path in [
		"/etc/passwd", "../x", "a/../../x", "a/..", `..\x`, `C:\x`, "c:x", "~/x", ".git/config", "a/.git/hooks/pre-commit",
		".GIT/config", ".git./config", ".git /config", "git~1/config", ".g\u200cit/config", "a//.git/x", "./", "a/.. /b", `\\host\x`, ".git",
	]
	denied(patch([file(path, {})])) == {"outside-workspace"}
	denied(patch([file("ok", {"old_path": path})])) == {"outside-workspace"}
	denied(patch([file(path, {"op": "delete", "new_mode": ""})])) == {"outside-workspace"}
	denied(targeted("apply", path)) == {"outside-workspace"}
}

test_outside_all if count(test_outside) == 20

test_not_outside if {
	every path in [".gitignore", ".github/x", "a..b", "..a/b", "a/.gitkeep", "digit/x", "a.git/x"] {
		denied(patch([file(path, {})])) == set()
	}
	every target in ["", "production", "https://example.com/../x", "git@github.com:a/b.git", "module.x"] {
		denied(targeted("apply", target)) == set()
	}
}

test_file_without_name if denied(patch([file("", {})])) == {"outside-workspace"}

test_message_names_file_and_remedy if {
	some m in baseline.deny with input as patch([file("../x\n\u001b[2J", {})])
	m.id == "outside-workspace"
	contains(m.msg, `"../x\n\x1b[2J"`)
	contains(m.msg, "relative paths")
	m.artifact == "changes"
}

test_credential[path] if {
	some path in [
		".env", ".env.local", "app/.env.production", ".envrc", "id_rsa", "keys/id_ed25519.old", ".npmrc", ".netrc", "_netrc", ".pypirc",
		".git-credentials", ".aws/credentials", "home/.ssh/config", ".ssh/authorized_keys", "store.p12", "store.PFX", "a.jks", "kubeconfig",
		".kube/config", ".docker/config.json", ".ENV", "x/.Npmrc", ".env.", "prod.kubeconfig", ".gnupg/secring.gpg", "a.kdbx", ".pgpass",
		".env~", ".env1", ".env_prod", ".envprod", ".envs", ".ſſh/config", ".env::$DATA", ".ssh", "id_rsa.bak", "x/.env-local",
	]
	denied(patch([file(path, {})])) == {"credential-file"}
	denied(patch([file(path, {"op": "add"})])) == {"credential-file"}
	denied(patch([file(path, {"op": "delete", "new_mode": ""})])) == set()
	denied(targeted("write", path)) == {"credential-file"}
	denied(targeted("delete", path)) == set()
}

test_credential_all if count(test_credential) == 37

test_not_credential if {
	every path in [
		".env.example", ".env.sample", "app/.ENV.Example", "id_rsa.pub", ".ssh/id_ed25519.pub", "environment.go", "src/env", "sshd/x",
		"docs/kubeconfig.md", "npmrc.md", "keynote.txt", "aws/credentials.go",
		".envoy.yaml", ".environment.ts", ".environment", ".env.d.ts", "id_rsa_test.go", "kubeconfig_test.go", "KEYS.asc", "docs/id_rsa.md",
	] {
		denied(patch([file(path, {"op": "add"})])) == set()
	}
}

test_private_key if {
	every path in ["server.pem", "tls/server.KEY"] {
		every extra in [
			{"op": "add", "added_lines": ["-----BEGIN RSA PRIVATE KEY-----", "x"]},
			{"op": "add", "added_lines": ["-----BEGIN CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----"]},
			{"op": "add", "added_lines": ["bm90IHRoZSBmaXJzdCBsaW5l"]},
			{"op": "add", "added_lines": [], "binary": true},
			{"op": "add", "added_lines": ["-----BEGIN CERTIFICATE-----"], "truncated": true},
			{"op": "rename", "old_path": "x", "added": 0, "added_lines": []},
		] {
			denied(patch([file(path, extra)])) == {"credential-file"}
		}
	}
}

test_harmless_pem if {
	every extra in [
		{"op": "add", "added_lines": ["-----BEGIN CERTIFICATE-----", "x", "-----END CERTIFICATE-----"]},
		{"op": "add", "added_lines": ["-----BEGIN PUBLIC KEY-----"]},
		{"op": "modify", "added": 0, "added_lines": [], "deleted": 3, "deleted_lines": ["x", "y", "z"]},
	] {
		denied(patch([file("ca.pem", extra)])) == set()
	}
}

link(path, target) := file(path, {"op": "add", "new_mode": "120000", "added_lines": [target]})

test_link_outside if {
	every l in [
		link("a", "/etc/passwd"), link("a", ".."), link("a", "../x"), link("d/a", "../../x"), link("d/a", "x/../../../y"),
		link("a", "~/x"), link("a", `C:\x`), link("a", `..\x`), link("a", ".git/config"), link("d/a", "../.GIT"), link("a", "b/../../c"),
		file("a", {"new_mode": "120000", "added_lines": []}), file("a", {"new_mode": "120000", "truncated": true}),
		file("a", {"op": "rename", "new_mode": "120000", "binary": true}),
	] {
		denied(patch([l])) == {"symlink-outside"}
	}
}

test_link_inside if {
	every l in [link("a", "b"), link("d/a", "../b"), link("d/e/a", "../../b"), link("a", "./b/c/../d"), link("d/a", "..")] {
		denied(patch([l])) == set()
	}
	denied(patch([file("a", {"op": "delete", "old_mode": "120000", "new_mode": "", "deleted_lines": ["/etc"]})])) == set()
}

test_unreadable_patch if {
	denied({"artifacts": [{"name": "changes", "artifact_type": "patch", "target": "", "action": "apply"}]}) == {"patch-unreadable"}
	denied({"artifacts": [{"name": "changes", "artifact_type": "patch", "target": "", "action": "apply", "patch": {"files": "x"}}]}) == {"patch-unreadable"}
}

test_thresholds_missing if {
	ids(baseline.deny) == {"thresholds-missing"} with input as patch([]) with data.cabincrew_baseline as {}
	ids(baseline.deny) == {"thresholds-missing"} with input as patch([]) with data.cabincrew_baseline.max_changed_lines as "1000"
}

test_ci[path] if {
	some path in [
		".github/workflows/ci.yml", ".github/actions/x/action.yml", ".gitlab-ci.yml", "ci/deploy.gitlab-ci.yml", "Jenkinsfile", "Jenkinsfile.release",
		"deploy.jenkinsfile", ".circleci/config.yml", "azure-pipelines.yml", "azure-pipelines-nightly.yaml", ".forgejo/workflows/x.yml",
		".gitea/workflows/x.yaml", ".travis.yml", ".GitHub/Workflows/x.yml", ".github//workflows/x.yml", ".buildkite/pipeline.yml",
	]
	asked(patch([file(path, {})])) == {"ci-workflow"}
	asked(patch([file(path, {"op": "delete"})])) == {"ci-workflow"}
	asked(patch([file("x", {"op": "rename", "old_path": path})])) == {"ci-workflow"}
}

test_ci_all if count(test_ci) == 16

test_not_ci if {
	every path in [".github/dependabot.yml", "docs/github/workflows/x.md", "workflows/x.yml", "Jenkins.md"] {
		asked(patch([file(path, {})])) == set()
	}
}

test_governance[path] if {
	some path in [
		"policies/a.rego", ".cabincrew.yaml", "sub/.cabincrew.yml", "CODEOWNERS", ".github/CODEOWNERS", "models/x.onnx", "keys/a.pub",
		".cabincrew/x", "governed/list", "governed-file",
	]
	doc := object.union(patch([file(path, {})]), {"governance": {"paths": ["governed/", "Governed-File"]}})
	asked(doc) == {"governance"}
	some m in baseline.require_approval with input as doc
	m.role == "policy-owner"
	m.files == {path}
}

test_governance_all if count(test_governance) == 10

test_not_governance if {
	doc := object.union(patch([file("governed-files", {}), file("x/governed/y", {}), file("cabincrew.yaml", {})]), {"governance": {"paths": ["governed/", "governed-file"]}})
	asked(doc) == set()
}

gone(n) := [file(sprintf("f%d", [i]), {"op": "delete", "new_mode": "", "added": 0}) | some i in numbers.range(1, n)]

test_mass_deletion if {
	asked(patch(gone(19))) == set()
	asked(patch(gone(20))) == {"mass-deletion"}
	asked(object.union(patch(gone(5)), {"workspace": {"files": 10}})) == {"mass-deletion"}
	asked(object.union(patch(gone(5)), {"workspace": {"files": 11}})) == set()
	asked(object.union(patch(gone(4)), {"workspace": {"files": 4}})) == set()
}

test_mass_deletion_message if {
	some m in baseline.require_approval with input as patch(gone(25))
	contains(m.msg, "25 files would be deleted (the limit is 20)")
	contains(m.msg, "and 15 more")
	m.role == "maintainer"
}

test_executable if {
	every f in [
		file("run", {"new_mode": "100755", "old_mode": "100755"}), file("run", {"new_mode": "100755"}), file("run", {"op": "add", "new_mode": "100755"}),
		file("run", {"executable_changed": true}), file("lib/x.SO", {}), file("a.jar", {"op": "add"}), file("b.exe", {}),
	] {
		asked(patch([f])) == {"changed-executable"}
	}
}

test_not_executable if {
	every f in [file("run", {"old_mode": "100755", "new_mode": "100644"}), file("run", {"op": "delete", "old_mode": "100755", "new_mode": ""}), file("x.so.md", {})] {
		asked(patch([f])) == set()
	}
}

test_many_lines if {
	asked(patch([file("a", {"added": 600}), file("b", {"deleted": 399, "added": 1})])) == set()
	asked(patch([file("a", {"added": 600}), file("b", {"deleted": 400, "added": 1})])) == {"many-lines"}
	asked(patch([file("a", {"added": 6})])) == {"many-lines"} with data.cabincrew_baseline.max_changed_lines as 5
	some m in baseline.require_approval with input as patch([file("a", {"added": 10}), file("b", {"added": 2000})])
	contains(m.msg, `the largest first ("b")`)
}

test_equal_files_count_twice if {
	asked(patch([file("a", {"added": 600}), file("b", {"added": 600})])) == {"many-lines"}
}

test_opaque if {
	asked(object.union(patch([]), {"opaque": true})) == {"opaque-step"}
	asked(object.remove(patch([]), ["opaque"])) == {"opaque-step"}
}

test_not_isolated if {
	asked(object.union(patch([]), {"isolation": {"tier": "B"}})) == set()
	asked(object.union(patch([]), {"isolation": {"tier": "C"}})) == {"not-isolated"}
	asked(object.remove(patch([]), ["isolation"])) == {"not-isolated"}
}

test_binary if {
	warned(patch([file("a.png", {"binary": true})])) == {"binary-file"}
	warned(patch([file("a.png", {"op": "delete", "binary": true})])) == set()
}

test_truncated if warned(patch([file("a", {"truncated": true})])) == {"truncated-view"}

test_every_finding_is_complete if {
	doc := object.union(
		patch(array.concat(gone(20), [
			file("../x", {"binary": true, "truncated": true, "new_mode": "100755", "added": 5000}), file(".env", {}),
			link("l", "/x"), file("ci/.gitlab-ci.yml", {}), file("a.rego", {}),
		])),
		{"opaque": true},
	)
	every set in [baseline.deny, baseline.require_approval, baseline.warn] {
		count(set) > 1
		every m in set {
			count(m.msg) > 40
			count(m.id) > 5
		}
	} with input as doc
	asked(doc) == {"ci-workflow", "governance", "mass-deletion", "changed-executable", "many-lines", "opaque-step"}
	denied(doc) == {"outside-workspace", "credential-file", "symlink-outside"}
	every m in baseline.require_approval { m.role in {"maintainer", "policy-owner"} } with input as doc
}

test_other_forms_of_paths if {
	every path in [
		".GitHub/Workflows/x.yml", ".github./workflows /x.yml", ".g\u200dithub/workflows/x.yml", ".github/workﬂowſ/x.yml", ".github\\workflows\\x.yml", ".github", ".circleci", ".github/workflows", "JENKINSFILE::$DATA",
	] {
		asked(patch([file(path, {})])) == {"ci-workflow"}
		asked(patch([file("elsewhere", {"op": "rename", "old_path": path})])) == {"ci-workflow"}
		asked(patch([file(path, {"new_mode": "120000", "added_lines": ["x"]})])) == {"ci-workflow"}
	}
	asked(patch([file("docs/github", {}), file("x.github/y", {})])) == set()
	asked(patch([file(".cabincrew", {"new_mode": "120000", "added_lines": ["x"]})])) == {"governance"}
	asked(object.union(patch([file("Governed", {"new_mode": "120000", "added_lines": ["x"]})]), {"governance": {"paths": ["governed/"]}})) == {"governance"}
	asked(patch([file("a.cabincrew", {})])) == set()
}

test_same_file_counts_once if {
	asked(patch([file("a", {"added": 600}), file("a", {"added": 600})])) == set()
	asked(patch([file("a", {"added": 600}), file("a", {"added": 600}), file("b", {"added": 600})])) == {"many-lines"}
}

test_newline_in_path if {
	denied(patch([file("a\nb/x", {}), file("docs/x", {}), file("a/.env\nx", {})])) == {"credential-file"}
	denied(patch([file("a\nb/../../x", {})])) == {"outside-workspace"}
	denied(patch([file("x\n/etc", {})])) == set()
	asked(patch([file("a\nb/.github/workflows/x.yml", {})])) == {"ci-workflow"}
	asked(patch([file("a\nb.rego", {}), file("c/d.py", {})])) == {"governance"}
	denied(patch([file("d\nx/.npmrc", {})])) == {"credential-file"}
	asked(patch([file("d\nx/Jenkinsfile", {})])) == {"ci-workflow"}
	asked(patch([file("d\nx/CODEOWNERS", {})])) == {"governance"}
	asked(patch([file("x\n.github", {}), file("x\njenkinsfile", {}), file("x\ngoverned", {})])) == set()
}

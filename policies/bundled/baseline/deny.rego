package cabincrew.baseline

import data.cabincrew_baseline as config

# METADATA
# title: Writes outside the workspace
# description: A patch or a target names an absolute path, a path with "..", or a path inside .git.
# custom:
#   id: outside-workspace
#   remedy: Let the step change files inside the workspace only, by paths relative to it.
deny contains {
	"id": "outside-workspace",
	"artifact": c.artifact,
	"file": path,
	"msg": sprintf("artifact %s would write %s, which %s. Let the step change files inside the workspace only, by relative paths.", [c.artifact, quoted(path), why]),
} if {
	count(faults) > 0
	some c in changes
	some path in touched(c.file)
	why := faults[path]
}

deny contains {
	"id": "outside-workspace",
	"artifact": c.artifact,
	"msg": sprintf("artifact %s changes a file without a name. Let the step change files inside the workspace only, by relative paths.", [c.artifact]),
} if {
	count(paths - {""}) < count(changes)
	some c in changes
	touched(c.file) == set()
}

deny contains {
	"id": "outside-workspace",
	"artifact": a.name,
	"file": a.target,
	"msg": sprintf("the target %s of artifact %s %s. Let the step change files inside the workspace only, by relative paths.", [quoted(a.target), a.name, why]),
} if {
	some a in input.artifacts
	why := faults[a.target]
	not is_url(a.target)
}

is_url(target) if {
	regex.match(`^[A-Za-z][A-Za-z0-9+.-]+://`, target)
	not startswith(lower(target), "file:")
}

# METADATA
# title: Writes a credential file
# description: A file that holds credentials by its name or its place (.env, private keys, .npmrc, .netrc, .aws/credentials, .ssh, key stores, kubeconfig ...) would be written. Deleting one is allowed.
# custom:
#   id: credential-file
#   remedy: Keep credentials in the secret store of the CI system and give them to the step by its secrets map.
deny contains {
	"id": "credential-file",
	"artifact": c.artifact,
	"file": c.file.path,
	"msg": sprintf("artifact %s would write the credential file %s. Keep credentials in a secret store and give them to the step by its secrets map; an example belongs into .env.example.", [c.artifact, quoted(c.file.path)]),
} if {
	count(credential_paths | key_paths) > 0
	some c in written
	credential(c.file)
}

deny contains {
	"id": "credential-file",
	"artifact": a.name,
	"file": a.target,
	"msg": sprintf("the target %s of artifact %s is a credential file. Keep credentials in a secret store and give them to the step by its secrets map.", [quoted(a.target), a.name]),
} if {
	some a in input.artifacts
	lower(a.action) != "delete"
	not is_url(a.target)
	a.target in credential_paths
}

credential(f) if f.path in credential_paths

credential(f) if {
	f.path in key_paths
	not harmless_key(f)
}

credential_paths := {p |
	some p in ((named(secret_names) | ending(secret_endings)) | placed(secret_places)) | unsure
	not endswith(slashed(p), ".pub")
}

secret_names := `(\.(npmrc|yarnrc|netrc|pypirc|git-credentials|pgpass|my\.cnf|htpasswd|dockercfg|terraformrc|s3cfg|boto|vault-token)|_netrc|kubeconfig|terraform\.rc|credentials\.tfrc\.json|application_default_credentials\.json)$`

secret_endings := `\.(p12|pfx|jks|keystore|kdbx|ppk|kubeconfig)$`

secret_places := `/\.(ssh(/|$)|gnupg(/|$)|aws/credentials|docker/config\.json|kube/config|azure/accesstokens\.json|config/gh/hosts\.yml|config/gcloud/|cargo/credentials)`

# .env and .env.local, but not .envoy.yaml; and the keys of ssh. Programs and
# examples have such names, too.
unsure := {p |
	some p in named(`(\.env(rc|s|prod|production|dev|development|local|test|testing|stage|staging|live)?([^a-z]|$)|id_(rsa|dsa|ecdsa|ed25519))`)
	not regex.match(`^\.env\.(example|sample|template|dist)$|\.(go|py|rb|rs|java|kt|ts|js|mjs|cjs|tsx|cs|md)$`, base(p))
}

key_paths := ending(`\.(pem|key)$`)

# A .pem or .key file is harmless if all that is written to it can be seen and it is a
# certificate or a public key ...
harmless_key(f) if {
	visible(f)
	some line in f.added_lines
	regex.match(`-----BEGIN ([A-Z0-9]+ )*(CERTIFICATE|CERTIFICATE REQUEST|CRL|PUBLIC KEY|PARAMETERS)-----`, line)
	not private_key(f)
}

# ... or if lines are taken away only.
harmless_key(f) if {
	visible(f)
	f.op == "modify"
	f.added == 0
}

visible(f) if {
	f.binary == false
	f.truncated == false
}

private_key(f) if {
	some line in f.added_lines
	contains(line, "PRIVATE KEY")
}

# METADATA
# title: Symbolic link out of the workspace
# description: A symbolic link would point outside the workspace or into .git, or where it points cannot be seen.
# custom:
#   id: symlink-outside
#   remedy: Link to files inside the workspace by relative paths, or copy the file.
deny contains {
	"id": "symlink-outside",
	"artifact": c.artifact,
	"file": c.file.path,
	"msg": sprintf("artifact %s would make %s a symbolic link %s. Link to files inside the workspace by relative paths, or copy the file.", [c.artifact, quoted(c.file.path), why]),
} if {
	some c in special
	c.file.new_mode == "120000"
	why := link_fault(c.file)
}

link_fault(f) := "whose target cannot be seen" if {
	not link_seen(f)
} else := sprintf("to %s, which is outside the workspace", [quoted(f.added_lines[0])]) if {
	link_leaves(f.path, f.added_lines[0])
} else := sprintf("to %s, inside git's own directory", [quoted(f.added_lines[0])]) if {
	in_git_dir(f.added_lines[0])
}

link_seen(f) if {
	visible(f)
	count(f.added_lines) == 1
}

link_leaves(_, target) if is_absolute(target)

link_leaves(path, target) if {
	parts := segments(target)
	depth := count(segments(path)) - 1
	some i, _ in parts
	walked := array.slice(parts, 0, i + 1)
	ups := count([1 | some s in walked; s == ".."])
	downs := count([1 | some s in walked; not s in {"..", ".", ""}])
	(depth + downs) - ups < 0
}

# METADATA
# title: Patch that cannot be read
# description: An artifact of type patch has no readable list of files, so nobody can say what it would change.
# custom:
#   id: patch-unreadable
#   remedy: Let the engine write a patch as "git diff --binary" does.
deny contains {
	"id": "patch-unreadable",
	"artifact": a.name,
	"msg": sprintf("artifact %s is a patch, but which files it changes cannot be read. Let the engine write it as \"git diff --binary\" does.", [a.name]),
} if {
	some a in input.artifacts
	a.artifact_type == "patch"
	not readable(a)
}

# a function of its own: "not is_array(a.patch.files)" is undefined, and the rule
# silent, where there is no patch at all
readable(a) if is_array(a.patch.files)

# METADATA
# title: Thresholds are missing
# description: A threshold or a role in data.cabincrew_baseline is missing or of the wrong kind, so rules could not fire.
# custom:
#   id: thresholds-missing
#   remedy: Give each value under policies.data.cabincrew_baseline the kind that the bundled data.json has.
deny contains {
	"id": "thresholds-missing",
	"msg": sprintf("data.cabincrew_baseline.%s is missing or no %s; rules that need it could not fire. Mend policies.data in the configuration.", [name, kind]),
} if {
	some name, kind in {
		"max_changed_lines": "number", "max_deleted_files": "number", "max_deleted_percent": "number",
		"min_deleted_files_for_percent": "number", "role": "string", "governance_role": "string",
	}
	type_name(object.get(config, name, null)) != kind
}

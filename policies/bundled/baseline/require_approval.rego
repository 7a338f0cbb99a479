package cabincrew.baseline

import data.cabincrew_baseline as config

# METADATA
# title: CI workflow changes
# description: A file that CI systems run is touched (.github/workflows, .github/actions, .gitlab-ci.yml, Jenkinsfile, .circleci, azure-pipelines.yml, Forgejo, Gitea and others).
# custom:
#   id: ci-workflow
#   remedy: A maintainer must look at what the pipeline would do and approve.
require_approval contains {
	"id": "ci-workflow",
	"role": config.role,
	"artifact": name,
	"files": files,
	"msg": sprintf("artifact %s changes what CI runs: %s. Look at what the pipeline would do, then approve as %s.", [name, listed(files), config.role]),
} if {
	some name, files in by_artifact(ci_paths)
}

ci_paths contains {"artifact": c.artifact, "path": path} if {
	count(ci) > 0
	some c in changes
	some path in touched(c.file)
	path in ci
}

ci := placed(ci_places) | named(ci_names)

ci_places := `/\.((github/(workflows|actions)|gitlab/ci|circleci|(forgejo|gitea)/(workflows|actions)|azure-pipelines|buildkite|woodpecker|teamcity|tekton|semaphore)(/|$)|(github|gitlab|forgejo|gitea)$)`

ci_names := `(.*\.gitlab-ci\.ya?ml|bitbucket-pipelines\.yml|\.(travis|drone|cirrus)\.yml|\.woodpecker\.ya?ml|\.?appveyor\.yml|(cloudbuild|buildspec)\.ya?ml|(.*\.)?jenkinsfile(\..*)?|\.?azure-pipelines.*\.ya?ml)$`

# METADATA
# title: Governance changes
# description: What decides over flights is touched - policies (*.rego), the configuration, CODEOWNERS, models (*.onnx), public keys, or any path in input.governance.paths.
# custom:
#   id: governance
#   remedy: A policy owner must approve; the change is judged by the old rules until it is merged.
require_approval contains {
	"id": "governance",
	"role": config.governance_role,
	"artifact": name,
	"files": files,
	"msg": sprintf("artifact %s changes what decides over flights: %s. Check that nothing is let through that should not be, then approve as %s.", [name, listed(files), config.governance_role]),
} if {
	some name, files in by_artifact(governance_paths)
}

governance_paths contains {"artifact": c.artifact, "path": path} if {
	count(deciding) > 0
	some c in changes
	some path in touched(c.file)
	path in deciding
}

deciding := ((named(`(\.cabincrew\.ya?ml|codeowners)$`) | ending(`\.(rego|onnx|pub)$`)) | placed(`/\.cabincrew(/|$)`)) | governed

governed := {names[i] |
	some raw in input.governance.paths
	g := slashed(raw)
	contains(form_text, concat("", ["/", trim_suffix(g, "/")]))
	some i, form in forms
	covers(g, form)
}

covers(g, path) if trim_suffix(g, "/") == path

covers(g, path) if {
	endswith(g, "/")
	startswith(path, g)
}

# METADATA
# title: Mass deletion
# description: At least max_deleted_files files (20), or max_deleted_percent (50) of the workspace and at least min_deleted_files_for_percent (5) files, would be deleted.
# custom:
#   id: mass-deletion
#   remedy: A maintainer must confirm that all of them should go; else delete in smaller steps.
require_approval contains {
	"id": "mass-deletion",
	"role": config.role,
	"files": deleted,
	"msg": sprintf("%d %s would be deleted (%s): %s. Make sure that all of them should go, then approve as %s; or delete in smaller steps.", [count(deleted), noun(deleted), why, listed(deleted), config.role]),
} if {
	why := too_many_deleted
}

deleted := {c.file.path |
	count(written) < count(changes)
	some c in changes
	c.file.op == "delete"
}

too_many_deleted := sprintf("the limit is %d", [config.max_deleted_files]) if {
	count(deleted) >= config.max_deleted_files
} else := sprintf("of %d in the workspace; the limit is %d %%", [input.workspace.files, config.max_deleted_percent]) if {
	count(deleted) >= config.min_deleted_files_for_percent
	count(deleted) * 100 >= input.workspace.files * config.max_deleted_percent
}

# METADATA
# title: Changed executables
# description: A file that can be executed is added, changed, moved or made executable, or a program in binary form (.exe, .so, .dll, .jar, .wasm ...) is written.
# custom:
#   id: changed-executable
#   remedy: A maintainer must look at what the program would do, and build binaries from source instead.
require_approval contains {
	"id": "changed-executable",
	"role": config.role,
	"artifact": name,
	"files": files,
	"msg": sprintf("artifact %s changes programs: %s. Look at what they would do, then approve as %s; leave out what need not be executable.", [name, listed(files), config.role]),
} if {
	some name, files in by_artifact(program_paths)
}

program_paths contains {"artifact": c.artifact, "path": c.file.path} if {
	some c in special
	c.file.new_mode == "100755"
}

program_paths contains {"artifact": written[i].artifact, "path": written[i].file.path} if written[i].file.executable_changed

program_paths contains {"artifact": c.artifact, "path": c.file.path} if {
	count(binaries) > 0
	some c in written
	c.file.path in binaries
}

binaries := ending(`\.(exe|dll|so|dylib|com|msi|scr|jar|war|class|wasm|pyc|node|apk|deb|rpm|appimage)$`)

# METADATA
# title: Large change
# description: More than max_changed_lines lines (1000) are added and deleted.
# custom:
#   id: many-lines
#   remedy: A maintainer must approve; or plan the change in smaller steps.
require_approval contains {
	"id": "many-lines",
	"role": config.role,
	"msg": sprintf("%d lines would change in %d %s (%d added, %d deleted); the limit is %d. Look at the largest first (%s), then approve as %s; or plan smaller steps.", [added + deleted_lines, count(changes), noun(changes), added, deleted_lines, config.max_changed_lines, quoted(largest), config.role]),
} if {
	added := sum([n | n := changes[_].file.added])
	deleted_lines := sum([n | n := changes[_].file.deleted])
	added + deleted_lines > config.max_changed_lines
}

largest := max([[c.file.added + c.file.deleted, c.file.path] | c := changes[_]])[1]

# METADATA
# title: Opaque step
# description: What the plan says of its state cannot be checked against the state itself; it is the engine's word only.
# custom:
#   id: opaque-step
#   remedy: A maintainer must decide whether to trust the engine, or use an engine whose state can be read.
require_approval contains {
	"id": "opaque-step",
	"role": config.role,
	"msg": sprintf("what the step would do is known by the engine's word only, since its state cannot be read. Approve as %s if you trust the engine; or use an engine whose state can be read.", [config.role]),
} if {
	not input.opaque == false
}

# artifact name -> its paths
by_artifact(pairs) := {name: {p.path | some p in pairs; p.artifact == name} | some name in {p.artifact | some p in pairs}}

# METADATA
# title: Not isolated
# description: The engine ran without isolation, so it could read and change whatever its user can.
# custom:
#   id: not-isolated
#   remedy: A maintainer must decide whether to trust the engine, or leave isolation none out of the step and plan on a machine with tier A.
require_approval contains {
	"id": "not-isolated",
	"role": config.role,
	"msg": sprintf("the engine was not isolated while it planned (tier C): it could read and change whatever its user can. Approve as %s if you trust it; or leave \"isolation: none\" out of the step.", [config.role]),
} if {
	not isolated
}

isolated if input.isolation.tier in {"A", "B"}

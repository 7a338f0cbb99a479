package cabincrew.supply_chain

import data.cabincrew_supply_chain as config

# METADATA
# title: Action without a commit
# description: A workflow or an action starts to use an action, a reusable workflow or a docker:// image that is not pinned to a full commit hash or a digest. Local ones (./) and owners in trusted_actions are fine.
# custom:
#   id: unpinned-action
#   remedy: Write the full commit hash (40 hexadecimal digits), for docker:// the digest, and the version as a comment behind it.
require_approval contains f if some f in asked(
	"unpinned-action", unpinned,
	"lets CI run what its author can exchange at any time",
	"Pin it to a full commit hash, docker:// to a digest",
)

unpinned contains [i, line, m[1]] if {
	some i in definitions
	contains(texts[i], "uses")
	some line in changes[i].file.added_lines
	some m in regex.find_all_string_submatch_n(`(?:^|[\s{,-])["']?uses["']?\s*:(?:\s+|$)["']?([^\s"'#,}]*)`, line, -1)
	not regex.match(`^\./|^docker://[^@]+@sha256:[0-9a-f]{64}$|^[^@]+@([0-9a-f]{40}|[0-9a-f]{64})$`, m[1])
	not strings.any_prefix_match(m[1], config.trusted_actions)
}

# workflows and actions
definitions contains i if {
	some i in plain
	regex.match(`(^|/)\.(github|forgejo|gitea)/(workflows|actions)/|(^|/)action\.ya?ml$`, paths[i])
}

# METADATA
# title: Image without a digest
# description: A Dockerfile starts to build from an image that is named without its digest.
# custom:
#   id: unpinned-image
#   remedy: Add the digest to the image's name (image:tag@sha256:...).
warn contains f if some f in told(
	"unpinned-image", {h | some h in images; not contains(h[2], "@sha256:")},
	"builds from images that can be exchanged",
	"Add their digests (image:tag@sha256:…)",
)

# images of FROM lines that are neither an earlier stage nor an argument
images contains [i, line, m[1]] if {
	some i in kinds(["*.dockerfile", "*.containerfile"])
	some line in changes[i].file.added_lines
	some m in regex.find_all_string_submatch_n(`(?i)^\s*from\s+(?:--\S+\s+)*([^\s$]+)(?:\s|$)`, line, 1)
	not lower(m[1]) in (stages(changes[i].file) | {"scratch"})
}

stages(f) := {lower(m[1]) |
	some h in f.hunks
	some l in h.lines
	l.op != "-"
	some m in regex.find_all_string_submatch_n(`(?i)^\s*from\s.*\sas\s+(\S+)`, l.text, 1)
}

# METADATA
# title: New registry or source
# description: Packages, modules or images would come from another place - a registry in .npmrc, pip, Cargo, Gem, Maven, NuGet or Go settings, a git or URL dependency, a replaced Go module, a submodule, a host in a lock file or a registry of images that is not in registries or image_registries.
# custom:
#   id: new-registry
#   remedy: Use the registries that are known, or a maintainer must check who can publish there; list it in policies.data then.
require_approval contains f if some f in asked(
	"new-registry", (hits("sources") | locked_hosts) | image_hosts,
	"takes code from a new place",
	"Use a registry that is known, or check who can publish there",
)

locked_hosts contains [i, host, host] if {
	some row in config.locked
	some i in kinds(row.kinds)
	some host in {lower(m[1]) | some m in regex.find_all_string_submatch_n(row.match, texts[i], -1)}
	not host in config.registries
	not contains(gone[i], host)
}

image_hosts contains h if {
	some h in images
	host := regex.find_n(`^[^/]*[.:][^/]*/|^localhost/`, h[2], 1)[0]
	not trim_suffix(host, "/") in config.image_registries
}

# METADATA
# title: Verification turned off
# description: A setting would turn off the check of checksums, certificates or signatures of what is downloaded (GOSUMDB=off, GOINSECURE, strict-ssl=false, --trusted-host, http.sslVerify false ...).
# custom:
#   id: verification-off
#   remedy: Keep the check; add the private certificate or checksum database instead.
require_approval contains f if some f in asked(
	"verification-off", hits("unverified"),
	"downloads without verification",
	"Keep the check and configure what it lacks",
)

package cabincrew.supply_chain

import data.cabincrew_supply_chain as config

# METADATA
# title: Action without a commit
# description: A workflow or an action starts to use an action, a reusable workflow or a docker:// image that is not pinned to a full commit hash or a digest, or names one by a key that is not written plainly (? uses). Local ones (./) and owners in trusted_actions are fine.
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
	some line in split(texts[i], "\n")
	some m in regex.find_all_string_submatch_n(`(?:^|[\s{,\[-]|[^\x00-\x7f])(?:["']uses["']\s*:\s*|uses\s*:(?:\s+|$))(?:[&!]\S*\s+)*["']?([^\s"'#,}\]]*)`, line, -1)
	not pinned(m[1])
}

# the image of an action
unpinned contains [i, m[0], m[1]] if {
	some i in definitions
	contains(texts[i], "docker://")
	some m in regex.find_all_string_submatch_n(`\bimage["']?\s*:\s*["']?(docker://[^\s"'#,}]+)`, texts[i], -1)
	not pinned(m[1])
}

# "? uses" and "*alias:" are keys too, but nobody writes them
unpinned contains [i, s, "a key that is not written plainly"] if {
	some i in definitions
	some s in fresh(config.odd_keys, texts[i], gone[i])
}

pinned(action) if {
	startswith(action, "./")
	not contains(action, "..")
}

pinned(action) if regex.match(`^docker://[^@]+@sha256:[0-9a-f]{64}$|^[^@.][^@]*@([0-9a-f]{40}|[0-9a-f]{64})$`, action)

pinned(action) if strings.any_prefix_match(action, config.trusted_actions)

# workflows and actions
definitions contains i if {
	regex.match(concat("", ["(?m)", config.definitions]), path_text)
	some i in plain
	regex.match(config.definitions, paths[i])
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

# images of FROM lines that are neither an earlier stage nor an argument, and of
# COPY --from that cannot be a stage
images contains [i, m[0], m[1]] if {
	some i in kinds(["*.dockerfile", "*.containerfile"])
	old := {m[1] | some m in from_lines(before[i])}
	some m in from_lines(now[i])
	not m[1] in old
	not lower(m[1]) in (stages(changes[i].file) | {"scratch"})
}

from_lines(text) := array.concat(
	regex.find_all_string_submatch_n(`(?im)^[ \t]*from\s+(?:--\S+\s+)*([^\s$]\S*)`, joined_lines(text), -1),
	regex.find_all_string_submatch_n(`(?im)^[ \t]*(?:onbuild\s+)?(?:copy\s[^\n]*--from=|run\s[^\n]*\bfrom=)([^\s$,]+[/:@][^\s,]*)`, joined_lines(text), -1),
)

# a Dockerfile's lines that are continued are one
joined_lines(text) := regex.replace(text, "[\\\\`][ \\t]*\\n\\s*(?:#[^\\n]*\\n\\s*)*", " ")

# other places where images are named: arguments and the syntax of Dockerfiles,
# services of Compose, containers of workflows
named_images contains [i, m[0], m[1]] if {
	some i in kinds(["*.dockerfile", "*.containerfile"])
	some m in regex.find_all_string_submatch_n(`(?im)^[ \t]*(?:arg\s+\w+\s*=\s*["']?|#\s*syntax\s*=\s*)([^\s"'$]+)`, texts[i], -1)
}

named_images contains [i, m[0], m[1]] if {
	some i in kinds(["*.compose", "*.gitlab-ci.yml"]) | definitions
	some m in regex.find_all_string_submatch_n(`\b(?:image|container)["']?\s*:\s*["']?(?:docker://)?([^\s"'$#,}]+/[^\s"'#,}]+)`, texts[i], -1)
}

stages(f) := {lower(m[1]) |
	some h in f.hunks
	some l in h.lines
	l.op != "-"
	some m in regex.find_all_string_submatch_n(`(?i)^\s*from\s.*\sas\s+(\S+)`, l.text, 1)
}

# METADATA
# title: New registry or source
# description: Packages, modules or images would come from another place - a registry in .npmrc, pip, Cargo, Gem, Maven, NuGet or Go settings, a git or URL dependency, a replaced Go module, a submodule, a module of Terraform, an include of a pipeline, a host in a lock file or a registry of images that is not in registries or image_registries.
# custom:
#   id: new-registry
#   remedy: Use the registries that are known, or a maintainer must check who can publish there; list it in policies.data then.
require_approval contains f if some f in asked(
	"new-registry", ((hits("sources") | locked_hosts) | image_hosts) | packages_elsewhere,
	"takes code from a new place",
	"Use a registry that is known, or check who can publish there",
)

locked_hosts contains [i, host, host] if {
	some row in config.locked
	some i in kinds(row.kinds)
	some host in hosts(row.match, texts[i]) - hosts(row.match, gone[i])
	not host in config.registries
}

hosts(pattern, text) := {lower(m[1]) | some m in regex.find_all_string_submatch_n(pattern, text, -1)}

image_hosts contains h if {
	some h in images | named_images
	host := lower(regex.find_n(`^[^/]*[.:][^/]*/|^localhost/`, h[2], 1)[0])
	not trim_suffix(host, "/") in config.image_registries
	not host in hosts(`([^\s"'=/@]*[.:][^\s"'/]*/)`, gone[h[0]])
}

# dependencies of package.json by address ("https://…") or by repository ("a/b")
packages_elsewhere contains [i, m[0], shown(m[0])] if {
	some i in kinds(["package.json"])
	some m in regex.find_all_string_submatch_n(`(?i)"([^"]+)": "((?:https?:[/\\]*[^"]+)|\w[\w.-]*/[\w.-]+(?:#[^"]*)?)"`, texts[i], -1)
	not lower(m[1]) in {lower(k) | some k in config.plain_keys}
	not startswith(m[1], ".")
	not regex.match(`^[^#:]*\.(?:[cm]?[jt]sx?|json|css|scss|sh|py|html|node|wasm|d\.ts)$`, m[2])
	not contains(gone[i], m[0])
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

# METADATA
# title: Setting in disguise
# description: A manifest, lock file or setting spells letters or digits as escapes ("post\u0069nstall"), or a workflow does so in a key. Programs read them as what they are, people do not.
# custom:
#   id: disguised-setting
#   remedy: Write the letters themselves.
require_approval contains f if some f in asked(
	"disguised-setting", disguises,
	"spells letters so that nobody reads them",
	"Write the letters themselves",
)

disguises contains [i, s, shown(s)] if {
	some i in settings - scripted
	contains(written[i], "\\")
	regex.match(config.escaping, paths[i])
	some s in fresh(concat("", [config.letter_disguise, `[^"'\n]{0,60}`]), written[i], taken[i])
}

disguises contains [i, s, shown(s)] if {
	some i in scripted
	contains(written[i], "\\")
	some s in fresh(config.key_disguise, written[i], taken[i])
}

# what holds shell scripts, in which escapes are common
scripted := definitions | kinds(["*.gitlab-ci.yml", "*.compose"])

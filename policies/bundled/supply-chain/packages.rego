package cabincrew.supply_chain

import data.cabincrew_supply_chain as config

kinds(list) := {i | some k in list; some i in by_kind[k]}

there(list) := {i | some i in kinds(list); changes[i].file.op != "delete"}

directory(i) := regex.replace(paths[i], `[^/]*$`, "")

# METADATA
# title: Lock file without its manifest
# description: A lock file (go.sum, package-lock.json, yarn.lock, Cargo.lock, poetry.lock, Gemfile.lock, .terraform.lock.hcl ...) changes, but no manifest in its directory or below it does.
# custom:
#   id: lock-without-manifest
#   remedy: Look at what the lock file now resolves to; change versions in the manifest, or let the package manager write the lock file again.
require_approval contains f if some f in asked(
	"lock-without-manifest", {[i, "", ""] |
		some row in config.locks
		some i in kinds(row.locks)
		every j in kinds(row.manifests) { not startswith(paths[j], directory(i)) }
	},
	"changes what is locked, but not what is asked for",
	"Let the package manager write it from the manifest, or look at what it resolves to now",
)

# METADATA
# title: Manifest without its lock file
# description: A manifest's dependencies change, but no lock file in its directory or above it does.
# custom:
#   id: manifest-without-lock
#   remedy: Run the package manager and commit the lock file with the manifest; without one, add one.
warn contains f if some f in told(
	"manifest-without-lock", {[i, "", ""] |
		some row in config.locks
		some i in there(row.manifests)
		regex.match(row.asks, concat("\n", [texts[i], gone[i]]))
		every j in kinds(row.locks) { not startswith(paths[i], directory(j)) }
	},
	"changes dependencies, but no lock file that would say which bytes they are",
	"Run the package manager and commit its lock file",
)

# METADATA
# title: Script at installation
# description: Code would run when a package is installed or built - npm life-cycle scripts, cmdclass in setup.py, build.rs, binding.gyp, extconf.rb, *.pth.
# custom:
#   id: install-script
#   remedy: Do it in a step that people start; else a maintainer must read what runs on each machine that installs this.
require_approval contains f if some f in asked(
	"install-script", hits("install") | {[i, "", ""] | some i in there(config.install_files)},
	"makes installing or building run code",
	"Do it in a step that people start, or read what it does on each machine",
)

# METADATA
# title: Remote script
# description: A Dockerfile, script, CI file or go:generate line would run what it downloads (curl ... | sh, bash <(curl ...), go run x@latest).
# custom:
#   id: remote-script
#   remedy: Download a fixed version to a file, check its digest, then run it.
require_approval contains f if some f in asked(
	"remote-script", hits("remote") | generated,
	"runs what it downloads",
	"Download a fixed version, check its digest, then run it",
)

generated contains [i, s, shown(s)] if {
	some i, text in texts
	contains(text, "//go:generate")
	some s in regex.find_n(`//go:generate[^\n]*(?:\bcurl\b|\bwget\b|https?://|\bgo (?:run|install) \S+@(?:latest|master|main|HEAD)\b|\bnpx\b)[^\n]*`, text, 50)
}

# METADATA
# title: Checksums removed
# description: A lock file loses checksums of packages that stay in it, or go.sum loses lines although no go.mod or go.work changes.
# custom:
#   id: checksum-removed
#   remedy: Let the package manager write the checksums again.
require_approval contains f if some f in asked(
	"checksum-removed", removed_sums,
	"removes checksums of what stays in use",
	"Let the package manager write them again",
)

removed_sums contains [i, "", ""] if {
	some row in config.sums
	some i in there(row.kinds)
	fewer(row, row.each, i)
}

removed_sums contains [i, "", sprintf("%d lines, such as %s", [count(lost), min(lost)])] if {
	some i in there(["go.sum", "go.work.sum"])
	kinds(["go.mod", "go.work"]) == set()
	lost := versions(sums_of(gone[i])) - versions(sums_of(texts[i]))
	lost != set()
}

# more checksums go than entries
fewer(row, true, i) if {
	less := strings.count(gone[i], row.sum) - strings.count(texts[i], row.sum)
	less > 0
	less > strings.count(gone[i], row.entry) - strings.count(texts[i], row.entry)
}

# where an entry has many checksums, one that is left is enough
fewer(row, false, i) if {
	contains(gone[i], row.sum)
	not contains(texts[i], row.sum)
	strings.count(gone[i], row.entry) <= strings.count(texts[i], row.entry)
}

# [module and version, checksum] of each line of a go.sum
sums_of(text) := {[m[1], m[2]] | some m in regex.find_all_string_submatch_n(`(?m)^(\S+ \S+) (h1:\S+)$`, text, -1)}

versions(sums) := {m | some [m, _] in sums}

# METADATA
# title: Another checksum for the same version
# description: go.sum has another checksum for a module's version than before. A version never changes its bytes, unless somebody exchanged it.
# custom:
#   id: checksum-changed
#   remedy: Restore the old line, and find out who exchanged the module's version.
deny contains f if some f in told(
	"checksum-changed", {[i, m, m] |
		some i in there(["go.sum", "go.work.sum"])
		now := sums_of(texts[i])
		some m in versions(sums_of(gone[i]) - now) & versions(now)
	},
	"accepts other bytes for a version that is known",
	"Restore the old line, and find out who exchanged the version",
)

# METADATA
# title: Vendored code without its manifest
# description: Files below vendor, third_party, node_modules, bower_components, Godeps or Pods change, but no manifest or lock file outside of them does.
# custom:
#   id: vendored-code
#   remedy: Change the version in the manifest and let the package manager copy the code; keep own changes in a fork.
require_approval contains f if some f in asked(
	"vendored-code", {[i, "", ""] | some i in vendored; vendor_alone},
	"changes copies of other people's code, but no version",
	"Let the package manager copy it, or compare it with its origin",
)

vendored contains i if {
	regex.match(config.vendor, path_text)
	some i, p in paths
	regex.match(config.vendor, p)
}

vendor_alone if {
	every j in kinds([k | some row in config.locks; some k in array.concat(row.locks, row.manifests)]) { j in vendored }
}

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
		made(row, i)
		every j in kinds(row.manifests) & real { not startswith(paths[j], directory(i)) }
	},
	"changes what is locked, but not what is asked for",
	"Let the package manager write it from the manifest, or look at what it resolves to now",
)

# some names are those of lock files only where a program made them
made(row, i) if regex.match(object.get(row, "made", ""), concat("\n", [texts[i], gone[i]]))

# files of which more changes than blanks
real contains i if {
	some row in config.locks
	some i in kinds(row.manifests)
	not blank_change(i)
}

blank_change(i) if {
	changes[i].file.op == "modify"
	regex.replace(texts[i], `\s+`, "") == regex.replace(gone[i], `\s+`, "")
	touched(changes[i].file)
}

touched(f) if f.added + f.deleted > 0

touched(f) if f.old_mode != f.new_mode

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
# description: Code would run when a package is installed or built, or what runs there changes - npm life-cycle scripts, packages that may have some, script-shell, cmdclass in setup.py, build.rs, binding.gyp, extconf.rb, *.pth.
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
# description: A Dockerfile, script, CI file or go:generate line would run what it downloads (curl ... | sh, bash <(curl ...), go run x@latest), or downloads a file and runs it without a check of its digest or signature.
# custom:
#   id: remote-script
#   remedy: Download a fixed version to a file, check its digest, then run it.
require_approval contains f if some f in asked(
	"remote-script", (hits("remote") | generated) | fetched,
	"runs what it downloads",
	"Download a fixed version, check its digest, then run it",
)

generated contains [i, s, shown(s)] if {
	some i, text in texts
	contains(text, "//go:generate")
	some s in regex.find_n(`//go:generate[^\n]*(?:\bcurl\b|\bwget\b|https?://|\bgo (?:run|install) \S+@(?:latest|master|main|HEAD)\b|\bnpx\b)[^\n]*`, text, 50)
}

# files that are downloaded, then run, and whose digest or signature nobody checks
fetched contains [i, got, shown(got)] if {
	some w in ["curl", "wget", "aria2c", "iwr", "Invoke-WebRequest"]
	contains(plain_text, w)
	some i in plain
	contains(texts[i], w)
	not regex.match(config.checked, texts[i])
	some got in fresh(config.downloads, texts[i], gone[i])
	some m in regex.find_all_string_submatch_n(config.download_names, got, 20)
	name := regex.replace(concat("", [m[1], m[2]]), `^.*/`, "")
	regex.match(`\w`, name)
	regex.match(runs(regex.replace(name, `\W`, ".")), texts[i])
}

# lines that run a file of this name, or let it be run
runs(name) := sprintf(
	`(?m)(?:\b(?:(?:ba|z|da|k|a)?sh|python[\d.]*|node|perl|ruby|php|pwsh|source)|(?:^|[\s;&|(])\.)\s+(?:-\S+\s+)*["']?(?:[^\s"';&|]*/)?%s(?:["'\s;&|)]|$)|\bchmod\s+(?:-\S+\s+)*(?:[0-7]*[1357][0-7]*|[ugoa]*\+[rwst]*x[rwst]*)\s+(?:[^\n;&]*[\s/"'])?%s(?:["'\s;&|)]|$)`,
	[name, name],
)

# METADATA
# title: Checksums removed
# description: A lock file loses or exchanges checksums of packages that stay in it, or go.sum loses lines although no go.mod or go.work changes.
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

removed_sums contains [i, "", "exchanged"] if {
	some row in config.sums
	some i in there(row.kinds)
	exchanged(row, i)
}

# more new checksums than new versions, in place of old ones
exchanged(row, i) if {
	news := count({s | some s in regex.find_n(row.value, texts[i], -1)} - {s | some s in regex.find_n(row.value, gone[i], -1)})
	news > 0
	contains(gone[i], row.sum)
	news > count(regex.find_n(row.names, texts[i], -1))
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
sums_of(text) := {[concat(" ", [m[1], m[2]]), m[3]] | some m in regex.find_all_string_submatch_n(`(?m)^[ \t]*(\S+)[ \t]+(\S+)[ \t]+(h1:\S+)[ \t\r]*$`, text, -1)}

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
	"vendored-code", {[i, "", ""] | some i in vendored; vendor_alone(i)},
	"changes copies of other people's code, but no version",
	"Let the package manager copy it, or compare it with its origin",
)

vendored contains i if {
	regex.match(config.vendor, path_text)
	some i, p in paths
	regex.match(config.vendor, p)
}

# nothing outside of it changes that would say which version it is
vendor_alone(i) if {
	root := regex.replace(paths[i], config.vendor, "$1\n")
	every j in manifests { not startswith(split(root, "\n")[0], directory(j)) }
}

manifests := kinds([k | some row in config.locks; some k in array.concat(row.locks, row.manifests)]) - vendored

package cabincrew.supply_chain

import data.cabincrew_supply_chain as config

# METADATA
# title: Text that reads otherwise than it is shown
# description: Added lines or file names hold characters that turn text around (U+202A to U+202E, U+2066 to U+2069) or tag characters that nobody sees, or a file name has any character without width.
# custom:
#   id: hidden-text
#   remedy: Remove them; where a program needs such a character, write it as an escape.
deny contains f if some f in told(
	"hidden-text", disguised,
	"has text that reads otherwise than it is shown",
	"Remove these characters, or write them as escapes",
)

disguised contains [i, s, sprintf("%q", [s])] if {
	some i, text in suspicious
	some s in regex.find_n(`[\x{202a}-\x{202e}\x{2066}-\x{2069}\x{e0000}-\x{e007f}]`, text, 3)
}

disguised contains [i, "", "its name"] if {
	all := [c.file.path | some c in changes]
	regex.match(config.unseen, concat("", all))
	some i, p in all
	regex.match(config.unseen, p)
}

# files that gain more than ASCII; most do not, and are looked at once
foreign contains i if {
	some i, text in texts
	regex.match(`[^\x00-\x7f]`, text)
}

# what files gain, of those that gain characters that nobody sees, without such
# that belong where they stand: in emoji, after Han, in scripts that join their
# letters, beside letters that run to the left, and as a mark at a file's beginning
suspicious[i] := regex.replace(texts[i], concat("|", config.belonging), "") if {
	some i in foreign
	regex.match(config.unseen, texts[i])
}

# METADATA
# title: Invisible characters
# description: Added lines hold characters without width (U+200B, U+2060, U+FEFF, soft hyphens, fillers, variation selectors ...) where no emoji or script needs them.
# custom:
#   id: invisible-character
#   remedy: Remove them; where a program needs such a character, write it as an escape.
require_approval contains f if some f in asked(
	"invisible-character", {[i, s, sprintf("%q", [s])] |
		some i, text in suspicious
		some s in regex.find_n(config.unseen, text, 10)
		not regex.match(`[\x{202a}-\x{202e}\x{2066}-\x{2069}\x{e0000}-\x{e007f}]`, s)
	},
	"has characters that nobody sees",
	"Remove them, or write them as escapes",
)

# METADATA
# title: Words of mixed scripts
# description: A word mixes Latin letters with Cyrillic ones, or with Greek ones that look like Latin.
# custom:
#   id: mixed-scripts
#   remedy: Write the word in one script.
warn contains f if some f in told(
	"mixed-scripts", {[i, s, s] |
		some i in foreign
		regex.match(`[\x{370}-\x{58f}]`, texts[i])
		some s in regex.find_n(config.mixed, texts[i], 5)
	} | {[i, "", s] |
		regex.match(`[\x{370}-\x{58f}]`, path_text)
		some i, p in paths
		some s in regex.find_n(config.mixed, p, 1)
	},
	"has words that mix scripts and may pass for others",
	"Write them in one script",
)

# METADATA
# title: Code that nobody can read
# description: Program text gains lines of more than max_line characters (1000) with less than min_blank_percent blanks (4), or a minified file (*.min.js, *.min.css ...).
# custom:
#   id: unreadable-code
#   remedy: Commit the source, and let the build make what is minified or encoded.
require_approval contains f if some f in asked(
	"unreadable-code", unreadable,
	"writes code that nobody can read",
	"Commit its source and let the build minify or encode it",
)

unreadable contains [i, line, sprintf("%d characters in one line", [count(line)])] if {
	some i, text in texts
	count(text) > config.max_line
	regex.match(config.code, paths[i])
	some line in changes[i].file.added_lines
	count(line) > config.max_line
	strings.count(line, " ") * 100 < count(line) * config.min_blank_percent
}

unreadable contains [i, "", "minified"] if {
	contains(path_text, "min.")
	some i, p in paths
	regex.match(`[.-]min\.(js|mjs|cjs|css)$`, p)
	changes[i].file.op != "delete"
}

# METADATA
# title: Binary blob
# description: A binary file is written that is no picture, font, sound, film or document by its name.
# custom:
#   id: binary-blob
#   remedy: Build it from source, or download it by digest where it is needed.
require_approval contains f if some f in asked(
	"binary-blob", {[i, "", ""] |
		some i, c in changes
		c.file.binary
		c.file.op != "delete"
		not regex.match(config.media, paths[i])
	},
	"writes binary data that may be or hide a program",
	"Build it from source or download it by digest",
)

# METADATA
# title: Lines that supply-chain did not see
# description: A patch has more lines than policies are shown, so rules of this set saw only a part. Or a file becomes a workflow, manifest, lock file or setting by another name or a symbolic link, and its lines are not in the patch.
# custom:
#   id: supply-chain-unseen
#   remedy: Plan smaller steps, or look at the whole file in the flight directory.
require_approval contains f if some f in asked(
	"supply-chain-unseen", {[i, "", ""] | some i, c in changes; c.file.truncated} | arrived,
	"has lines that no rule of supply-chain saw",
	"Plan smaller steps, or look at the whole of it",
)

# settings that were something else under their old names, or are links
arrived contains [i, "", sprintf("was %q", [changes[i].file.old_path])] if {
	some n, i in renamed
	i in settings
	kind_list[i] != old_kinds[n]
	not regex.match(config.definitions, concat("\n", [paths[i], old_paths[n]]))
}

arrived contains [i, "", sprintf("was %q", [changes[i].file.old_path])] if {
	some n, i in renamed
	i in definitions
	not regex.match(config.definitions, old_paths[n])
}

arrived contains [i, "", "a symbolic link"] if {
	some i in settings
	changes[i].file.new_mode == "120000"
	changes[i].file.old_mode != "120000"
}

kind_list := split(kind_text, "\n")

renamed := [i | some i, c in changes; c.file.op == "rename"]

old_text := normal(concat("\n", [replace(changes[i].file.old_path, "\n", "\u2424") | some i in renamed]))

old_paths := split(old_text, "\n")

old_kinds := split(kinds_in(old_text), "\n")

# METADATA
# title: Thresholds of supply-chain are missing
# description: A value in data.cabincrew_supply_chain is missing or of the wrong kind, so rules could not fire.
# custom:
#   id: supply-chain-thresholds
#   remedy: Give each value under policies.data.cabincrew_supply_chain the kind that the bundled data.json has.
deny contains {
	"id": "supply-chain-thresholds",
	"msg": sprintf("data.cabincrew_supply_chain.%s is missing or no %s; rules that need it could not fire. Mend policies.data in the configuration.", [name, kind]),
} if {
	some kind, names in {
		"array": ["trusted_actions", "registries", "image_registries", "belonging", "install", "install_files", "locked", "locks", "plain_keys", "remote", "sources", "sums", "unverified"],
		"number": ["max_line", "min_blank_percent"],
		"string": ["role", "checked", "code", "definitions", "download_names", "downloads", "escaping", "key_disguise", "letter_disguise", "media", "mixed", "odd_keys", "told", "unseen", "vendor"],
	}
	some name in names
	type_name(object.get(config, name, null)) != kind
}

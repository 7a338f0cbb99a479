# METADATA
# scope: package
# schemas:
#   - input: schema.input
package cabincrew.supply_chain

import data.cabincrew_supply_chain as config

# What a patch changes, prepared once. A rule first asks a text of all files
# together, in one call, and looks at single files and lines only where that text
# has what it seeks: most patches have nothing of it.

changes := [{"artifact": a.name, "file": f} | some a in input.artifacts; some f in a.patch.files]

# all paths, one a line
path_text := normal(concat("\n", [replace(c.file.path, "\n", "\u2424") | some c in changes]))

paths := split(path_text, "\n")

# paths in the form in which the most generous file system reads them: lower case,
# single slashes, no "./", no characters that some file systems do not see or take
# for others, no dots, blanks and names of streams at the end of a name
normal(raw) := regex.replace(single, `(?m)([^/. \n])(?:[. ]+|:[^/\n]*\$data)(/|$)`, "${1}${2}") if {
	folded := strings.replace_n({"\\": "/", "ſ": "s", "ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}, lower(raw))
	shown := regex.replace(folded, `[\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{206f}\x{feff}]`, "")
	single := regex.replace(regex.replace(shown, `/(\.?/)+`, "/"), `(?m)^\./`, "")
}

kind_text := kinds_in(path_text)

# names without directories; names of which there are many kinds become one
kinds_in(text) := regex.replace(
	regex.replace(regex.replace(regex.replace(text, `(?m)^(?:.*/)?\.cargo/config(?:\.toml)?$`, "*.cargo-config"), `(?m)^.*/`, ""), `(?m)^(?:requirements|constraints).*\.(txt|in)$`, "requirements.$1"),
	`(?m)^(?:[^\n]*\.)?(?:(?:docker-)?(compose)[^\n/]*\.ya?ml|(gitlab-ci\.y)a?(ml)|(dockerfile|containerfile|gemspec|csproj|fsproj|vbproj|tf|tofu|pth)(?:\.[^\n]*)?)$`, "*.$1$2$3$4",
)

# kind -> files; looked up in as a whole, since OPA evaluates a rule of this form
# once for every key that it is asked for
by_kind := of_kind

of_kind[k] contains i if some i, k in split(kind_text, "\n")

# the text that each file gains and loses, of settings as programs read it
texts := [object.get(reread, i, t) | some i, t in written]

gone := [object.get(unread, i, t) | some i, t in taken]

written := [concat("\n", c.file.added_lines) | some c in changes]

taken := [concat("\n", c.file.deleted_lines) | some c in changes]

reread := {i: plainly(written[i]) | some i in settings}

unread := {i: plainly(taken[i]) | some i in settings}

# files of a kind or at a place that rules go by
settings := {i | some k in watched; some i in by_kind[k]} | definitions

watched := {k | some table in ["install", "sources", "locked", "unverified", "sums"]; some row in config[table]; some k in row.kinds} | {"*.dockerfile", "*.containerfile", "*.compose"}

# what is around changes of settings: with what is new, and with what was there
now := {i: image(i, "-", texts[i]) | some i in pictured}

before := {i: image(i, "+", gone[i]) | some i in pictured}

pictured := {i | some table in ["install", "sources", "unverified"]; some row in config[table]; some k in row.kinds; some i in by_kind[k]} |
	kinds(["*.dockerfile", "*.containerfile", "*.compose"])

image(i, _, otherwise) := otherwise if count(changes[i].file.hunks) == 0

image(i, other, _) := plainly(concat("\n", [l.text | some h in changes[i].file.hunks; some l in h.lines; l.op != other])) if {
	count(changes[i].file.hunks) > 0
}

# a text in which letters are not written as escapes, and with one blank behind
# the colon of a key in quotes
plainly(text) := even(text) if not contains(text, "\\")

plainly(text) := even(strings.replace_n(letters, text)) if {
	contains(text, "\\")
	letters := {e: spelt(e) | some e in regex.find_n(`\\(?:(?:u00|x|U000000)[2-7][0-9a-fA-F]|/)`, text, -1); not spelt(e) in {"\"", "\\"}}
}

even(text) := regex.replace(text, `(["'])[ \t]*:[ \t]*`, "${1}: ")

spelt(e) := "/" if e == "\\/"

spelt(e) := json.unmarshal(sprintf(`"\u00%s"`, [substring(e, count(e) - 2, 2)])) if e != "\\/"

# files that are neither prose nor program text: scripts, settings, pipelines
plain contains i if {
	some i, p in split(regex.replace(path_text, concat("", ["(?m)^.*", config.told]), ""), "\n")
	p != ""
}

plain_text := concat("\n", [texts[i] | some i in plain])

# [table, file, text] for each text that a file gains and that a row of a table
# seeks: in files of its kinds, or in any file that has one of its words and is
# neither prose nor, if the row does not ask for it, program text
found contains [table, i, s] if {
	some table in ["install", "sources", "unverified"]
	some row in config[table]
	some k in row.kinds
	some i in by_kind[k]
	some s in fresh(row.match, now[i], before[i])
}

found contains [table, i, s] if {
	some table in ["remote", "sources", "unverified"]
	some row in config[table]
	some w in row.words
	contains(plain_text, w)
	some i in plain
	contains(texts[i], w)
	some s in fresh(row.match, texts[i], gone[i])
}

# what a pattern finds in a text and did not find in the one before, but for blanks
fresh(pattern, text, old) := {s |
	some s in regex.find_n(pattern, text, 50)
	not squeezed(s) in {squeezed(o) | some o in regex.find_n(pattern, old, -1)}
}

squeezed(s) := regex.replace(trim_space(s), `\s+`, " ")

hits(table) := {[i, s, shown(s)] | some [t, i, s] in found; t == table}

# a text fit to be quoted: without user names and passwords
shown(s) := substring(regex.replace(trim_space(s), `//[^/@\s"']+@`, "//…@"), 0, 120)

# Findings of a rule, one an artifact. Hits are [file, text or "", what it is].
told(id, list, what, remedy) := {f |
	some name in {changes[h[0]].artifact | some h in list}
	mine := [h | some h in list; changes[h[0]].artifact == name]
	places := concat(", ", [place(h) | some h in array.slice(mine, 0, 10)])
	f := {
		"id": id, "artifact": name, "files": {changes[h[0]].file.path | some h in mine},
		"msg": sprintf("artifact %s %s: %s%s. %s.", [name, what, places, more(count(mine) - 10), remedy]),
	}
}

asked(id, list, what, remedy) := {object.union(f, {"role": config.role}) |
	some f in told(id, list, what, sprintf("%s; else approve as %s", [remedy, config.role]))
}

more(n) := "" if n <= 0

more(n) := sprintf(" and %d more", [n]) if n > 0

place(h) := sprintf("%q%s%s", [changes[h[0]].file.path, line_number(h[0], h[1]), said(h[2])])

said(what) := "" if what == ""

said(what) := sprintf(" (%s)", [what]) if what != ""

line_number(i, text) := sprintf(" line %d", [min(numbers)]) if {
	text != ""
	first := split(text, "\n")[0]
	numbers := {l.line | some h in changes[i].file.hunks; some l in h.lines; contains(l.text, first); l.op == "+"}
	count(numbers) > 0
} else := ""

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

# all paths, one a line, in the form in which the most generous file system reads
# them: lower case, single slashes, no "./", no characters that some file systems
# do not see, no dots and blanks at the end of a name
path_text := regex.replace(single, `(?m)([^/. \n])[. ]+(/|$)`, "${1}${2}") if {
	raw := concat("\n", [replace(c.file.path, "\n", "\u2424") | some c in changes])
	shown := regex.replace(lower(replace(raw, "\\", "/")), `[\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{206f}\x{feff}]`, "")
	single := regex.replace(regex.replace(shown, `/(\.?/)+`, "/"), `(?m)^\./`, "")
}

paths := split(path_text, "\n")

# names without directories; names of which there are many kinds become one
kind_text := regex.replace(
	regex.replace(regex.replace(path_text, `(?m)^.*/`, ""), `(?m)^(?:requirements|constraints).*\.(txt|in)$`, "requirements.$1"),
	`(?m)^(?:[^\n]*\.)?(dockerfile|containerfile|gemspec|csproj|fsproj|vbproj|tf|tofu|pth)(?:\.[^\n]*)?$`, "*.$1",
)

# kind -> files; looked up in as a whole, since OPA evaluates a rule of this form
# once for every key that it is asked for
by_kind := of_kind

of_kind[k] contains i if some i, k in split(kind_text, "\n")

# the text that each file gains and loses
texts := [concat("\n", c.file.added_lines) | some c in changes]

gone := [concat("\n", c.file.deleted_lines) | some c in changes]

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
	some s in regex.find_n(row.match, texts[i], 50)
	not contains(gone[i], s)
}

found contains [table, i, s] if {
	some table in ["remote", "sources", "unverified"]
	some row in config[table]
	some w in row.words
	contains(plain_text, w)
	some i in plain
	contains(texts[i], w)
	some s in regex.find_n(row.match, texts[i], 50)
	not contains(gone[i], s)
}

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

# METADATA
# scope: package
# schemas:
#   - input: schema.input
package cabincrew.agents

import data.cabincrew_agents as config

# What a patch changes, prepared once. A rule first asks a text of all files
# together, in one call, and looks at single files and lines only where that text
# has what it seeks: most patches have nothing of it.

changes := array.concat(files, moved)

# steps that no agent plans are left alone; a step without a name is not one of them
watched if not object.get(input, ["context", "step_id"], "") in config.not_agents

files := [{"artifact": a.name, "file": f} |
	watched
	some a in input.artifacts
	some f in a.patch.files
]

# the place that a file is moved away from counts as a file that is deleted
moved := [{"artifact": c.artifact, "file": gone_file} |
	some c in files
	c.file.op == "rename"
	gone_file := {
		"op": "delete", "path": c.file.old_path, "to": normal(c.file.path), "old_mode": c.file.old_mode, "new_mode": "", "binary": false,
		"added": 0, "deleted": 0, "added_lines": [], "deleted_lines": [], "truncated": false, "executable_changed": false, "hunks": [],
	}
]

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

# the text that each file gains and loses
texts := [concat("\n", c.file.added_lines) | some c in changes]

gone := [concat("\n", c.file.deleted_lines) | some c in changes]

# files whose path a pattern of data matches
like(name) := {i |
	regex.match(concat("", ["(?m)", config[name]]), path_text)
	some i, p in paths
	regex.match(config[name], p)
}

# tests, what pipelines run, and what is neither prose nor program text
scope := {
	"all": {i | some i, _ in texts},
	"tests": tests,
	"pipeline": ci | like("tasks"),
	"attributes": like("attributes"),
	"runners": like("runners"),
	"checkers": like("checkers"),
	"plain": {i | some i, p in split(regex.replace(path_text, config.told, ""), "\n"); p != ""},
}

tests := like("tests")

ci := like("ci")

joined := {name: concat("\n", [texts[i] | some i in list]) | some name, list in scope}

# [table, file, text] for each text that a file gains and that a row of data seeks
found contains [row.id, i, s] if {
	some row in config.seek
	some w in row.words
	contains(joined[row.where], w)
	some i in scope[row.where]
	contains(texts[i], w)
	some s in regex.find_n(row.match, texts[i], 50)
	not squeezed(s) in {squeezed(o) | some o in regex.find_n(row.match, gone[i], -1)}
}

squeezed(s) := regex.replace(trim_space(s), `\s+`, " ")

hits(id) := {[i, s, substring(trim_space(s), 0, 120)] | some [t, i, s] in found; t == id}

whole(list) := {[i, "", ""] | some i in list}

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

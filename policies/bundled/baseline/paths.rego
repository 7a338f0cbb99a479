# METADATA
# scope: package
# schemas:
#   - input: schema.input
package cabincrew.baseline

# What rules say of paths. Paths are compared in the form that the most generous
# file system would read them in, so that none finds a file that a rule does not.
# All paths are prepared once and together, and a pattern is first sought in the
# text of all: only where that has it are single paths looked at.

# every artifact's patched files, with the artifact's name, each once
changes := patched if {
	count(distinct) == count(patched)
} else := [c | some c in distinct]

distinct := {c | c := patched[_]}

patched := [{"artifact": a.name, "file": f} |
	some a in input.artifacts
	some f in a.patch.files
]

# files that are there after the change
written := [c |
	some c in changes
	c.file.op != "delete"
]

# those of them that are more than plain files, as links and programs are
special := [written[i] | written[i].file.new_mode != "100644"]

# every path that a file of a patch has or had
touched(f) := {p | some p in [f.path, object.get(f, "old_path", "")]; p != ""}

# every path and target, in the order of forms and bases
names := sort(((paths | {p | p := changes[_].file.old_path}) | {a.target | some a in input.artifacts}) - {""})

paths := {p | p := changes[_].file.path}

name_text := concat("", names)

# The forms that names are compared in, one a line. Each has a slash in front, so
# that patterns begin with what is found fast.
form_text := concat("", ["/", replace(all_slashed(concat("\n", names)), "\n", "\n/")]) if {
	one_line
} else := concat("", ["/", concat("\n/", [slashed(p) | some p in names])])

# the same of what follows the last slash of each
base_text := regex.replace(form_text, `/.*/`, "/") if {
	one_line
} else := concat("", ["/", concat("\n/", [base(p) | some p in names])])

# a name of several lines must not be taken for several names
one_line if not contains(name_text, "\n")

forms := split(trim_prefix(form_text, "/"), "\n/") if {
	one_line
} else := [slashed(p) | some p in names]

bases := split(trim_prefix(base_text, "/"), "\n/") if {
	one_line
} else := [base(p) | some p in names]

# names in whose form a pattern is found, which begins with a slash
placed(pattern) := {names[i] |
	regex.match(concat("", ["(?m)", pattern]), form_text)
	some i, form in forms
	regex.match(pattern, concat("", ["/", form]))
}

# names whose last part begins as a pattern says
named(pattern) := {names[i] |
	regex.match(concat("", ["(?m)/", pattern]), base_text)
	some i, s in bases
	regex.match(concat("", ["^", pattern]), s)
}

# names that end in what a pattern matches
ending(pattern) := {names[i] |
	regex.match(concat("", ["(?m)", pattern]), base_text)
	some i, s in bases
	regex.match(pattern, s)
}

# a path in lower case, with single slashes, without "./", without characters
# that some file systems do not see or take for others, and without dots, blanks
# and names of streams at the end of a name, which some take away
slashed(path) := regex.replace(trim_prefix(plain(path), "./"), `([^/. ])(?:[. ]+|:[^/]*\$data)(/|$)`, "${1}${2}")

# the same of a text with a path a line
all_slashed(text) := regex.replace(regex.replace(plain(text), `(?m)^\./`, ""), `(?m)([^/. \n])(?:[. ]+|:[^/\n]*\$data)(/|$)`, "${1}${2}")

plain(text) := regex.replace(folded, `/(\./|/)*`, "/") if {
	visible_part := regex.replace(text, `[\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{206f}\x{feff}]`, "")
	folded := strings.replace_n({"\\": "/", "ſ": "s", "ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}, lower(visible_part))
}

segments(path) := split(slashed(path), "/")

base(path) := regex.replace(slashed(path), `(?s)^.*/`, "")

is_absolute(path) if startswith(slashed(path), "/")

is_absolute(path) if regex.match(`^[A-Za-z]:`, path)

is_absolute(path) if startswith(path, "~")

has_parent(path) if {
	some s in segments(path)
	trim_space(s) == ".."
}

in_git_dir(path) if {
	some s in segments(path)
	s in {".git", "git~1"}
}

# name -> why it must not be written
faults := {p: why |
	some p in placed(`/([./ ]*$|/|~|\.git(/|$)|git~1(/|$))`) | doubtful
	why := unsafe(p)
}

# the form of a name with a colon may have lost it
doubtful := {p | contains(name_text, ":"); some p in names; contains(p, ":")} | {names[i] | contains(form_text, ".."); some i, form in forms; contains(form, "..")}

# why a path must not be written
unsafe(path) := "is not inside the workspace" if {
	is_absolute(path)
} else := "leads out of the workspace" if {
	has_parent(path)
} else := "is inside git's own directory" if {
	in_git_dir(path)
} else := "has no name" if {
	trim(path, "./\\ ") == ""
}

quoted(path) := sprintf("%q", [path])

# the first ten of a set of paths, in words
listed(paths) := concat(", ", [quoted(p) | some p in sort(paths)]) if count(paths) <= 10

listed(paths) := sprintf("%s and %d more", [
	concat(", ", [quoted(p) | some p in array.slice(sort(paths), 0, 10)]),
	count(paths) - 10,
]) if {
	count(paths) > 10
}

# "file" or "files"
noun(paths) := "file" if count(paths) == 1

noun(paths) := "files" if count(paths) != 1

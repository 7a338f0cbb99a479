# METADATA
# scope: package
# schemas:
#   - input: schema.input
package cabincrew.baseline

# What rules say of paths. Paths are compared in the form that the most generous
# file system would read them in, so that none finds a file that a rule does not.

# every artifact's patched files, with the artifact's name
changes contains {"artifact": a.name, "file": f} if {
	some a in input.artifacts
	some f in a.patch.files
}

# files that are there after the change
written contains c if {
	some c in changes
	c.file.op != "delete"
}

# every path that a file of a patch has or had
touched(f) := {p | some p in [f.path, object.get(f, "old_path", "")]; p != ""}

# a path in lower case, with single slashes, without "./", without characters
# that some file systems do not see or take for others, and without dots, blanks
# and names of streams at the end of a name, which some take away
slashed(path) := regex.replace(single, `([^/. ])(?:[. ]+|:[^/]*\$data)(/|$)`, "${1}${2}") if {
	visible_part := regex.replace(path, `[\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{206f}\x{feff}]`, "")
	folded := strings.replace_n({"\\": "/", "ſ": "s", "ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}, lower(visible_part))
	single := trim_prefix(regex.replace(folded, `/(\./|/)*`, "/"), "./")
}

segments(path) := split(slashed(path), "/")

base(path) := regex.replace(slashed(path), `^.*/`, "")

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

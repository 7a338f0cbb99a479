// Package files is the built-in engine that writes, deletes and chmods a declared
// set of files.
//
// In flight-plan it works out what each file becomes and writes two artifacts:
// "changes", a patch in git's form with a description of every file, and
// "summary". In take-off nothing is worked out again: the planned patch is
// applied to the workspace, all or nothing. It speaks the contract of any engine,
// docs/protocol.md 2.
//
// Its configuration is "files", a list, and beside that "values" (a map for the
// templates) and "message" (the title of the summary). Each file has a "path" and
// says one of these:
//
//	content: TEXT        the file becomes this text
//	template: TEMPLATE   the file becomes what this template makes
//	from: PATH           the same, of the template in this file of the workspace
//	delete: true         the file goes; with missing: ok it may be gone already
//
// "mode" is "0644" or "0755": of a file that is written (by default it keeps its
// mode, a new one gets 0644) or, where nothing else is said, of one that is there.
//
// A template is one of Go's text/template, of which only a part is allowed: its
// dot is the values; a key that is not there is an error; the functions are and,
// or, not, eq, ne, lt, le, gt, ge, len and slice of text/template, and base64,
// has, indent, index, join, json, lower, replace, split, trim, upper and urlquery;
// no template calls another.
//
// It promises that the evidence is a function of the workspace and the
// configuration: no time, no path of this machine and nothing random is in it;
// that flight-plan leaves the workspace alone; that a template reaches nothing but
// its values and ends after a bounded amount of work; and that take-off touches no
// file that is not declared, and none through a symbolic link.
package files

// Package codeowners reads files that name the owners of code, as GitHub reads them,
// and tells who owns a path.
//
// It promises to refuse what could be read in two ways: a line that does not parse, or
// that can match nothing, is an error with its number, so that no path loses its owner
// unseen. Its patterns are those of .gitignore without negation and ranges; the last
// one that matches a path wins, also one without owners. Matching takes time in
// proportion to pattern and path, whatever either says, and all of it is bounded.
package codeowners

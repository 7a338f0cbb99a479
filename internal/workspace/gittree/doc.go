// Package gittree reads the files of a commit of a local git repository, without a
// checkout and without running git.
//
// It promises that what it gives is exactly what the commit holds: blobs are read
// by their ids, links and submodules are refused, sizes and counts are bounded, and
// refs are looked up by name only, never by git's revision syntax.
package gittree

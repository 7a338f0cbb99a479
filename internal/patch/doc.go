// Package patch makes, reads and applies patches in the form of
// "git diff --binary --full-index": text hunks, binary literals, modes, links,
// exact renames, names quoted as git does. What Make writes, "git apply" takes.
//
// It promises: Make is a function of the two trees alone; Read takes hostile
// bytes in linear time and bounded memory and refuses every path that leaves
// the workspace or reaches into git's or CabinCrew's own directories; Apply
// does everything or nothing, never through a symbolic link, checks each file's
// digest before and after, and what a SIGKILL leaves half done can be finished
// by applying the same patch again with AllowApplied.
package patch

// Package paths finds the files that the arguments of a tool call name, and says whether
// they lie inside the roots that a server may touch.
//
// What names a file is told by configuration, by the schema of the tool, by the usual
// names of parameters, by headers of patches, and by how a text looks; see hint and looks.
// Texts inside texts (a JSON document in a string, the arguments of a command line) are
// not searched: no reader of them is known here.
//
// A path is followed as the kernel would follow it, link by link, with what does not
// exist yet added by its letters. Where programs read a path in several ways (".." before
// or after links are followed, percent signs decoded or not, "~" expanded or not), all of
// these readings must lie inside a root.
//
// It promises that an argument which may be a path and cannot be resolved is told as
// outside; that nothing is opened or changed; that time and look-ups are bounded whatever
// the arguments are. It cannot promise that nobody changes the file system between the
// check and the call, or that a file inside has no second name outside (a hard link):
// for that the sandbox of a server holds the same roots.
//
// Without roots there is no rule where files may lie: every finding is inside, and only
// protected names count. Who builds the gateway says so at its start.
// SPEC: docs/protocol.md 10
package paths

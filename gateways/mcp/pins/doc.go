// Package pins knows tools, prompts and resource templates as they were when somebody
// looked at them, and tells what is new, changed, gone, or made to look like another.
//
// An item is pinned by a digest of its canonical form: names of members sorted, no white
// space, strings without needless escapes, numbers as they were written. The order of
// members and white space are all that can change without another pin: 1 and 1.0 differ,
// so do the orders of a list, and members that no specification knows count like others.
//
// The lock file records each item in full, so that the text of a change can be shown. Its
// pins are derived from it again when it is read: a file that was edited at one place only
// is refused. Without a lock file a Keeper holds a server to what it said first in this
// run of the gateway.
//
// It promises that no byte of what a server says of an item can change unseen; that what
// is shown of foreign text is harmless; and that what is left out of a difference is said.
// It cannot promise that an item does what it says.
// SPEC: docs/protocol.md 10
package pins

// Package inside is the half of engines/sandbox that runs as the sandbox's helper:
// it applies the layers, starts the child, watches it and ends what it leaves. It
// also has the types that both halves speak, since they are made here first.
//
// It promises to start early. Its init function takes the process over when the
// program was started under the helper's name, and whatever Go initialises before
// that is paid for by every start of a sandbox. So it imports neither net, os/exec
// nor path/filepath, and nothing of this module: these, or what they import, are
// initialised after most of the program. Only engines/sandbox imports it.
// docs/decisions/0012 has the numbers.
package inside

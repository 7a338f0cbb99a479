// Package sandbox starts one child process and ends it with everything that it
// started: its own process group and a death signal, a time-out, and a hunt for
// survivors by the mark in their environment.
//
// It promises to say truthfully what was enforced: Isolation.Tier is "C" (no
// isolation beyond process control) and Missing lists every layer that was not
// applied. The seam for namespaces, seccomp and Landlock is Run.
package sandbox

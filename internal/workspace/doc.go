// Package workspace reads a workspace: which files count (globs, .gitignore,
// tracked files), what they hold, how two states differ, and which commit and
// author the surrounding git repository names. It also makes private copies.
//
// It promises: the same tree gives the same list, whatever the order of
// directories, the number of workers, the umask or the clock; every file is
// read and hashed in full, no time stamp is believed; no symbolic link is ever
// followed below the workspace; memory does not grow with the size of files;
// the git program is never run. SPEC: docs/protocol.md 3 (workspace_hash).
package workspace

package process

import (
	"slices"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/engines/sandbox"
)

// View gives what a program that is no engine sees of the system in the sandbox, at its
// own place and read-only: the system's program directories, and the program itself.
func View(program, tier string) []sandbox.Bind {
	binds := programs(&engines.Spec{Argv: []string{program}})
	more := way(program)
	if tier == sandbox.TierB {
		more = append(more, "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/hosts")
	}
	for _, path := range more {
		if !seen(binds, path) && !slices.Contains([]string{"/proc", "/dev", "/tmp", "/sys"}, path) {
			binds = append(binds, sandbox.Bind{Source: path, Target: path})
		}
	}
	return binds
}

//go:build !linux

package sandbox

import (
	"os"
	"os/exec"
)

func missing() []string {
	return []string{"capabilities", "cgroup", "landlock", "namespaces", "no_new_privs", "process_tree", "rlimits", "seccomp"}
}

func prepare(*exec.Cmd) {}

func start(cmd *exec.Cmd) error { return cmd.Start() }

func terminate(p *os.Process) error { return p.Kill() }

// settled returns at once: Wait is all that there is here.
func settled(int) {}

func reap(int, string) int { return 0 }

func signalName(*os.ProcessState) string { return "" }

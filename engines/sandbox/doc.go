// Package sandbox starts one child process that is trusted with nothing, and ends
// it with everything that it started.
//
// On Linux the program executes itself again as a helper, which applies the layers
// and then executes the child; there is no daemon, no helper binary and no cgo.
// Three tiers exist. Tier A is own user, mount, pid, network, ipc, uts and cgroup
// namespaces with a minimal root, Landlock where the kernel has it, the system call
// filter, no capabilities, no_new_privs and resource limits. Tier B is what is left
// where user namespaces are forbidden: Landlock, and a filter without any socket.
// Tier C holds nothing back. Probe finds the best tier by trying forbidden acts in
// a throw-away sandbox.
//
// It promises to say truthfully what was enforced: Isolation names the tier and
// Missing lists every layer that was not applied and every kind of act that the
// tier cannot stop. A layer that the tier needs and that cannot be applied is an
// error, never a silent omission. After Run nothing that the child started lives.
package sandbox

package inside

import "golang.org/x/sys/unix"

// auditArch is AUDIT_ARCH_AARCH64.
const auditArch = 0xc00000b7

// forbiddenHere are calls that only this architecture has.
func forbiddenHere() []call {
	return []call{{unix.SYS_KEXEC_FILE_LOAD, "kexec_file_load", unix.EPERM}}
}

func modeCallsHere() []modeCall { return nil }

func openCallsHere() []modeCall { return nil }

func commonHere() []call { return sysvCalls() }

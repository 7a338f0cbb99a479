package inside

import "golang.org/x/sys/unix"

// auditArch is AUDIT_ARCH_X86_64.
const auditArch = 0xc000003e

// modeCallsHere and openCallsHere are calls with modes that only this architecture has.
func modeCallsHere() []modeCall {
	return []modeCall{{unix.SYS_CHMOD, 1, "chmod"}, {unix.SYS_CREAT, 1, "creat"}, {unix.SYS_MKNOD, 1, "mknod"}}
}

func openCallsHere() []modeCall { return []modeCall{{unix.SYS_OPEN, 2, "open"}} }

// forbiddenHere are calls that only this architecture has.
func forbiddenHere() []call {
	return []call{
		{unix.SYS_IOPL, "iopl", unix.EPERM}, {unix.SYS_IOPERM, "ioperm", unix.EPERM}, {unix.SYS_MODIFY_LDT, "modify_ldt", unix.EPERM},
		{unix.SYS_KEXEC_FILE_LOAD, "kexec_file_load", unix.EPERM}, {unix.SYS_USELIB, "uselib", unix.EPERM},
	}
}

// commonHere are those of common that not every architecture has.
func commonHere() []call {
	return append(sysvCalls(), call{unix.SYS_INOTIFY_INIT, "inotify_init", unix.ENOSYS})
}

package main

import "golang.org/x/sys/unix"

// int80 makes a call by the numbers of i386 in a program of 64 bits.
func int80(nr uintptr) (ret uintptr)

func i386() error {
	const getpid = 20
	if pid := int80(getpid); pid == 0 {
		return skip("there are no i386 calls")
	}
	return nil
}

func x32() error {
	_, _, errno := unix.RawSyscall(0x40000000|unix.SYS_GETPID, 0, 0, 0)
	if errno == unix.ENOSYS {
		return skip("this kernel has no x32 calls")
	}
	return result(errno)
}

// here are calls that only this architecture has.
func here() map[string]func() error {
	return map[string]func() error{
		"iopl":            func() error { return call(unix.SYS_IOPL, 3) },
		"ioperm":          func() error { return call(unix.SYS_IOPERM, 0x80, 1, 1) },
		"modify_ldt":      func() error { return call(unix.SYS_MODIFY_LDT, 0, 0, 0) },
		"kexec_file_load": func() error { return call(unix.SYS_KEXEC_FILE_LOAD, ^uintptr(0), ^uintptr(0), 0) },
		"uselib":          func() error { return call(unix.SYS_USELIB, 0) },
	}
}

// settersHere are calls with a mode that only this architecture has.
func settersHere() map[string]setter {
	return map[string]setter{
		"chmod": {false, func(path string, mode uintptr) error { return call(unix.SYS_CHMOD, text(path), mode) }},
		"creat": {true, func(path string, mode uintptr) error { return call(unix.SYS_CREAT, text(path), mode) }},
		"mknod": {true, func(path string, mode uintptr) error {
			return call(unix.SYS_MKNOD, text(path), unix.S_IFREG|mode, 0)
		}},
		"open": {true, func(path string, mode uintptr) error {
			return call(unix.SYS_OPEN, text(path), unix.O_CREAT|unix.O_WRONLY, mode)
		}},
	}
}

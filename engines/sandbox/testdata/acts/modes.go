package main

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setter is a call that gives a file its mode.
type setter struct {
	makes bool // the file too
	set   func(path string, mode uintptr) error
}

const atCwd = ^uintptr(99) // AT_FDCWD, which is -100

// setters are all calls that give a file its mode; settersHere has those that only
// this architecture has.
func setters() map[string]setter {
	all := map[string]setter{
		"fchmod": {false, func(path string, mode uintptr) error {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			return call(unix.SYS_FCHMOD, f.Fd(), mode)
		}},
		"fchmodat":  {false, func(path string, mode uintptr) error { return call(unix.SYS_FCHMODAT, atCwd, text(path), mode) }},
		"fchmodat2": {false, func(path string, mode uintptr) error { return call(unix.SYS_FCHMODAT2, atCwd, text(path), mode, 0) }},
		"mknodat": {true, func(path string, mode uintptr) error {
			return call(unix.SYS_MKNODAT, atCwd, text(path), unix.S_IFREG|mode, 0)
		}},
		"openat": {true, func(path string, mode uintptr) error {
			return call(unix.SYS_OPENAT, atCwd, text(path), unix.O_CREAT|unix.O_WRONLY, mode)
		}},
		"openat2": {true, func(path string, mode uintptr) error {
			how := unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY, Mode: uint64(mode)}
			return call(unix.SYS_OPENAT2, atCwd, text(path), uintptr(ptr(&how)), unsafe.Sizeof(how))
		}},
		"tmpfile": {true, func(path string, mode uintptr) error {
			fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, atCwd, text(w.Out), unix.O_TMPFILE|unix.O_WRONLY, mode, 0, 0)
			if errno != 0 {
				return errno
			}
			return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
		}},
	}
	for name, s := range settersHere() {
		all[name] = s
	}
	return all
}

// modes are acts that would make a file which gives whoever starts it the rights
// of its owner or its group, and, as "plain", the same calls without such a bit.
func modes() map[string]func() error {
	all := map[string]func() error{
		"open-any-mode": func() error { // where no file is made the mode means nothing
			path := out("any-mode")
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				return err
			}
			return call(unix.SYS_OPENAT, atCwd, text(path), unix.O_RDONLY, unix.S_ISUID|0o755)
		},
	}
	for name, s := range setters() {
		for suffix, bit := range map[string]uintptr{"-setuid": unix.S_ISUID, "-setgid": unix.S_ISGID, "-plain": 0} {
			all[name+suffix] = func() error { return s.try(out(name+suffix), bit) }
		}
	}
	return all
}

// try passes if a file has the mode afterwards.
func (s setter) try(path string, bit uintptr) error {
	if !s.makes {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			return skip(err.Error())
		}
	}
	err := s.set(path, bit|0o755)
	if bit == 0 && (errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP)) {
		return skip("no such call here")
	}
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if got := uintptr(st.Mode & 0o7777); got != bit|0o755 {
		return fmt.Errorf("its mode is %#o", got)
	}
	return nil
}

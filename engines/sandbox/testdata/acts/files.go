package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

func in(name string) string  { return filepath.Join(w.Workspace, name) }
func out(name string) string { return filepath.Join(w.Out, name) }

func scribble(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("evil")
	return errors.Join(err, f.Close())
}

// files are acts that would change the workspace.
func files() map[string]func() error {
	return map[string]func() error{
		"ws-write":    func() error { return scribble(in("file")) },
		"ws-append":   func() error { _, err := os.OpenFile(in("file"), os.O_WRONLY|os.O_APPEND, 0); return err },
		"ws-create":   func() error { return os.WriteFile(in("new"), nil, 0o644) },
		"ws-hook":     func() error { return os.WriteFile(in(".git/hooks/post-checkout"), []byte("#!/bin/sh\n"), 0o755) },
		"ws-unlink":   func() error { return os.Remove(in("file")) },
		"ws-rmdir":    func() error { return unix.Rmdir(in("empty")) },
		"ws-mkdir":    func() error { return os.Mkdir(in("newdir"), 0o755) },
		"ws-truncate": func() error { return unix.Truncate(in("file"), 0) },
		"ws-rename":   func() error { return os.Rename(in("file"), in("renamed")) },
		"ws-rename-out": func() error {
			return os.Rename(in("file"), out("renamed"))
		},
		"ws-rename-over": func() error {
			if err := os.WriteFile(out("mine"), []byte("evil"), 0o644); err != nil {
				return skip(err.Error())
			}
			return os.Rename(out("mine"), in("file"))
		},
		"ws-exchange": func() error {
			return unix.Renameat2(unix.AT_FDCWD, in("file"), unix.AT_FDCWD, in("dir/inner"), unix.RENAME_EXCHANGE)
		},
		"ws-link":    func() error { return os.Link(in("file"), in("hard")) },
		"ws-symlink": func() error { return os.Symlink("/", in("soft")) },
		"ws-mkfifo":  func() error { return unix.Mkfifo(in("pipe"), 0o644) },
		// A second name in a place that may be written would be written as that.
		"ws-link-out": func() error {
			if err := os.Link(in("file"), out("hard")); err != nil {
				return err
			}
			return scribble(out("hard"))
		},
		"ws-chmod":  func() error { return os.Chmod(in("file"), 0o777) },
		"ws-utimes": func() error { return os.Chtimes(in("file"), time.Unix(1, 0), time.Unix(1, 0)) },
		"ws-chown":  func() error { return os.Chown(in("file"), os.Getuid(), os.Getgid()) },
		"ws-by-fd": func() error {
			f, err := os.Open(in("file"))
			if err != nil {
				return skip(err.Error())
			}
			return scribble(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
		},
		"ws-by-dirfd": func() error {
			f, err := os.Open(in("dir"))
			if err != nil {
				return skip(err.Error())
			}
			return scribble(fmt.Sprintf("/proc/self/fd/%d/../file", f.Fd()))
		},
		"ws-by-path-fd": func() error {
			fd, err := unix.Open(in("file"), unix.O_PATH, 0)
			if err != nil {
				return skip(err.Error())
			}
			return scribble("/proc/self/fd/" + strconv.Itoa(fd))
		},
		"ws-by-cwd": func() error {
			if err := os.Chdir(w.Workspace); err != nil {
				return skip(err.Error())
			}
			return scribble("/proc/self/cwd/file")
		},
		"ws-by-root": func() error { return scribble("/proc/self/root" + in("file")) },
		"ws-by-symlink": func() error {
			_ = os.Symlink(in("file"), out("to-file")) // a second try finds it there
			return scribble(out("to-file"))
		},
		"ws-by-symlinked-dir": func() error {
			_ = os.Symlink(w.Workspace, out("to-dir")) // as above
			return scribble(out("to-dir/dir/../file"))
		},
		"ws-by-mmap": func() error {
			f, err := os.Open(in("file"))
			if err != nil {
				return skip(err.Error())
			}
			m, err := unix.Mmap(int(f.Fd()), 0, 4, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err != nil {
				return err
			}
			m[0] = 'e'
			return nil
		},
		"ws-flags": func() error { // the immutable and no-dump flags
			f, err := os.Open(in("file"))
			if err != nil {
				return skip(err.Error())
			}
			err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0x40)
			if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) {
				return skip("no such flags here")
			}
			return err
		},
		"self-exe": func() error {
			f, err := os.OpenFile("/proc/self/exe", os.O_WRONLY, 0)
			if errors.Is(err, unix.ETXTBSY) {
				return err // no layer's merit, but stopped
			}
			if err == nil {
				_ = f.Close()
			}
			return err
		},
		"self-unlink": func() error {
			at, err := os.Readlink("/proc/self/exe")
			if err != nil {
				return skip(err.Error())
			}
			return os.Remove(at)
		},
		"root-write": func() error { return os.WriteFile("/new", nil, 0o644) },
		"etc-write":  func() error { return touch("/etc/passwd") },
		"usr-write":  func() error { return os.WriteFile("/usr/bin/new", nil, 0o755) },
		"lib-write":  func() error { return os.WriteFile("/usr/lib/new", nil, 0o755) },
		"dev-mknod":  func() error { return unix.Mknod(out("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) },
		"dev-block":  func() error { return unix.Mknod(out("disk"), unix.S_IFBLK|0o666, int(unix.Mkdev(254, 0))) },
		"dev-mem":    func() error { return touch("/dev/mem") },
		"dev-kmsg":   func() error { return touch("/dev/kmsg") },
		"dev-fuse":   func() error { return touch("/dev/fuse") },
		"dev-disk": func() error {
			for _, d := range []string{"/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/xvda"} {
				if f, err := os.Open(d); err == nil {
					_ = f.Close()
					return nil
				}
			}
			return unix.ENOENT
		},
	}
}

// touch only opens for writing: nothing that it is tried on may be written.
func touch(path string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

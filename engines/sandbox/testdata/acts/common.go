package main

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Operations of msgctl and semctl.
const (
	ipcStat   = 2
	ipcNoWait = 0o4000
)

// common are acts on what programs of one user have in common. Those that end in
// "-own" are on what only the engine could have.
func common() map[string]func() error {
	all := map[string]func() error{
		"shm-attach": func() error { return call(unix.SYS_SHMAT, uintptr(w.Shared), 0, unix.SHM_RDONLY) },
		"shm-find":   func() error { return call(unix.SYS_SHMGET, uintptr(w.Key), 0, 0) },
		"shm-stat":   func() error { return call(unix.SYS_SHMCTL, uintptr(w.Shared), ipcStat, room()) },
		"msg-find":   func() error { return call(unix.SYS_MSGGET, uintptr(w.Key), 0) },
		"msg-send": func() error {
			return call(unix.SYS_MSGSND, uintptr(w.Messages), uintptr(ptr(&[2]uint64{1})), 8, ipcNoWait)
		},
		"msg-receive": func() error {
			err := call(unix.SYS_MSGRCV, uintptr(w.Messages), room(), 8, 0, ipcNoWait)
			if errors.Is(err, unix.ENOMSG) {
				return nil // it was let in
			}
			return err
		},
		"msg-stat": func() error { return call(unix.SYS_MSGCTL, uintptr(w.Messages), ipcStat, room()) },
		"sem-find": func() error { return call(unix.SYS_SEMGET, uintptr(w.Key), 0, 0) },
		"sem-op":   func() error { return call(unix.SYS_SEMOP, uintptr(w.Semaphore), uintptr(ptr(&[3]uint16{0, 1, 0})), 1) },
		"sem-timedop": func() error {
			return call(unix.SYS_SEMTIMEDOP, uintptr(w.Semaphore), uintptr(ptr(&[3]uint16{0, 1, 0})), 1, 0)
		},
		"sem-stat":      func() error { return call(unix.SYS_SEMCTL, uintptr(w.Semaphore), 0, ipcStat, room()) },
		"mq-open":       queue,
		"mq-unlink":     func() error { return call(unix.SYS_MQ_UNLINK, text("no-such-"+w.Queue)) },
		"shm-own":       ownMemory,
		"msg-own":       func() error { return call(unix.SYS_MSGGET, unix.IPC_PRIVATE, unix.IPC_CREAT|0o600) },
		"sem-own":       func() error { return call(unix.SYS_SEMGET, unix.IPC_PRIVATE, 1, unix.IPC_CREAT|0o600) },
		"watch-outside": func() error { return watch(w.Home) },
		"watch-own":     func() error { return watch(w.Out) },
		"xattr-own":     func() error { return attribute(out("attributed"), byPath) },
		"xattr-remove-own": func() error {
			if err := supported(w.Out); err != nil {
				return err
			}
			err := unix.Removexattr(w.Out, "user.none")
			if errors.Is(err, unix.ENODATA) {
				return nil // it looked
			}
			return err
		},
		"ws-file-setattr": func() error {
			return call(469, atCwd, text(in("file")), uintptr(ptr(&[3]uint64{})), 24, 0)
		},
	}
	for name, set := range map[string]func(string) error{"ws-xattr": byPath, "ws-lxattr": byLink, "ws-fxattr": byDescriptor, "ws-xattrat": byDirectory} {
		all[name] = func() error { return attribute(in("file"), set) }
	}
	return all
}

// room is where the kernel may write an answer.
func room() uintptr { return uintptr(ptr(&[512]byte{})) }

func ownMemory() error {
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, 4096, unix.IPC_CREAT|0o600)
	if err != nil {
		return err
	}
	data, err := unix.SysvShmAttach(id, 0, 0)
	if err == nil {
		data[0] = 1
		err = unix.SysvShmDetach(data)
	}
	_, gone := unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	return errors.Join(err, gone)
}

// queue opens a POSIX message queue.
func queue() error {
	if w.Queue == "" {
		return skip("there are no POSIX message queues here")
	}
	return call(unix.SYS_MQ_OPEN, text(w.Queue), unix.O_RDWR, 0, 0)
}

func watch(dir string) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		// Who has a descriptor from elsewhere shall not get on either.
		if other := call(unix.SYS_INOTIFY_ADD_WATCH, nowhere, text(dir), unix.IN_CREATE); !errors.Is(other, unix.ENOSYS) {
			return skip("inotify_init1 is refused, inotify_add_watch is not")
		}
		return err
	}
	defer unix.Close(fd)
	_, err = unix.InotifyAddWatch(fd, dir, unix.IN_CREATE)
	return err
}

// supported says whether a file system has extended attributes: to read them is not
// refused.
func supported(path string) error {
	if _, err := unix.Getxattr(path, "user.none", nil); !errors.Is(err, unix.ENODATA) {
		return skip("no such attributes here")
	}
	return nil
}

func attribute(path string, set func(string) error) error {
	if f, err := os.OpenFile(path, os.O_CREATE, 0o644); err == nil {
		_ = f.Close()
	}
	if err := supported(path); err != nil {
		return err
	}
	return set(path)
}

func byPath(path string) error { return unix.Setxattr(path, "user.evil", []byte("x"), 0) }
func byLink(path string) error { return unix.Lsetxattr(path, "user.evil", []byte("x"), 0) }

func byDescriptor(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return skip(err.Error())
	}
	defer f.Close()
	return unix.Fsetxattr(int(f.Fd()), "user.evil", []byte("x"), 0)
}

func byDirectory(path string) error {
	value := []byte("x")
	args := struct {
		value uint64
		size  uint32
		flags uint32
	}{uint64(uintptr(unsafe.Pointer(&value[0]))), 1, 0}
	err := call(463, atCwd, text(path), 0, text("user.evil"), uintptr(ptr(&args)), unsafe.Sizeof(args))
	return err
}

// about are acts on how processes are scheduled.
func about() map[string]func() error {
	var one unix.CPUSet
	one.Set(0)
	zero, attr := int32(0), [6]uint64{48}
	const batch, best, low = 3, 2<<13 | 7, 19
	all := map[string]func() error{
		"setpriority-user": func() error { return unix.Setpriority(unix.PRIO_USER, 0, 0) },
		"ioprio-user":      func() error { return call(unix.SYS_IOPRIO_SET, 3, uintptr(os.Getuid()), best) },
		"move-pages":       func() error { return call(unix.SYS_MOVE_PAGES, uintptr(w.Victim), 0, 0, 0, 0, 2) },
		"migrate-pages":    func() error { return call(unix.SYS_MIGRATE_PAGES, uintptr(w.Victim), 0, 0, 0) },
	}
	for suffix, pid := range map[string]int{"": w.Victim, "-monitor": monitorPID(), "-self": 0} {
		all["setpriority"+suffix] = func() error { return unix.Setpriority(unix.PRIO_PROCESS, pid, low) }
		all["setaffinity"+suffix] = func() error { return unix.SchedSetaffinity(pid, &one) }
		all["setscheduler"+suffix] = func() error { return call(unix.SYS_SCHED_SETSCHEDULER, uintptr(pid), batch, uintptr(ptr(&zero))) }
		all["setparam"+suffix] = func() error { return call(unix.SYS_SCHED_SETPARAM, uintptr(pid), uintptr(ptr(&zero))) }
		all["setattr"+suffix] = func() error { // as it is: to go back to nice 0 is not allowed
			if err := call(unix.SYS_SCHED_GETATTR, uintptr(pid), uintptr(ptr(&attr)), 48, 0); err != nil {
				return err
			}
			return call(unix.SYS_SCHED_SETATTR, uintptr(pid), uintptr(ptr(&attr)), 0)
		}
		all["ioprio"+suffix] = func() error { return call(unix.SYS_IOPRIO_SET, 1, uintptr(pid), best) }
	}
	return all
}

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// step is how much memory is taken at once, in bytes.
const step = 8 << 20

// memory uses so many MiB in one of several ways.
func memory(args []string) {
	most, _ := strconv.Atoi(args[1])
	ways := map[string]func() error{
		"private": func() error { return grab(unix.MAP_PRIVATE, most) },
		"shared":  func() error { return grab(unix.MAP_SHARED, most) },
		"many": func() error {
			for range 4 {
				cmd := exec.Command("/proc/self/exe", "memory", "private", strconv.Itoa(most/4))
				cmd.Env, cmd.Stdout = os.Environ(), os.Stdout
				if cmd.Start() == nil {
					defer func() { _ = cmd.Wait() }()
				}
			}
			return nil
		},
		"file":     func() error { return write(args[2], most) },
		"files":    func() error { return errors.Join(write(args[2], most/2), write(args[3], most/2)) },
		"unlinked": func() error { return unlinked(args[2:], most/2) },
		"empty":    func() error { return empty(args[2], most<<10) },
		"memfd": func() error {
			fd, err := unix.MemfdCreate("x", 0)
			if err != nil {
				return err
			}
			return pour(os.NewFile(uintptr(fd), "x"), most)
		},
		"unmapped":   func() error { return unmapped(most) },
		"detached":   func() error { return detached(most) },
		"messages":   func() error { return messages(most) },
		"semaphores": func() error { return semaphores(most) },
		"sockets":    func() error { return sockets(most) },
		"tables":     func() error { return tables(most) },
	}
	if err := ways[args[0]](); err != nil {
		fmt.Println("stopped:", err)
		os.Exit(3)
	}
	fmt.Println("passed")
	time.Sleep(700 * time.Millisecond)
	runtime.KeepAlive(kept)
}

var kept []any // what must not be collected

func touched(flags int) ([]byte, error) {
	m, err := unix.Mmap(-1, 0, step, unix.PROT_READ|unix.PROT_WRITE, flags|unix.MAP_ANON)
	for i := 0; i < len(m); i += 4096 {
		m[i] = 1
	}
	return m, err
}

func grab(flags, most int) error {
	for n := 0; n < most; n += step >> 20 {
		m, err := touched(flags)
		if err != nil {
			return err
		}
		kept = append(kept, &m)
	}
	return nil
}

func pour(f *os.File, most int) error {
	kept = append(kept, f)
	var err error
	for n := 0; err == nil && n < most; n += step >> 20 {
		_, err = f.Write(make([]byte, step))
	}
	return err
}

func write(path string, most int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return pour(f, most)
}

// unlinked fills files that have neither a name nor a descriptor afterwards, only a
// mapping that nothing is touched through.
func unlinked(paths []string, most int) error {
	for _, path := range paths {
		f, err := os.Create(path)
		if err == nil {
			err = pour(f, most)
		}
		if err != nil {
			return err
		}
		if _, err := unix.Mmap(int(f.Fd()), 0, step, unix.PROT_READ, unix.MAP_SHARED); err != nil {
			return err
		}
		if err := errors.Join(os.Remove(path), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// empty makes files without content.
func empty(dir string, many int) error {
	for n := range many {
		if err := unix.Mknod(fmt.Sprintf("%s/%d", dir, n), unix.S_IFREG|0o600, 0); err != nil {
			return err
		}
	}
	return nil
}

// unmapped keeps one page of each shared mapping; the kernel keeps them all.
func unmapped(most int) error {
	for n := 0; n < most; n += step >> 20 {
		m, err := touched(unix.MAP_SHARED)
		if err != nil {
			return err
		}
		if err := call(unix.SYS_MUNMAP, uintptr(ptr(&m[4096])), step-4096); err != nil {
			return err
		}
		kept = append(kept, &m)
	}
	return nil
}

// detached leaves segments that no process has.
func detached(most int) error {
	for n := 0; n < most; n += step >> 20 {
		id, err := unix.SysvShmGet(unix.IPC_PRIVATE, step, unix.IPC_CREAT|0o600)
		if err != nil {
			return err
		}
		m, err := unix.SysvShmAttach(id, 0, 0)
		if err != nil {
			return err
		}
		for i := 0; i < len(m); i += 4096 {
			m[i] = 1
		}
		if err := unix.SysvShmDetach(m); err != nil {
			return err
		}
	}
	return nil
}

func messages(most int) error {
	text := [8192]byte{0: 1} // a number before the text
	for n := 0; n < most<<20; n += 16 << 10 {
		id, _, errno := unix.Syscall(unix.SYS_MSGGET, unix.IPC_PRIVATE, unix.IPC_CREAT|0o600, 0)
		if errno != 0 {
			return errno
		}
		for range 2 {
			if err := call(unix.SYS_MSGSND, id, uintptr(ptr(&text)), uintptr(len(text)-8), ipcNoWait); err != nil {
				return err
			}
		}
	}
	return nil
}

func semaphores(most int) error {
	const set = 16 << 10 // 1 MiB
	for range most {
		if err := call(unix.SYS_SEMGET, unix.IPC_PRIVATE, set, unix.IPC_CREAT|0o600); err != nil {
			return err
		}
	}
	return nil
}

// sockets fills sockets that nobody reads from.
func sockets(most int) error {
	data := make([]byte, 64<<10)
	for n := 0; n < most<<20; {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		for _, fd := range fds {
			for {
				sent, err := unix.Write(fd, data)
				if err != nil || sent <= 0 {
					break
				}
				n += sent
			}
		}
	}
	return nil
}

// tables makes the kernel keep tables for what is never written, 4 KiB for 2 MiB.
func tables(most int) error {
	const huge = 2 << 20
	m, err := unix.Mmap(-1, 0, most<<8*huge, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return err
	}
	_ = unix.Madvise(m, unix.MADV_NOHUGEPAGE)
	sum := byte(0)
	for i := 0; i < len(m); i += huge {
		sum += m[i]
	}
	kept = append(kept, sum)
	return nil
}

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// has passes if the token is in a file.
func has(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return err
	}
	if !bytes.Contains(data, []byte(w.Token)) {
		return errors.New("it is not in there")
	}
	return nil
}

func proc(pid int, name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }

// look passes if something of a process can be opened.
func look(pid int, name string) error {
	fd, err := unix.Open(proc(pid, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

// openFDs passes if one of a process' descriptors can be had.
func openFDs(of string) error {
	var err error
	for fd := range 10 {
		if _, err = os.Readlink(fmt.Sprintf("%sfd/%d", of, fd)); err == nil {
			return nil
		}
	}
	return err
}

func list(dir string) error {
	names, err := os.ReadDir(dir)
	if err == nil && len(names) == 0 {
		return errors.New("it is empty")
	}
	return err
}

// each passes if something of any process that is not of the engine passes.
func each(try func(pid int) error) error {
	var err error = unix.ENOENT
	entries, readErr := os.ReadDir("/proc")
	if readErr != nil {
		return readErr
	}
	for _, e := range entries {
		pid, notNumber := strconv.Atoi(e.Name())
		if notNumber != nil || pid == os.Getpid() {
			continue
		}
		if err = try(pid); err == nil {
			return nil
		}
	}
	return err
}

// monitorPID is the parent of the batch's process, or 1 where that does not show.
func monitorPID() int {
	stat, err := os.ReadFile(proc(os.Getppid(), "stat"))
	if err != nil {
		return 1
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(f) < 2 {
		return 1
	}
	pid, _ := strconv.Atoi(f[1])
	return pid
}

// reading are acts that would read what the engine was not given.
func reading() map[string]func() error {
	monitor := monitorPID()
	key := filepath.Join(w.Home, ".ssh", "id_ed25519")
	return map[string]func() error{
		"read-ssh-key": func() error { return has(key) },
		"list-home":    func() error { return list(w.Home) },
		"stat-ssh-key": func() error { _, err := os.Stat(key); return err },
		"readlink-outside": func() error {
			_, err := os.Readlink(filepath.Join(w.Home, ".ssh", "to"))
			return err
		},
		"list-xattrs-outside": func() error { _, err := unix.Llistxattr(key, nil); return err },
		"chmod-ssh-key":       func() error { return os.Chmod(key, 0o644) },
		"read-by-symlink":     func() error { _ = os.Symlink(key, out("key")); return has(out("key")) },
		"read-by-ws-link":     func() error { return has(in("to-key")) },
		"read-by-root":        func() error { return has("/proc/self/root" + key) },
		"read-by-link": func() error {
			if err := os.Link(key, out("hard-key")); err != nil {
				return err
			}
			return has(out("hard-key"))
		},
		"read-by-dotdot": func() error {
			return has(strings.Repeat("../", 40) + strings.TrimPrefix(key, "/"))
		},
		"read-flight":   func() error { return has(filepath.Join(w.Flight, "plan")) },
		"list-flight":   func() error { return list(w.Flight) },
		"write-flight":  func() error { return scribble(filepath.Join(w.Flight, "plan")) },
		"exec-outside":  func() error { return exec.Command(w.Program, "true").Run() },
		"own-env":       func() error { return ownEnvironment() },
		"all-environs":  func() error { return each(otherEnvironment) },
		"parent-env":    func() error { return look(w.Parent, "environ") },
		"victim-env":    func() error { return has(proc(w.Victim, "environ")) },
		"victim-args":   func() error { return has(proc(w.Victim, "cmdline")) },
		"victim-status": func() error { return look(w.Victim, "status") },
		"victim-mem":    func() error { return look(w.Victim, "mem") },
		"victim-maps":   func() error { return look(w.Victim, "maps") },
		"victim-exe":    func() error { _, err := os.Readlink(proc(w.Victim, "exe")); return err },
		"victim-cwd":    func() error { _, err := os.Readlink(proc(w.Victim, "cwd")); return err },
		"victim-root":   func() error { return list(proc(w.Victim, "root")) },
		"victim-fds":    func() error { return openFDs(proc(w.Victim, "")) },
		"victim-task":   func() error { return has(proc(w.Victim, "task/"+strconv.Itoa(w.Victim)+"/environ")) },
		"monitor-env":   func() error { return look(monitor, "environ") },
		"monitor-mem":   func() error { return look(monitor, "mem") },
		"monitor-fds":   func() error { return openFDs(proc(monitor, "")) },
		"monitor-root":  func() error { return list(proc(monitor, "root")) },
		"monitor-cwd":   func() error { return list(proc(monitor, "cwd")) },
		"monitor-exe":   func() error { return look(monitor, "exe") },
		"monitor-ns":    func() error { return look(monitor, "ns/mnt") },
		"monitor-tasks": func() error {
			entries, err := os.ReadDir(proc(monitor, "task"))
			if err != nil {
				return err
			}
			for _, e := range entries { // its threads may have more rights than its first one
				for _, name := range []string{"mem", "environ", "root", "cwd", "fd/0", "fd/3"} {
					if err = look(monitor, "task/"+e.Name()+"/"+name); err == nil {
						return nil
					}
				}
			}
			return err
		},
		"read-kcore":    func() error { return look(0, "../kcore") },
		"read-kallsyms": func() error { return readable("/proc/kallsyms") },
		"read-cmdline":  func() error { return readable("/proc/cmdline") },
		"read-keys":     func() error { return readable("/proc/keys") },
		"list-sys":      func() error { return list("/sys") },
		"list-root":     func() error { return list("/root") },
		"list-var":      func() error { return list("/var") },
		"list-run":      func() error { return list("/run") },
		"read-shadow":   func() error { return readable("/etc/shadow") },
		"read-hostid":   func() error { return readable("/etc/machine-id") },
	}
}

func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if n, err := f.Read(make([]byte, 64)); n == 0 {
		return fmt.Errorf("it is empty: %w", err)
	}
	return nil
}

// ownEnvironment looks for what a runner gives to the steps of a job.
func ownEnvironment() error {
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "ACTIONS_") || strings.HasSuffix(name, "_TOKEN") || strings.HasPrefix(name, "SANDBOX_TEST_") {
			return nil
		}
	}
	return errors.New("it is not in there")
}

// otherEnvironment looks for the token in another process, but for those of the
// batch, which have it to look for it.
func otherEnvironment(pid int) error {
	data, err := os.ReadFile(proc(pid, "environ"))
	if err != nil {
		return err
	}
	if bytes.Contains(data, []byte("HOSTILE_WORLD=")) || !bytes.Contains(data, []byte(w.Token)) {
		return errors.New("it is not in there")
	}
	return nil
}

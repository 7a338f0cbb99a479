package inside

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"time"
)

// processes lists all processes that /proc shows, but this one.
func processes() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = dir.Close() }() // only read
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	self := os.Getpid()
	var out []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid != self {
			out = append(out, pid)
		}
	}
	return out
}

// children lists the direct children of a process, zombies too. The kernel has a
// list of them; where it does not show it, all processes are looked at.
func children(pid int) []int {
	tasks := "/proc/" + strconv.Itoa(pid) + "/task"
	dir, err := os.Open(tasks)
	if err != nil {
		return nil // it has ended
	}
	names, err := dir.Readdirnames(-1)
	_ = dir.Close() // only read
	if err != nil {
		return nil
	}
	var out []int
	for _, name := range names {
		data, err := os.ReadFile(tasks + "/" + name + "/children")
		if errors.Is(err, os.ErrNotExist) && name == strconv.Itoa(pid) {
			return childrenByParent(pid)
		}
		for f := range bytes.FieldsSeq(data) {
			if child, err := strconv.Atoi(string(f)); err == nil {
				out = append(out, child)
			}
		}
	}
	return out
}

// childrenByParent finds the children of a process among all.
func childrenByParent(parent int) []int {
	var out []int
	for _, pid := range processes() {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		// The name in parentheses may hold anything, also parentheses.
		i := bytes.LastIndexByte(stat, ')')
		if err != nil || i < 0 {
			continue
		}
		if f := bytes.Fields(stat[i+1:]); len(f) > 1 && string(f[1]) == strconv.Itoa(parent) {
			out = append(out, pid)
		}
	}
	return out
}

// maxDescendants bounds one look; the next look goes on.
const maxDescendants = 100_000

// Descendants lists the processes below one, parents first.
func Descendants(root int) []int {
	out := children(root)
	for i := 0; i < len(out) && len(out) < maxDescendants; i++ {
		out = append(out, children(out[i])...)
	}
	return out
}

// guardPause is how often use is looked at.
const guardPause = 50 * time.Millisecond

// guard ends everything when all processes of the child together use more than
// they may. RLIMIT_NPROC does not bind root, no rlimit bounds a sum, and the
// cgroup that could is not there on every machine.
func (m *monitor) guard(l Limits) {
	if inOwnPids() {
		narrow(m.child)
	}
	for {
		time.Sleep(guardPause)
		pids := Descendants(os.Getpid())
		if inOwnPids() {
			pids = processes()
		}
		over := ""
		if int64(len(pids)) > l.Processes {
			over = "processes"
		}
		if resident(pids, l.Memory) > l.Memory {
			over = "memory"
		}
		if over == "" {
			continue
		}
		m.mu.Lock()
		m.over = over
		m.mu.Unlock()
		m.killAll()
	}
}

// resident is how much memory processes use together. What is shared between
// them counts for each, but files that are mapped do not. Whether memory that is
// shared is a file's is only looked at where it matters, beyond most.
func resident(pids []int, most int64) int64 {
	page := int64(os.Getpagesize())
	var private, shared int64
	for _, pid := range pids {
		statm, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
		if err != nil {
			continue // it has ended
		}
		if f := bytes.Fields(statm); len(f) > 2 {
			rss, _ := strconv.ParseInt(string(f[1]), 10, 64)
			part, _ := strconv.ParseInt(string(f[2]), 10, 64)
			private += (rss - part) * page
			shared += part * page
		}
	}
	if private > most || private+shared <= most {
		return private
	}
	for _, pid := range pids {
		private += sharedMemory(pid)
	}
	return private
}

// sharedMemory is how much shared memory that is no file's a process uses.
func sharedMemory(pid int) int64 {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0 // it has ended
	}
	_, rest, _ := bytes.Cut(status, []byte("\nRssShmem:"))
	f := bytes.Fields(rest[:min(len(rest), 40)])
	if len(f) == 0 {
		return 0
	}
	kb, _ := strconv.ParseInt(string(f[0]), 10, 64)
	return kb << 10
}

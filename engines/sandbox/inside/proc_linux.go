package inside

import (
	"bytes"
	"errors"
	"os"
	"strconv"
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

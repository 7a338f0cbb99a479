package sandbox

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

// reap kills what is left of an ended child: its group, and every process whose
// environment carries the mark, until none is found. It gives their number.
func reap(pid int, mark string) int {
	survivors := map[int]bool{}
	clean := 0
	for range reapRounds {
		found := marked(mark)
		_ = syscall.Kill(-pid, syscall.SIGKILL) // the group may be empty
		for _, p := range found {
			if syscall.Kill(p, syscall.SIGKILL) == nil {
				survivors[p] = true
			}
		}
		switch {
		case bury(survivors) > 0 || len(found) > 0:
			clean = 0
		case clean >= reapClean:
			return len(survivors)
		default:
			clean++
		}
		time.Sleep(reapPause)
	}
	return len(survivors)
}

const (
	reapRounds = 500 // a process that forks without end is hunted that often
	reapPause  = 2 * time.Millisecond
	// A process that is in the middle of execve shows an empty environment, so that
	// one look which finds nothing proves nothing where there were survivors.
	reapClean = 5
)

// bury waits for killed orphans that became our children, and says how many of
// them have not ended yet.
func bury(pids map[int]bool) int {
	left := 0
	for p, alive := range pids {
		if !alive {
			continue
		}
		var status syscall.WaitStatus
		got, err := syscall.Wait4(p, &status, syscall.WNOHANG, nil)
		if err == nil && got == 0 {
			left++
			continue
		}
		pids[p] = false // waited for, or not our child: init's matter
	}
	return left
}

// marked finds living processes that were started with the mark in their environment.
func marked(mark string) []int {
	if mark == "" {
		return nil
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = dir.Close() }() // nothing was written
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var found []int
	self := os.Getpid()
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == self {
			continue
		}
		env, err := os.ReadFile("/proc/" + name + "/environ")
		if err != nil || !bytes.Contains(append([]byte{0}, env...), append([]byte{0}, mark...)) {
			continue // a zombie's environment is empty: it is dead already
		}
		found = append(found, pid)
	}
	return found
}

package sandbox

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func missing() []string {
	return []string{"capabilities", "cgroup", "landlock", "namespaces", "no_new_privs", "rlimits", "seccomp"}
}

// prepare gives the child a process group of its own and makes the kernel kill
// it when the thread that started it dies, so that a killed orchestrator leaves
// no engine behind.
func prepare(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// starter is a goroutine on a thread that never ends: the death signal is tied
// to the thread that forked, and Go ends threads as it likes.
var starter = sync.OnceValue(func() chan<- func() {
	jobs := make(chan func())
	go func() {
		runtime.LockOSThread()
		// Orphans of engines become our children, so that they can be reaped.
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) // without it, init reaps them
		for job := range jobs {
			job()
		}
	}()
	return jobs
})

func start(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	starter() <- func() { done <- cmd.Start() }
	return <-done
}

func terminate(p *os.Process) error {
	// The whole group; the leader may be gone already.
	if err := syscall.Kill(-p.Pid, syscall.SIGTERM); err != nil {
		return os.ErrProcessDone
	}
	return nil
}

// settled waits until a child has ended, and leaves it to be waited for.
func settled(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

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
		case clean >= reapClean || len(survivors) == 0:
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

func signalName(state *os.ProcessState) string {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return unix.SignalName(ws.Signal())
	}
	return ""
}

package inside

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func (l Limits) withDefaults() Limits {
	for _, v := range []struct {
		at  *int64
		def int64
	}{{&l.Memory, DefaultMemory}, {&l.Processes, DefaultProcesses}, {&l.FileSize, DefaultFileSize}, {&l.OpenFiles, DefaultOpenFiles}, {&l.TempBytes, DefaultTempBytes}} {
		if *v.at <= 0 {
			*v.at = v.def
		}
	}
	return l
}

// threadsPerProcess makes a limit of processes one of threads, which is what the
// kernel counts, in tier B those of all programs of the user. It is for what forks
// faster than the guard looks.
const threadsPerProcess = 16

// dataRoom, in bytes, is what one process may have reserved beyond the limit of
// memory: in tier A the monitor lives under the same limits and must not die of a
// small one. What is really used, the guard looks at.
const dataRoom = 1 << 30

// setLimits sets the resource limits of this process, and with it the child's.
// With later, the limit of threads can be raised again; narrow makes up for that.
func setLimits(l Limits, later bool) error {
	unix.Umask(0o022) // the same everywhere, or modes of files differ between machines
	for _, r := range []struct {
		name     string
		resource int
		most     int64
	}{
		{"core", unix.RLIMIT_CORE, 0}, {"fsize", unix.RLIMIT_FSIZE, l.FileSize}, {"nofile", unix.RLIMIT_NOFILE, l.OpenFiles},
		{"data", unix.RLIMIT_DATA, l.Memory + dataRoom}, {"nproc", unix.RLIMIT_NPROC, l.Processes * threadsPerProcess}, {"memlock", unix.RLIMIT_MEMLOCK, 8 << 20},
		{"msgqueue", unix.RLIMIT_MSGQUEUE, 800 << 10},                    // what the kernel gives by default
		{"rtprio", unix.RLIMIT_RTPRIO, 0}, {"nice", unix.RLIMIT_NICE, 0}, // a child must not go before its monitor
	} {
		var have unix.Rlimit
		if err := unix.Getrlimit(r.resource, &have); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		most := min(uint64(r.most), have.Max) //nolint:gosec // limits are positive
		limit := unix.Rlimit{Cur: most, Max: most}
		if later && r.resource == unix.RLIMIT_NPROC {
			limit.Max = have.Max
		}
		if err := unix.Setrlimit(r.resource, &limit); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

// victim is how the kernel learns whom to end when memory runs out, nil where that
// cannot be said. It stays good behind the layers.
type victim struct {
	fd     int
	before []byte
}

func newVictim() *victim {
	fd, err := unix.Open("/proc/self/oom_score_adj", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // the kernel decides by size alone
	}
	v := &victim{fd, make([]byte, 16)}
	n, err := unix.Pread(fd, v.before, 0)
	if err != nil || n == 0 {
		_ = unix.Close(fd)
		return nil // as above
	}
	v.before = v.before[:n]
	return v
}

// first makes the kernel end this process, and what it starts from now on, before all
// others: what the guard cannot see, as pages of shared memory that are mapped
// nowhere any more, shall cost nobody but who took them. A child in a sandbox may not
// write its own. It must be called without privileges to be taken back.
func (v *victim) first() {
	if v != nil {
		_, _ = unix.Pwrite(v.fd, []byte("1000"), 0) // without it the kernel decides by size alone
	}
}

// back is for a monitor that has started its child.
func (v *victim) back() {
	if v != nil {
		_, _ = unix.Pwrite(v.fd, v.before, 0) // the monitor would end with its child
		_ = unix.Close(v.fd)
	}
}

// dropBounding empties the bounding set of this thread.
func dropBounding() error {
	for c := range uintptr(unix.CAP_LAST_CAP + 1) {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL { //nolint:errorlint // EINVAL: older kernels know fewer
			return fmt.Errorf("the bounding set: %w", err)
		}
	}
	return nil
}

// narrow leaves the limit of threads to the child alone: a monitor that gets no
// thread while there is a fork bomb could not end it. It must not run on the thread
// that has the filter, which refuses to set another's limits.
func narrow(child int) {
	var have unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NPROC, &have) != nil || have.Cur == have.Max {
		return
	}
	_ = unix.Prlimit(child, unix.RLIMIT_NPROC, &unix.Rlimit{Cur: have.Cur, Max: have.Cur}, nil) // it may have ended; it has the lower of both in any case
	_ = unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: have.Max, Max: have.Max})           // without it, a bomb ends the monitor, and that everything
}

// dropCapabilities empties every set of this thread and makes sure of it.
func dropCapabilities() error {
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) // looked at below
	for c := range uintptr(unix.CAP_LAST_CAP + 1) {
		_ = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0) // needs CAP_SETPCAP; without it nothing is there to drop, and no_new_privs keeps it so
	}
	_ = unix.Prctl(unix.PR_SET_SECUREBITS, 0x2f, 0, 0, 0) // uid 0 shall mean nothing; as above
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return err
	}
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "CapInh", "CapPrm", "CapEff", "CapAmb":
			if strings.Trim(value, " \t\n0") != "" {
				return errors.New(name + " is not empty:" + value)
			}
		}
	}
	return nil
}

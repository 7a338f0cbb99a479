package inside

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// guardPause is how often use is looked at.
const guardPause = 50 * time.Millisecond

// guard ends everything when all processes of the child together use more than
// they may. RLIMIT_NPROC does not bind root, no rlimit bounds a sum, and the
// cgroup that could is not there on every machine.
func (m *monitor) guard(c *Confine) {
	l := c.Limits.withDefaults()
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
		if use(c, pids, l) > l.Memory {
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

// use is how much memory processes and their sandbox use together; where that is
// more than they may, any number beyond.
func use(c *Confine, pids []int, l Limits) int64 {
	sum := int64(0)
	if c.Tier == TierA {
		sum = scratchUse(c.Binds) + sysvUse(l.Processes*threadsPerProcess)
	}
	if sum <= l.Memory {
		sum += resident(pids, l.Memory-sum)
	}
	if sum <= l.Memory {
		sum += buffers(pids, l.Memory-sum)
	}
	return sum
}

// inodeUse, in bytes, is what the kernel has for a file in memory beside its content.
const inodeUse = 1 << 10

// scratchUse is how much memory the private file systems hold, also in files that
// have no name any more, whoever has them open or mapped.
func scratchUse(binds []Bind) int64 {
	var sum int64
	for _, dir := range scratchDirs(binds) {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) != nil || st.Type != unix.TMPFS_MAGIC {
			continue
		}
		sum += int64(st.Blocks-st.Bfree)*int64(st.Bsize) + int64(st.Files-st.Ffree)*inodeUse //nolint:gosec,unconvert // bounded when they were mounted
	}
	return sum
}

// resident is how much memory processes use together. What is shared between
// them counts for each, but files that are mapped do not. Whether memory that is
// shared is a file's, and how large page tables are, is only looked at where it
// matters, beyond most.
func resident(pids []int, most int64) int64 {
	page := int64(os.Getpagesize())
	var private, maybe int64
	for _, pid := range pids {
		statm, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
		if err != nil {
			continue // it has ended
		}
		if f := bytes.Fields(statm); len(f) > 2 {
			size, _ := strconv.ParseInt(string(f[0]), 10, 64)
			rss, _ := strconv.ParseInt(string(f[1]), 10, 64)
			part, _ := strconv.ParseInt(string(f[2]), 10, 64)
			private += (rss - part) * page
			maybe += part*page + size*8 // eight bytes of a table for each page
		}
	}
	if private > most || private+maybe <= most {
		return private
	}
	for _, pid := range pids {
		private += statusBytes(pid, "RssShmem") + statusBytes(pid, "VmPTE")
	}
	return private
}

// statusBytes reads a number of kilobytes from a process' status.
func statusBytes(pid int, field string) int64 { return statusNumber(pid, field) << 10 }

func statusNumber(pid int, field string) int64 {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0 // it has ended
	}
	_, rest, _ := bytes.Cut(status, []byte("\n"+field+":"))
	f := bytes.Fields(rest[:min(len(rest), 40)])
	if len(f) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(string(f[0]), 10, 64)
	return n
}

// What the kernel may hold for one descriptor, in bytes: what can be sent into a
// socket before somebody reads, by the kernel's default; and a pipe's buffer beyond
// the 64 MiB that all pipes of a user may have.
const (
	socketUse = 416 << 10
	pipeUse   = 8 << 10
)

// maxLinks bounds how many descriptors one look asks for what they are. What is
// beyond counts as sockets.
const maxLinks = 1 << 16

// buffers is how much memory the descriptors of processes can hold: nothing tells
// what lies in them. The number of descriptors nearly always tells enough; what they
// are is only looked at beyond most. Those that are under way in a socket are not
// seen; the kernel bounds them by the limit of one process.
func buffers(pids []int, most int64) int64 {
	counts := make([]int64, len(pids))
	var all int64
	for i, pid := range pids {
		var st unix.Stat_t
		if unix.Stat("/proc/"+strconv.Itoa(pid)+"/fd", &st) != nil {
			continue // it has ended
		}
		if counts[i] = st.Size; st.Size == 0 { // before Linux 6.2
			counts[i] = statusNumber(pid, "FDSize")
		}
		all += counts[i]
	}
	if all*socketUse <= most {
		return 0
	}
	seen := map[string]bool{}
	var sum, links int64
	for i, pid := range pids {
		if links += counts[i]; links > maxLinks || !look(pid, seen) {
			sum += counts[i] * socketUse
		}
	}
	for to := range seen {
		if to[0] == 's' {
			sum += socketUse
		} else {
			sum += pipeUse
		}
	}
	return sum
}

// look collects the sockets and pipes that a process has open, each once however
// many have it. It fails for a process that does not let itself be looked at.
func look(pid int, seen map[string]bool) bool {
	dir, err := os.Open("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		return os.IsNotExist(err) // it has ended
	}
	defer func() { _ = dir.Close() }() // only read
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return os.IsNotExist(err) || len(names) > 0
	}
	to := make([]byte, 64)
	for _, name := range names {
		n, err := unix.Readlinkat(int(dir.Fd()), name, to) //nolint:gosec // a descriptor
		if err != nil {
			continue // it was closed
		}
		if t := to[:n]; bytes.HasPrefix(t, []byte("socket:")) || bytes.HasPrefix(t, []byte("pipe:")) {
			seen[string(t)] = true
		}
	}
	return true
}

// scratchDirs are the places that every program may write in tier A, in memory. A
// place that the caller binds itself is the caller's.
func scratchDirs(binds []Bind) []string {
	return slices.DeleteFunc([]string{"/tmp", "/dev/shm"}, func(dir string) bool {
		return slices.ContainsFunc(binds, func(b Bind) bool { return b.Target == dir })
	})
}

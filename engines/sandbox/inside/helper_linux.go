package inside

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A helper must not pay for what the rest of the program initialises: that would
// be more than all layers together. Packages are initialised in the order of their
// import paths as soon as all that they import is, so this runs as early as the
// imports of this package let it. docs/decisions/0012 says why this one exception
// from "no init" is worth it.
func init() { //nolint:gochecknoinits // see above
	switch {
	case len(os.Args) == 1 && os.Args[0] == Name:
		runHelper()
	case len(os.Args) == 3 && os.Args[1] == Name:
		runBySudo(os.Args[2])
	}
}

// monitor is the helper in its main role: it prepares, starts the child, waits for
// it and for what it left, and reports.
type monitor struct {
	spec      Spec
	orders    *json.Decoder
	mu        sync.Mutex // guards reports, attempts and over
	attempts  map[string]int
	over      string
	child     int
	isolation Isolation
}

// exitHelper is the exit code of a helper that could not do its work; the report
// says why.
const exitHelper = 125

// runHelper never returns.
func runHelper() {
	runtime.LockOSThread() // the layers hold for this thread, which starts the child
	if err := closeOthers(); err != nil {
		os.Exit(exitHelper) // nothing may run that has them
	}
	m := &monitor{attempts: map[string]int{}}
	control := os.NewFile(FDControl, "control")
	m.orders = json.NewDecoder(bufio.NewReader(control))
	if err := m.orders.Decode(&m.spec); err != nil {
		os.Exit(exitHelper) // the parent is gone: there is nobody to tell
	}
	m.spec = m.spec.over(unpack)
	switch m.spec.Role {
	case "restrict":
		m.restrictAndExec()
	case "probe":
		m.probe()
	default:
		m.fly()
	}
	os.Exit(0)
}

func (m *monitor) say(r Report) {
	if _, err := unix.Write(FDControl, Encode(r)); err != nil {
		// The parent is gone. In tier A everything ends with us, else it is to be ended.
		if m.child > 0 && !inOwnPids() {
			m.killAll()
			_, _ = m.survivors()
		}
		os.Exit(exitHelper)
	}
}

// closeOthers makes sure that nothing of the parent's goes to the child but its
// standard streams.
func closeOthers() error {
	if unix.CloseRange(FDControl, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) == nil {
		return nil
	}
	return closeEach() // an older kernel, or a filter further out that does not know the call
}

func closeEach() error {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // only read
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil && fd >= FDControl {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// fail reports why a layer could not be applied, and ends the helper.
func (m *monitor) fail(layer string, err error) {
	m.say(Report{Error: err.Error(), Layer: layer, Isolation: &m.isolation})
	os.Exit(exitHelper)
}

func (m *monitor) fly() {
	m.isolation = None()
	var err error
	switch c := m.spec.Confine; {
	case c == nil || c.Tier == TierC:
		m.child, err = m.startPlain()
	case c.Tier == TierB:
		m.child, err = m.startRestricted()
	default:
		v := newVictim()
		m.confineA()
		v.first()
		m.child, err = m.forkChild()
		v.back()
	}
	if err != nil {
		m.say(Report{Error: err.Error(), Isolation: &m.isolation})
		os.Exit(exitHelper)
	}
	// The child's stdout ends when the child closes it. Ours stays open as stderr.
	_ = unix.Dup3(2, 1, 0) // else only its end shows later
	m.say(Report{Started: true, Isolation: &m.isolation})
	go m.obey()
	if c := m.spec.Confine; c != nil && c.Tier != TierC {
		go m.guard(c)
	}
	status := m.wait()
	dead, left := m.survivors()
	m.mu.Lock()
	r := Report{Ended: true, Status: uint32(status), Survivors: dead, Left: left, Attempts: m.seen(), Over: m.over}
	m.mu.Unlock()
	m.say(r)
}

// obey does what the parent says; when the parent is gone, everything ends.
func (m *monitor) obey() {
	for {
		var o Order
		if err := m.orders.Decode(&o); err != nil || o.Kill {
			m.killAll()
			if err != nil {
				return
			}
			continue
		}
		if o.Signal > 0 {
			_ = unix.Kill(-m.child, unix.Signal(o.Signal)) // it may have ended
		}
	}
}

// inOwnPids says whether this process is the first of its own pid namespace.
func inOwnPids() bool { return os.Getpid() == 1 }

func (m *monitor) killAll() {
	if inOwnPids() {
		_ = unix.Kill(-1, unix.SIGKILL) // all but us
		return
	}
	// Where it may be, faster than those that fork while they are killed.
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
	_ = unix.Kill(-m.child, unix.SIGKILL)
	for _, pid := range Descendants(os.Getpid()) {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// wait reaps whatever ends until the child has, and gives its status.
func (m *monitor) wait() syscall.WaitStatus {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err == syscall.EINTR { //nolint:errorlint // a bare errno
			continue
		}
		if err != nil {
			return status // ECHILD cannot be: the child is ours
		}
		if pid == m.child {
			return status
		}
	}
}

// survivorTime bounds the hunt for what a child left.
const survivorTime = 10 * time.Second

// survivors kills what the child left until this process has no child any more,
// and gives how many there were. As long as anything lives that the child started,
// it is our descendant: we are the reaper of all of them. Only without a pid
// namespace can something that forks faster than we kill last until time is up.
func (m *monitor) survivors() (dead int, left bool) {
	killed := map[int]bool{}
	for begin := time.Now(); ; {
		for _, pid := range Descendants(os.Getpid()) {
			killed[pid] = true
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
		if inOwnPids() {
			_ = unix.Kill(-1, unix.SIGKILL) // all but us
		}
		for {
			var status syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
			if err == syscall.ECHILD { //nolint:errorlint // a bare errno
				return len(killed), false
			}
			if err != nil || pid <= 0 {
				break
			}
			killed[pid] = true
		}
		if time.Since(begin) > survivorTime {
			return len(killed), true
		}
	}
}

// seen gives the attempts by name.
func (m *monitor) seen() []Attempt {
	out := make([]Attempt, 0, len(m.attempts))
	for call, n := range m.attempts {
		out = append(out, Attempt{Call: call, Count: n})
	}
	slices.SortFunc(out, func(a, b Attempt) int {
		if a.Call < b.Call {
			return -1
		}
		return 1
	})
	return out
}

// startPlain starts the child without any layer.
func (m *monitor) startPlain() (int, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("becoming the reaper of orphans: %w", err)
	}
	return m.forkChild()
}

// forkChild starts the child from this thread, with whatever holds this thread.
func (m *monitor) forkChild() (int, error) {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil { // a child of the same user must not look into us
		return 0, err
	}
	return syscall.ForkExec(m.spec.Argv[0], m.spec.Argv, &syscall.ProcAttr{
		Dir: m.spec.Dir, Env: m.spec.Env, Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
}

// startRestricted starts this program once more; that process restricts itself
// and becomes the child. This one stays free, to see and end what the child leaves.
func (m *monitor) startRestricted() (int, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("becoming the reaper of orphans: %w", err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	passed, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	pid, err := syscall.ForkExec("/proc/self/exe", []string{Name}, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2, uintptr(fds[1]), uintptr(passed[1])}, //nolint:gosec // descriptors are small
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
	_ = unix.Close(fds[1]) // only the child's
	_ = unix.Close(passed[1])
	if err != nil {
		return 0, err
	}
	inner := m.spec
	inner.Role = "restrict"
	control := os.NewFile(uintptr(fds[0]), "control") //nolint:gosec // as above
	if _, err := control.Write(Encode(inner.Packed())); err != nil {
		return 0, err
	}
	// The child says why it failed, or what holds; then execve closes its side.
	replies := json.NewDecoder(control)
	for {
		var r Report
		if err := replies.Decode(&r); err != nil {
			return pid, nil //nolint:nilerr // the end of the stream is execve's success
		}
		if r.Isolation != nil {
			m.isolation = *r.Isolation
		}
		if r.Error != "" {
			_, _ = syscall.Wait4(pid, nil, 0, nil) // it ends with that, and would be left as a zombie
			m.say(Report{Error: r.Error, Layer: r.Layer, Isolation: &m.isolation})
			os.Exit(exitHelper)
		}
		if r.Listening { // to the filter's notifications
			if fd, err := recvFD(passed[0]); err == nil {
				go m.judge(fd)
			}
		}
	}
}

// restrictAndExec applies tier B to this process and becomes the child.
func (m *monitor) restrictAndExec() {
	newVictim().first()
	m.confineB()
	if fd := m.filter(noSockets); fd >= 0 {
		if err := SendFD(FDPass, fd); err != nil {
			m.fail(LayerSeccomp, err)
		}
		m.say(Report{Listening: true, Isolation: &m.isolation})
	} else {
		m.say(Report{Isolation: &m.isolation})
	}
	m.fail("", syscall.Exec(m.spec.Argv[0], m.spec.Argv, m.spec.Env))
}

// confineB applies tier B to this thread, but for the filter.
func (m *monitor) confineB() {
	c := m.spec.Confine
	m.isolation = Isolation{Tier: TierB, Missing: []string{LayerCgroup, LayerAttributes, LayerNamespaces}}
	if err := os.Chdir(m.spec.Dir); err != nil {
		m.fail("", err)
	}
	if err := setLimits(c.Limits.withDefaults(), false); err != nil {
		m.fail(LayerRlimits, err)
	}
	m.privileges()
	abi, err := restrictFiles(c.filesB())
	if err != nil {
		m.fail(LayerLandlock, err)
	}
	if abi < LeastABI {
		m.fail(LayerLandlock, fmt.Errorf("this kernel has version %d of it, and below %d it does not keep files from being cut", abi, LeastABI))
	}
	m.isolation.LandlockABI = abi
	m.isolation.Missing = append(m.isolation.Missing, gaps(abi)...)
	slices.Sort(m.isolation.Missing)
	m.require(c)
}

// privileges takes every capability away, for good.
func (m *monitor) privileges() {
	if err := dropCapabilities(); err != nil {
		m.fail(LayerCapabilities, err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		m.fail(LayerNoNewPrivs, err)
	}
}

// filter installs the system call filter and gives the descriptor of its
// notifications, or -1 where there are none.
func (m *monitor) filter(open sockets) int {
	fd, digest, err := installFilter(open)
	if err != nil {
		m.fail(LayerSeccomp, err)
	}
	m.isolation.Seccomp = digest
	return fd
}

// require fails if a layer that must be there is missing.
func (m *monitor) require(c *Confine) {
	for _, layer := range c.Require {
		if m.isolation.Lacks(layer) {
			m.fail(layer, errors.New("it is required and cannot be had"))
		}
	}
}

// confineA applies tier A to this thread.
func (m *monitor) confineA() {
	c := m.spec.Confine
	m.isolation = Isolation{Tier: TierA, NetNS: true, Missing: []string{LayerCgroup}}
	if err := changeRoot(c); err != nil {
		m.fail(LayerNamespaces, err)
	}
	if err := unix.Sethostname([]byte("cabincrew")); err != nil {
		m.fail(LayerNamespaces, err)
	}
	if c.Listen {
		m.listen()
	}
	if c.Sudo {
		if err := become(os.Getenv(becomeVariable)); err != nil {
			m.fail(LayerCapabilities, err)
		}
	}
	limits := c.Limits.withDefaults()
	if err := setLimits(limits, true); err != nil {
		m.fail(LayerRlimits, err)
	}
	m.privileges()
	abi, err := restrictFiles(c.filesA())
	if err != nil {
		m.fail(LayerLandlock, err)
	}
	if m.isolation.LandlockABI = abi; abi == 0 {
		m.isolation.Missing = []string{LayerCgroup, LayerLandlock}
	}
	m.require(c)
	open := unixSockets
	if c.Listen {
		open = tcpSockets
	}
	if fd := m.filter(open); fd >= 0 {
		go m.judge(fd)
	}
}

package inside

import (
	"encoding/json"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLimitsWithDefaults(t *testing.T) {
	t.Parallel()
	def := Limits{Memory: DefaultMemory, Processes: DefaultProcesses, FileSize: DefaultFileSize, OpenFiles: DefaultOpenFiles, TempBytes: DefaultTempBytes}
	for _, c := range []struct{ have, want Limits }{
		{Limits{}, def}, {Limits{Memory: -1, Processes: -1, FileSize: -1, OpenFiles: -1, TempBytes: -1}, def}, {Limits{1, 2, 3, 4, 5}, Limits{1, 2, 3, 4, 5}},
	} {
		if got := c.have.withDefaults(); got != c.want {
			t.Errorf("%+v: %+v", c.have, got)
		}
	}
	l := Limits{}
	_ = l.withDefaults()
	if l != (Limits{}) {
		t.Error("the limits that were asked were changed")
	}
}

// TestHandled knows for every version of the interface what it can be asked.
func TestHandled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		abi     int
		fs, net uint64
		scoped  bool
	}{
		{1, 1<<13 - 1, 0, false}, {2, 1<<14 - 1, 0, false}, {3, 1<<15 - 1, 0, false}, {4, 1<<15 - 1, 3, false}, {5, 1<<16 - 1, 3, false}, {6, 1<<16 - 1, 3, true}, {7, 1<<16 - 1, 3, true}, {99, 1<<16 - 1, 3, true},
	} {
		fs, net, scoped := handled(c.abi)
		if fs != c.fs || net != c.net || (scoped != 0) != c.scoped {
			t.Errorf("%d: %b %b %b", c.abi, fs, net, scoped)
		}
	}
	if got := gaps(5); !slices.Equal(got, []string{LayerSignals}) {
		t.Errorf("%v", got)
	}
	if got := gaps(6); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// TestRules looks at what Landlock allows for a sandbox.
func TestRules(t *testing.T) {
	t.Parallel()
	c := &Confine{Binds: []Bind{{Source: "/host/r", Target: "/r"}, {Source: "/host/w", Target: "/w", Write: true}}, Listen: true, View: &View{Target: "/v", Upper: "/u"}}
	find := func(rules []access, path string) uint64 {
		var all uint64
		for _, r := range rules {
			if r.path == path {
				all |= r.rights
			}
		}
		return all
	}
	const writes = llWrite &^ llRead
	a, b := c.filesA(), c.filesB()
	for _, x := range []struct {
		what        string
		rules       []access
		path        string
		read, write bool
	}{
		{"A", a, "/", true, false}, {"A", a, "/w", true, true}, {"A", a, "/v", true, true}, {"A", a, "/r", false, false}, {"A", a, "/host/w", false, false}, {"A", a, "/tmp", true, true},
		{"B", b, "/host/r", true, false}, {"B", b, "/host/w", true, true}, {"B", b, "/", false, false}, {"B", b, "/tmp", false, false}, {"B", b, "/w", false, false}, {"B", b, "/v", false, false}, {"B", b, "/proc/self", true, false},
	} {
		got := find(x.rules, x.path)
		if (got&llRead == llRead) != x.read || (got&writes == writes) != x.write || !x.write && got&writes != 0 {
			t.Errorf("tier %s, %s: %b", x.what, x.path, got)
		}
	}
	for _, rules := range [][]access{a, b} {
		for _, r := range rules {
			if r.rights&(unix.LANDLOCK_ACCESS_FS_MAKE_CHAR|unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK|unix.LANDLOCK_ACCESS_FS_MAKE_SOCK) != 0 {
				t.Errorf("%s may have devices and sockets", r.path)
			}
		}
		if got := find(rules, "/dev/null"); got == 0 || got&^uint64(unix.LANDLOCK_ACCESS_FS_READ_FILE|unix.LANDLOCK_ACCESS_FS_WRITE_FILE) != 0 {
			t.Errorf("/dev/null: %b", got)
		}
	}
	port := func(rules []access) bool {
		return slices.ContainsFunc(rules, func(r access) bool { return r.port == proxyPort })
	}
	if !port(a) || port(b) {
		t.Error("the proxy's port")
	}
	c.Listen, c.View.Upper = false, ""
	if a = c.filesA(); port(a) || find(a, "/v")&writes != 0 {
		t.Error("rules of what is not there")
	}
}

// FuzzPack demands that every string arrives as it was.
func FuzzPack(f *testing.F) {
	for _, seed := range []string{"", "plain", "\x00", "\x00plain", "\xff", "a\xffb", "\x00\xff", "ü", "\x00!", "\x00AAAA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		in := Spec{
			Argv: []string{s, "x"}, Dir: s, Env: []string{s},
			Confine: &Confine{Binds: []Bind{{Source: s, Target: s, Write: true}}, Covers: []string{s}, View: &View{Target: s, Lower: []string{s}, Hide: []string{s, s}, Upper: s, Base: s, Changes: s}},
		}
		var m monitor
		if err := jsonRoundTrip(in.Packed(), &m.spec); err != nil {
			t.Fatal(err)
		}
		if got := m.spec.over(unpack); !reflect.DeepEqual(got, in) {
			t.Fatalf("%+v, not %+v", got, in)
		}
		if in.Argv[0] != s || in.Confine.View.Hide[0] != s {
			t.Fatal("the caller's strings were changed")
		}
	})
}

func jsonRoundTrip(in Spec, out *Spec) error { return json.Unmarshal(Encode(in), out) }

// TestChangeRootOnlyInNamespaces keeps a caller's mistake from the machine's root.
func TestChangeRootOnlyInNamespaces(t *testing.T) {
	t.Parallel()
	if inOwnPids() {
		t.Skip("this is the first process of a pid namespace")
	}
	if err := changeRoot(&Confine{Tier: TierA}); err == nil || !strings.Contains(err.Error(), "namespaces of its own") {
		t.Fatal(err)
	}
}

// TestCloseEach marks every descriptor, where no call does all at once.
func TestCloseEach(t *testing.T) { //nolint:paralleltest // descriptors are the process'
	var fds []int
	for range 5 {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(fd) }()
		fds = append(fds, fd)
	}
	if err := closeEach(); err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("a child would inherit descriptor %d (%v)", fd, err)
		}
	}
}

// TestResident counts memory.
func TestResident(t *testing.T) {
	t.Parallel()
	private := resident([]int{os.Getpid()}, 1<<60)
	if private < 1<<20 || private > 16<<30 {
		t.Errorf("this process uses %d bytes", private)
	}
	if got := resident([]int{os.Getpid(), 1 << 30}, 0); got < private/4 {
		t.Errorf("%d bytes", got)
	}
	if got := resident(nil, 0); got != 0 || statusBytes(1<<30, "RssShmem") != 0 {
		t.Errorf("nobody uses %d bytes", got)
	}
}

// TestBuffers counts what sockets and pipes may hold, each once, and only where it
// matters.
func TestBuffers(t *testing.T) { //nolint:paralleltest // descriptors are the process'
	self := os.Getpid()
	if got := buffers([]int{self}, 1<<60); got != 0 {
		t.Errorf("%d bytes, where that is no question", got)
	}
	before := buffers([]int{self}, 0)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	again, err := unix.Dup(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _, _ = unix.Close(fds[0]), unix.Close(fds[1]), unix.Close(again) }()
	if got := buffers([]int{self, self}, 0) - before; got != 2*socketUse {
		t.Errorf("two sockets hold %d bytes", got)
	}
	if got := buffers([]int{1 << 30}, 0); got != 0 {
		t.Errorf("nobody holds %d bytes", got)
	}
}

// TestUse adds what a sandbox holds to what its processes use.
func TestUse(t *testing.T) {
	t.Parallel()
	l := Limits{}.withDefaults()
	self := []int{os.Getpid()}
	if a, b := use(&Confine{Tier: TierA, Binds: []Bind{{Target: "/tmp"}, {Target: "/dev/shm"}}}, nil, l), use(&Confine{Tier: TierB}, nil, l); a < 0 || b != 0 {
		t.Errorf("nobody uses %d and %d bytes", a, b)
	}
	if got := use(&Confine{Tier: TierB}, self, l); got < 1<<20 || got > 16<<30 {
		t.Errorf("this process uses %d bytes", got)
	}
	if got := scratchDirs([]Bind{{Target: "/dev/shm"}}); !slices.Equal(got, []string{"/tmp"}) {
		t.Errorf("%q", got)
	}
}

// BenchmarkUse is one look of the guard at one process.
func BenchmarkUse(b *testing.B) {
	l := Limits{}.withDefaults()
	for _, tier := range []string{TierA, TierB} {
		b.Run(tier, func(b *testing.B) {
			for b.Loop() {
				_ = use(&Confine{Tier: tier}, []int{os.Getpid()}, l)
			}
		})
	}
}

// TestDescendants finds children of children, zombies too.
func TestDescendants(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/bin/sh", "-c", "sleep 30 & sleep 30 & (sleep 30 & wait) & wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL); _ = cmd.Wait() }()
	var got []int
	for end := time.Now().Add(10 * time.Second); len(got) < 4 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		got = Descendants(cmd.Process.Pid)
	}
	if len(got) != 4 {
		t.Errorf("%v", got)
	}
	other := childrenByParent(cmd.Process.Pid)
	slices.Sort(other)
	direct := children(cmd.Process.Pid)
	slices.Sort(direct)
	if !slices.Equal(other, direct) || len(direct) != 3 {
		t.Errorf("%v, %v", other, direct)
	}
	if got := Descendants(1 << 30); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

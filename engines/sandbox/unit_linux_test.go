package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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

// TestJudgeActs refuses a tier in which an act passed.
func TestJudgeActs(t *testing.T) {
	t.Parallel()
	stopped := act{Name: "write", Layer: LayerLandlock, Result: "no"}
	passed := func(layer string) act { return act{Name: "it", Layer: layer, Passed: true, Result: "succeeded"} }
	for _, c := range []struct {
		tier    string
		missing []string
		acts    []act
		ok      bool
	}{
		{TierA, nil, []act{stopped}, true}, {TierA, nil, nil, true}, {TierB, nil, []act{stopped, stopped}, true},
		{TierA, nil, []act{stopped, passed(LayerLandlock)}, false}, {TierA, nil, []act{passed(LayerSeccomp), stopped}, false}, {TierA, nil, []act{passed("")}, false},
		{TierA, nil, []act{passed(LayerAttributes)}, false}, {TierA, []string{LayerAttributes, LayerSignals}, []act{passed(LayerAttributes)}, false},
		{TierB, []string{LayerAttributes}, []act{passed(LayerAttributes)}, true}, {TierB, []string{LayerAttributes}, []act{passed(LayerSignals)}, false},
		{TierB, []string{LayerAttributes, LayerSignals}, []act{passed(LayerSignals), stopped}, true}, {TierB, []string{LayerNamespaces}, []act{passed(LayerNamespaces)}, false},
		{TierB, nil, []act{passed(LayerAttributes)}, false}, {TierB, []string{LayerAttributes}, []act{passed(LayerLandlock)}, false}, {TierC, []string{LayerSeccomp}, []act{passed(LayerSeccomp)}, false},
	} {
		i := Isolation{Tier: c.tier, Missing: c.missing}
		_, acts, err := judgeActs(report{Isolation: &i, Acts: c.acts})
		if (err == nil) != c.ok || len(acts) == 0 && len(c.acts) > 0 {
			t.Errorf("%+v: %v, %v", c, acts, err)
		}
	}
}

// TestProbe tries this machine.
func TestProbe(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T) {
		found := Probe(t.Context(), false)
		switch found.Isolation.Tier {
		case TierA:
			if len(found.Refused) != 0 || found.Sudo {
				t.Errorf("%+v", found)
			}
		case TierB:
			if found.Refused[TierA] == "" {
				t.Errorf("%+v", found)
			}
		case TierC:
			if found.Refused[TierA] == "" || found.Refused[TierB] == "" || len(found.Acts) != 0 {
				t.Errorf("%+v", found)
			}
		default:
			t.Errorf("%+v", found)
		}
		for _, a := range found.Acts {
			if a.Name == "" || a.Layer == "" || a.Passed != (a.Result == "succeeded") {
				t.Errorf("%+v", a)
			}
		}
		t.Logf("tier %s, Landlock %d, overlay %v, missing %v", found.Isolation.Tier, found.Isolation.LandlockABI, found.Overlay, found.Isolation.Missing)
	})
}

// TestProbeCancelled does not take a probe that was cut short for a result.
func TestProbeCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan Found, 1)
	go func() { done <- Probe(ctx, false) }()
	select {
	case <-done: // a helper may be faster than its end
	case <-time.After(3 * probeTime):
		t.Fatal("it does not end")
	}
}

// TestReceiveFD takes exactly one descriptor.
func TestReceiveFD(t *testing.T) {
	t.Parallel()
	pair := func() (*net.UnixConn, *os.File) {
		ours, theirs, err := socketpair()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
		return ours, theirs
	}
	for name, send := range map[string]func(to *os.File) error{
		"nothing but a byte": func(to *os.File) error { _, err := to.WriteString("f"); return err },
		"the end":            func(to *os.File) error { return to.Close() },
		"two": func(to *os.File) error {
			return unix.Sendmsg(int(to.Fd()), []byte("f"), unix.UnixRights(0, 1), nil, 0)
		},
	} {
		ours, theirs := pair()
		if err := send(theirs); err != nil {
			t.Fatal(name, err)
		}
		if f, err := receiveFD(ours); err == nil || strings.Contains(err.Error(), "%!") {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
	ours, theirs := pair()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("passed"), 0o644); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	if err := sendFD(int(theirs.Fd()), int(in.Fd())); err != nil {
		t.Fatal(err)
	}
	out, err := receiveFD(ours)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	if flags, err := unix.FcntlInt(out.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Error("a child would inherit it", err)
	}
	if data := make([]byte, 6); true {
		if _, err := out.Read(data); err != nil || string(data) != "passed" {
			t.Errorf("%q, %v", data, err)
		}
	}
}

// TestReports reads what a helper could say, and what only somebody else would.
func TestReports(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"a report": {`{"ended":true,"status":256,"survivors":2}` + "\n", true}, "an unknown field": {`{"new":1}` + "\n", true},
		"no report": {"", false}, "half a report": {`{"ended":true`, false}, "no JSON": {"hello\n", false}, "another type": {`{"ended":1}` + "\n", false}, "a list": {"[]\n", false},
		"a long one": {`{"error":"` + strings.Repeat("x", maxReport/2) + `"}` + "\n", true}, "too long": {`{"error":"` + strings.Repeat("x", 2*maxReport) + `"}` + "\n", false},
		"without end": {strings.Repeat("x", 4*maxReport), false},
	} {
		h := &helper{reports: bufio.NewReaderSize(strings.NewReader(c.text), 64<<10)}
		r, err := h.report()
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if name == "a report" && (!r.Ended || r.Status != 256 || r.Survivors != 2) {
			t.Errorf("%+v", r)
		}
		if name == "too long" && !strings.Contains(err.Error(), "too large") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzReport(f *testing.F) {
	for _, seed := range []string{`{"ended":true,"status":9}`, `{"isolation":{"tier":"A","missing":[]},"acts":[{"name":"x"}]}`, "null", "{", "\n\n", `{"attempts":[{"call":"x","count":-1}]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(_ *testing.T, data []byte) {
		h := &helper{reports: bufio.NewReaderSize(bytes.NewReader(append(data, '\n')), 64<<10)}
		for range 4 {
			if _, err := h.report(); err != nil {
				return
			}
		}
	})
}

// FuzzPack demands that every string arrives as it was.
func FuzzPack(f *testing.F) {
	for _, seed := range []string{"", "plain", "\x00", "\x00plain", "\xff", "a\xffb", "\x00\xff", "ü", "\x00!", "\x00AAAA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		in := spec{
			Argv: []string{s, "x"}, Dir: s, Env: []string{s},
			Confine: &Confine{Binds: []Bind{{Source: s, Target: s, Write: true}}, Covers: []string{s}, View: &View{Target: s, Lower: []string{s}, Hide: []string{s, s}, Upper: s, Base: s, Changes: s}},
		}
		var m monitor
		if err := jsonRoundTrip(in.over(pack), &m.spec); err != nil {
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

func jsonRoundTrip(in spec, out *spec) error { return json.Unmarshal(encode(in), out) }

// TestHelperCannotStart has no helper: its limits forbid it.
func TestHelperCannotStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Command{
		"no arguments":              {},
		"an argument with a NUL":    {Argv: []string{"/bin/true", "a\x00b"}, Dir: "/"},
		"a variable with a NUL":     {Argv: []string{"/bin/true"}, Env: []string{"A=\x00"}, Dir: "/"},
		"a directory that is not":   {Argv: []string{"/bin/true"}, Dir: "/nowhere/at/all"},
		"a relative program":        {Argv: []string{"nowhere-at-all"}, Dir: "/"},
		"an argument that is large": {Argv: []string{"/bin/true", strings.Repeat("x", 1<<20)}, Dir: "/"},
	} {
		exit, err := Run(t.Context(), c)
		if !errors.Is(err, ErrStart) || exit.Code != -1 {
			t.Errorf("%s: %+v, %v", name, exit, err)
		}
	}
	for _, name := range []string{TierA, TierB} {
		tier(t, name)
		cmd, _ := hostile(t, &Confine{Tier: name})
		cmd.Argv = []string{"/nowhere/at/all"}
		exit, err := Run(t.Context(), cmd)
		if !errors.Is(err, ErrStart) || exit.Isolation.Tier != name {
			t.Errorf("tier %s: %+v, %v", name, exit, err)
		}
	}
	if _, err := Run(t.Context(), Command{Argv: []string{"/bin/true"}, Dir: "/", Confine: &Confine{Tier: "D"}}); err == nil {
		t.Error("a tier that does not exist was had")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Command{Argv: []string{"/bin/true"}, Dir: "/"}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestManyArguments passes much to the helper.
func TestManyArguments(t *testing.T) {
	t.Parallel()
	held(t, "ABC", func(t *testing.T, _ string, c *Confine, _ string) {
		args := []string{"do"}
		for i := range 5000 {
			args = append(args, fmt.Sprintf("list|/nowhere/%d/%s", i, strings.Repeat("x", 50)))
		}
		exit, out := inside(t, c, args...)
		if exit.Code != 0 || strings.Count(out, "\n") != 5000 {
			t.Errorf("%+v, %d lines", exit, strings.Count(out, "\n"))
		}
	})
}

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
	if got := resident(nil, 0); got != 0 || sharedMemory(1<<30) != 0 {
		t.Errorf("nobody uses %d bytes", got)
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
		got = descendants(cmd.Process.Pid)
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
	if got := descendants(1 << 30); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

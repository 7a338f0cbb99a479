package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/engines/sandbox/inside"
)

// told is what the act state tells of itself.
type told struct {
	Status     string            `json:"status"`
	UIDMap     string            `json:"uid_map"`
	Mounts     string            `json:"mounts"`
	Host       string            `json:"host"`
	Root       []string          `json:"root"`
	Env        []string          `json:"env"`
	PID        int               `json:"pid"`
	Interfaces []string          `json:"interfaces"`
	Limits     map[string]uint64 `json:"limits"`
	OOM        string            `json:"oom"`
	MonitorOOM string            `json:"monitor_oom"`
}

func (s told) field(name string) string {
	for line := range strings.Lines(s.Status) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "none"
}

// TestState looks at an engine's privileges, and at what it sees.
func TestState(t *testing.T) {
	t.Parallel()
	held(t, "SAB", func(t *testing.T, name string, c *Confine, _ string) {
		c.Limits = Limits{FileSize: 1 << 20, OpenFiles: 64, Processes: 10, Memory: 1 << 30}
		_, out := within(t, c, "state")
		var s told
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			t.Fatal(err, out)
		}
		for field, want := range map[string]string{
			"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapAmb": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2",
		} {
			if got := s.field(field); got != want {
				t.Errorf("%s is %s, not %s", field, got, want)
			}
		}
		for limit, most := range map[string]uint64{"core": 0, "fsize": 1 << 20, "nofile": 64, "nproc": 160, "data": 2 << 30, "rtprio": 0, "nice": 0, "msgqueue": 800 << 10} {
			if s.Limits[limit] > most {
				t.Errorf("%s is %d, more than %d", limit, s.Limits[limit], most)
			}
		}
		if s.OOM != "1000" || s.MonitorOOM == "1000" {
			t.Errorf("when memory runs out, the engine goes at %q, its monitor at %q", s.OOM, s.MonitorOOM)
		}
		for _, e := range s.Env {
			if name, _, _ := strings.Cut(e, "="); name != "HOSTILE_PRIVATE" && name != "GOMAXPROCS" {
				t.Errorf("%s came from somewhere", e)
			}
		}
		if name == TierB {
			return
		}
		if got := s.field("CapBnd"); got != "0000000000000000" {
			t.Errorf("CapBnd is %s", got)
		}
		want := fmt.Sprintf("1000 %d 1", os.Getuid())
		if c.Sudo { // no user namespace: it is this user outside and inside
			want = "0 0 4294967295"
			if ids := strings.Join(strings.Fields(s.field("Uid")+" "+s.field("Gid")), " "); ids != strings.TrimSpace(strings.Repeat(strconv.Itoa(os.Getuid())+" ", 8)) || s.field("Groups") != "" {
				t.Errorf("users and groups %q, further groups %q", ids, s.field("Groups"))
			}
		}
		if strings.Join(strings.Fields(s.UIDMap), " ") != want {
			t.Errorf("uid map %q, not %q", s.UIDMap, want)
		}
		if s.Host != "cabincrew" || s.PID > 100 || len(s.Interfaces) > 1 {
			t.Errorf("host %q, pid %d, interfaces %q", s.Host, s.PID, s.Interfaces)
		}
		for _, dir := range s.Root {
			if !slices.Contains([]string{"dev", "etc", "proc", "tmp", "var"}, dir) && dir != strings.Split(acts(t), "/")[1] {
				t.Errorf("/%s is there", dir)
			}
		}
		for line := range strings.Lines(s.Mounts) {
			f := strings.Fields(line)
			options := strings.Split(f[5], ",")
			if !slices.Contains(options, "nosuid") || !slices.Contains(options, "nodev") && !strings.HasPrefix(f[4], "/dev/") && !strings.HasPrefix(f[4], "/proc/") {
				t.Errorf("a mount with too much: %s", line)
			}
			if slices.Contains(options, "rw") && !slices.Contains([]string{"/tmp", "/dev/shm", "/proc"}, f[4]) && !strings.HasPrefix(f[4], "/dev/") && !strings.HasPrefix(f[4], "/tmp/") {
				if !strings.HasPrefix(f[4], "/proc/") || !strings.Contains(f[3], "null") {
					t.Errorf("a writable mount: %s", line)
				}
			}
			if strings.Contains(line, "/.old") || strings.Contains(line, "/.parts") {
				t.Errorf("left over: %s", line)
			}
		}
	})
}

// TestIsolationIsTold compares what a run tells of itself with what its tier is.
func TestIsolationIsTold(t *testing.T) {
	t.Parallel()
	held(t, "SABC", func(t *testing.T, name string, c *Confine, _ string) {
		exit, _ := within(t, c, "true")
		i := exit.Isolation
		if i.Tier != name || i.NetNS != (name == TierA) || (len(i.Seccomp) == 64) != (name != TierC) || !slices.IsSorted(i.Missing) {
			t.Errorf("%+v", i)
		}
		if name == TierB && i.LandlockABI < inside.LeastABI || name == TierC && i.LandlockABI != 0 {
			t.Errorf("%+v", i)
		}
		for layer, lacking := range map[string]bool{
			LayerNamespaces: name != TierA, LayerSeccomp: name == TierC, LayerNoNewPrivs: name == TierC, LayerCapabilities: name == TierC, LayerRlimits: name == TierC,
			LayerAttributes: name == TierB, LayerCgroup: true,
		} {
			if i.Lacks(layer) != lacking {
				t.Errorf("tier %s: %s in missing: %v", name, layer, i.Missing)
			}
		}
	})
}

// TestRequire refuses to run without a layer that is required.
func TestRequire(t *testing.T) {
	t.Parallel()
	held(t, "SAB", func(t *testing.T, name string, c *Confine, dir string) {
		c.Require = []string{LayerCgroup}
		cmd, _ := hostile(t, c, "do", "write|"+dir+"/ran|x")
		exit, err := Run(t.Context(), cmd)
		if err == nil || !strings.Contains(err.Error(), "cgroup: it is required") || exit.Code != -1 {
			t.Errorf("%+v, %v", exit, err)
		}
		if _, err := os.Stat(dir + "/ran"); err == nil {
			t.Error("it ran")
		}
		c.Require = []string{LayerSeccomp, LayerNoNewPrivs}
		if exit, _ := within(t, c, "true"); exit.Code != 0 {
			t.Errorf("%+v", exit)
		}
	})
}

// TestProxyListener connects to the one address that is served, and to others.
func TestProxyListener(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T) {
		tier(t, TierA)
		outside, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed below
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = outside.Close() }()
		dials := []string{
			"tcp " + ProxyAddress, "tcp " + ProxyAddress, "tcp localhost:3128",
			"tcp " + outside.Addr().String(), "tcp 127.0.0.1:3129", "tcp 127.0.0.1:80", "tcp 127.0.0.2:3128", "tcp [::1]:3128", "tcp 192.0.2.1:3128", "tcp 169.254.169.254:80",
			"tcp example.com:80", "udp 127.0.0.1:3128", "udp 8.8.8.8:53", "ip4:icmp 127.0.0.1",
		}
		cmd, out := hostile(t, &Confine{Tier: TierA, Listen: true}, append([]string{"dial"}, dials...)...)
		var mu sync.Mutex
		var served, ended sync.WaitGroup
		heard := 0
		var listener net.Listener
		cmd.Accept = func(l net.Listener) {
			listener = l
			ended.Go(func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					served.Go(func() {
						defer func() { _ = c.Close() }()
						_ = c.SetDeadline(time.Now().Add(2 * time.Second))
						buf := make([]byte, 6)
						if _, err := io.ReadFull(c, buf); err == nil && string(buf) == "hello\n" {
							mu.Lock()
							heard++
							mu.Unlock()
							_, _ = c.Write([]byte("proxy"))
						}
					})
				}
			})
		}
		exit, err := Run(t.Context(), cmd)
		ended.Wait() // the listener is closed when the child has ended
		served.Wait()
		if err != nil || exit.Code != 0 {
			t.Fatalf("%+v, %v\n%s", exit, err, out)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		for i, line := range lines {
			f := strings.Split(line, "\t")
			if want := map[bool]string{true: "passed", false: "stopped"}[i < 3]; len(f) != 3 || f[1] != want || i < 3 && f[2] != `"proxy"` {
				t.Errorf("%s, want %s", line, want)
			}
		}
		if len(lines) != len(dials) || heard != 3 {
			t.Errorf("%d of %d answers, %d connections", len(lines), len(dials), heard)
		}
		if _, err := net.Dial("tcp", listener.Addr().String()); err == nil { //nolint:noctx // only tried
			t.Error("what listens inside can be reached from outside")
		}
		counts := map[string]int{}
		for _, a := range exit.Attempts {
			counts[a.Call] = a.Count
		}
		if len(counts) > 0 && counts["socket inet"] == 0 {
			t.Errorf("the datagrams are not told of: %+v", exit.Attempts)
		}
	})
}

// TestListenWithoutProxy has a listener and nobody who takes it.
func TestListenWithoutProxy(t *testing.T) {
	t.Parallel()
	tier(t, TierA)
	exit, out := within(t, &Confine{Tier: TierA, Listen: true}, "dial", "tcp 127.0.0.1:3129", "udp 127.0.0.1:3128")
	if exit.Code != 0 || strings.Count(out, "stopped") != 2 {
		t.Errorf("%+v\n%s", exit, out)
	}
}

// TestNothingIsLeft looks for what many runs could leave in the parent.
func TestNothingIsLeft(t *testing.T) {
	tier(t, TierA)
	tier(t, TierB)
	mounts := func() string {
		data, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	open := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	run := func() {
		for _, name := range []string{TierA, TierB, TierC} {
			dir := shared(t)
			within(t, &Confine{Tier: name, Binds: []Bind{{Source: dir, Target: dir, Write: true}}}, "true")
			cmd, _ := hostile(t, &Confine{Tier: name, Binds: []Bind{{Source: dir + "/nowhere", Target: "/x", Write: true}}}, "true")
			_, _ = Run(t.Context(), cmd) // refused in tier A
			cmd, _ = hostile(t, &Confine{Tier: name, Listen: name == TierA})
			cmd.Argv = []string{"/nowhere/at/all"}
			_, _ = Run(t.Context(), cmd) // cannot start
		}
	}
	run() // what is opened once
	before, fds, kids := mounts(), open(), len(inside.Descendants(os.Getpid()))
	for range 3 {
		run()
	}
	if after := mounts(); after != before {
		t.Errorf("mounts were left:\n%s\n%s", before, after)
	}
	for end := time.Now().Add(2 * time.Second); open() > fds && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if now := open(); now > fds+2 {
		t.Errorf("%d descriptors were left", now-fds)
	}
	if now := inside.Descendants(os.Getpid()); len(now) > kids {
		for _, pid := range now {
			t.Error("left:", read(fmt.Sprintf("/proc/%d/stat", pid)))
		}
	}
}

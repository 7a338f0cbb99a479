package sandbox

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// trial is a hostile act and what is expected of it. In tier A and B it is to be
// stopped. gap names what evidence lists under missing where tier B cannot do that.
type trial struct {
	act  string
	gap  string // tier B lets it pass
	free bool   // in tier C it passes, which shows that it is an act at all
	own  bool   // it is no hostile act but what every program may do
	ownA bool   // so in tier A, where it reaches what is the engine's own; in B it is to be stopped
}

// trials are the acts of testdata/acts that are one try each.
func trials() []trial {
	var out []trial
	add := func(t trial, names string) {
		for name := range strings.FieldsSeq(names) {
			t.act = name
			out = append(out, t)
		}
	}
	// The workspace.
	add(trial{free: true}, "ws-write ws-append ws-create ws-hook ws-mkdir ws-truncate ws-link ws-symlink ws-mkfifo ws-link-out ws-by-fd ws-by-dirfd ws-by-path-fd")
	add(trial{free: true}, "ws-by-cwd ws-by-root ws-by-symlink ws-by-symlinked-dir ws-exchange ws-rename-over ws-rmdir")
	add(trial{}, "ws-by-mmap ws-unlink ws-rename ws-rename-out")
	add(trial{free: true, gap: LayerAttributes}, "ws-chmod ws-utimes ws-chown ws-flags")
	add(trial{free: true}, "ws-xattr ws-lxattr ws-fxattr")
	add(trial{}, "ws-xattrat ws-file-setattr")
	add(trial{free: true, ownA: true}, "xattr-own xattr-remove-own")
	// What else is there to be written.
	add(trial{}, "self-exe self-unlink root-write etc-write usr-write lib-write dev-mknod dev-block dev-mem dev-kmsg dev-fuse dev-disk")
	add(trial{}, "sysctl sysctl-host sysctl-users sysctl-binfmt sysrq sys-kernel sys-power cgroup-escape oom-protect uid-map")
	// What it was not given.
	add(trial{free: true}, "read-ssh-key list-home read-by-symlink read-by-ws-link read-by-root read-by-link read-by-dotdot read-flight list-flight write-flight exec-outside")
	add(trial{free: true, gap: LayerAttributes}, "stat-ssh-key chmod-ssh-key readlink-outside list-xattrs-outside")
	add(trial{free: true}, "watch-outside")
	add(trial{free: true, ownA: true}, "watch-own")
	add(trial{}, "own-env read-kcore read-kallsyms read-cmdline read-keys list-sys list-root list-var list-run read-shadow read-hostid")
	// Other processes.
	add(trial{free: true}, "all-environs parent-env victim-env victim-args victim-status victim-mem victim-maps victim-exe victim-cwd victim-root victim-fds victim-task")
	add(trial{}, "monitor-env monitor-mem monitor-fds monitor-root monitor-cwd monitor-exe monitor-ns monitor-tasks")
	add(trial{free: true}, "kill-victim kill-parent tgkill tkill sigqueue pidfd-signal prlimit kcmp vm-read pidfd-getfd")
	add(trial{}, "sigio ptrace ptrace-seize ptrace-me vm-write prlimit-monitor")
	add(trial{free: true}, "shm-attach shm-find shm-stat msg-find msg-send msg-receive msg-stat sem-find sem-op sem-timedop sem-stat mq-open")
	add(trial{free: true, ownA: true}, "shm-own msg-own sem-own")
	add(trial{}, "mq-unlink")
	add(trial{free: true}, "setpriority setaffinity setscheduler setparam setattr ioprio setpriority-monitor setaffinity-monitor setscheduler-monitor setparam-monitor setattr-monitor ioprio-monitor")
	add(trial{}, "setpriority-user ioprio-user move-pages migrate-pages")
	add(trial{free: true, own: true}, "setpriority-self setaffinity-self setscheduler-self setparam-self setattr-self ioprio-self")
	// Becoming somebody else, and the limits of its own.
	add(trial{}, "setuid setgid setgroups capset seccomp-off privs-on raise-limit")
	add(trial{free: true}, "setuid-program")
	// The network.
	add(trial{free: true}, "tcp tcp6 tcp-fast-open mptcp tcp-listen udp udp6 dns netlink unix unix-datagram unix-by-symlink unix-abstract unix-outside")
	add(trial{}, "udplite sctp ping raw packet uevent vsock alg bluetooth xdp can tipc rds smc kcm socketpair-tipc")
	add(trial{free: true, own: true}, "socketpair")
	// Files that give whoever starts them the rights of their owner or group.
	for _, name := range modeCalls() {
		add(trial{free: true}, name+"-setuid "+name+"-setgid")
		if name != "openat2" { // its mode is in memory, so there is no such call
			add(trial{free: true, own: true}, name+"-plain")
		}
	}
	add(trial{free: true, own: true}, "open-any-mode")
	// System calls.
	add(trial{free: true}, "io_uring io_uring_enter io_uring_register open_tree keyctl add_key request_key")
	add(trial{}, "unshare-user unshare-mount unshare-net unshare-pid clone-user clone-net clone-high-bits clone3-user setns setns-mount setns-other")
	add(trial{}, "mount mount-over-ws mount-proc remount-ws bind-ws umount umount-ws pivot_root chroot open_tree_attr move_mount fsopen fsconfig fsmount fspick mount_setattr")
	add(trial{}, "bpf perf_event_open userfaultfd open_by_handle kexec_load init_module finit_module delete_module reboot swapon swapoff quotactl quotactl_fd acct")
	add(trial{free: true}, "memfd vmsplice process_madvise process_mrelease")
	add(trial{}, "memfd-secret")
	add(trial{}, "settimeofday clock_settime adjtimex clock_adjtime syslog sethostname setdomainname fanotify future-call")
	if onAMD64 {
		add(trial{}, "i386 x32 iopl ioperm modify_ldt kexec_file_load uselib")
	}
	return out
}

// modeCalls are the calls that give a file its mode, as the acts name them.
func modeCalls() []string {
	calls := []string{"fchmod", "fchmodat", "fchmodat2", "mknodat", "openat", "openat2", "tmpfile"}
	if onAMD64 {
		calls = append(calls, "chmod", "creat", "mknod", "open")
	}
	return calls
}

// world is what there is to attack; testdata/acts has the same.
type world struct {
	Workspace string `json:"workspace"`
	Out       string `json:"out"`
	Home      string `json:"home"`
	Flight    string `json:"flight"`
	Socket    string `json:"socket"`
	Datagrams string `json:"datagrams"`
	Abstract  string `json:"abstract"`
	Program   string `json:"program"`
	Setuid    string `json:"setuid"`
	Token     string `json:"token"`
	Victim    int    `json:"victim"`
	Parent    int    `json:"parent"`
	TCP       int    `json:"tcp"`
	TCP6      int    `json:"tcp6"`
	MPTCP     int    `json:"mptcp"`
	UDP       int    `json:"udp"`
	Shared    int    `json:"shared"`
	Key       int    `json:"key"`
	Messages  int    `json:"messages"`
	Semaphore int    `json:"semaphore"`
	Queue     string `json:"queue"`

	dir   string
	traps map[string]int
	heard *bytes.Buffer // what the victim said
	stop  func()
}

// newWorld makes something to attack.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: shared(t), Token: marker(), Parent: os.Getpid(), traps: map[string]int{}, heard: &bytes.Buffer{}, Setuid: os.Getenv(setuidVar)}
	w.Abstract = w.Token
	if os.Getuid() == 0 {
		w.Setuid = "" // root's own is nobody else's
	}
	at := func(name string) string { return filepath.Join(w.dir, name) }
	w.Workspace, w.Out, w.Home, w.Flight, w.Socket, w.Datagrams, w.Program = at("ws"), at("out"), at("home"), at("flight"), at("run/docker.sock"), at("run/log"), at("bin/acts")
	fill(t, w.dir, map[string]string{
		"ws/file": "untouched", "ws/dir/inner": "untouched", "ws/empty/": "", "ws/.git/hooks/": "", "ws/to-key": "->" + at("home/.ssh/id_ed25519"),
		"out/": "", "run/": "", "bin/": "", "home/.ssh/id_ed25519": w.Token, "home/.ssh/to": "->" + w.Token, "flight/plan": w.Token,
	})
	program, err := os.ReadFile(acts(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.Program, program, 0o755); err != nil {
		t.Fatal(err)
	}
	w.setTraps(t)
	w.startVictim(t)
	w.shareMemory(t)
	return w
}

// shareMemory makes what the kernel keeps for all programs of a user.
func (w *world) shareMemory(t *testing.T) {
	t.Helper()
	word, err := hex.DecodeString(strings.TrimPrefix(w.Token, "marker-"))
	if err != nil {
		t.Fatal(err)
	}
	w.Key = int(binary.LittleEndian.Uint32(word) >> 1)
	const create = unix.IPC_CREAT | unix.IPC_EXCL | 0o600
	if w.Shared, err = unix.SysvShmGet(w.Key, 4096, create); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = unix.SysvShmCtl(w.Shared, unix.IPC_RMID, nil) })
	messages, _, errno := unix.Syscall(unix.SYS_MSGGET, uintptr(w.Key), create, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	t.Cleanup(func() { _, _, _ = unix.Syscall(unix.SYS_MSGCTL, messages, unix.IPC_RMID, 0) })
	semaphore, _, errno := unix.Syscall(unix.SYS_SEMGET, uintptr(w.Key), 1, create)
	if errno != 0 {
		t.Fatal(errno)
	}
	t.Cleanup(func() { _, _, _ = unix.Syscall6(unix.SYS_SEMCTL, semaphore, 0, unix.IPC_RMID, 0, 0, 0) })
	w.Messages, w.Semaphore = int(messages), int(semaphore)
	name, err := unix.BytePtrFromString(w.Token)
	if err != nil {
		t.Fatal(err)
	}
	if fd, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(name)), unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o600, 0, 0, 0); errno == 0 {
		w.Queue = w.Token
		_ = unix.Close(int(fd))
		t.Cleanup(func() { _, _, _ = unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(name)), 0, 0) })
	}
}

// setTraps opens sockets that nothing may reach.
func (w *world) setTraps(t *testing.T) {
	t.Helper()
	for _, s := range []struct {
		name                   string
		family, kind, protocol int
		at                     unix.Sockaddr
		port                   *int
	}{
		{"tcp", unix.AF_INET, unix.SOCK_STREAM, 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}, &w.TCP},
		{"tcp6", unix.AF_INET6, unix.SOCK_STREAM, 0, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}, &w.TCP6},
		{"mptcp", unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}, &w.MPTCP},
		{"udp", unix.AF_INET, unix.SOCK_DGRAM, 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}, &w.UDP},
		{"docker.sock", unix.AF_UNIX, unix.SOCK_STREAM, 0, &unix.SockaddrUnix{Name: w.Socket}, nil},
		{"log", unix.AF_UNIX, unix.SOCK_DGRAM, 0, &unix.SockaddrUnix{Name: w.Datagrams}, nil},
		{"abstract", unix.AF_UNIX, unix.SOCK_STREAM, 0, &unix.SockaddrUnix{Name: "@" + w.Abstract}, nil},
	} {
		fd, err := unix.Socket(s.family, s.kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, s.protocol)
		if err == nil {
			t.Cleanup(func() { _ = unix.Close(fd) })
			if err = unix.Bind(fd, s.at); err == nil && s.kind == unix.SOCK_STREAM {
				err = unix.Listen(fd, 16)
			}
		}
		if err != nil {
			t.Logf("no %s here: %v", s.name, err)
			continue
		}
		w.traps[s.name] = fd
		if s.port == nil {
			continue
		}
		switch a, err := unix.Getsockname(fd); a := a.(type) {
		case *unix.SockaddrInet4:
			*s.port = a.Port
		case *unix.SockaddrInet6:
			*s.port = a.Port
		default:
			t.Fatal(err)
		}
	}
}

// trapped names the sockets that somebody reached.
func (w *world) trapped() []string {
	var out []string
	for name, fd := range w.traps {
		if conn, _, err := unix.Accept(fd); err == nil {
			_ = unix.Close(conn)
			out = append(out, name)
		} else if n, _, err := unix.Recvfrom(fd, make([]byte, 64), 0); err == nil && n > 0 {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// startVictim starts a process that says what signals it gets.
func (w *world) startVictim(t *testing.T) {
	t.Helper()
	cmd := exec.Command(acts(t), "victim", w.Token)
	cmd.Env = []string{"SECRET=" + w.Token, "HOSTILE_PRIVATE=" + os.Getenv(stageVar)}
	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.SysProcAttr = out, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := start(cmd); err != nil {
		t.Fatal(err)
	}
	_ = out.Close()
	ready := make([]byte, 6)
	if _, err := r.Read(ready); err != nil {
		t.Fatal(err)
	}
	w.Victim = cmd.Process.Pid
	ended := false
	w.stop = func() {
		if ended {
			return
		}
		ended = true
		_ = cmd.Process.Kill()
		_, _ = w.heard.ReadFrom(r)
		_ = cmd.Wait()
		_ = r.Close()
	}
	t.Cleanup(w.stop)
}

// confine gives the sandbox of a world's engine, and the world as it is seen there.
func (w *world) confine(tier string) (*Confine, *world) {
	inner := *w
	if tier == TierC {
		return nil, &inner
	}
	c := confinement(tier)
	if c.Tier == TierA {
		inner.Workspace, inner.Out = "/workspace", "/temp"
	}
	c.Binds = []Bind{{Source: w.Workspace, Target: inner.Workspace}, {Source: w.Out, Target: inner.Out, Write: true}}
	for _, dir := range []string{"/usr", "/lib", "/lib64", "/bin"} {
		c.Binds = append(c.Binds, Bind{Source: dir, Target: dir})
	}
	if w.Setuid != "" {
		c.Binds = append(c.Binds, Bind{Source: w.Setuid, Target: w.Setuid})
	}
	return c, &inner
}

// verdict is how an act ended.
type verdict struct{ word, detail string }

// attack tries acts in a tier.
func (w *world) attack(t *testing.T, tier string, names []string) (Exit, map[string]verdict) {
	t.Helper()
	c, inner := w.confine(tier)
	cmd, out := hostile(t, c, append([]string{"batch"}, names...)...)
	text, err := json.Marshal(inner)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, "HOSTILE_WORLD="+string(text))
	cmd.Timeout = 60 * time.Second
	exit, err := Run(t.Context(), cmd)
	if err != nil || exit.Code != 0 {
		t.Fatalf("%+v, %v\n%s", exit, err, out)
	}
	verdicts := map[string]verdict{}
	for line := range strings.SplitSeq(strings.TrimSpace(out.String()), "\n") {
		f := strings.SplitN(line, "\t", 3)
		if len(f) != 3 {
			t.Fatalf("%q", line)
		}
		detail, err := strconv.Unquote(f[2])
		if err != nil {
			detail = f[2]
		}
		verdicts[f[0]] = verdict{f[1], detail}
	}
	return exit, verdicts
}

// TestHostileActs tries every act in tier A and B, and in tier C those of which it
// is known that they pass, as root and as an unprivileged user.
func TestHostileActs(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T) {
		for _, name := range []string{TierA, bySudo, TierB, TierC} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				tier(t, name)
				w := newWorld(t)
				list := slices.DeleteFunc(trials(), func(x trial) bool { return name == TierC && !x.free })
				names := make([]string, len(list))
				for i, x := range list {
					names[i] = x.act
				}
				before := listing(t, w.Workspace)
				info, err := os.Stat(w.Workspace + "/file")
				if err != nil {
					t.Fatal(err)
				}
				exit, verdicts := w.attack(t, name, names)
				for _, x := range list {
					x.judge(t, name, exit.Isolation, verdicts[x.act])
				}
				w.stop()
				if name == TierC {
					return
				}
				w.intact(t, name, before, info)
				known(t, name, exit.Attempts)
			})
		}
	})
}

// judge compares how an act ended with what is expected of it.
func (x trial) judge(t *testing.T, tier string, i Isolation, v verdict) {
	t.Helper()
	passes := x.own || x.ownA && tier != TierB || tier == TierC || tier == TierB && x.gap != ""
	switch {
	case v.word == "skipped":
		t.Logf("skipped %s in tier %s: %s", x.act, tier, v.detail)
	case passes && v.word != "passed":
		t.Errorf("tier %s: %s ended as %s (%s), it should pass here", tier, x.act, v.word, v.detail)
	case !passes && v.word != "stopped" && (v.word != "killed" || v.detail != "SIGSYS"):
		if slices.Contains(i.Missing, LayerSignals) && slices.Contains(strings.Fields("kill-victim kill-parent tgkill tkill sigqueue pidfd-signal"), x.act) {
			return // said under missing
		}
		t.Errorf("tier %s: %s was not stopped: %s (%s)", tier, x.act, v.word, v.detail)
	case v.word == "killed" && x.act != "i386" && x.act != "x32":
		t.Errorf("tier %s: %s was killed, an error is enough", tier, x.act)
	}
	if tier == TierB && x.gap != "" && !i.Lacks(x.gap) {
		t.Errorf("tier B lets %s pass, and does not say %s under missing: %v", x.act, x.gap, i.Missing)
	}
}

// intact asks the world itself whether anything happened to it.
func (w *world) intact(t *testing.T, tier, before string, info os.FileInfo) {
	t.Helper()
	after := listing(t, w.Workspace)
	if tier == TierB { // modes are its gap
		if err := os.Chmod(w.Workspace+"/file", info.Mode()); err != nil {
			t.Error(err)
		}
		after = listing(t, w.Workspace)
	} else if now, err := os.Stat(w.Workspace + "/file"); err != nil || !now.ModTime().Equal(info.ModTime()) {
		t.Errorf("the file's time changed: %v, %v", now, err)
	}
	if after != before {
		t.Errorf("the workspace changed:\n%s\n%s", before, after)
	}
	for _, name := range []string{w.Home + "/.ssh/id_ed25519", w.Flight + "/plan"} {
		if data, err := os.ReadFile(name); err != nil || string(data) != w.Token {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	for name, mode := range modesBelow(t, w.Out) {
		if mode&(os.ModeSetuid|os.ModeSetgid) != 0 {
			t.Errorf("tier %s: %s was made with the mode %s", tier, name, mode)
		}
	}
	if got := w.trapped(); len(got) != 0 {
		t.Errorf("somebody came to %v", got)
	}
	if got := strings.TrimSpace(w.heard.String()); got != "" {
		t.Errorf("the victim got %q", got)
	}
	for _, fd := range w.traps {
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0) // still ours
	}
}

// modesBelow gives the modes of what is in a directory.
func modesBelow(t *testing.T, dir string) map[string]os.FileMode {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		t.Errorf("%d files in %s: %v", len(entries), dir, err)
	}
	out := map[string]os.FileMode{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Error(err)
			continue
		}
		out[e.Name()] = info.Mode()
	}
	return out
}

// known demands that what the filter stopped is told by name.
func known(t *testing.T, tier string, attempts []Attempt) {
	t.Helper()
	counts := map[string]int{}
	for _, a := range attempts {
		counts[a.Call] = a.Count
	}
	if len(counts) == 0 {
		t.Skip("the filter has no listener here, so attempts are not told")
	}
	for _, want := range []string{
		"ptrace", "mount", "umount2", "pivot_root", "chroot", "unshare", "clone", "setns", "bpf", "keyctl", "io_uring_setup", "userfaultfd", "perf_event_open", "open_by_handle_at",
		"socket inet", "socket inet6", "socket netlink", "socket packet", "socket vsock", "socket alg", "process_vm_readv", "kcmp", "prlimit64", "reboot",
		"setpriority", "ioprio_set", "sched_setscheduler", "sched_setparam", "sched_setattr", "sched_setaffinity", "move_pages", "migrate_pages", "memfd_create", "vmsplice",
	} {
		if counts[want] == 0 {
			t.Errorf("tier %s does not tell of %s", tier, want)
		}
	}
	for _, name := range modeCalls() { // one for setuid, one for setgid; a signal makes the kernel ask again
		want := map[string]string{"openat2": "openat2", "tmpfile": "openat setuid"}[name]
		if want == "" {
			want = name + " setuid"
		}
		if counts[want] < 2 {
			t.Errorf("tier %s tells of %d times %s", tier, counts[want], want)
		}
	}
	if counts["openat setuid"] < 4 { // of these also files without a name
		t.Errorf("tier %s tells of %d times openat setuid", tier, counts["openat setuid"])
	}
	for name := range strings.FieldsSeq("shmget shmat shmctl msgget msgsnd msgrcv msgctl semget semop semtimedop semctl mq_unlink inotify_init1 inotify_add_watch file_setattr") {
		if (counts[name] == 0) != (tier != TierB) {
			t.Errorf("tier %s: %d %s", tier, counts[name], name)
		}
	}
	if (counts["socket unix"] == 0) != (tier != TierB) {
		t.Errorf("tier %s: %d unix sockets", tier, counts["socket unix"])
	}
	if !slices.IsSortedFunc(attempts, func(a, b Attempt) int { return strings.Compare(a.Call, b.Call) }) {
		t.Error("attempts are not sorted")
	}
}

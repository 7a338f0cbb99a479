package sandbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The tests of this package run hostile programs. As root they do that only in a
// mount and a pid namespace of their own, so that a bug of the sandbox can neither
// mount anything over the machine's files nor signal its processes: TestMain
// starts the test binary there once more. Below that, what is tested as root is
// tested as an unprivileged user too, by starting it again as one.
const (
	stageVar  = "SANDBOX_TEST_STAGE"
	stageInit = "init"    // the first process of the pid namespace
	stageIn   = "private" // the tests, in the namespaces
	stageUser = "user"    // the tests as another user, in the namespaces
	stageBare = "bare"    // the tests as root where no namespaces can be had
	setuidVar = "SANDBOX_TEST_SETUID"
	actsVar   = "SANDBOX_TEST_ACTS"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("SANDBOX_TEST_ORCHESTRATOR"); dir != "" {
		orchestrate(dir)
	}
	stage := os.Getenv(stageVar)
	if stage == "" { // what a runner gives to a job, for engines to look for
		for _, name := range []string{"ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_RUNTIME_TOKEN", "GITHUB_TOKEN"} {
			_ = os.Setenv(name, "not-for-engines")
		}
	}
	switch {
	case stage == stageInit:
		os.Exit(beInit())
	case stage == "" && os.Getuid() == 0:
		os.Exit(enterPrivate())
	}
	flag.Parse()
	if n, err := strconv.Atoi(flag.Lookup("test.parallel").Value.String()); err == nil && n < 4 {
		_ = flag.Set("test.parallel", "4") // most of these tests wait
	}
	code := m.Run()
	if dir := os.Getenv(actsVar); dir == "" && builtActs != "" {
		_ = os.RemoveAll(builtActs)
	}
	os.Exit(code)
}

// again starts the test binary once more, with the same arguments.
func again(stage string, attr *syscall.SysProcAttr) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, stageVar+"=") }), stageVar+"="+stage)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = os.Stdin, os.Stdout, os.Stderr, attr
	return cmd
}

// enterPrivate runs the tests in a mount and a pid namespace of their own.
func enterPrivate() int {
	runtime.LockOSThread() // the death signal is tied to the thread
	cmd := again(stageInit, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL})
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "there is no private namespace here, so hostile programs are not run as root:", err)
		cmd = again(stageBare, nil)
		if err := cmd.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	_ = cmd.Wait() // its exit code tells
	return max(cmd.ProcessState.ExitCode(), -1) & 0xff
}

// beInit is the first process of the pid namespace: with it everything ends.
func beInit() int {
	runtime.LockOSThread()
	for what, err := range map[string]error{
		"making mounts private": unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""),
		"mounting /proc":        unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
	} {
		if err != nil {
			fmt.Fprintln(os.Stderr, what+":", err)
			return 1
		}
	}
	// A setuid program of root's is made where nobody else can see it.
	if dir, err := os.MkdirTemp("", "sb-suid-"); err == nil { //nolint:usetesting // before any test
		defer func() { _ = os.Remove(dir) }()
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NODEV, "mode=0755,size=32m"); err == nil {
			_ = os.Setenv(setuidVar, filepath.Join(dir, "setuid"))
			defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
		}
	}
	// A pid of a test's process shall not be one inside a sandbox too.
	_ = os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte("20000"), 0)
	cmd := again(stageIn, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL})
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid == cmd.Process.Pid && (status.Exited() || status.Signaled()) {
			if err != nil || status.Signaled() {
				fmt.Fprintln(os.Stderr, "the tests ended:", err, status.Signal())
				return 2
			}
			return status.ExitStatus()
		}
	}
}

// users runs a test as whoever this is, and if that is root also as an
// unprivileged user.
func users(t *testing.T, run func(t *testing.T)) {
	t.Helper()
	if os.Getuid() != 0 {
		run(t)
		return
	}
	t.Run("root", func(t *testing.T) {
		t.Parallel()
		if os.Getenv(stageVar) != stageIn {
			t.Skip("as root only in a private namespace, and there is none")
		}
		run(t)
	})
	t.Run("user", func(t *testing.T) {
		t.Parallel()
		asUser(t.Context(), t, "^"+strings.TrimSuffix(t.Name(), "/user")+"$")
	})
}

// Users have no process on this machine, and each is for one test: the kernel
// counts threads by user, so one test's fork bomb would fail another.
var (
	firstUser = sync.OnceValue(func() int {
		var b [2]byte
		_, _ = rand.Read(b[:])
		return 61000 + (int(b[0])<<8|int(b[1]))%4000
	})
	usersTaken atomic.Int32
)

func nextUser() int { return firstUser() + int(usersTaken.Add(1)) }

// asUser runs tests of this binary as an unprivileged user.
func asUser(ctx context.Context, t *testing.T, pattern string) {
	t.Helper()
	dir, id := shared(t), nextUser()
	if err := os.Chown(dir, id, id); err != nil {
		t.Skip("no file can be given to another user:", err)
	}
	acts(t) // built as root: the user has no cache to build in
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run="+pattern, "-test.v", "-test.timeout=2m", "-test.parallel=4")
	cmd.Args[0] = os.Args[0]
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + filepath.Dir(os.Getenv(setuidVar)) + ":" + os.Getenv("PATH"), "TMPDIR=" + dir, "HOME=" + dir, "GITHUB_TOKEN=not-for-engines", setuidVar + "=" + os.Getenv(setuidVar), stageVar + "=" + stageUser, tiersVar + "=" + os.Getenv(tiersVar), actsVar + "=" + filepath.Dir(acts(t))}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(id), Gid: uint32(id)}, Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := start(cmd); err != nil {
		t.Skip("no process can be started as another user:", err)
	}
	err := cmd.Wait()
	for line := range strings.SplitSeq(out.String(), "\n") {
		if strings.Contains(line, "SKIP") || strings.Contains(line, "skip") || strings.Contains(line, "_test.go:") {
			t.Log(line)
		}
	}
	if err != nil {
		t.Fatalf("as user %d: %v\n%s", id, err, out.String())
	}
	if !strings.Contains(out.String(), "--- PASS") && !strings.Contains(out.String(), "--- SKIP") {
		t.Fatalf("as user %d nothing ran:\n%s", id, out.String())
	}
}

// shared makes a directory that other users can enter.
func shared(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sb-") //nolint:usetesting // other users must be able to enter it, and a socket's path be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

var (
	buildActs  sync.Once
	builtActs  string // directory
	errActs    error
	errForeign error
)

// acts gives the program of hostile acts. It is built once.
func acts(t testing.TB) string {
	t.Helper()
	buildActs.Do(func() {
		if builtActs = os.Getenv(actsVar); builtActs != "" {
			return
		}
		if builtActs, errActs = os.MkdirTemp("", "sb-acts-"); errActs != nil { //nolint:usetesting // for all tests
			return
		}
		_ = os.Chmod(builtActs, 0o755)
		build := func(out, pkg string, env ...string) error {
			cmd := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(builtActs, out), pkg)
			cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="), env...)
			if text, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, text)
			}
			return nil
		}
		errActs = build("acts", "./testdata/acts")
		if at := os.Getenv(setuidVar); at != "" && errActs == nil {
			if data, err := os.ReadFile(filepath.Join(builtActs, "acts")); err == nil {
				for _, at := range []string{at, filepath.Join(filepath.Dir(at), "sudo")} {
					_ = os.WriteFile(at, data, 0o755)
					_ = os.Chmod(at, 0o755|os.ModeSetuid)
				}
			}
		}
		if runtime.GOARCH == "amd64" {
			errForeign = build("foreign", "./testdata/foreign", "GOARCH=386")
		}
	})
	if errActs != nil && os.Getenv(tiersVar) != "" {
		t.Fatal("the hostile program cannot be built:", errActs)
	}
	if errActs != nil {
		t.Skip("the hostile program cannot be built:", errActs)
	}
	return filepath.Join(builtActs, "acts")
}

// tiersVar names tiers, as "A,B", that must be had: where one cannot, tests of it
// fail, which are skipped otherwise.
const tiersVar = "CABINCREW_TEST_TIERS"

// bySudo is tier A of a user who has no user namespaces, but sudo.
const bySudo = "S"

var tried sync.Map // of tiers, to functions that try them once

// tier skips a test where a tier cannot be had.
func tier(t testing.TB, name string) Isolation {
	t.Helper()
	if name == TierC {
		return None()
	}
	if name == bySudo && (os.Getuid() == 0 || os.Getenv(setuidVar) == "") {
		t.Skip("what sudo does is tested as a user, with one that the tests make in a private namespace")
	}
	at := acts(t)
	once, _ := tried.LoadOrStore(name, sync.OnceValues(func() (Exit, error) {
		return Run(context.Background(), Command{
			Argv: []string{at, "true"}, Dir: "/", Env: []string{"HOSTILE_PRIVATE=" + os.Getenv(stageVar)}, Timeout: 20 * time.Second,
			Confine: confinement(name, Bind{Source: at, Target: at}),
		})
	}))
	exit, err := once.(func() (Exit, error))()
	if err != nil && strings.Contains(os.Getenv(tiersVar), name) {
		t.Fatalf("tier %s must be had: %v", name, err)
	}
	if err != nil {
		t.Skipf("tier %s cannot be had here: %v", name, err)
	}
	if exit.Code != 0 {
		t.Fatalf("tier %s: %+v", name, exit)
	}
	return exit.Isolation
}

// confinement gives the sandbox of a tier.
func confinement(name string, binds ...Bind) *Confine {
	if name == bySudo {
		return &Confine{Tier: TierA, Sudo: true, Binds: binds}
	}
	return &Confine{Tier: name, Binds: binds}
}

// marker is a word that is nowhere else on the machine.
func marker() string {
	var b [12]byte
	_, _ = rand.Read(b[:])
	return "marker-" + hex.EncodeToString(b[:])
}

// carrying lists the living processes that have a word in their arguments.
func carrying(word string) []int {
	var out []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range files {
		pid, err := strconv.Atoi(strings.Split(name, "/")[2])
		if err != nil || pid == os.Getpid() {
			continue
		}
		args, err := os.ReadFile(name)
		if err == nil && bytes.Contains(args, []byte(word)) && alive(pid) {
			out = append(out, pid)
		}
	}
	return out
}

// noneCarrying waits for the last process with a word in its arguments to end.
func noneCarrying(t *testing.T, word string, within time.Duration) {
	t.Helper()
	var left []int
	for end := time.Now().Add(within); ; time.Sleep(5 * time.Millisecond) {
		if left = carrying(word); len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			break
		}
	}
	for _, pid := range left {
		_ = syscall.Kill(pid, syscall.SIGKILL) // this test started it
	}
	t.Errorf("%d processes live", len(left))
}

//go:build linux

package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// child gives a command that runs a shell script under a mark of its own.
func child(t *testing.T, script string) (Command, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	mark := "CABINCREW_TEMP_DIR=" + dir
	var out bytes.Buffer
	return Command{
		Argv: []string{"/bin/sh", "-c", script}, Dir: dir, Mark: mark, Stdout: &out, Stderr: &out,
		Env: []string{"PATH=" + os.Getenv("PATH"), mark}, Grace: 300 * time.Millisecond,
	}, &out
}

func pidIn(t *testing.T, dir string) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// alive says whether a process runs; a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z") && !strings.HasPrefix(after, "X")
}

// gone waits for a process to end; a kill is not instantaneous.
func gone(pid int) bool {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if !alive(pid) {
			return true
		}
	}
	return false
}

func TestRunExits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		script, signal string
		code           int
	}{
		{"exit 0", "", 0}, {"exit 1", "", 1}, {"exit 77", "", 77},
		{"kill -SEGV $$", "SIGSEGV", -1}, {"kill -KILL $$", "SIGKILL", -1}, {"kill -TERM $$", "SIGTERM", -1},
	} {
		cmd, _ := child(t, c.script)
		exit, err := Run(t.Context(), cmd)
		if err != nil || exit.Code != c.code || exit.Signal != c.signal || exit.TimedOut || exit.Survivors != 0 {
			t.Errorf("%s: %+v, %v", c.script, exit, err)
		}
		if exit.Isolation.Tier != "C" || len(exit.Isolation.Missing) == 0 || !slices.IsSorted(exit.Isolation.Missing) {
			t.Errorf("isolation %+v", exit.Isolation)
		}
	}
}

func TestRunCannotStart(t *testing.T) {
	t.Parallel()
	script := filepath.Join(t.TempDir(), "engine")
	if err := os.WriteFile(script, []byte("#!/nowhere/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, argv := range map[string][]string{
		"nothing": nil, "no file": {"/nowhere/engine"}, "no interpreter": {script}, "not executable": {plain}, "directory": {t.TempDir()},
	} {
		if _, err := Run(t.Context(), Command{Argv: argv, Dir: t.TempDir()}); !errors.Is(err, ErrStart) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRunIsolatesTheEnvironment(t *testing.T) {
	t.Parallel()
	cmd, out := child(t, "env")
	if _, err := Run(t.Context(), cmd); err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(out.String()), "\n") {
		name, _, _ := strings.Cut(line, "=")
		if !slices.Contains([]string{"PATH", "CABINCREW_TEMP_DIR", "PWD", "SHLVL", "_", "OLDPWD"}, name) {
			t.Errorf("%s came from somewhere", line)
		}
	}
}

// TestTimeoutKillsTheTree lets a grandchild leave the session and the group, and
// ignore SIGTERM as its parent does.
func TestTimeoutKillsTheTree(t *testing.T) {
	t.Parallel()
	cmd, _ := child(t, `trap '' TERM; setsid sh -c 'trap "" TERM; echo $$ > pid; while :; do sleep 1; done' & while [ ! -s pid ]; do sleep 0.01; done; echo ready; while :; do sleep 1; done`)
	cmd.Timeout = 2 * time.Second
	begin := time.Now()
	exit, err := Run(t.Context(), cmd)
	if err != nil || !exit.TimedOut || exit.Signal != "SIGKILL" || exit.Survivors == 0 {
		t.Fatalf("%+v, %v", exit, err)
	}
	if took := time.Since(begin); took > 15*time.Second {
		t.Fatalf("it took %s", took)
	}
	if pid := pidIn(t, cmd.Dir); !gone(pid) {
		t.Fatalf("the grandchild %d lives", pid)
	}
}

// TestCancelTermsThenKills sees SIGTERM first and SIGKILL after the grace.
func TestCancelTermsThenKills(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ script, signal string }{
		"obeys":   {`trap 'echo term > term; exit 9' TERM; echo $$ > pid; while :; do sleep 0.05; done`, ""},
		"ignores": {`trap 'echo term > term' TERM; echo $$ > pid; while :; do sleep 0.05; done`, "SIGKILL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd, _ := child(t, c.script)
			why := errors.New("a person said so")
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				for {
					if _, err := os.Stat(filepath.Join(cmd.Dir, "pid")); err == nil || ctx.Err() != nil {
						cancel(why)
						return
					}
					time.Sleep(5 * time.Millisecond)
				}
			}()
			exit, err := Run(ctx, cmd)
			if !errors.Is(err, why) || exit.TimedOut || exit.Signal != c.signal {
				t.Fatalf("%+v, %v", exit, err)
			}
			if _, err := os.Stat(filepath.Join(cmd.Dir, "term")); err != nil {
				t.Fatal("it got no SIGTERM")
			}
			if pid := pidIn(t, cmd.Dir); !gone(pid) {
				t.Fatalf("%d lives", pid)
			}
		})
	}
}

// TestSurvivorsDoNotHang leaves processes behind that keep stdout open.
func TestSurvivorsDoNotHang(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"group":   `sh -c 'echo $$ > pid; exec sleep 600' & while [ ! -s pid ]; do sleep 0.01; done; echo said`,
		"session": `setsid sh -c 'echo $$ > pid; exec sleep 600' & while [ ! -s pid ]; do sleep 0.01; done; echo said`,
		"twice":   `(setsid sh -c 'sh -c "echo \$\$ > pid; exec sleep 600" & ' &) ; while [ ! -s pid ]; do sleep 0.01; done; echo said`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd, out := child(t, script)
			cmd.Grace = time.Minute // nobody may wait for it
			begin := time.Now()
			exit, err := Run(t.Context(), cmd)
			if err != nil || exit.Code != 0 || exit.Survivors == 0 || out.String() != "said\n" {
				t.Fatalf("%+v, %v, %q", exit, err, out)
			}
			if took := time.Since(begin); took > 20*time.Second {
				t.Fatalf("it took %s", took)
			}
			pid := pidIn(t, cmd.Dir)
			if !gone(pid) {
				t.Fatalf("%d lives", pid)
			}
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
				t.Errorf("%d is a zombie: it was not waited for", pid)
			}
		})
	}
}

// TestForkingWithoutEnd hunts a chain of processes that fork while they are killed.
func TestForkingWithoutEnd(t *testing.T) {
	t.Parallel()
	cmd, _ := child(t, `cat > chain <<'E'
#!/bin/sh
echo $$ > pid
setsid ./chain &
sleep 0.02
E
chmod +x chain; ./chain & while [ ! -s pid ]; do sleep 0.01; done`)
	exit, err := Run(t.Context(), cmd)
	if err != nil || exit.Survivors == 0 {
		t.Fatalf("%+v, %v", exit, err)
	}
	if found := marked(cmd.Mark); len(found) != 0 {
		t.Fatalf("still there: %v", found)
	}
}

// TestRunsSideBySide makes sure that being the reaper of orphans takes no child
// from another run: each gets its own exit code, and no survivor is found twice.
func TestRunsSideBySide(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for i := range 24 {
		cmd, out := child(t, fmt.Sprintf("setsid sleep 600 >/dev/null 2>&1 & echo %d; exit %d", i, i))
		wg.Go(func() {
			exit, err := Run(t.Context(), cmd)
			if err != nil || exit.Code != i || exit.Survivors > 2 || out.String() != fmt.Sprintf("%d\n", i) {
				t.Errorf("%d: %+v, %v, %q", i, exit, err, out)
			}
		})
	}
	wg.Wait()
}

// TestKilledOrchestratorLeavesNoEngine re-executes this test as an orchestrator
// and kills it.
func TestKilledOrchestratorLeavesNoEngine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, err := os.StartProcess(os.Args[0], []string{os.Args[0], "-test.run=^$"}, &os.ProcAttr{
		Env: []string{"SANDBOX_TEST_ORCHESTRATOR=" + dir, "PATH=" + os.Getenv("PATH")}, Files: []*os.File{nil, os.Stderr, os.Stderr},
	})
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, "pid")
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if data, err := os.ReadFile(at); err == nil && bytes.HasSuffix(data, []byte("\n")) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the engine did not start")
		}
	}
	pid := pidIn(t, dir)
	if !alive(pid) {
		t.Fatal("the engine does not run")
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if !gone(pid) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // this test started it
		t.Fatal("the engine lives on")
	}
}

// orchestrate lets the test binary be an orchestrator that is going to be killed.
func orchestrate(dir string) {
	c := Command{
		Argv: []string{"/bin/sh", "-c", "trap '' TERM HUP; echo $$ > pid; while :; do sleep 1; done"}, Dir: dir, Env: []string{"PATH=" + os.Getenv("PATH")},
	}
	if data, err := os.ReadFile(filepath.Join(dir, "command.json")); err == nil {
		if err := json.Unmarshal(data, &c); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	_, err := Run(context.Background(), c)
	fmt.Fprintln(os.Stderr, "the engine ended:", err)
	os.Exit(1)
}

package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// held runs a test in tiers, as root and as a user, with a directory that the
// engine may write, where both see it at the same path.
func held(t *testing.T, tiers string, run func(t *testing.T, name string, c *Confine, dir string)) {
	t.Helper()
	users(t, func(t *testing.T) {
		for name := range strings.SplitSeq(tiers, "") {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				tier(t, name)
				dir := shared(t)
				c := confinement(name, Bind{Source: dir, Target: dir, Write: true})
				run(t, c.Tier, c, dir)
			})
		}
	})
}

// TestKilledByTheFilter makes calls of other architectures.
func TestKilledByTheFilter(t *testing.T) {
	t.Parallel()
	if !onAMD64 {
		t.Skip("there are foreign calls on amd64 only")
	}
	held(t, "ABC", func(t *testing.T, name string, c *Confine, _ string) {
		for _, act := range []string{"i386", "x32"} {
			cmd, out := hostile(t, c, act)
			exit, err := Run(t.Context(), cmd)
			if err != nil {
				t.Fatal(err)
			}
			if name == TierC {
				if exit.Code != 0 {
					t.Errorf("%s: %+v %s", act, exit, out)
				}
			} else if exit.Signal != "SIGSYS" || exit.Code != -1 {
				t.Errorf("%s: %+v %s", act, exit, out)
			}
		}
		// A whole program of 32 bits.
		foreign := filepath.Join(filepath.Dir(acts(t)), "foreign")
		if errForeign != nil {
			t.Skip("no program of 32 bits can be built:", errForeign)
		}
		if text, err := exec.Command(foreign).CombinedOutput(); err != nil || string(text) != "ran\n" {
			t.Skip("programs of 32 bits do not run here:", err)
		}
		cmd, out := hostile(t, c)
		cmd.Argv = []string{foreign}
		cmd.Confine.Binds = append(cmd.Confine.Binds, Bind{Source: foreign, Target: foreign})
		exit, err := Run(t.Context(), cmd)
		if name == TierC {
			if err != nil || out.String() != "ran\n" {
				t.Errorf("%+v, %v, %s", exit, err, out)
			}
		} else if err != nil || exit.Signal != "SIGSYS" || out.Len() != 0 {
			t.Errorf("%+v, %v, %s", exit, err, out)
		}
	})
}

// TestForkBomb doubles processes, a thousand at the most.
func TestForkBomb(t *testing.T) {
	t.Parallel()
	var one sync.Mutex // bombs of one user count for each other
	held(t, "SAB", func(t *testing.T, _ string, c *Confine, _ string) {
		one.Lock()
		defer one.Unlock()
		c.Limits.Processes = 64
		word := marker()
		cmd, out := hostile(t, c, "forks", word)
		begin := time.Now()
		exit, err := Run(t.Context(), cmd)
		if err != nil || exit.Over != "processes" || exit.Signal != "SIGKILL" || exit.TimedOut {
			t.Errorf("%+v, %v, %s", exit, err, out)
		}
		if took := time.Since(begin); took > 14*time.Second {
			t.Errorf("it took %s, by when it ends by itself", took)
		}
		noneCarrying(t, word, time.Second)
	})
}

// flow counts what is written.
type flow struct{ n atomic.Int64 }

func (f *flow) Write(p []byte) (int, error) {
	f.n.Add(int64(len(p)))
	return len(p), nil
}

// TestEndlessOutput writes until its time is up.
func TestEndlessOutput(t *testing.T) {
	t.Parallel()
	held(t, "ABC", func(t *testing.T, _ string, c *Confine, _ string) {
		for _, stream := range []string{"stdout", "stderr"} {
			var out, errs flow
			cmd, _ := hostile(t, c, "flood", stream)
			cmd.Stdout, cmd.Stderr, cmd.Timeout = &out, &errs, 500*time.Millisecond
			begin := time.Now()
			exit, err := Run(t.Context(), cmd)
			if err != nil || !exit.TimedOut || time.Since(begin) > 15*time.Second {
				t.Errorf("%+v, %v after %s", exit, err, time.Since(begin))
			}
			if to, from := out.n.Load(), errs.n.Load(); to > 0 && stream == "stderr" || from > 0 && stream == "stdout" {
				t.Errorf("%s: %d and %d bytes", stream, to, from)
			} else if to+from == 0 {
				t.Log("this machine is too slow: nothing was written before time was up")
			}
		}
	})
}

// TestSleepingForever ignores every signal that can be ignored.
func TestSleepingForever(t *testing.T) {
	t.Parallel()
	held(t, "ABC", func(t *testing.T, _ string, c *Confine, _ string) {
		word := marker()
		cmd, out := hostile(t, c, "sleep", word)
		cmd.Timeout = 300 * time.Millisecond
		exit, err := Run(t.Context(), cmd)
		deaf := strings.Contains(out.String(), "ready") // else it had not come that far
		if err != nil || !exit.TimedOut || exit.Signal != "SIGKILL" && deaf {
			t.Errorf("%+v, %v, %s", exit, err, out)
		}
		noneCarrying(t, word, 0)
	})
}

// TestSurvivorsOfAllKinds leaves processes that ignored SIGTERM, left session,
// group, parent and environment, and keep writing into a file. When Run has
// returned, none lives, and the file is what it stays.
func TestSurvivorsOfAllKinds(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"ends", "time-out", "cancelled"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			held(t, "SABC", func(t *testing.T, _ string, c *Confine, dir string) {
				word, file := marker(), filepath.Join(dir, "artifact")
				if err := os.WriteFile(file, []byte("planned\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				args := []string{"survivors", word, file}
				if way != "ends" {
					args = append(args, "stay")
				}
				cmd, out := hostile(t, c, args...)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				switch way {
				case "time-out":
					cmd.Timeout = 2500 * time.Millisecond
				case "cancelled":
					go func() {
						for !strings.Contains(read(file), "late") && ctx.Err() == nil {
							time.Sleep(5 * time.Millisecond)
						}
						cancel()
					}()
				}
				exit, err := Run(ctx, cmd)
				then := read(file)
				if way == "cancelled" {
					if !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				} else if err != nil || exit.TimedOut != (way == "time-out") {
					t.Errorf("%+v, %v, %s", exit, err, out)
				}
				if exit.Survivors == 0 && way == "ends" {
					t.Error("it left nothing: this test tests nothing")
				}
				if left := carrying(word); len(left) != 0 {
					t.Errorf("alive: %v", left)
				}
				if !strings.HasPrefix(then, "planned\nlate\n") {
					if way != "time-out" {
						t.Errorf("nobody wrote: %q", then)
					}
					t.Log("this machine is too slow: nobody wrote before time was up")
				}
				noneCarrying(t, word, time.Second)
				if now := read(file); now != then {
					t.Errorf("%d bytes were written after the end", len(now)-len(then))
				}
			})
		})
	}
}

func read(file string) string {
	data, _ := os.ReadFile(file)
	return string(data)
}

// TestKilledOrchestratorLeavesNothing kills the orchestrator of an engine that has
// left processes of all kinds.
func TestKilledOrchestratorLeavesNothing(t *testing.T) {
	t.Parallel()
	held(t, "SABC", func(t *testing.T, name string, c *Confine, dir string) {
		word, file := marker(), filepath.Join(dir, "artifact")
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		cmd, _ := hostile(t, c, "survivors", word, file, "stay")
		at := shared(t)
		text, err := json.Marshal(map[string]any{"Argv": cmd.Argv, "Dir": cmd.Dir, "Env": cmd.Env, "Confine": cmd.Confine})
		if err == nil {
			err = os.WriteFile(filepath.Join(at, "command.json"), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		o := exec.Command("/proc/self/exe", "-test.run=^$")
		o.Env = []string{"SANDBOX_TEST_ORCHESTRATOR=" + at, "PATH=" + os.Getenv("PATH")}
		o.Stderr = &out
		o.WaitDelay = time.Second
		if err := o.Start(); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(20 * time.Second); !strings.Contains(read(file), "late") && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
		// All five kinds, and the engine itself.
		n := 0
		for end := time.Now().Add(10 * time.Second); n < 6 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if started, err := filepath.Glob(file + ".*"); err == nil && len(started) == 5 {
				n = len(carrying(word))
			}
		}
		if err := o.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = o.Wait() // killed
		if n < 6 {
			t.Errorf("only %d processes ran: %s", n, out.String())
		}
		noneCarrying(t, word, 5*time.Second)
	})
}

// TestMonitorUnderAttack lets the engine signal its monitor. In tier A that is the
// first process of its pid namespace, in tier B one that Landlock keeps it from.
func TestMonitorUnderAttack(t *testing.T) {
	t.Parallel()
	held(t, "SABC", func(t *testing.T, name string, c *Confine, dir string) {
		for _, s := range []struct {
			what string
			sig  syscall.Signal
		}{{"killed", syscall.SIGKILL}, {"stopped", syscall.SIGSTOP}, {"ended", syscall.SIGTERM}, {"crashed", syscall.SIGSEGV}, {"quit", syscall.SIGQUIT}} {
			if name != TierA && s.sig != syscall.SIGKILL && s.sig != syscall.SIGSTOP {
				continue // the layer asks for no number, and SIGKILL ends any
			}
			t.Run(s.what, func(t *testing.T) {
				t.Parallel()
				word := marker()
				cmd, out := hostile(t, c, "kill", fmt.Sprintf("-2 %d", s.sig), fmt.Sprintf("1 %d", s.sig*min(1, syscall.Signal(len(name)))), word)
				if name != TierA { // pid 1 is somebody else there
					cmd, out = hostile(t, c, "kill", fmt.Sprintf("-2 %d", s.sig), word)
				}
				cmd.Mark = "MARK=" + word
				cmd.Env = append(cmd.Env, cmd.Mark)
				safe := name == TierA && (s.sig == syscall.SIGKILL || s.sig == syscall.SIGSTOP) || name == TierB && !tier(t, name).Lacks(LayerSignals)
				cmd.Timeout = 20 * time.Second
				if !safe {
					cmd.Timeout = 1500 * time.Millisecond
				}
				begin := time.Now()
				exit, err := Run(t.Context(), cmd)
				switch {
				case safe && (err != nil || exit.Code != 0 || !strings.HasSuffix(out.String(), "lives\n")):
					t.Errorf("%+v, %v, %s", exit, err, out)
				case !safe && s.sig == syscall.SIGSTOP:
					// Nobody hears from the engine until its time is up.
					if err == nil && !exit.TimedOut {
						t.Errorf("%+v, %v, %s", exit, err, out)
					}
				case !safe && err == nil && !exit.TimedOut:
					t.Errorf("a run whose monitor was %s succeeded: %+v, %s", s.what, exit, out)
				}
				if took := time.Since(begin); took > 25*time.Second {
					t.Errorf("it took %s", took)
				}
				noneCarrying(t, word, 5*time.Second)
			})
		}
	})
}

// TestMonitorKilledBySurvivor leaves a process without mark, session and parent,
// and kills the monitor, which alone could find it. Tier C cannot prevent that.
func TestMonitorKilledBySurvivor(t *testing.T) {
	t.Parallel()
	held(t, "SABC", func(t *testing.T, name string, c *Confine, dir string) {
		word, file := marker(), filepath.Join(dir, "artifact")
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		cmd, out := hostile(t, c, "assassin", word, file)
		exit, err := Run(t.Context(), cmd)
		left := carrying(word)
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL) // this test started it
		}
		switch {
		case name == TierC || name == TierB && exit.Isolation.Lacks(LayerSignals):
			if err == nil {
				t.Errorf("the run succeeded: %+v", exit)
			}
			if len(left) > 0 {
				t.Logf("tier %s cannot end it, and says that it has no %v", name, exit.Isolation.Missing)
			}
			if !exit.Isolation.Lacks(LayerNamespaces) {
				t.Error(exit.Isolation)
			}
		case err != nil || len(left) != 0 || exit.Survivors == 0:
			t.Errorf("%+v, %v, %s, alive %v", exit, err, out, left)
		}
	})
}

// TestKillEverybody sends SIGKILL to every process that it may. In tier B that is
// tried only as a user who has no other processes.
func TestKillEverybody(t *testing.T) {
	t.Parallel()
	held(t, "SAB", func(t *testing.T, name string, c *Confine, _ string) {
		if name == TierB && (os.Getenv(stageVar) != stageUser) {
			t.Skip("only as a user who has nothing else to lose")
		}
		w := newWorld(t)
		cmd, out := hostile(t, c, "kill", "-1 9", "-1 15")
		exit, err := Run(t.Context(), cmd)
		if err != nil || exit.Code != 0 || !strings.HasSuffix(out.String(), "lives\n") {
			t.Errorf("%+v, %v, %s", exit, err, out)
		}
		if !alive(w.Victim) {
			t.Error("it killed a process outside")
		}
		w.stop()
		if w.heard.Len() > 1 {
			t.Errorf("the victim got %q", w.heard)
		}
	})
}

// TestDescriptorsAreClosed leaves descriptors open in the parent that are not to
// be closed on exec.
func TestDescriptorsAreClosed(t *testing.T) {
	t.Parallel()
	held(t, "SABC", func(t *testing.T, _ string, c *Confine, _ string) {
		secret := fill(t, shared(t), map[string]string{"secret": "secret"}) + "/secret"
		for range 20 {
			fd, err := unix.Open(secret, unix.O_RDWR, 0) // not O_CLOEXEC
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unix.Close(fd) }()
		}
		exit, out := within(t, c, "fds")
		if exit.Code != 0 || strings.Contains(out, "secret") || strings.Contains(out, "socket") {
			t.Errorf("%+v\n%s", exit, out)
		}
		for line := range strings.SplitSeq(strings.TrimSpace(out), "\n") {
			fd, to, _ := strings.Cut(line, " ")
			if n, err := strconv.Atoi(fd); err != nil || n > 2 && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/sys/fs/cgroup/") {
				t.Error(line) // beyond the standard streams only what Go's runtime opens
			}
		}
	})
}

// TestTerminal puts characters into a terminal that is the engine's stdin.
func TestTerminal(t *testing.T) {
	t.Parallel()
	held(t, "AB", func(t *testing.T, name string, c *Confine, _ string) {
		master, slave := openTerminal(t)
		cmd, out := hostile(t, c, "inject")
		cmd.Stdin = slave
		exit, err := Run(t.Context(), cmd)
		if err != nil || exit.Code != 0 {
			t.Fatalf("%+v, %v, %s", exit, err, out)
		}
		if want := "TIOCSTI operation not permitted\nhigh operation not permitted\nTIOCLINUX operation not permitted\n"; out.String() != want {
			t.Errorf("%q", out)
		}
		if len(exit.Attempts) > 0 && (exit.Attempts[0].Call != "ioctl" || exit.Attempts[0].Count != 3) {
			t.Errorf("%+v", exit.Attempts)
		}
		// What was put in would be echoed.
		if n, err := master.Read(make([]byte, 16)); n > 0 {
			t.Errorf("%d characters came, %v", n, err)
		}
	})
}

// openTerminal makes a pseudo terminal.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skip("there are no pseudo terminals here:", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	master = os.NewFile(uintptr(fd), "master")
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("the pseudo terminal cannot be opened:", err)
	}
	if err := master.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Log(err)
	}
	t.Cleanup(func() { _ = slave.Close(); _ = master.Close() })
	return master, slave
}

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lifetime bounds whatever could be left over: it ends by itself.
const lifetime = 20 * time.Second

// programs are acts that are more than one try.
func programs() map[string]func(args []string) {
	return map[string]func([]string){
		"true": func([]string) {}, "euid": func([]string) { fmt.Println(os.Geteuid()) },
		"state": state, "victim": victim, "fds": descriptors, "forks": forkBomb, "memory": memory, "flood": flood, "sleep": sleep,
		"survivors": survivors, "survivor": survivor, "dial": dial, "inject": inject, "kill": kill, "tree": tree, "do": do, "assassin": assassin,
	}
}

// state tells of this process.
func state([]string) {
	status, _ := os.ReadFile("/proc/self/status")
	uids, _ := os.ReadFile("/proc/self/uid_map")
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	host, _ := os.Hostname()
	var roots []string
	entries, _ := os.ReadDir("/")
	for _, e := range entries {
		roots = append(roots, e.Name())
	}
	links, _ := net.Interfaces()
	var names []string
	for _, l := range links {
		names = append(names, l.Name)
	}
	for range 200 { // the monitor narrows this one right after the start
		var l unix.Rlimit
		if _ = unix.Getrlimit(unix.RLIMIT_NPROC, &l); l.Cur == l.Max {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	limits := map[string]uint64{}
	for name, resource := range map[string]int{"core": unix.RLIMIT_CORE, "fsize": unix.RLIMIT_FSIZE, "nofile": unix.RLIMIT_NOFILE, "data": unix.RLIMIT_DATA, "nproc": unix.RLIMIT_NPROC, "rtprio": unix.RLIMIT_RTPRIO, "nice": unix.RLIMIT_NICE, "msgqueue": unix.RLIMIT_MSGQUEUE} {
		var l unix.Rlimit
		_ = unix.Getrlimit(resource, &l)
		limits[name] = l.Max
	}
	oom, _ := os.ReadFile("/proc/self/oom_score_adj")
	monitorOOM, _ := os.ReadFile(proc(os.Getppid(), "oom_score_adj"))
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"oom": strings.TrimSpace(string(oom)), "monitor_oom": strings.TrimSpace(string(monitorOOM)),
		"status": string(status), "uid_map": string(uids), "mounts": string(mounts), "host": host, "root": roots,
		"env": os.Environ(), "pid": os.Getpid(), "interfaces": names, "limits": limits,
	})
}

// victim says ready, and then each signal that it gets.
func victim([]string) {
	c := make(chan os.Signal, 16)
	signal.Notify(c, unix.SIGUSR1, unix.SIGTERM, unix.SIGHUP, unix.SIGINT)
	fmt.Println("ready")
	end := time.After(60 * time.Second)
	for {
		select {
		case s := <-c:
			fmt.Println(s)
		case <-end:
			return
		}
	}
}

// descriptors lists what is open.
func descriptors([]string) {
	for fd := range 1024 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			continue
		}
		to, _ := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		fmt.Println(fd, to)
	}
}

// forkBomb doubles ten times at most; everything of it ends after some seconds.
func forkBomb([]string) {
	rest := unix.Timespec{Sec: 15}
	for range 10 {
		unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	}
	for { // the first process gets signals of Go's runtime
		if _, _, errno := unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(ptr(&rest)), uintptr(ptr(&rest)), 0); errno == 0 {
			break
		}
	}
	unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
}

// flood writes without end.
func flood(args []string) {
	to := os.Stdout
	if args[0] == "stderr" {
		to = os.Stderr
	}
	block := make([]byte, 64<<10)
	for end := time.Now().Add(lifetime); time.Now().Before(end); {
		if _, err := to.Write(block); err != nil {
			return
		}
	}
}

// sleep ignores what can be ignored.
func sleep([]string) {
	signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT)
	fmt.Println("ready")
	time.Sleep(lifetime)
}

// survivors leaves processes of all kinds that carry a marker in their arguments,
// waits until all of them run, and ends.
func survivors(args []string) {
	marker, file := args[0], args[1]
	kinds := []string{"plain", "session", "twice", "bare", "deaf"}
	for _, kind := range kinds {
		start(kind, marker, file)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		n := 0
		for _, kind := range kinds {
			if _, err := os.Stat(file + "." + kind); err == nil {
				n++
			}
		}
		if n == len(kinds) {
			break
		}
	}
	if len(args) > 2 && args[2] == "stay" {
		fmt.Println("ready")
		sleep(nil)
	}
}

// start starts a survivor. Those that are forked twice start themselves once more.
func start(kind, marker, file string) {
	cmd := exec.Command("/proc/self/exe", "survivor", kind, marker, file)
	cmd.Env = os.Environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: kind != "plain"}
	if kind == "bare" {
		cmd.Env = []string{"HOSTILE_PRIVATE=" + os.Getenv("HOSTILE_PRIVATE")}
	}
	_ = cmd.Start()
}

// assassin leaves a process that nothing leads to, and kills its parent.
func assassin(args []string) {
	start("bare", args[0], args[1])
	for range 1000 {
		if _, err := os.Stat(args[1] + ".bare"); err == nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	fmt.Println(unix.Kill(os.Getppid(), unix.SIGKILL))
}

// survivor says that it runs, and writes into a file for as long as it lives.
func survivor(args []string) {
	kind, marker, file := args[0], args[1], args[2]
	signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	if kind == "twice" {
		start("twice2", marker, file)
		return
	}
	_ = os.WriteFile(file+"."+strings.TrimSuffix(kind, "2"), nil, 0o644)
	for end := time.Now().Add(lifetime); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return
		}
		_, _ = f.WriteString("late\n")
		_ = f.Close()
	}
}

// dial connects to addresses, "network address" each, and says how that went.
func dial(args []string) {
	for _, a := range args {
		network, address, _ := strings.Cut(a, " ")
		c, err := net.DialTimeout(network, address, 2*time.Second)
		if err != nil {
			fmt.Printf("%s\tstopped\t%q\n", a, err.Error())
			continue
		}
		_ = c.SetDeadline(time.Now().Add(2 * time.Second))
		_, _ = c.Write([]byte("hello\n"))
		buf := make([]byte, 64)
		n, _ := c.Read(buf)
		fmt.Printf("%s\tpassed\t%q\n", a, buf[:n])
		_ = c.Close()
	}
}

// inject puts characters into the terminal that is stdin.
func inject([]string) {
	_, err := unix.FcntlInt(0, unix.F_GETFL, 0)
	if err == nil {
		_ = unix.IoctlSetInt(0, unix.TIOCSCTTY, 1) // the terminal may have an owner
		c := byte('x')
		err = call(unix.SYS_IOCTL, 0, unix.TIOCSTI, uintptr(ptr(&c)))
	}
	fmt.Println("TIOCSTI", err)
	fmt.Println("high", call(unix.SYS_IOCTL, 0, 1<<32|unix.TIOCSTI, text("x")))
	fmt.Println("TIOCLINUX", call(unix.SYS_IOCTL, 0, unix.TIOCLINUX, text("\x02")))
}

// kill sends signals: "pid signal" each. The pid -2 means the parent.
func kill(args []string) {
	for _, a := range args {
		p, s, _ := strings.Cut(a, " ")
		pid, _ := strconv.Atoi(p)
		sig, _ := strconv.Atoi(s)
		if pid == -2 {
			pid = os.Getppid()
		}
		err := unix.Kill(pid, unix.Signal(sig))
		fmt.Println(a, err)
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(500 * time.Millisecond)
	fmt.Println("lives")
}

// tree lists a directory with kinds, modes and contents.
func tree(args []string) {
	_ = filepath.WalkDir(args[0], func(p string, d os.DirEntry, err error) error {
		rel, _ := filepath.Rel(args[0], p)
		if err != nil {
			fmt.Printf("%q error %v\n", rel, err)
			return nil
		}
		info, err := d.Info()
		if err != nil {
			fmt.Printf("%q error %v\n", rel, err)
			return nil
		}
		content := ""
		if info.Mode().IsRegular() && info.Size() < 100 {
			data, err := os.ReadFile(p)
			content = string(data)
			if err != nil {
				content = err.Error()
			}
		}
		fmt.Printf("%q %s %q\n", rel, info.Mode(), content)
		return nil
	})
}

// do does simple things to files: "verb path [content]" each, split at the first
// spaces, and says how each went.
func do(args []string) {
	for _, a := range args {
		f := strings.SplitN(a, "|", 3)
		verb, path, content := f[0], f[1], ""
		if len(f) > 2 {
			content = f[2]
		}
		var err error
		var got []byte
		switch verb {
		case "read":
			got, err = os.ReadFile(path)
		case "write":
			err = os.WriteFile(path, []byte(content), 0o644)
		case "remove":
			err = os.Remove(path)
		case "mkdir":
			err = os.Mkdir(path, 0o755)
		case "rename":
			err = os.Rename(path, content)
		case "chmod":
			err = os.Chmod(path, 0o755)
		case "readlink":
			var to string
			to, err = os.Readlink(path)
			got = []byte(to)
		case "list":
			var entries []os.DirEntry
			entries, err = os.ReadDir(path)
			for _, e := range entries {
				got = append(got, e.Name()+" "...)
			}
		}
		fmt.Printf("%q %q %v\n", a, got, err)
	}
}

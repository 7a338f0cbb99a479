// Program acts tries what no engine may do. Each act is a sub-command; batch tries
// several, each in a process of its own, and says of each how it ended.
//
// As root it refuses to do anything unless HOSTILE_PRIVATE says that it runs in a
// private mount and pid namespace.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// world is what there is to attack.
type world struct {
	Workspace string `json:"workspace"` // as the engine sees it, read-only
	Out       string `json:"out"`       // as the engine sees it, writable
	Home      string `json:"home"`      // host path of a home directory
	Flight    string `json:"flight"`    // host path of another flight
	Socket    string `json:"socket"`    // host path of a stream socket
	Datagrams string `json:"datagrams"` // host path of a datagram socket
	Abstract  string `json:"abstract"`  // abstract socket
	Program   string `json:"program"`   // host path of a program that was not given
	Setuid    string `json:"setuid"`    // a setuid program that the engine sees, or ""
	Token     string `json:"token"`     // in the environment and the memory of parent and victim
	Victim    int    `json:"victim"`    // pid on the host
	Parent    int    `json:"parent"`    // pid on the host
	TCP       int    `json:"tcp"`       // port on 127.0.0.1
	TCP6      int    `json:"tcp6"`      // port on ::1, or 0
	MPTCP     int    `json:"mptcp"`     // port on 127.0.0.1, or 0
	UDP       int    `json:"udp"`       // port on 127.0.0.1
	Shared    int    `json:"shared"`    // id of a System V shared memory segment
	Key       int    `json:"key"`       // of that
	Messages  int    `json:"messages"`  // id of a System V message queue
	Semaphore int    `json:"semaphore"` // id of a System V semaphore
	Queue     string `json:"queue"`     // name of a POSIX message queue, or ""
}

var w world

// errSkipped says that an act cannot be tried here.
var errSkipped = errors.New("skipped")

func skip(why string) error { return fmt.Errorf("%w: %s", errSkipped, why) }

// result is nil for an act that passed.
func result(errno syscall.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}

func call(nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	return result(errno)
}

func main() {
	if filepath.Base(os.Args[0]) == "sudo" {
		sudo(os.Args[1:])
	}
	if os.Getuid() == 0 && os.Getenv("HOSTILE_PRIVATE") == "" {
		fmt.Fprintln(os.Stderr, "acts: not as root outside a private namespace")
		os.Exit(99)
	}
	if text := os.Getenv("HOSTILE_WORLD"); text != "" {
		if err := json.Unmarshal([]byte(text), &w); err != nil {
			fmt.Fprintln(os.Stderr, "acts:", err)
			os.Exit(98)
		}
	}
	if len(os.Args) < 2 {
		os.Exit(97)
	}
	name, args := os.Args[1], os.Args[2:]
	if name == "batch" {
		batch(args)
		return
	}
	if long, ok := programs()[name]; ok {
		long(args)
		return
	}
	runtime.LockOSThread()
	act, ok := acts()[name]
	if !ok {
		fmt.Fprintln(os.Stderr, "acts: there is no act", name)
		os.Exit(96)
	}
	say(act())
}

// say tells how an act ended.
func say(err error) {
	switch {
	case err == nil:
		fmt.Println("passed")
	case errors.Is(err, errSkipped):
		fmt.Println(err)
	default:
		fmt.Println("stopped:", err)
	}
}

// batch tries acts one after the other, and says of each in a line how it ended.
func batch(names []string) {
	for _, name := range names {
		cmd := exec.Command("/proc/self/exe", name)
		cmd.Env = os.Environ()
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.WaitDelay = time.Second
		if err := cmd.Start(); err != nil {
			fmt.Printf("%s\tbroken\t%q\n", name, err.Error())
			continue
		}
		timer := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		timer.Stop()
		verdict, detail, _ := strings.Cut(strings.TrimSpace(out.String()), ": ")
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			verdict, detail = "killed", unix.SignalName(status.Signal())
		} else if err != nil {
			verdict, detail = "broken", err.Error()+" "+out.String()
		}
		fmt.Printf("%s\t%s\t%q\n", name, verdict, detail)
	}
}

// acts gives all acts.
func acts() map[string]func() error {
	all := map[string]func() error{"i386": i386, "x32": x32}
	for _, more := range []map[string]func() error{files(), reading(), network(), kernel(), calls(), modes(), common(), about(), here()} {
		for name, act := range more {
			all[name] = act
		}
	}
	return all
}

func ptr[T any](p *T) unsafe.Pointer { return unsafe.Pointer(p) }

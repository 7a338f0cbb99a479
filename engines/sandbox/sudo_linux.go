package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sudoTime is how long sudo may take to start the helper.
const sudoTime = 10 * time.Second

// launchBySudo starts the helper as root, without a password. sudo closes all
// further descriptors, so the helper fetches its own from a socket in a directory
// that only this user can enter. It makes the namespaces and becomes this user
// again before it starts the child.
func launchBySudo(s spec, c Command, theirs []*os.File, h *helper) (err error) {
	sudo, err := exec.LookPath("sudo")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "cc-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	at := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at, Net: "unix"})
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()                             // one helper comes
	h.cmd = exec.Command(sudo, "-n", "--", self, helperName, at) //nolint:gosec,noctx // this program itself; Run tells it when to end
	h.cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	h.cmd.Stdin, h.cmd.Stdout, h.cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := start(h.cmd); err != nil {
		return err
	}
	if err := hand(l, theirs); err != nil {
		_ = h.cmd.Process.Kill()
		return errors.Join(errors.New("sudo did not start the helper"), err, h.cmd.Wait())
	}
	return nil
}

// hand gives the helper its descriptors, if it is root who comes.
func hand(l *net.UnixListener, theirs []*os.File) error {
	if err := l.SetDeadline(time.Now().Add(sudoTime)); err != nil {
		return err
	}
	conn, err := l.AcceptUnix()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it has what it came for
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) {
		if peer, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); inner != nil {
			return
		}
		if peer.Uid != 0 {
			inner = fmt.Errorf("user %d came, not root", peer.Uid)
			return
		}
		for _, f := range theirs {
			if inner = sendFD(int(fd), int(f.Fd())); inner != nil {
				return
			}
		}
	})
	return errors.Join(err, inner)
}

// fetch takes the helper's descriptors from the socket that the parent made, and
// makes sure that the parent is who called sudo.
func fetch(at string) (uid, gid int, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: at}); err != nil {
		return 0, 0, err
	}
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, 0, err
	}
	var got [2]int
	for i := range got {
		if got[i], err = recvFD(fd); err != nil {
			return 0, 0, err
		}
	}
	// Out of the way of each other first.
	for i := range got {
		high, err := unix.FcntlInt(uintptr(got[i]), unix.F_DUPFD_CLOEXEC, 64) //nolint:gosec // descriptors are small
		if err != nil {
			return 0, 0, err
		}
		got[i] = high
	}
	for i, want := range []int{fdControl, fdPass} {
		if err := unix.Dup3(got[i], want, 0); err != nil {
			return 0, 0, err
		}
	}
	return int(peer.Uid), int(peer.Gid), nil
}

// runBySudo is the helper as root: it starts the real one in new namespaces and
// waits for it. It never returns.
func runBySudo(at string) {
	uid, gid, err := fetch(at)
	if err != nil {
		os.Exit(exitHelper) // there is nobody to tell but sudo
	}
	pid, err := syscall.ForkExec("/proc/self/exe", []string{helperName}, &syscall.ProcAttr{
		Env:   []string{"GOMAXPROCS=2", "GOGC=off", "GOMEMLIMIT=32MiB", "GORACE=atexit_sleep_ms=0", fmt.Sprintf("%s=%d:%d", becomeVariable, uid, gid)},
		Files: []uintptr{0, 1, 2, fdControl, fdPass},
		Sys:   &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL},
	})
	m := &monitor{}
	if err != nil {
		m.fail(LayerNamespaces, err)
	}
	_ = unix.Close(fdControl) // only the inner helper's now, so that its end shows
	_ = unix.Close(fdPass)
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(pid, &status, 0, nil)
		if err == syscall.EINTR { //nolint:errorlint // a bare errno
			continue
		}
		if err != nil || got == pid && !status.Exited() {
			os.Exit(exitHelper)
		}
		os.Exit(status.ExitStatus())
	}
}

// becomeVariable tells the inner helper whom to become.
const becomeVariable = "CABINCREW_SANDBOX_BECOME"

// become gives up being root, for the user who called sudo. Not being able to is
// the end: a child of root's is not what was asked for.
func become(who string) error {
	var uid, gid int
	if n, err := fmt.Sscanf(who, "%d:%d", &uid, &gid); err != nil || n != 2 || uid <= 0 || gid <= 0 {
		return fmt.Errorf("%q is no user and group", who)
	}
	for _, dir := range []string{"/tmp", "/dev/shm"} {
		if err := os.Chown(dir, uid, gid); err != nil {
			return err
		}
	}
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("leaving groups: %w", err)
	}
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return fmt.Errorf("becoming group %d: %w", gid, err)
	}
	// Only root can empty the bounding set, so it is done here and not with the rest.
	if err := dropBounding(); err != nil {
		return err
	}
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return fmt.Errorf("becoming user %d: %w", uid, err)
	}
	if os.Getuid() != uid || os.Geteuid() != uid || os.Getgid() != gid {
		return errors.New("still root")
	}
	return nil
}

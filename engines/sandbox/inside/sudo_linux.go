package inside

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

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
	for i, want := range []int{FDControl, FDPass} {
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
	pid, err := syscall.ForkExec("/proc/self/exe", []string{Name}, &syscall.ProcAttr{
		Env:   []string{"GOMAXPROCS=2", "GOGC=off", "GOMEMLIMIT=32MiB", "GORACE=atexit_sleep_ms=0", fmt.Sprintf("%s=%d:%d", becomeVariable, uid, gid)},
		Files: []uintptr{0, 1, 2, FDControl, FDPass},
		Sys:   &syscall.SysProcAttr{Cloneflags: Namespaces, Pdeathsig: syscall.SIGKILL},
	})
	m := &monitor{}
	if err != nil {
		m.fail(LayerNamespaces, err)
	}
	_ = unix.Close(FDControl) // only the inner helper's now, so that its end shows
	_ = unix.Close(FDPass)
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

// Namespaces are those of tier A beside the user namespace.
const Namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP

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

	"github.com/cabincrew/action/engines/sandbox/inside"
)

// sudoTime is how long sudo may take to start the helper.
const sudoTime = 10 * time.Second

// launchBySudo starts the helper as root, without a password. sudo closes all
// further descriptors, so the helper fetches its own from a socket in a directory
// that only this user can enter. It makes the namespaces and becomes this user
// again before it starts the child.
func launchBySudo(s inside.Spec, c Command, theirs []*os.File, h *helper) (err error) {
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
	defer func() { _ = l.Close() }()                              // one helper comes
	h.cmd = exec.Command(sudo, "-n", "--", self, inside.Name, at) //nolint:gosec,noctx // this program itself; Run tells it when to end
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
			if inner = inside.SendFD(int(fd), int(f.Fd())); inner != nil {
				return
			}
		}
	})
	return errors.Join(err, inner)
}

package inside

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// proxyPort is the port of ProxyAddress.
const proxyPort = 3128

// listen brings the loopback of the new network namespace up, makes the proxy's
// listener there and passes it to the parent. What the child connects to is so
// served from outside, and nothing else is in reach.
func (m *monitor) listen() {
	fail := func(what string, err error) {
		if err != nil {
			m.fail(LayerNamespaces, fmt.Errorf("%s: %w", what, err))
		}
	}
	fail("bringing the loopback up", loopbackUp())
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	fail("the proxy's socket", err)
	fail("the proxy's address", unix.Bind(fd, &unix.SockaddrInet4{Port: proxyPort, Addr: [4]byte{127, 0, 0, 1}}))
	fail("the proxy's listener", unix.Listen(fd, 128))
	fail("passing the proxy's listener", SendFD(FDPass, fd))
	_ = unix.Close(fd) // the parent's is what counts
	m.say(Report{Listening: true})
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // the interface stays up
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return err
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// recvFD takes a descriptor from a socket.
func recvFD(from int) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(from, make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC) //nolint:dogsled // only the descriptor counts
	if err != nil {
		return -1, err
	}
	return Rights(oob[:n])
}
